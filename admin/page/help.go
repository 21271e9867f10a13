package page

import (
	"net/http"
	"net/url"
	"strings"
)

func (p *Page) addHelp() {
	p.get(helpPath, (*visit).showHelp)
	p.get(helpPath+"/{topic}", (*visit).showTopic)
}

// shortcut is a key of the keyboard, and what it does.
type shortcut struct{ Key, Does string }

var shortcuts = []shortcut{
	{"/", "to the filter or search"},
	{"n", "make something new"},
	{"e", "edit the source whose page is open"},
	{"r", "load the list again"},
	{"?", "open this help"},
	{"Esc", "close a dialog, a menu or this help"},
}

// helpPage is the data of the help, in the drawer and as a page.
type helpPage struct {
	// Topic is the document that is shown as a page, nil for the overview.
	Topic *topic
	// Section is the part of the guide about the room that the browser shows, nil
	// where there is none.
	Section   *topicSection
	Guide     *topic
	Topics    []*topic
	Shortcuts []shortcut
}

// showHelp is the drawer, about the room that it was opened in, or a page with all
// there is.
func (v *visit) showHelp() error {
	d := helpPage{Guide: topicNamed(guide), Topics: manual(), Shortcuts: shortcuts}
	if v.partial() {
		d.Section = d.Guide.section(sectionOf(v.here()))
	}
	return v.show(view{Page: "help", Block: "drawer", Dialog: true, Title: "Help", Data: d})
}

// showTopic is a document of the documentation.
func (v *visit) showTopic() error {
	t := topicNamed(v.r.PathValue("topic"))
	if t == nil {
		v.showError(http.StatusNotFound, "not_found", "There is no such topic in the help.")
		return nil
	}
	return v.show(view{Page: "help", Title: t.Title, Data: helpPage{Topic: t, Guide: topicNamed(guide), Topics: manual()}})
}

// sectionOf is the id of the guide's section about the room at a path: a section is
// called as its room is.
func sectionOf(here string) string {
	u, err := url.Parse(here)
	if err != nil {
		return ""
	}
	for _, at := range allRooms {
		if u.Path == at.Path || strings.HasPrefix(u.Path, at.Path+"/") {
			return strings.ToLower(strings.ReplaceAll(at.Title, " ", "-"))
		}
	}
	return ""
}
