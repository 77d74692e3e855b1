package eval

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
)

//go:embed report.html
var page string

var pageTemplate = template.Must(template.New("report").Funcs(template.FuncMap{
	"share": Proportion.String, "difference": Difference.String,
	"ms": func(v float64) string { return fmt.Sprintf("%.2f", v) }, "db": func(v float64) string { return fmt.Sprintf("%.1f", v) },
}).Parse(page))

// WriteHTML writes the report as a page of its own: no script, nothing loaded.
func (r *Report) WriteHTML(w io.Writer) error { return pageTemplate.Execute(w, r) }

// String is the share in per cent with its interval: "83.33 % (82.59..84.05)".
func (p Proportion) String() string {
	return fmt.Sprintf("%.2f %% (%.2f..%.2f)", 100*p.Share, 100*p.Low, 100*p.High)
}

// String is the difference in percentage points with its interval: "-0.12
// (-0.31..+0.07)".
func (d Difference) String() string {
	return fmt.Sprintf("%+.2f (%+.2f..%+.2f)", points(d.Value), points(d.Low), points(d.High))
}

// points are percentage points, without a zero that is negative.
func points(share float64) float64 { return math.Round(1e4*share)/100 + 0 }
