#!/usr/bin/env bash
# The long forms of what shows that the service holds; ends with what failed.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
long() {
	printf '\n== %s\n' "$*"
	"$@" || failed+=("$*")
}
for trial in load faults wire storm corpus soak; do
	long test/hold.sh "$trial" -long
done
if [ -x .venv/contract/bin/schemathesis ]; then
	LIMIT=1800 long test/contract.sh long
else
	failed+=("test/contract.sh long: no .venv/contract, .ci/run shows how to make it")
fi
long test/reproducible.sh
printf '\n%d failed\n' "${#failed[@]}"
printf '%s\n' "${failed[@]}"
[ ${#failed[@]} -eq 0 ]
