#!/usr/bin/env bash
# Builds a release of the current commit into .build/release, publishes nothing,
# and looks at it: names, contents, checksums, whether the binary of this
# platform is static and works, and whether the same commit makes the same bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."
release=.build/release

# goreleaser takes nothing from git where there is no remote, not even the
# commit's date.
if [ -z "$(git remote)" ]; then
	export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=remote.origin.url GIT_CONFIG_VALUE_0=https://localhost/edgevit
fi
# goreleaser ARG…: its log is shown where it fails.
log=$(mktemp)
goreleaser() { go tool -modfile=tools/release/go.mod goreleaser "$@" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }; }
fail() { echo "snapshot: $*" >&2; exit 1; }

goreleaser check
goreleaser release --snapshot --clean
sums=$(ls "$release"/edgevit_*_SHA256SUMS)
first=$(cat "$sums")
(cd "$release" && sha256sum --check --quiet "${sums##*/}")
[ "$(wc -l <"$sums")" = 6 ] || fail "want archives of 6 platforms, got: $first"

for platform in linux_amd64 linux_arm64 darwin_amd64 darwin_arm64; do
	list=$(tar -tzf "$release"/edgevit_*_purego_$platform.tar.gz)
	for file in api LICENSE NOTICE THIRD_PARTY.md completions/api.bash completions/api.zsh completions/api.fish; do
		grep -q "/$file\$" <<<"$list" || fail "the archive for $platform lacks $file"
	done
done
host=$(go env GOOS)_$(go env GOARCH)
work=$(mktemp -d)
trap 'rm -rf "$work" "$log"' EXIT
tar -xzf "$release"/edgevit_*_purego_"$host".tar.gz -C "$work" --strip-components=1
"$work/api" version
! ldd "$work/api" 2>/dev/null | grep -q '=>' || fail "the binary is not static"
XDG_DATA_HOME=$work/data "$work/api" classify docs/cat.jpg | grep cat || fail "the binary does not know a cat"

goreleaser release --snapshot --clean
[ "$first" = "$(cat "$sums")" ] || fail "a second build of the same commit has other bytes"
echo "snapshot: 6 archives, the same bytes twice"
