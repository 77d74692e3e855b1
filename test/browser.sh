#!/usr/bin/env bash
# The dashboard in Chromium, against the program with all three runtimes.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bash -c "${NATIVE:-env} \"\$@\"" native go build -trimpath ${TAGS:-} -o "$work/api" ./cmd/api
export EDGEVIT_BINARY=$work/api EDGEVIT_RUNTIMES=$PWD/.runtimes/$(go env GOOS)-$(go env GOARCH)
cd web
[ -d node_modules ] || npm ci --ignore-scripts --loglevel=error >/dev/null
npx vitest run --config e2e/vitest.config.ts
