package page

// auditParams are the filters of the audit trail, as the admin API names them.
var auditParams = []string{"action", "actor_id", "target_kind", "target_id", "request_id", "customer_id", "microtenant_id", "no_customer", "since", "until"}

func (p *Page) addAudit() {}
