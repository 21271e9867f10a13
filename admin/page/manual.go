package page

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"github.com/keyreeve/keyreeve/docs"
)

// helpPath is where the documentation is; a topic is below it.
const helpPath = root + "help"

// topic is a document of the documentation.
type topic struct {
	// Name is that of its file, without the ending; Title its first heading.
	Name, Title string
	// Lead is what comes before the first section, Sections the rest.
	Lead     template.HTML
	Sections []topicSection
}

// topicSection is what stands under a heading of the second level.
type topicSection struct {
	ID, Title string
	Body      template.HTML
}

// Path is the topic's page.
func (t *topic) Path() string { return helpPath + "/" + t.Name }

// section is one by the heading's id; nil for none.
func (t *topic) section(id string) *topicSection {
	for i := range t.Sections {
		if t.Sections[i].ID == id {
			return &t.Sections[i]
		}
	}
	return nil
}

// guide is the topic that is about the page itself.
const guide = "page"

// topicOrder is how topics are listed; others come after them.
var topicOrder = []string{guide, "policy", "tokens", "cli", "moving", "scale", "admin-api", "caddyfile", "json", "zpa", "metrics", "architecture"}

// manual is the documentation, as HTML. The documents are the program's own, so one
// that cannot be read is a mistake in it.
var manual = sync.OnceValue(func() []*topic {
	files, err := fs.Glob(docs.Files, "*.md")
	if err != nil {
		panic("page: " + err.Error())
	}
	place := func(name string) int {
		if i := slices.Index(topicOrder, name); i >= 0 {
			return i
		}
		return len(topicOrder)
	}
	var all []*topic
	for _, file := range files {
		source, err := docs.Files.ReadFile(file)
		if err != nil {
			panic("page: " + err.Error())
		}
		t, err := newTopic(strings.TrimSuffix(file, path.Ext(file)), source, files)
		if err != nil {
			panic(fmt.Sprintf("page: %s: %v", file, err))
		}
		all = append(all, t)
	}
	slices.SortStableFunc(all, func(a, b *topic) int { return place(a.Name) - place(b.Name) })
	return all
})

// topicNamed is nil for none.
func topicNamed(name string) *topic {
	for _, t := range manual() {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// newTopic renders a document. HTML in it is left out, and so are addresses of
// scripts (goldmark does both by itself), and styles, which the page's security
// policy forbids.
func newTopic(name string, source []byte, files []string) (*topic, error) {
	md := goldmark.New(
		goldmark.WithExtensions(extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignNone)), extension.Strikethrough),
		goldmark.WithParserOptions(parser.WithAutoHeadingID(), parser.WithASTTransformers(util.Prioritized(&relinker{name, files}, 100))))
	doc := md.Parser().Parse(text.NewReader(source))
	t := &topic{Name: name}
	var into *topicSection
	for node := doc.FirstChild(); node != nil; node = node.NextSibling() {
		if h, ok := node.(*ast.Heading); ok && h.Level <= 2 {
			title := plainText(h, source)
			if h.Level == 1 {
				t.Title = title
				continue
			}
			id, _ := h.AttributeString("id")
			t.Sections = append(t.Sections, topicSection{ID: strings.TrimPrefix(string(id.([]byte)), anchor), Title: title})
			into = &t.Sections[len(t.Sections)-1]
			continue
		}
		var out bytes.Buffer
		if err := md.Renderer().Render(&out, source, node); err != nil {
			return nil, err
		}
		body := template.HTML(reachable.Replace(out.String()))
		if into == nil {
			t.Lead += body
		} else {
			into.Body += body
		}
	}
	return t, nil
}

// reachable lets what scrolls sideways be scrolled by the keyboard, and says what the
// heads of tables are of. Nothing else can look like a tag: the text is escaped.
var reachable = strings.NewReplacer("<pre>", `<pre tabindex="0">`, "<th>", `<th scope="col">`,
	"<table>", `<div class="table-frame" role="group" aria-label="Table" tabindex="0"><table>`, "</table>", "</table></div>")

// plainText is a heading without its marks.
func plainText(node ast.Node, source []byte) string {
	var out strings.Builder
	_ = ast.Walk(node, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // never fails
		if t, ok := n.(*ast.Text); ok && entering {
			out.Write(t.Segment.Value(source))
		}
		return ast.WalkContinue, nil
	})
	return out.String()
}

// anchor begins the ids of headings, so that they never meet those of a page's
// own elements.
const anchor = "doc-"

// relinker makes links between documents links between topics.
type relinker struct {
	name  string
	files []string
}

// Transform is parser.ASTTransformer.
func (r *relinker) Transform(doc *ast.Document, _ text.Reader, _ parser.Context) {
	var away []*ast.Link
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) { // never fails
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			if id, has := n.AttributeString("id"); has {
				n.SetAttributeString("id", []byte(anchor+string(id.([]byte))))
			}
		case *ast.Link:
			to, ok := r.target(string(n.Destination))
			if !ok {
				away = append(away, n)
				break
			}
			n.Destination = []byte(to)
			if strings.HasPrefix(to, "https://") {
				n.SetAttributeString("rel", []byte("noreferrer"))
			}
		}
		return ast.WalkContinue, nil
	})
	for _, link := range away {
		unlink(link)
	}
}

// target is where a link leads in the page; not ok for what is not there, such as a
// file of the repository.
func (r *relinker) target(to string) (string, bool) {
	if strings.HasPrefix(to, "https://") {
		return to, true
	}
	file, fragment, has := strings.Cut(to, "#")
	name := r.name
	if file != "" {
		if !slices.Contains(r.files, file) {
			return "", false
		}
		name = strings.TrimSuffix(file, path.Ext(file))
	}
	to = helpPath + "/" + name
	if has {
		to += "#" + anchor + fragment
	}
	return to, true
}

// unlink leaves a link's text.
func unlink(link *ast.Link) {
	parent := link.Parent()
	for child := link.FirstChild(); child != nil; {
		next := child.NextSibling()
		parent.InsertBefore(parent, link, child)
		child = next
	}
	parent.RemoveChild(parent, link)
}
