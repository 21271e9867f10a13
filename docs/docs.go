// Package docs holds the documentation, for the page to show.
package docs

import "embed"

// Files are the documents, by their names in this folder.
//
//go:embed *.md
var Files embed.FS
