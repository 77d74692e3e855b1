#!/usr/bin/env bash
# completions.sh DIR: puts into DIR the completions for three shells.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${1:?a folder to fill}
rm -rf "$dir"
mkdir -p "$dir"
for shell in bash zsh fish; do
	CGO_ENABLED=0 go run ./cmd/api completion "$shell" >"$dir/api.$shell"
done
