// Code generated from openapi.yaml by contract_test.go. DO NOT EDIT.

package server

// contractRules are by routeOf.
var contractRules = map[string]rules{
	"DELETE /benchmarks/{id}":          {guarded: true},
	"DELETE /evaluations/{id}":         {guarded: true},
	"DELETE /models/{name}":            {guarded: true},
	"GET /backends":                    {},
	"GET /benchmarks":                  {parameters: map[string]bool{"limit": true}},
	"GET /benchmarks/{id}":             {},
	"GET /benchmarks/{id}/bundle":      {},
	"GET /benchmarks/{id}/events":      {},
	"GET /datasets":                    {},
	"GET /docs":                        {},
	"GET /evaluations":                 {parameters: map[string]bool{"limit": true}},
	"GET /evaluations/{id}":            {},
	"GET /evaluations/{id}/events":     {},
	"GET /evaluations/{id}/images/{n}": {guarded: true},
	"GET /evaluations/{id}/report":     {parameters: map[string]bool{"format": true}},
	"GET /livez":                       {},
	"GET /metrics":                     {},
	"GET /models":                      {},
	"GET /models/{name}":               {},
	"GET /models/{name}/export":        {parameters: map[string]bool{"format": true}},
	"GET /models/{name}/profile":       {parameters: map[string]bool{"runs": true, "target": true}},
	"GET /openapi.yaml":                {},
	"GET /problems/{slug}":             {},
	"GET /readyz":                      {},
	"POST /benchmarks":                 {parameters: map[string]bool{"batch": true, "blocks": true, "bound_ms": true, "min_count": true, "min_duration_ms": true, "models": true, "rate": true, "scenario": true, "seed": true, "targets": true, "threads": true}, guarded: true},
	"POST /benchmarks/import":          {guarded: true},
	"POST /classify":                   {parameters: map[string]bool{"deadline_ms": true, "model": true, "target": true, "top_k": true}},
	"POST /compare":                    {parameters: map[string]bool{"deadline_ms": true, "layers": true, "model": true, "repeat": true, "targets": true, "threshold_db": true, "top_k": true}},
	"POST /evaluations":                {parameters: map[string]bool{"data_set": true, "limit": true, "model": true, "preprocess": true, "targets": true, "threads": true}, guarded: true},
	"POST /evaluations/{id}/resume":    {guarded: true},
	"POST /models":                     {parameters: map[string]bool{"name": true}, guarded: true},
	"POST /preprocess":                 {parameters: map[string]bool{"deadline_ms": true, "model": true}},
}
