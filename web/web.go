// Package web holds the page that the service shows at its root.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files are the page's by their paths at the root: index.html is the page
// itself, and what lies in assets has a sum of its content in its name.
var Files = func() fs.FS {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is a valid one
	}
	return files
}()
