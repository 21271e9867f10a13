package page

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

// policyNames are the resources and groups that the gates' policies in force have:
// what a role can name to some effect now.
type policyNames struct {
	groups []string
	// members are the resources of each group; those of "" are in none.
	members map[string][]policyName
	groupBy map[string]string // group by resource
	titles  titles
}

// titles are what resources and groups of policies are called, by name.
type titles map[string]string

// of is a title, or the name where there is none.
func (t titles) of(name string) string { return cmp.Or(t[name], name) }

// groupTitle makes a group's title from its name: policies give titles to resources alone.
func groupTitle(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' })
	for i, word := range words {
		switch word {
		case "api", "idp", "scim", "saml", "ip", "dns", "url":
			words[i] = strings.ToUpper(word)
		default:
			if i == 0 {
				words[i] = strings.ToUpper(word[:1]) + word[1:]
			}
		}
	}
	return strings.Join(words, " ")
}

// titles are those of the policies in force, as far as the actor may know them.
func (v *visit) titles() titles {
	if v.named == nil {
		v.named = titles{}
		if n, err := v.policyNames(); err == nil { // without them, names do
			v.named = n.titles
		}
	}
	return v.named
}

type policyName struct{ Name, Title string }

// policyNames reads them off the rules.
func (v *visit) policyNames() (policyNames, error) {
	n := policyNames{members: map[string][]policyName{}, groupBy: map[string]string{}, titles: titles{}}
	at := lifecycle.Paging{Size: lifecycle.Some(lifecycle.MaxPageSize)}
	for {
		page, err := v.svc().ListPolicyRoutes(v.ctx(), v.actor, lifecycle.PolicyRouteFilter{Paging: at})
		if err != nil {
			return n, err
		}
		for _, r := range page.Items {
			n.add(r)
		}
		if page.NextCursor == nil {
			break
		}
		at.Cursor = *page.NextCursor
	}
	for group, members := range n.members {
		slices.SortFunc(members, func(a, b policyName) int { return cmp.Compare(a.Name, b.Name) })
		if group != "" {
			n.groups = append(n.groups, group)
		}
	}
	slices.Sort(n.groups)
	return n, nil
}

func (n policyNames) add(r lifecycle.PolicyRoute) {
	if r.Resource == nil {
		return
	}
	if _, known := n.groupBy[*r.Resource]; known {
		return // all gates agree on it
	}
	group, title := "", ""
	if r.Group != nil {
		group = *r.Group
	}
	if r.Title != nil {
		title = *r.Title
	}
	n.groupBy[*r.Resource] = group
	n.members[group] = append(n.members[group], policyName{*r.Resource, title})
	n.titles[*r.Resource] = title
	if group != "" && n.titles[group] == "" {
		n.titles[group] = groupTitle(group)
	}
}

func (n policyNames) groupOf(resource string) string { return n.groupBy[resource] }

// knows reports a name that is in a policy in force, or means something anyway.
func (n policyNames) knows(name string) bool {
	_, resource := n.groupBy[name]
	return resource || slices.Contains(n.groups, name) || name == "*" || strings.HasPrefix(name, policy.OwnPrefix)
}

// held is what p grants on a name, and the wider entries that add to it.
func (n policyNames) held(p policy.Permissions, name string) (mask policy.Mask, by []string) {
	mask = p[name]
	wider := []string{"*", n.groupOf(name)}
	switch {
	case name == "*", name == allOwn:
		wider = nil
	case strings.HasPrefix(name, policy.OwnPrefix):
		wider = []string{allOwn}
	}
	for _, one := range wider {
		if more := p[one]; more != 0 && one != "" && !mask.Has(more) {
			mask |= more
			by = append(by, one)
		}
	}
	return mask, by
}

// beyond are the entries of p that holder does not hold, as far as it does not.
func beyond(p, holder policy.Permissions, n policyNames) policy.Permissions {
	more := policy.Permissions{}
	for name, mask := range p {
		if one := (policy.Permissions{name: mask}); !one.Within(holder, n.groupOf) {
			has, _ := n.held(holder, name)
			more[name] = mask &^ has
		}
	}
	return more
}

// allOwn is every resource of Keyreeve itself.
const allOwn = policy.OwnPrefix + "*"

// grantSection is a part of the matrix.
type grantSection struct {
	ID, Title, Hint string
	Rows            []grantRow
}

