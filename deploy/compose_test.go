package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
)

// TestCompose loads compose.yaml as docker compose does, which checks its form,
// and holds what every service there must have.
func TestCompose(t *testing.T) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "compose.yaml")}, cli.WithName("edgevit"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if names := project.ServiceNames(); !slices.Equal(names, []string{"edgevit", "grafana", "prometheus"}) {
		t.Errorf("services %v", names)
	}
	tagged := regexp.MustCompile(`:(v?\d+\.\d+\.\d+|full)(@sha256:[0-9a-f]{64})?$`)
	for name, s := range project.Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s is not hardened", name)
		}
		if s.HealthCheck == nil || len(s.HealthCheck.Test) == 0 || s.Restart == "" {
			t.Errorf("%s has no health check, or is not restarted", name)
		}
		if !tagged.MatchString(s.Image) {
			t.Errorf("%s: image %s has no exact tag", name, s.Image)
		}
		if s.Deploy == nil || s.Deploy.Resources.Limits == nil || s.Deploy.Resources.Limits.MemoryBytes == 0 || s.Deploy.Resources.Limits.NanoCPUs == 0 {
			t.Errorf("%s has no limits", name)
		}
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %d is open to other machines", name, p.Target)
			}
		}
		for _, v := range s.Volumes {
			if v.Type != "bind" || strings.HasSuffix(v.Source, "/models") { // the user's own
				continue
			}
			if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
				t.Errorf("%s: %s is not there, or could be written", name, v.Source)
			}
		}
	}
	service := project.Services["edgevit"]
	if service.Build == nil || service.Build.Target != "full" {
		t.Error("edgevit is not built from the target full")
	}
	// Prometheus' Host must pass the service's list.
	config, err := os.ReadFile("prometheus/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	if host := service.Environment["EDGEVIT_ALLOWED_HOSTS"]; host == nil || !strings.Contains(string(config), "targets: ["+*host+":8080]") {
		t.Errorf("the service answers to the host %v, which Prometheus does not ask", host)
	}
}
