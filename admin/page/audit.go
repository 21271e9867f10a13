package page

func (p *Page) addAudit() {}
