#!/usr/bin/env bash
# Builds the program twice, from folders of other names with empty caches of
# their own, without cgo and, where there is a C compiler, with it: the hashes
# must be the same.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
for copy in first/tree second/a/longer/path; do
	mkdir -p "$work/$copy"
	git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/$copy"
done
build() { # NAME ENV…: the hashes of both copies
	local name=$1 copy sums=()
	shift
	for copy in first/tree second/a/longer/path; do
		(cd "$work/$copy" && env "$@" GOCACHE="$work/cache-$name-${copy%%/*}" make -s build VERSION=reproducible >/dev/null)
		sums+=("$(sha256sum "$work/$copy/bin/api" | cut -d' ' -f1)")
	done
	echo "$name: ${sums[*]}"
	[ "${sums[0]}" = "${sums[1]}" ]
}
build pure CGO_ENABLED=0
if command -v "$(go env CC)" >/dev/null; then
	build cgo CGO_ENABLED=1
else
	echo "cgo: not built, no C compiler"
fi
