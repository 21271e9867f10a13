package page

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/policy"
)

//go:embed templates/*.html
var templateFiles embed.FS

// pages holds a set of templates for each page: the layout, the parts, and its own file.
// They are parsed when the first page is asked for: that takes as long as much of a
// start, and most processes, commands above all, show no page.
var pages = sync.OnceValue(parsePages)

// shared are the files that every page may use.
var shared = []string{"templates/layout.html", "templates/parts.html", "templates/form.html", "templates/keyactions.html", "templates/keyfields.html", "templates/secretslist.html", "templates/auditparts.html", "templates/policyparts.html"}

func parsePages() map[string]*template.Template {
	base := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, shared...))
	all := map[string]*template.Template{"parts": template.Must(base.Clone())}
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic("page: " + err.Error())
	}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), path.Ext(f.Name()))
		if slices.Contains(shared, "templates/"+f.Name()) {
			continue
		}
		all[name] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, "templates/"+f.Name()))
	}
	return all
}

// view is what a handler shows.
type view struct {
	// Status is that of the answer; 0 is 200.
	Status int
	// Page names the file of templates, without its ending. It defines `main`.
	Page string
	// Block is the template that htmx is given; "" is `main`. Who comes without
	// script always gets the whole document around `main`.
	Block string
	// Title is the document's; a part only changes it where it is a page of its own.
	Title string
	// Dialog says that Block is shown in the dialog, over another page.
	Dialog bool
	// Data is for the templates, as .Data.
	Data any
}

// document is what templates are given.
type document struct {
	view
	Me     *lifecycle.Me
	Rooms  []room
	Theme  string
	Notice *notice
	// Here is the path and query of the document.
	Here string
	// Swap marks a part that finds its own place.
	Swap    bool
	Partial bool
	visit   *visit
}

// Can reports whether to offer an action: read, create, update or delete on a
// resource such as keys.
func (d document) Can(resource, action string) bool {
	mask, err := policy.ParseAction(action)
	return err == nil && d.visit != nil && d.visit.may(policy.OwnPrefix+resource, mask)
}

// AllCustomers reports an actor who sees every customer.
func (d document) AllCustomers() bool { return d.visit != nil && d.visit.actor.AllCustomers }

// InMicrotenant reports an actor who sees one microtenant alone.
func (d document) InMicrotenant() bool { return d.visit != nil && d.visit.confined() }

// show answers with a page, or with its block where htmx asks.
func (v *visit) show(s view) error {
	if s.Status == 0 {
		s.Status = http.StatusOK
	}
	if s.Block == "" {
		s.Block = "main"
	}
	d := document{view: s, visit: v, Here: v.here(), Partial: v.partial()}
	if v.partial() {
		return v.render(s.Status, s.Page, s.Block, d)
	}
	if v.signedIn() {
		var err error
		if d.Me, err = v.me(); err != nil {
			return err
		}
		d.Rooms = v.rooms()
		if d.Theme, err = v.theme(); err != nil {
			return err
		}
	}
	d.Notice = v.takeNotice()
	return v.render(s.Status, s.Page, "layout", d)
}

// dialog shows a page that opens over another.
func (v *visit) dialog(status int, page, title string, data any) error {
	return v.show(view{Status: status, Page: page, Block: "dialog", Dialog: true, Title: title, Data: data})
}

// render executes a template before the first byte is sent, so that what fails
// can still be told.
func (v *visit) render(status int, page, name string, d document) error {
	if d.visit == nil {
		d.visit = v
	}
	var out bytes.Buffer
	if d.Partial && d.Title != "" && !d.Dialog && name == "main" {
		out.WriteString("<title>" + template.HTMLEscapeString(d.FullTitle()) + "</title>")
	}
	if err := pages()[page].ExecuteTemplate(&out, name, d); err != nil {
		return err
	}
	if d.Partial && v.told != nil {
		if err := pages()["parts"].ExecuteTemplate(&out, "notice", document{Notice: v.told, Swap: true}); err != nil {
			return err
		}
	}
	v.send(status, out.Bytes())
	return nil
}

// FullTitle is the document's title with the product's name.
func (d document) FullTitle() string {
	if d.Title == "" {
		return "Keyreeve"
	}
	return d.Title + " – Keyreeve"
}
