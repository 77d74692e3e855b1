#!/usr/bin/env bash
# Measures purego against itself RUNS times (default 100) and prints how many of
# the ratio's 95 % intervals hold 1: at least 90 of 100. A run takes about two
# seconds.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${RUNS:-100}
data=$(mktemp -d)
trap 'rm -rf "$data"' EXIT
go build -o "$data/api" ./cmd/api
held=0
for run in $(seq "$runs"); do
	# Columns of the second target: ratio_low and ratio_high.
	if "$data/api" bench --models random:xxs --targets purego,purego --threads 1 --min-duration 600ms --min-count 60 --blocks 20 --seed "$run" --csv --data "$data" 2>/dev/null |
		awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i } NR == 3 { exit !($at["ratio_low"] <= 1 && 1 <= $at["ratio_high"]) }'; then
		held=$((held + 1))
	fi
done
echo "$held of $runs intervals hold 1"
[ "$held" -ge $((runs * 90 / 100)) ]
