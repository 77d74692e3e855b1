package deploy

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// manifests are the objects that kustomize builds from a folder, by kind, each
// decoded with no unknown and no repeated field.
func manifests(t *testing.T, fs filesys.FileSystem, folder string) map[string]any {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(fs, folder)
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]any{}
	for _, r := range built.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		kind := r.GetKind()
		object := map[string]any{
			"Deployment": &apps.Deployment{}, "Service": &core.Service{}, "HorizontalPodAutoscaler": &autoscaling.HorizontalPodAutoscaler{},
			"PodDisruptionBudget": &policy.PodDisruptionBudget{}, "NetworkPolicy": &networking.NetworkPolicy{}, "ServiceMonitor": &monitoring.ServiceMonitor{},
		}[kind]
		if object == nil {
			t.Fatalf("an object of the unknown kind %s", kind)
		}
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		objects[kind] = object
	}
	return objects
}

func TestKubernetes(t *testing.T) {
	for _, overlay := range []string{"purego", "full"} {
		t.Run(overlay, func(t *testing.T) {
			objects := manifests(t, filesys.MakeFsOnDisk(), filepath.Join("kubernetes/overlays", overlay))
			if kinds := slices.Sorted(maps.Keys(objects)); len(kinds) != 5 {
				t.Fatalf("kinds %v", kinds)
			}
			deployment := objects["Deployment"].(*apps.Deployment)
			pod := deployment.Spec.Template.Spec
			container := pod.Containers[0]
			if container.Image != "edgevit:"+overlay {
				t.Errorf("image %s", container.Image)
			}
			if deployment.Spec.Replicas != nil {
				t.Error("the deployment sets what the autoscaler counts")
			}
			secure, within := container.SecurityContext, pod.SecurityContext
			if !*secure.ReadOnlyRootFilesystem || *secure.AllowPrivilegeEscalation || !slices.Equal(secure.Capabilities.Drop, []core.Capability{"ALL"}) ||
				!*within.RunAsNonRoot || *within.RunAsUser == 0 || within.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
				t.Errorf("security context %+v, %+v", secure, within)
			}
			for path, probe := range map[string]*core.Probe{"/readyz": container.ReadinessProbe, "/livez": container.LivenessProbe} {
				if probe.HTTPGet.Path != path || probe.HTTPGet.Port != intstr.FromString("http") {
					t.Errorf("probe %+v, want %s", probe.HTTPGet, path)
				}
			}
			if s := container.StartupProbe; s.FailureThreshold*s.PeriodSeconds < 60 {
				t.Error("a start has less than a minute")
			}
			// SIGTERM comes after the pause, and draining takes at most 25 s.
			if pause := container.Lifecycle.PreStop.Sleep.Seconds; *pod.TerminationGracePeriodSeconds < pause+25 {
				t.Errorf("%d s to end, with a pause of %d", *pod.TerminationGracePeriodSeconds, pause)
			}
			if len(pod.TopologySpreadConstraints) != 2 || container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Cpu().IsZero() {
				t.Error("no spread, or no resources")
			}

			// Who selects the pods, selects these and no others.
			labels := deployment.Spec.Template.Labels
			for who, selector := range map[string]map[string]string{
				"deployment": deployment.Spec.Selector.MatchLabels, "service": objects["Service"].(*core.Service).Spec.Selector,
				"budget": objects["PodDisruptionBudget"].(*policy.PodDisruptionBudget).Spec.Selector.MatchLabels,
				"policy": objects["NetworkPolicy"].(*networking.NetworkPolicy).Spec.PodSelector.MatchLabels,
				"spread": pod.TopologySpreadConstraints[0].LabelSelector.MatchLabels,
			} {
				if !maps.Equal(selector, labels) || len(labels) == 0 {
					t.Errorf("%s selects %v; the pods are %v", who, selector, labels)
				}
			}
			scaler := objects["HorizontalPodAutoscaler"].(*autoscaling.HorizontalPodAutoscaler).Spec
			if scaler.ScaleTargetRef.Name != deployment.Name || scaler.Metrics[0].Pods.Metric.Name != "edgevit_queue_depth" {
				t.Errorf("autoscaler %+v", scaler)
			}
		})
	}
}

