// Package web holds the page that the service shows at its root: drop a
// photograph, and every target answers. It is plain HTML, CSS and JavaScript.
package web

import "embed"

// Files are the page's: index.html, app.js, style.css, and cat.jpg, its sample.
//
//go:embed index.html app.js style.css cat.jpg
var Files embed.FS
