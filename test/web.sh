#!/usr/bin/env bash
# The dashboard: its types, its unit tests, and that what is committed of what
# is made from its sources and from the contract is fresh.
set -euo pipefail
cd "$(dirname "$0")/../web"
npm ci --ignore-scripts --loglevel=error >/dev/null
kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT

npx openapi-typescript ../api/openapi.yaml -o "$kept/schema.d.ts" >/dev/null
cmp "$kept/schema.d.ts" src/api/schema.d.ts || { echo "web/src/api/schema.d.ts is stale, run make web"; exit 1; }
npx tsc --noEmit
npx vitest run --reporter=dot
npx vite build --outDir "$kept/dist" --logLevel warn
diff -r "$kept/dist" dist || { echo "web/dist is stale, run make web"; exit 1; }
