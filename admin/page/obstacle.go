package page

// obstacle is a dialog for what cannot be done as things stand: why not, and what
// to do instead.
type obstacle struct {
	Title, Lead string
	Points      []string
	Links       []obstacleLink
	// Back is where Close leads without script.
	Back     string
	Commands *commands
}

// obstacleLink leads on, to another dialog where Dialog is set.
type obstacleLink struct {
	Label, URL string
	Dialog     bool
}

// obstruct shows the dialog.
func (v *visit) obstruct(status int, o obstacle) error {
	return v.dialog(status, "obstacle", o.Title, o)
}

// difference is a field that somebody else changed meanwhile.
type difference struct{ Field, Now, Yours string }

// differences are the fields, given as name, now and yours, that are not the same.
func differences(triples ...string) []difference {
	var all []difference
	for i := 0; i+2 < len(triples); i += 3 {
		if triples[i+1] != triples[i+2] {
			all = append(all, difference{triples[i], triples[i+1], triples[i+2]})
		}
	}
	return all
}
