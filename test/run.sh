#!/usr/bin/env bash
# Runs the tiers of tests and ends with a table of them. The Go tier always
# runs. A tier whose tool is missing is skipped; with EDGEVIT_REQUIRE=all, as
# in CI, a skip fails.
set -uo pipefail
cd "$(dirname "$0")/.."

names=() results=() reasons=()
failed=0 passed=0 skipped=0

# tier NAME MISSING COMMAND…: runs COMMAND unless MISSING says what is missing.
tier() {
	local name=$1 missing=$2
	shift 2
	names+=("$name")
	if [ -n "$missing" ]; then
		results+=(skipped) reasons+=("$missing")
		skipped=$((skipped + 1))
		[ "${EDGEVIT_REQUIRE:-}" = all ] && failed=$((failed + 1))
		return
	fi
	printf '\n== %s\n' "$name"
	local begin=$SECONDS
	if "$@"; then
		results+=(ran) reasons+=("passed in $((SECONDS - begin)) s")
		passed=$((passed + 1))
	else
		results+=(FAILED) reasons+=("after $((SECONDS - begin)) s: $*")
		failed=$((failed + 1))
	fi
}

# have TOOL…: nothing if all are there, else what is missing.
have() {
	local tool
	for tool; do
		command -v "$tool" >/dev/null || { echo "$tool is not installed"; return; }
	done
}

cross_builds() {
	local platform
	for platform in linux/amd64 linux/arm64 darwin/arm64 windows/amd64; do
		echo "$platform"
		CGO_ENABLED=0 GOOS=${platform%/*} GOARCH=${platform#*/} go build -o /dev/null ./cmd/api || return 1
		CGO_ENABLED=0 GOOS=${platform%/*} GOARCH=${platform#*/} go vet ./... || return 1
	done
}

# native COMMAND…: COMMAND as make build builds, with the libraries that make
# runtimes brings. A tier names its targets in EDGEVIT_TEST_TARGETS: there, a
# library that does not load fails the tests instead of skipping them.
platform=$(go env GOOS)-$(go env GOARCH)
native() { EDGEVIT_RUNTIMES=$PWD/.runtimes/$platform bash -c "${NATIVE:-env} \"\$@\"" native "$@"; }

# library NAME: nothing if the library is there, else what is missing.
library() {
	[ -n "${TAGS:-}" ] || { echo "cgo is off or there is no C compiler"; return; }
	compgen -G ".runtimes/$platform/*$1*" >/dev/null || echo "no $1 library: make runtimes"
}

# python NAME: nothing if .venv/NAME is there, else what is missing.
python() { [ -x ".venv/$1/bin/python" ] || echo "no .venv/$1: .ci/run shows how to make it"; }

# chromium: nothing if it is there or could be installed, else what is missing.
chromium() {
	[ -x /usr/bin/chromium ] && return
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1
	fi
	[ -x /usr/bin/chromium ] || echo "no /usr/bin/chromium: apt-get install chromium"
}

# device: nothing if the browsers' runtimes are there, else what is missing.
device() { [ -e ".runtimes/$platform/web/litert/index.js" ] || echo "no browsers' runtimes: make runtimes"; }

race_missing=$(have gcc)
[ "$(go env CGO_ENABLED)" = 1 ] || race_missing="cgo is off"

tier "go: format, vet, staticcheck, generated files" "" test/check.sh
tier "go: unit, golden, conformance, fuzz seeds" "" go test ./...
tier "go: portable kernels alone" "" go test -tags purego ./backend/purego/...
tier "go: AVX2 kernels" "$(grep -qsw avx2 /proc/cpuinfo || echo "the processor has no AVX2")" env EDGEVIT_KERNELS=avx2 go test -count=1 ./backend/purego
tier "go: race detector" "$race_missing" go test -race ./...
tier "go: builds without cgo, for other platforms" "" cross_builds

