#!/usr/bin/env bash
# Shows from outside that the service holds what it promises:
# test/hold.sh load|soak|faults|wire|storm|corpus [-long] [-seed N] [-duration D]
# prints a table of promises and figures; 1: one is broken, 2: not tried.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bash -c "${NATIVE:-env} \"\$@\"" native go build -trimpath ${TAGS:-} -o "$work/api" ./cmd/api
go -C test/hold build -trimpath -o "$work/hold" .
runtimes=$PWD/.runtimes/$(go env GOOS)-$(go env GOARCH)
"$work/hold" "$1" -binary "$work/api" -root "$PWD" -runtimes "${EDGEVIT_RUNTIMES:-$runtimes}" "${@:2}"
