package zpa

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/admin/lifecycle"
	"github.com/keyreeve/keyreeve/keystore"
	"github.com/keyreeve/keyreeve/policy"
)

// The parameters of a list. Clients spell the size of a page in two ways.
const (
	paramPage      = "page"
	paramSize      = "pagesize"
	paramSizeToo   = "pageSize"
	paramSearch    = "search"
	paramSortBy    = "sortBy"
	paramSortOrder = "sortOrder"
)

var listParams = []string{paramPage, paramSize, paramSizeToo, paramSearch, paramSortBy, paramSortOrder}

// maxSearch bounds the value that is searched for, in characters.
const maxSearch = 200

// page is a page of keys. Clients read on to totalPages by number: a list that
// changes meanwhile can show a key twice or not at all. The cursors of the admin
// API are there for who cannot have that.
type page struct {
	TotalPages string `json:"totalPages"`
	TotalCount string `json:"totalCount"`
	List       []key  `json:"list"`
}

// list answers GET of the collection.
func (c *call) list() error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	ctx := c.r.Context()
	s, err := c.h.svc.Surroundings(ctx, c.actor, policy.Read)
	if err != nil {
		return err
	}
	found, err := c.h.svc.ListKeys(ctx, c.actor, f)
	if err != nil {
		return err
	}
	// The size in force, for which lifecycle has the default and the bound.
	size := lifecycle.DefaultPageSize
	if f.Size.Has() {
		size = f.Size.Value
	}
	out := page{TotalCount: strconv.Itoa(found.Total), TotalPages: strconv.Itoa((found.Total + size - 1) / size), List: make([]key, 0, len(found.Items))}
	for i := range found.Items {
		out.List = append(out.List, shown(&found.Items[i], &s))
	}
	c.answer(http.StatusOK, out)
	return nil
}

// filter is what the query asks for. What pages there can be, lifecycle says.
func (c *call) filter() (lifecycle.KeyFilter, error) {
	var bad lifecycle.FieldErrors
	f := lifecycle.KeyFilter{Sort: c.sort(&bad)}
	f.CustomerID, f.MicrotenantID = c.actor.Reach.Filter()
	f.Number = c.integer(&bad, paramPage)
	f.Size = c.integer(&bad, paramSize)
	if too := c.integer(&bad, paramSizeToo); too.Set {
		if f.Size.Set && f.Size != too {
			bad.Add(paramSizeToo, lifecycle.FieldConflict, "is not the same as %s; give one of them", paramSize)
		}
		f.Size = too
	}
	readSearch(&bad, &f, c.query.Get(paramSearch))
	return f, bad.Err()
}

// integer is a parameter's value; an empty one is left out.
func (c *call) integer(bad *lifecycle.FieldErrors, name string) lifecycle.Optional[int] {
	given := c.query.Get(name)
	if given == "" {
		return lifecycle.Optional[int]{}
	}
	n, err := strconv.Atoi(given)
	if err != nil || !wholeNumber(given) {
		bad.Add(name, lifecycle.FieldType, "must be a whole number")
	}
	return lifecycle.Some(n)
}

// sorts are the fields that keys can be sorted by.
var sorts = map[string]string{
	"name": keystore.SortName, "clientId": keystore.SortClientID, "enabled": keystore.SortEnabled,
	"tokenExpiryTimeInSec": keystore.SortValidity, "creationTime": keystore.SortCreated,
	"modifiedTime": keystore.SortModified, "roleId": keystore.SortRoleID, "microtenantId": keystore.SortMicrotenantID,
}

// sort is the order asked for in lifecycle's terms, "" for the default.
func (c *call) sort(bad *lifecycle.FieldErrors) string {
	by, order := c.query.Get(paramSortBy), c.query.Get(paramSortOrder)
	field := keystore.SortName
	if by != "" {
		if field = sorts[by]; field == "" {
			bad.Add(paramSortBy, lifecycle.FieldFormat, "must be name, clientId, enabled, tokenExpiryTimeInSec, creationTime, modifiedTime, roleId or microtenantId")
		}
	}
	switch strings.ToUpper(order) {
	case "", "ASC":
		return field
	case "DSC", "DESC":
		return "-" + field
	}
	bad.Add(paramSortOrder, lifecycle.FieldFormat, "must be ASC or DESC")
	return field
}

// searchOperators are those of the language that searches are written in.
// Keyreeve knows the first; the others are told from plain text by this list.
var searchOperators = []string{"EQ", "NE", "GT", "LT", "GE", "LE", "IN", "LIKE", "CONTAINS", "STARTSWITH", "ENDSWITH"}

// searchFields set the fields that can be searched by.
var searchFields = map[string]func(*lifecycle.KeyFilter, string){
	"name":     func(f *lifecycle.KeyFilter, v string) { f.Name = v },
	"id":       func(f *lifecycle.KeyFilter, v string) { f.ID = v },
	"clientId": func(f *lifecycle.KeyFilter, v string) { f.ClientID = v },
	"roleId":   func(f *lifecycle.KeyFilter, v string) { f.RoleID = storedRole(v) },
}

// readSearch reads `name EQ value`, in which clients write each of the two blanks
// as a blank, as a plus sign or as an encoded plus sign. Anything else is a text
// that is found in the name, description or client ID.
func readSearch(bad *lifecycle.FieldErrors, f *lifecycle.KeyFilter, search string) {
	if !utf8.ValidString(search) || utf8.RuneCountInString(search) > maxSearch {
		bad.Add(paramSearch, lifecycle.FieldRange, "must be at most %d characters of UTF-8", maxSearch)
		return
	}
	field, operator, value, ok := splitSearch(search)
	set := searchFields[field]
	isOperator := slices.Contains(searchOperators, strings.ToUpper(operator))
	switch {
	// Neither an operator nor, behind a field of ours, what looks like one: misspelt,
	// it must not pass for a text that happens to find nothing.
	case !ok || !isOperator && (set == nil || operator != strings.ToUpper(operator)):
		f.Text = search
	case set == nil:
		bad.Add(paramSearch, lifecycle.FieldFormat, "names a field that keys cannot be searched by; expected name, id, clientId or roleId")
	case !strings.EqualFold(operator, searchOperators[0]):
		bad.Add(paramSearch, lifecycle.FieldFormat, "has an operator that is not supported; expected EQ")
	case value == "":
		bad.Add(paramSearch, lifecycle.FieldFormat, "has no value after EQ")
	default:
		set(f, value)
	}
}

// splitSearch takes a search apart at its first two separators.
func splitSearch(search string) (field, operator, value string, ok bool) {
	const separators = " +"
	i := strings.IndexAny(search, separators)
	if i < 0 {
		return "", "", "", false
	}
	field, rest := search[:i], search[i+1:]
	if i = strings.IndexAny(rest, separators); i < 0 {
		return field, rest, "", true
	}
	return field, rest[:i], rest[i+1:], true
}
