// Package lifecycle is the one set of operations on keys, their secrets, locks and
// sessions, on roles, customers, microtenants and external sources, on the audit
// trail and on what explains decisions. Whoever acts (the admin API, the page, the command line, a
// seeding program) comes through here, so that rights, tenant bounds, the rule
// that nobody grants more than they hold, validation and the audit trail are
// each written once, in the transaction that writes.
package lifecycle