tier "go: NEON kernels under qemu" "$(have qemu-aarch64)" env CGO_ENABLED=0 GOARCH=arm64 go test -exec qemu-aarch64 ./backend/purego/...
tier "runtimes: ONNX Runtime" "$(library onnxruntime)" native env EDGEVIT_TEST_TARGETS=onnx go test ./backend/onnx/...
icd=/usr/lib/chromium/vk_swiftshader_icd.json # of Debian's chromium
tier "runtimes: WebGPU on a software driver" "$(library onnxruntime)$([ -e $icd ] || echo "no $icd: install chromium")" native env EDGEVIT_TEST_TARGETS=onnx go test -count=1 -run '^TestWebGPU$' ./backend/onnx
tier "runtimes: TensorFlow Lite" "$(library tensorflowlite)" native env EDGEVIT_TEST_TARGETS=tflite,tflite:plain go test ${TAGS:-} ./backend/tflite/...
tier "runtimes: in worker processes" "$(library onnxruntime)$(library tensorflowlite)" native env EDGEVIT_TEST_TARGETS=onnx,tflite,tflite:plain go test ${TAGS:-} -run '^TestNative$' ./backend/worker
tier "runtimes: the program with all three" "$(library onnxruntime)$(library tensorflowlite)" native go test ${TAGS:-} ./cmd/...
tier "runtimes: race detector" "$race_missing$(library onnxruntime)$(library tensorflowlite)" native env EDGEVIT_TEST_TARGETS=onnx,tflite,tflite:plain go test -race ${TAGS:-} ./backend/onnx ./backend/tflite
tier "python: exported ONNX in the checker and stock runtime" "$(python onnx)" env EDGEVIT_PYTHON="$PWD/.venv/onnx/bin/python" go test ./backend/onnx/export
tier "python: exported TFLite in a stock runtime" "$(python tflite)" env EDGEVIT_PYTHON="$PWD/.venv/tflite/bin/python" go test ./backend/tflite/export
tier "clients: Triton's and KServe's, against the program" "$(python clients)" test/clients/run.sh
tier "web: types, unit tests, what is built of it" "$(have npm)" test/web.sh
tier "web: the page in Chromium, against the program" "$(have npm)$(chromium)$(library onnxruntime)$(library tensorflowlite)$(device)" test/browser.sh
if [ "${EDGEVIT_ALL:-}" = 1 ]; then # what takes minutes to compile, make test-all
	tier "release: archives of six platforms, the same bytes twice" "$(have git)" tools/release/snapshot.sh
	tier "pipelines: Beam on its local runner" "" env CGO_ENABLED=0 go -C pipelines/beam test ./...
fi
tier "deploy: compose, metrics, Kubernetes, KServe" "" env CGO_ENABLED=0 go -C deploy test -skip '^TestImages$' ./...
tier "container: Dockerfile's steps, without an engine" "$(have git gcc unshare)$(library onnxruntime)$(library tensorflowlite)" go -C deploy test -count=1 -run '^TestImages$' ./...
tier "clients: Go, TypeScript, Python against the program" "$(have npm)$(python openapi)" test/clients.sh
tier "api: lint" "$(have npm)" test/lint.sh
tier "container: Dockerfile" "$([ -x .venv/tools/bin/hadolint ] || have hadolint)" env PATH="$PWD/.venv/tools/bin:$PATH" hadolint Dockerfile

for trial in load soak faults wire storm corpus; do
	tier "hold: $trial" "$([ "$(uname -s)" = Linux ] || echo "not Linux")" test/hold.sh "$trial"
done
tier "hold: its own units" "$([ "$(uname -s)" = Linux ] || echo "not Linux")" go -C test/hold test ./...
tier "hold: the contract, by schemathesis" "$(python contract)" test/contract.sh
tier "supply: packages locked by hash" "$(have python3)" test/locks.sh

printf '\n%-56s %-8s %s\n' tier result reason
for i in "${!names[@]}"; do
	printf '%-56s %-8s %s\n' "${names[$i]}" "${results[$i]}" "${reasons[$i]}"
done
printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
