package page

import "html/template"

// icons are drawn with a line of 2 on a field of 24 by 24.
var icons = map[string]string{
	"key":       `<circle cx="8" cy="15" r="4"/><path d="m11 12 9-9M17 6l3 3M14 9l2 2"/>`,
	"shield":    `<path d="M12 3 4 6v6c0 4.5 3.4 7.9 8 9 4.6-1.100 8-4.500 8-9V6z"/>`,
	"lock":      `<rect x="5" y="11" width="14" height="10" rx="2"/><path d="M8 11V7a4 4 0 0 1 8 0v4"/>`,
	"unlock":    `<rect x="5" y="11" width="14" height="10" rx="2"/><path d="M8 11V7a4 4 0 0 1 7.500-2"/>`,
	"clock":     `<circle cx="12" cy="12" r="9"/><path d="M12 7v5l3 2"/>`,
	"list":      `<path d="M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01"/>`,
	"link":      `<path d="M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1"/>`,
	"layers":    `<path d="m12 3 9 5-9 5-9-5zM3 13l9 5 9-5"/>`,
	"building":  `<path d="M5 21V4a1 1 0 0 1 1-1h8a1 1 0 0 1 1 1v17M15 9h3a1 1 0 0 1 1 1v11M3 21h18M9 7h2M9 11h2M9 15h2"/>`,
	"server":    `<rect x="3" y="4" width="18" height="7" rx="2"/><rect x="3" y="13" width="18" height="7" rx="2"/><path d="M7 7.500h.01M7 16.500h.01"/>`,
	"check":     `<path d="m4 12.500 5 5L20 6.500"/>`,
	"sliders":   `<path d="M4 8h10M18 8h2M4 16h2M10 16h10"/><circle cx="16" cy="8" r="2"/><circle cx="8" cy="16" r="2"/>`,
	"user":      `<circle cx="12" cy="8" r="4"/><path d="M4 21c0-4 3.600-6 8-6s8 2 8 6"/>`,
	"out":       `<path d="M15 4h4a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1h-4M10 8l-4 4 4 4M6 12h9"/>`,
	"copy":      `<rect x="9" y="9" width="11" height="11" rx="2"/><path d="M15 9V6a2 2 0 0 0-2-2H6a2 2 0 0 0-2 2v7a2 2 0 0 0 2 2h3"/>`,
	"close":     `<path d="M6 6l12 12M18 6 6 18"/>`,
	"plus":      `<path d="M12 5v14M5 12h14"/>`,
	"up":        `<path d="m6 15 6-6 6 6"/>`,
	"down":      `<path d="m6 9 6 6 6-6"/>`,
	"left":      `<path d="m15 6-6 6 6 6"/>`,
	"right":     `<path d="m9 6 6 6-6 6"/>`,
	"refresh":   `<path d="M20 11a8 8 0 0 0-14-4.500L4 8M4 4v4h4M4 13a8 8 0 0 0 14 4.500l2-1.500M20 20v-4h-4"/>`,
	"filter":    `<path d="M4 5h16l-6 8v5l-4 2v-7z"/>`,
	"columns":   `<rect x="3" y="4" width="18" height="16" rx="2"/><path d="M9 4v16M15 4v16"/>`,
	"search":    `<circle cx="11" cy="11" r="7"/><path d="m20 20-4-4"/>`,
	"more":      `<circle cx="5" cy="12" r="1"/><circle cx="12" cy="12" r="1"/><circle cx="19" cy="12" r="1"/>`,
	"alert":     `<path d="M12 3 2 20h20zM12 10v4M12 17h.01"/>`,
	"info":      `<circle cx="12" cy="12" r="9"/><path d="M12 11v5M12 8h.01"/>`,
	"off":       `<circle cx="12" cy="12" r="9"/><path d="m6 6 12 12"/>`,
	"hourglass": `<path d="M6 3h12M6 21h12M7 3v4l5 5-5 5v4M17 3v4l-5 5 5 5v4"/>`,
	"bookmark":  `<path d="M6 4a1 1 0 0 1 1-1h10a1 1 0 0 1 1 1v17l-6-4-6 4z"/>`,
	"help":      `<circle cx="12" cy="12" r="9"/><path d="M9.500 9.500a2.500 2.500 0 1 1 3.500 2.300c-.7.300-1 .8-1 1.700M12 17h.01"/>`,
	"trash":     `<path d="M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v6M14 11v6"/>`,
	"edit":      `<path d="M4 20h4L19 9l-4-4L4 16zM13 7l4 4"/>`,
	"download":  `<path d="M12 4v11M7 11l5 5 5-5M4 20h16"/>`,
	"minus":     `<path d="M5 12h14"/>`,
}

// drawn are the icons as they are written: a table has hundreds of them.
var drawn = func() map[string]template.HTML {
	all := map[string]template.HTML{}
	for name, lines := range icons {
		all[name] = template.HTML(`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">` + lines + `</svg>`)
	}
	return all
}()

// icon is decoration: what it stands for is always said in words too.
func icon(name string) template.HTML { return drawn[name] }