// grantRow is a resource, group or wildcard with what a role grants on it.
type grantRow struct {
	Name string
	// Title is what people call it, "" for the name alone, and About says more.
	Title, About string
	// Own is the role's own entry, Held what is granted with the wider ones By.
	Own, Held policy.Mask
	By        string
	// Wildcard: it reaches all of its section. Member: of the group above.
	Wildcard, Member bool
	// Members are the resources of a group.
	Members []grantRow
	// Most is what the actor may give.
	Most policy.Mask
	// Added: it was just asked for, and takes the focus.
	Added bool
	// Unfinished: it is custom, with nothing ticked.
	Unfinished bool
	Faults     []string
}

// levels of the matrix. What is none of the others is custom.
const (
	levelNone   = "none"
	levelView   = "view"
	levelFull   = "full"
	levelCustom = "custom"
)

func levelOf(m policy.Mask) string {
	switch m {
	case 0:
		return levelNone
	case policy.View:
		return levelView
	case policy.Full:
		return levelFull
	}
	return levelCustom
}

// Level is that of what is held.
func (r grantRow) Level() string { return levelOf(r.Held) }

// Actions lists what is held, as words.
func (r grantRow) Actions() string { return strings.Join(r.Held.Names(), ", ") }

// sections is the matrix of p. more are names to have a row beside those known.
func (n policyNames) sections(p policy.Permissions, more []string) []grantSection {
	row := func(name, title, about string) grantRow {
		held, by := n.held(p, name)
		return grantRow{Name: name, Title: title, About: about, Own: p[name], Held: held, By: strings.Join(by, " and ")}
	}
	star := row("*", "Everything", "Every resource of every upstream, those of policies to come included")
	star.Wildcard = true
	upstreams := grantSection{ID: "upstreams", Title: "The upstreams", Rows: []grantRow{star}}
	for _, group := range n.groups {
		at := row(group, n.titles[group], "")
		var titles []string
		for _, m := range n.members[group] {
			member := row(m.Name, m.Title, "")
			member.Member = true
			at.Members = append(at.Members, member)
			titles = append(titles, cmp.Or(m.Title, m.Name))
		}
		at.About = strings.Join(titles, " · ")
		upstreams.Rows = append(upstreams.Rows, at)
	}
	for _, m := range n.members[""] {
		upstreams.Rows = append(upstreams.Rows, row(m.Name, m.Title, ""))
	}
	all := []grantSection{upstreams}

	names := slices.DeleteFunc(slices.Concat(slices.Collect(maps.Keys(p)), more), n.knows)
	slices.Sort(names)
	if names = slices.Compact(names); len(names) > 0 {
		unknown := grantSection{ID: "others", Title: "In no policy in force", Hint: "These names grant nothing now. They count as soon as a policy has a resource or group of this name."}
		for _, name := range names {
			unknown.Rows = append(unknown.Rows, row(name, "", ""))
		}
		all = append(all, unknown)
	}

	whole := row(allOwn, "Everything in Keyreeve", "Keys, roles and all else on this page; no * of the upstreams reaches it")
	whole.Wildcard = true
	own := grantSection{ID: "own", Title: "Keyreeve itself", Rows: []grantRow{whole}}
	for _, one := range ownNames {
		title := strings.ToUpper(one.name[:1]) + one.name[1:]
		own.Rows = append(own.Rows, row(one.resource, title, ownAbout[one.resource]))
	}
	return append(all, own)
}

// ownAbout says what a right on a resource of Keyreeve's is good for.
var ownAbout = map[string]string{
	lifecycle.ResourceKeys:     "To update one is to rotate its secrets, too",
	lifecycle.ResourceRoles:    "Nobody gives more than they hold",
	lifecycle.ResourceLocks:    "Delete is to unlock",
	lifecycle.ResourceSessions: "Delete is to end them",
	lifecycle.ResourceAudit:    "Who did what; it is only ever read",
	lifecycle.ResourceSources:  "Where keys come from by themselves",
	lifecycle.ResourceTenants:  "Disabling one refuses all of its keys",
	lifecycle.ResourceNodes:    "How far each follows the store; only ever read",
}

// shown is the matrix to look at: of the members of groups, those alone that the
// role names.
func (n policyNames) shown(p policy.Permissions) []grantSection {
	all := n.sections(p, nil)
	for i := range all {
		var rows []grantRow
		for _, r := range all[i].Rows {
			members := r.Members
			r.Members = nil
			rows = append(rows, r)
			for _, m := range members {
				if m.Own != 0 {
					rows = append(rows, m)
				}
			}
		}
		all[i].Rows = rows
	}
	return all
}
