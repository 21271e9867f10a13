package page

import (
	"html/template"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
)

// keyCell is what the template of one cell of the table is given: a row, flat and
// without methods, which is what templates read fastest. A table has hundreds.
type keyCell struct {
	ID, Name, Description, ClientID, State             string
	Role, Customer, Microtenant, Why, Validity, Source string
	NewestSecret                                       string
	Enabled, DisabledHere, ExpiresSoon, Swap           bool
	CreatedAt                                          time.Time
	ExpiresAt, LastUsedAt, Until                       *time.Time
	SessionValiditySeconds                             *int64
	Secrets                                            []lifecycle.Secret
	Tags                                               []keyTag
}

// keyTag is a label, and the list of the keys that have it.
type keyTag struct{ Text, URL string }

// cells is executeCells; it is set late since the templates that it executes name it.
var cells func(columns []header, row *keyRow) (template.HTML, error)

func init() { cells = executeCells }

// executeCells is a row, each cell by the template of its column, asked for by name: a
// template could only ask which of a dozen it is, one after the other.
func executeCells(columns []header, row *keyRow) (template.HTML, error) {
	c := keyCell{ID: row.ID, Name: row.Name, Description: row.Description, ClientID: row.ClientID, State: row.State,
		Role: row.Role, Customer: row.Customer, Microtenant: row.Microtenant, Why: row.Why, Validity: row.Validity, NewestSecret: row.NewestSecret(),
		Enabled: row.Enabled, DisabledHere: row.DisabledHere, ExpiresSoon: row.ExpiresSoon, CreatedAt: row.CreatedAt,
		ExpiresAt: row.ExpiresAt, LastUsedAt: row.LastUsedAt, Until: row.Until, SessionValiditySeconds: row.SessionValiditySeconds, Secrets: row.Secrets}
	if row.Source != nil {
		c.Source = *row.Source
	}
	for _, tag := range row.Tags {
		c.Tags = append(c.Tags, keyTag{tag, row.Filter(tag)})
	}
	var out strings.Builder
	for _, column := range columns {
		if err := pages["keys"].ExecuteTemplate(&out, "cell-"+column.ID, &c); err != nil {
			return "", err
		}
		out.WriteByte('\n')
	}
	return template.HTML(out.String()), nil // escaped by the templates
}
