#!/usr/bin/env bash
# Brings the native libraries of the onnx and tflite backends into
# .runtimes/<goos>-<goarch>, and the runtimes that a visitor's browser loads
# into web/ there, from npm and Maven packages: versions in package.json and
# below, checksums in package-lock.json and runtimes.lock. What cannot be had
# is one line that says what is lost; only a file whose checksum is wrong is an
# error. EDGEVIT_REQUIRE=all makes a missing one an error too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
platform=$(go env GOOS)-$(go env GOARCH)
dest=$here/../.runtimes/$platform
tflite=org.bytedeco:tensorflow-lite:2.21.0-1.5.14

npm_folder="" classifier=""
case $platform in
linux-amd64) npm_folder=linux/x64 classifier=linux-x86_64 ;;
linux-arm64) npm_folder=linux/arm64 classifier=linux-arm64 ;;
darwin-arm64) npm_folder=darwin/arm64 classifier=macosx-arm64 ;;
*) echo "runtimes: no native packages for $platform: the server has purego only" ;;
esac

sum() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }
locked() { awk -v p="$platform" -v f="$1" '($1 == p || $1 == "web") && $2 == f { print $3 }' "$here/runtimes.lock"; }
library() { awk -v p="$platform" -v l="$1" '$1 == p && $2 ~ l { print $2 }' "$here/runtimes.lock"; }
intact() { [ -f "$dest/$1" ] && [ "$(sum "$dest/$1")" = "$(locked "$1")" ]; }
web() { awk '$1 == "web" { print $2 }' "$here/runtimes.lock"; }
web_intact() {
	local file
	for file in $(web); do
		intact "$file" || return 1
	done
}

# lost WHAT WHY: one line, and whether that is an error.
lost() {
	echo "runtimes: no $1: $2"
	[ "${EDGEVIT_REQUIRE:-}" != all ] || exit 1
}

# place FILE NAME: checks and moves a file to its place.
place() {
	if [ "$(sum "$1")" != "$(locked "$2")" ]; then
		echo "runtimes: $2 has the sha256 $(sum "$1"), want $(locked "$2")" >&2
		exit 1
	fi
	mkdir -p "$(dirname "$dest/$2")"
	mv -f "$1" "$dest/$2"
	echo "runtimes: $2"
}

# npm_packages WHAT OPTION…: the packages of package.json into $work, or WHAT
# is lost.
npm_packages() {
	local what=$1
	shift
	cp "$here/package.json" "$here/package-lock.json" "$work"
	if ! command -v npm >/dev/null; then
		lost "$what" "npm is not installed; install Node.js and run make runtimes"
	elif npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --loglevel=error "$@" >"$work/log" 2>&1; then
		return 0
	else
		lost "$what" "npm ci failed: $(grep -m 1 "npm error" "$work/log" || tail -n 1 "$work/log")"
	fi
	return 1
}

mkdir -p "$dest"
work=$(mktemp -d "$dest/.install.XXXXXX")
trap 'rm -rf "$work"' EXIT
modules=$work/node_modules

# The native package is the optional one of package.json.
onnx=$(library onnxruntime)
if [ -n "$npm_folder" ] && ! intact "$onnx"; then
	if npm_packages "ONNX Runtime"; then
		found=$(find "$modules/onnxruntime-node/bin" -path "*/$npm_folder/$onnx" 2>/dev/null || true)
		if [ -n "$found" ]; then
			place "$found" "$onnx"
		else
			lost "ONNX Runtime" "npm left out onnxruntime-node"
		fi
	fi
fi

if ! web_intact; then
	if [ -d "$modules/onnxruntime-web" ] || npm_packages "runtimes for browsers" --omit=optional; then
		# Browsers do not resolve the bare name of a package.
		sed 's|"@litertjs/wasm-utils"|"./wasm-utils.js"|' "$modules/@litertjs/core/dist/index.js" >"$work/index.js"
		for file in $(web); do
			case $file in
			web/ort/*) place "$modules/onnxruntime-web/dist/${file##*/}" "$file" ;;
			web/litert/index.js) place "$work/index.js" "$file" ;;
			web/litert/package.json) place "$modules/@litertjs/core/package.json" "$file" ;; # tells the version
			web/litert/wasm-utils.js) place "$modules/@litertjs/wasm-utils/dist/index.js" "$file" ;;
			web/litert/*) place "$modules/@litertjs/core/wasm/${file##*/}" "$file" ;;
			esac
		done
	fi
fi

lite=$(library tensorflowlite)
if [ -n "$classifier" ] && ! intact "$lite"; then
	if ! command -v mvn >/dev/null; then
		lost "TensorFlow Lite" "mvn is not installed; install Maven and run make runtimes"
	# In its folder, since the plugin leaves a marker where it runs.
	elif ! (cd "$work" && mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack \
		"-Dartifact=$tflite:jar:$classifier" -DoutputDirectory=jar) >"$work/log" 2>&1; then
		lost "TensorFlow Lite" "Maven failed: $(grep -m 1 ERROR "$work/log" || tail -n 1 "$work/log")"
	else
		place "$work/jar/org/bytedeco/tensorflowlite/$classifier/$lite" "$lite"
	fi
fi
