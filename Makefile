# make run and make test are all that a user needs; make lists the rest.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOL = go tool -modfile=tools/go.mod
PLATFORM = $(shell go env GOOS)-$(shell go env GOARCH)

# The tflite backend is built in where cgo works: its calls go through a small
# archive that looks for the library at run time.
FORWARD = $(CURDIR)/.build/$(PLATFORM)
ifneq ($(shell test "$$(go env CGO_ENABLED)" = 1 && command -v "$$(go env CC)"),)
NATIVE = env CGO_CFLAGS="-O2 -I$(CURDIR)/backend/tflite/forward/include" CGO_LDFLAGS="-L$(FORWARD)"
TAGS = -tags tflite
FORWARD_ARCHIVE = $(FORWARD)/libtensorflowlite_c.a
endif

.PHONY: help run build runtimes test test-all soak training-test check web generate fuzz bench snapshot vuln sbom clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build runtimes ## build, fetch what runtimes can be had, serve on 127.0.0.1:8080
	bin/api serve --token-file "$(CURDIR)/.token"

build: $(FORWARD_ARCHIVE) ## build bin/api
ifeq ($(FORWARD_ARCHIVE),)
	@echo "no cgo or no C compiler: purego only; install gcc for the onnx and tflite backends"
endif
	@# Without a build id, which the flags of cgo go into, folders and all, the same
	@# sources give the same bytes.
	$(NATIVE) go build -trimpath $(TAGS) -ldflags "-buildid= -X main.version=$(VERSION)" -o bin/api ./cmd/api

runtimes: ## fetch the runtimes of onnx, tflite and browsers into .runtimes
	@runtimes/install.sh

$(FORWARD)/libtensorflowlite_c.a: $(wildcard backend/tflite/forward/*)
	@$(MAKE) -s -C backend/tflite/forward OUT=$(FORWARD)

test: $(FORWARD_ARCHIVE) ## run every tier of tests that this machine can run
	NATIVE='$(NATIVE)' TAGS='$(TAGS)' test/run.sh

test-all: ## make test, and releases and the Beam pipeline, which take minutes to compile
	EDGEVIT_ALL=1 $(MAKE) test

TRAINING_VENV = $(CURDIR)/.venv/training

soak: $(FORWARD_ARCHIVE) ## the long forms of test/hold, of the contract and of reproducible builds (about 1 h)
	NATIVE='$(NATIVE)' TAGS='$(TAGS)' test/soak.sh

training-test: ## hold training/ to the Go graph and preprocessing (installs PyTorch: 5.4 GB)
	training/venv.sh $(TRAINING_VENV)
	cd training && $(TRAINING_VENV)/bin/python -m unittest -q
	EDGEVIT_PYTHON=$(TRAINING_VENV)/bin/python go test -count=1 ./training

check: ## format, vet, staticcheck, generated files
	test/check.sh

web: ## make the dashboard from its sources, which needs npm
	cd web && npm ci --ignore-scripts --loglevel=error && npm run -s generate && npx vite build --logLevel warn

generate: ## write the generated files again
	go generate ./api/... ./client ./backend/purego/kernel ./server

fuzz: ## run every fuzz target for FUZZTIME each (default 60s)
	test/fuzz.sh

bench: build ## time every target on random:xxs, xs and s, then the pure-Go engine and its kernels
	bin/api bench --models random:xxs,random:xs,random:s --threads 1
	go test -run '^$$' -bench . ./backend/purego/...

snapshot: ## build the archives of a release into .build/release, and look at them
	tools/release/snapshot.sh

vuln: ## look for known holes in the dependencies (needs the network)
	$(TOOL) govulncheck ./...
	npm --prefix web audit --omit=dev
	npm --prefix runtimes audit --omit=dev

sbom: build ## write bin/sbom.json, CycloneDX of what bin/api holds and fetches
	$(TOOL) cyclonedx-gomod bin -json -version "$(VERSION)" -output bin/modules.json bin/api
	go run ./test/thirdparty -sbom bin/modules.json > bin/sbom.json
	@rm bin/modules.json

clean: ## remove what was built
	rm -rf bin .build
