// Package docs holds the documentation, for the page to show.
package docs

import "embed"

// Files are the documents, by their names in this folder.
//
//go:embed *.md
var Files embed.FS

// PostgresGrants are the statements that give the gates' user its rights on the tables of
// a PostgreSQL key store; :"gate" stands for that user, as for psql.
//
//go:embed postgres-grants.sql
var PostgresGrants string
