#!/usr/bin/env bash
# Runs the clients in .venv/clients against the program without native libraries.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(mktemp -d)
trap 'rm -rf "$program"' EXIT
CGO_ENABLED=0 go build -trimpath -o "$program/api" ./cmd/api
.venv/clients/bin/python test/clients/clients.py "$program/api" docs/cat.jpg
