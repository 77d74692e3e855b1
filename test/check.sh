#!/usr/bin/env bash
# Format, vet, staticcheck, and generated files that are not fresh.
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'not formatted, run gofmt -w:\n%s\n' "$unformatted"
	exit 1
fi
go vet ./...
for module in deploy pipelines/beam test/hold; do # what the root's changes leave behind
	go -C "$module" mod tidy -diff
done
go -C test/hold vet ./...
go tool -modfile=tools/go.mod staticcheck ./...

go run ./test/thirdparty -check THIRD_PARTY.md

# Generated files are made again in place and compared with what was there.
generated=(api/api.gen.go client/client.gen.go backend/purego/kernel/asm_amd64.go backend/purego/kernel/asm_amd64.s)
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
cp "${generated[@]}" "$kept"
go generate ./api/... ./client ./backend/purego/kernel # those of ./server have a test
for file in "${generated[@]}"; do
	if ! cmp -s "$kept/$(basename "$file")" "$file"; then
		cp "$kept/$(basename "$file")" "$file"
		echo "$file is stale, run make generate"
		exit 1
	fi
done
