#!/usr/bin/env bash
# Brings the native libraries of the onnx and tflite backends into
# .runtimes/<goos>-<goarch> from npm and Maven packages: versions in
# package.json and below, checksums in package-lock.json and runtimes.lock.
# What cannot be had is one line that says what is lost; only a library whose
# checksum is wrong is an error. EDGEVIT_REQUIRE=all makes a missing one an
# error too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
platform=$(go env GOOS)-$(go env GOARCH)
dest=$here/../.runtimes/$platform
tflite=org.bytedeco:tensorflow-lite:2.21.0-1.5.14

case $platform in
linux-amd64) npm_folder=linux/x64 classifier=linux-x86_64 ;;
linux-arm64) npm_folder=linux/arm64 classifier=linux-arm64 ;;
darwin-arm64) npm_folder=darwin/arm64 classifier=macosx-arm64 ;;
*)
	echo "runtimes: no packages for $platform: purego only"
	exit 0
	;;
esac

sum() { if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d' ' -f1; }
locked() { awk -v p="$platform" -v l="$1" '$1 == p && $2 == l { print $3 }' "$here/runtimes.lock"; }
library() { awk -v p="$platform" -v l="$1" '$1 == p && $2 ~ l { print $2 }' "$here/runtimes.lock"; }
intact() { [ -f "$dest/$1" ] && [ "$(sum "$dest/$1")" = "$(locked "$1")" ]; }

# lost WHAT WHY: one line, and whether that is an error.
lost() {
	echo "runtimes: no $1: $2"
	[ "${EDGEVIT_REQUIRE:-}" != all ] || exit 1
}

# place FILE NAME: checks and moves a library to its place.
place() {
	if [ "$(sum "$1")" != "$(locked "$2")" ]; then
		echo "runtimes: $2 has the sha256 $(sum "$1"), want $(locked "$2")" >&2
		exit 1
	fi
	mv -f "$1" "$dest/$2"
	echo "runtimes: $2"
}

mkdir -p "$dest"
work=$(mktemp -d "$dest/.install.XXXXXX")
trap 'rm -rf "$work"' EXIT

onnx=$(library onnxruntime)
if ! intact "$onnx"; then
	cp "$here/package.json" "$here/package-lock.json" "$work"
	if ! command -v npm >/dev/null; then
		lost "ONNX Runtime" "npm is not installed; install Node.js and run make runtimes"
	elif ! npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --loglevel=error >"$work/log" 2>&1; then
		lost "ONNX Runtime" "npm ci failed: $(grep -m 1 "npm error" "$work/log" || tail -n 1 "$work/log")"
	else
		place "$(find "$work/node_modules/onnxruntime-node/bin" -path "*/$npm_folder/$onnx")" "$onnx"
	fi
fi

lite=$(library tensorflowlite)
if ! intact "$lite"; then
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
