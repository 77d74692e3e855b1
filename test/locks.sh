#!/usr/bin/env bash
# Every package that npm and pip bring is locked by its hash. docs/peers is for a
# figure that was measured once, by hand; no script installs it.
set -euo pipefail
cd "$(dirname "$0")/.."
status=0
# A requirement is a line with its continuations.
git ls-files '*requirements*.txt' ':!docs/peers' | while read -r file; do
	awk -v file="$file" '
		/^[[:space:]]*(#|$)/ { next }
		{ line = line $0 }
		/\\$/ { next }
		{ if (line ~ /^-/ || line !~ /==/ || line !~ /--hash=sha256:[0-9a-f]+/) { print file ": without version and hash: " line; bad = 1 }
		  line = ""; n++ }
		END { printf "%s: %d packages\n", file, n; exit bad }' "$file" || exit 1
done || status=1
git ls-files '*package-lock.json' | while read -r file; do
	python3 - "$file" <<'P' || exit 1
import json, sys
with open(sys.argv[1]) as f:
    packages = json.load(f)["packages"]
named = {k: p for k, p in packages.items() if k and not p.get("link")}
bad = [k for k, p in named.items() if not p.get("integrity", "").startswith("sha512-")]
for k in bad:
    print(f"{sys.argv[1]}: without integrity: {k}")
print(f"{sys.argv[1]}: {len(named)} packages")
sys.exit(bool(bad))
P
done || status=1
exit $status
