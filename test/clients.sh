#!/usr/bin/env bash
# The examples in Go, TypeScript and Python against the program: each names the
# cat, and says why a request was refused. The clients of the latter two are
# made from the contract anew.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/openapi/bin/python
work=$(mktemp -d)
trap 'kill $service 2>/dev/null || true; wait; rm -rf "$work"' EXIT
service=

CGO_ENABLED=0 go build -o "$work/api" ./cmd/api
CGO_ENABLED=0 go build -o "$work/client" ./examples/client
"$work/api" serve --listen 127.0.0.1:0 --data "$work/data" >"$work/greeting" 2>"$work/log" &
service=$!
for _ in $(seq 200); do
	address=$(sed -n 's|.*on \(http://[^ ]*\) .*|\1|p' "$work/greeting")
	[ -n "$address" ] && break
	kill -0 $service || { cat "$work/log"; exit 1; }
	sleep 0.1
done

# check NAME COMMAND…: COMMAND ADDRESS PHOTO [MODEL] must do as it should.
check() {
	local name=$1 said
	shift
	said=$("$@" "$address" docs/cat.jpg) || { echo "$name: it does not classify"; exit 1; }
	[ "$(wc -l <<<"$said")" = 3 ] && [[ $said == cat\ *%* ]] || { echo "$name: it says: $said"; exit 1; }
	if said=$("$@" "$address" docs/cat.jpg dogs 2>&1); then
		echo "$name: an unknown model is no error"
		exit 1
	fi
	[[ $said == *"Unknown model: unknown model \"dogs\""*"(request "* ]] || { echo "$name: of an unknown model it says: $said"; exit 1; }
	echo "$name: ok"
}
check Go "$work/client"

(
	cd examples/typescript
	npm ci --ignore-scripts --loglevel=error >/dev/null
	npm run -s generate >/dev/null
	npm run -s build
)
check TypeScript node examples/typescript/dist/classify.js

"${python%/*}/openapi-python-client" generate --path api/openapi.yaml --config examples/python/config.yaml --meta none \
	--fail-on-warning --output-path "$work/edgevit_client" >/dev/null
check Python env PYTHONPATH="$work" "$python" examples/python/classify.py
