# make run and make test are all that a user needs; make lists the rest.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOL = go tool -modfile=tools/go.mod

.PHONY: help run build test check generate fuzz bench vuln clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build and serve on 127.0.0.1:8080
	bin/api serve

build: ## build bin/api
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/api ./cmd/api

test: ## run every tier of tests that this machine can run
	test/run.sh

check: ## format, vet, staticcheck, generated files
	test/check.sh

generate: ## write the generated files again
	go generate ./api/... ./backend/purego/kernel

fuzz: ## run every fuzz target for FUZZTIME each (default 60s)
	test/fuzz.sh

bench: ## time the pure-Go engine and its kernels
	go test -run '^$$' -bench . ./backend/purego/...

vuln: ## look for known holes in the dependencies (needs the network)
	$(TOOL) govulncheck ./...

clean: ## remove what was built
	rm -rf bin
