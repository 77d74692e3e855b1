// Package deploy holds how the service is run elsewhere: compose's Prometheus
// and Grafana, Kubernetes, KServe. It is a module of its own, so that the
// service does not carry what its tests need: they check every file as its
// reader would, and run the Dockerfile's steps without a container engine.
package deploy
