package endpoint

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
)

// maxBody bounds a request body, in bytes.
const maxBody = 64 << 10

// form reads the parameters of the body. The query is not among them (RFC 6749
// section 3.2: what is there belongs to the endpoint's address).
func (c *call) form() (url.Values, *failure) {
	if types := c.r.Header["Content-Type"]; len(types) != 1 || !isForm(types[0]) {
		return nil, &wrongMediaType
	}
	if c.r.ContentLength > maxBody {
		return nil, &tooLarge
	}
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return nil, &tooLarge
	case err != nil:
		return nil, &unreadable
	}
	form, err := url.ParseQuery(string(data))
	if err != nil {
		return nil, &unreadable
	}
	for name, values := range form {
		if len(values) > 1 {
			return nil, &repeated // RFC 6749 section 3.2
		}
		if values[0] == "" {
			delete(form, name) // RFC 6749 section 3.2: as if it were not there
		}
	}
	return form, nil
}

func isForm(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/x-www-form-urlencoded"
}
