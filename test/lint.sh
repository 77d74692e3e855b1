#!/usr/bin/env bash
# The contract's style: api/.spectral.yaml has the rules.
set -euo pipefail
cd "$(dirname "$0")/lint"
npm ci --ignore-scripts --loglevel=error >/dev/null
npx spectral lint --ruleset ../../api/.spectral.yaml --fail-severity warn ../../api/openapi.yaml
