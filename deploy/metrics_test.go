package deploy

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// TestMetricsExist: what the dashboard, the alerts and the autoscaler ask for is
// what a running service has.
func TestMetricsExist(t *testing.T) {
	program := filepath.Join(t.TempDir(), "api")
	build := exec.Command("go", "build", "-C", root, "-o", program, "./cmd/api")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	address := freeAddress(t)
	url := serve(t, exec.Command(program, "serve", "--listen", address, "--data", t.TempDir()), address)
	if label, err := classify(url, ""); err != nil || label != "cat" {
		t.Fatalf("the cat is a %q: %v", label, err)
	}
	code, text := get(url + "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: %d", code)
	}
	have := map[string]bool{"up": true} // Prometheus' own
	for _, m := range regexp.MustCompile(`(?m)^([a-z_:]+)[ {]`).FindAllStringSubmatch(text, -1) {
		have[m[1]] = true
	}
	labels := func(metric, label string) bool {
		return label == "instance" || label == "job" || label == "le" || label == "namespace" || label == "pod" ||
			regexp.MustCompile(`(?m)^`+metric+`\{[^}]*\b`+label+`="`).MatchString(text)
	}

	check := func(where, expression string) {
		t.Helper()
		expression = strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(expression)
		tree, err := parser.NewParser(parser.Options{}).ParseExpr(expression)
		if err != nil {
			t.Errorf("%s: %s: %v", where, expression, err)
			return
		}
		selectors := 0
		parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
			s, ok := n.(*parser.VectorSelector)
			if !ok {
				return nil
			}
			selectors++
			if !have[s.Name] {
				t.Errorf("%s: the service has no metric %s", where, s.Name)
			}
			for _, m := range s.LabelMatchers {
				if m.Name != model.MetricNameLabel && !labels(s.Name, m.Name) {
					t.Errorf("%s: %s has no label %s", where, s.Name, m.Name)
				}
			}
			return nil
		})
		if selectors == 0 {
			t.Errorf("%s: %s asks for nothing", where, expression)
		}
	}

	groups, errs := rulefmt.ParseFile("prometheus/rules.yml", false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	alerts := 0
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			check(r.Alert, r.Expr)
			alerts++
		}
	}
	expressions := dashboardExpressions(t, "grafana/dashboards/edgevit.json")
	for _, e := range expressions {
		check("dashboard", e)
	}
	if alerts < 5 || len(expressions) < 12 {
		t.Errorf("%d alerts, %d expressions of the dashboard: some were not read", alerts, len(expressions))
	}
	check("autoscaler", "edgevit_queue_depth")
}

// dashboardExpressions lists every query of a dashboard of Grafana.
func dashboardExpressions(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		UID, Title string
		Panels     []struct {
			Title      string
			Datasource struct{ UID string }
			Targets    []struct {
				Expr       string
				Datasource struct{ UID string }
			}
		}
	}
	if err := json.Unmarshal(data, &board); err != nil {
		t.Fatal(err)
	}
	provisioned, err := os.ReadFile("grafana/provisioning/datasources/prometheus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var expressions []string
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", p.Title)
		}
		for _, q := range p.Targets {
			expressions = append(expressions, q.Expr)
			if !strings.Contains(string(provisioned), "uid: "+q.Datasource.UID+"\n") {
				t.Errorf("panel %q reads from %q, which is not provisioned", p.Title, q.Datasource.UID)
			}
		}
	}
	return expressions
}
