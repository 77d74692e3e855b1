#!/usr/bin/env bash
# schemathesis against the program, with its token and without: every check, no
# 5xx that the contract does not name, no answer that it does not describe.
# With "long" all phases, with 50 examples an operation; else examples and
# coverage.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
work=$(mktemp -d)
pid=
finish() {
	[ -z "$pid" ] || kill "$pid" 2>/dev/null || true
	wait
	rm -rf "$work"
}
trap finish EXIT
bash -c "${NATIVE:-env} \"\$@\"" native go build -trimpath ${TAGS:-} -o "$work/api" ./cmd/api
phases=examples,coverage examples=2
[ "${1:-}" = long ] && phases=examples,coverage,fuzzing,stateful examples=50
token=contract-token-of-trials
echo "$token" >"$work/token"
status=0
for with in with without; do
	args=(--data "$work/$with" --models "$work/models-$with")
	# Without a token the answer to changes is 403, and a missing header no matter.
	header=(--exclude-checks missing_required_header)
	if [ $with = with ]; then
		args+=(--token-file "$work/token")
		header=(-H "Authorization: Bearer $token")
	fi
	"$work/api" serve --listen 127.0.0.1:0 --log-level error --deadline 10s "${args[@]}" >"$work/out" 2>"$work/log" &
	pid=$!
	for _ in $(seq 200); do
		url=$(sed -n 's/.* on \(http[^ ]*\) .*/\1/p' "$work/out")
		[ -n "$url" ] && "$work/api" healthy --listen "${url#http://}" && break
		sleep 0.1
	done
	echo "== $with a token"
	(cd "$work" && timeout "${LIMIT:-600}" "$root/.venv/contract/bin/schemathesis" --config-file "$root/test/contract.toml" run "$root/api/openapi.yaml" --url "$url" "${header[@]}" \
		--phases "$phases" --max-examples "$examples" --seed "${SEED:-1}" --request-timeout 30 --generation-database none --no-color) || status=1
	if ! kill -0 "$pid" 2>/dev/null; then
		echo "the program has ended:" && cat "$work/log"
		status=1
	fi
	if grep -q 'panic' "$work/log"; then
		cat "$work/log"
		status=1
	fi
	kill "$pid" && wait "$pid" || true
	pid=
done
exit $status
