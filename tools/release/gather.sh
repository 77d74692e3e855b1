#!/usr/bin/env bash
# gather.sh DIR: puts into DIR what belongs beside a binary: completions for
# three shells, and the licences of the modules that the binary is made of.
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=${1:?a folder to fill}
export CGO_ENABLED=${CGO_ENABLED:-0}

rm -rf "$dir"
mkdir -p "$dir/completions" "$dir/licenses"
for shell in bash zsh fish; do
	go run ./cmd/api completion "$shell" >"$dir/completions/api.$shell"
done

# One file a module, whatever it calls its licence; the standard library has
# Go's.
cp "$(go env GOROOT)/LICENSE" "$dir/licenses/go"
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./cmd/api | sort -u | while read -r module folder; do
	text=$dir/licenses/${module//\//_}
	find "$folder" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) -print0 | sort -z | xargs -0 cat >"$text"
	[ -s "$text" ] || echo "$module comes without a licence file; its home says how it may be used." >"$text"
done
