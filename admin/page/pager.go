package page

import (
	"net/url"
	"slices"
	"strconv"
)

// pager is what the part `pager` shows.
type pager struct {
	From, To, Total, Pages, Number int
	// Previous and Next are URLs, "" for none.
	Previous, Next string
	Numbers        []pageNumber
	Size           int
	Sizes          []int
	// Action takes the form with the rows per page, and Keep is what it sends along.
	Action string
	Keep   url.Values
	// Target is what htmx swaps, as a selector.
	Target string
}

// pageNumber is a page to jump to, or a gap between two.
type pageNumber struct {
	Number       int
	URL          string
	Current, Gap bool
}

// newPager is for a list at q, whose page number holds shown rows of total. Going
// on is by the cursor, so that what is made meanwhile shifts nothing; jumping and
// going back are by number.
func newPager(q query, number, size, shown, total int, cursor *string, target string) *pager {
	pages := (total + size - 1) / size
	p := &pager{Total: total, Number: number, Pages: pages, Size: size, Sizes: slices.Clone(pageSizes), Action: q.path, Target: target,
		Keep: q.with(paramSize, "").Values}
	if !slices.Contains(p.Sizes, size) {
		p.Sizes = append(p.Sizes, size)
		slices.Sort(p.Sizes)
	}
	switch {
	case shown == 0:
	case cursor == nil && total >= shown: // the end, whatever came before it since the first page was read
		p.From, p.To = total-shown+1, total
	default:
		p.From, p.To = (number-1)*size+1, (number-1)*size+shown
	}
	at := func(n int) string {
		if n == 1 {
			return q.with().String()
		}
		return q.with(paramPage, strconv.Itoa(n)).String()
	}
	if number > 1 {
		p.Previous = at(min(number-1, max(pages, 1)))
	}
	if cursor != nil {
		p.Next = q.with(paramCursor, *cursor, paramAt, strconv.Itoa(number+1)).String()
	}
	before := 0
	for n := 1; n <= pages; n++ {
		if n != 1 && n != pages && (n < number-1 || n > number+1) {
			continue
		}
		if n > before+1 {
			p.Numbers = append(p.Numbers, pageNumber{Gap: true})
		}
		p.Numbers = append(p.Numbers, pageNumber{Number: n, URL: at(n), Current: n == number})
		before = n
	}
	return p
}