// TestServiceMonitor takes the component into an overlay, as its users do.
func TestServiceMonitor(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("kubernetes")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlays/purego/kustomization.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, "components: [../../components/servicemonitor]\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	objects := manifests(t, filesys.MakeFsOnDisk(), filepath.Join(dir, "overlays/purego"))
	monitor, ok := objects["ServiceMonitor"].(*monitoring.ServiceMonitor)
	if !ok {
		t.Fatalf("no monitor among %v", objects)
	}
	service := objects["Service"].(*core.Service)
	if !maps.Equal(monitor.Spec.Selector.MatchLabels, service.Labels) || monitor.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name {
		t.Errorf("the monitor selects %+v, the service is %+v", monitor.Spec, service)
	}
}

// TestKServe checks the resources against the schemas that KServe installs in a
// cluster.
func TestKServe(t *testing.T) {
	runtime := validate(t, "kserve/servingruntime.yaml", "servingruntimes", "v1alpha1")
	service := validate(t, "kserve/inferenceservice.yaml", "inferenceservices", "v1beta1")
	var r struct {
		Metadata meta.ObjectMeta
		Spec     struct {
			ProtocolVersions []string
			Containers       []core.Container
		}
	}
	var s struct {
		Spec struct {
			Predictor struct {
				Model struct{ Runtime, ProtocolVersion string }
			}
		}
	}
	if err := yaml.Unmarshal(runtime, &r); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(service, &s); err != nil {
		t.Fatal(err)
	}
	c := r.Spec.Containers[0]
	if c.Name != "kserve-container" || c.Ports[0].ContainerPort != 8080 || !slices.Equal(c.Args, []string{"serve", "--models", "/mnt/models"}) {
		t.Errorf("container %+v", c)
	}
	if m := s.Spec.Predictor.Model; m.Runtime != r.Metadata.Name || !slices.Contains(r.Spec.ProtocolVersions, m.ProtocolVersion) {
		t.Errorf("the service asks for %+v", m)
	}
	// The check itself must see what is wrong.
	wrong := bytes.Replace(runtime, []byte("protocolVersions"), []byte("protocols"), 1)
	if err := schema(t, "servingruntimes", "v1alpha1").Validate(value(t, wrong)); err == nil {
		t.Error("an unknown field passes")
	}
}

func validate(t *testing.T, file, plural, version string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema(t, plural, version).Validate(value(t, text)); err != nil {
		t.Errorf("%s: %v", file, err)
	}
	return text
}

// value is YAML as the schema's library wants it.
func value(t *testing.T, text []byte) any {
	t.Helper()
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// schema is that of a custom resource, and refuses fields that it does not name,
// as kubectl does.
func schema(t *testing.T, plural, version string) *jsonschema.Schema {
	t.Helper()
	f, err := os.Open("testdata/kserve-v0.17.0-" + plural + ".yaml.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	var crd struct {
		Spec struct {
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	if err := yaml.Unmarshal(text.Bytes(), &crd); err != nil {
		t.Fatal(err)
	}
	for _, v := range crd.Spec.Versions {
		if v.Name != version {
			continue
		}
		doc := v.Schema.OpenAPIV3Schema
		closeObjects(doc)
		doc["properties"].(map[string]any)["metadata"] = map[string]any{"type": "object"} // the cluster's own
		data, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource(plural, plain); err != nil {
			t.Fatal(err)
		}
		s, err := c.Compile(plural)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	t.Fatalf("%s has no version %s", plural, version)
	return nil
}

// closeObjects makes of a structural schema of Kubernetes the JSON Schema that
// means the same: objects take the fields they name and no others.
func closeObjects(v any) {
	switch v := v.(type) {
	case []any:
		for _, each := range v {
			closeObjects(each)
		}
	case map[string]any:
		for _, each := range v {
			closeObjects(each)
		}
		if v["x-kubernetes-int-or-string"] == true {
			delete(v, "type")
			v["anyOf"] = []any{map[string]any{"type": "integer"}, map[string]any{"type": "string"}}
		}
		if v["type"] == "object" && v["properties"] != nil && v["additionalProperties"] == nil && v["x-kubernetes-preserve-unknown-fields"] != true {
			v["additionalProperties"] = false
		}
		if _, ok := v["format"].(string); ok {
			delete(v, "format") // int32 and such, which JSON Schema has not
		}
	}
}
