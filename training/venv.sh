#!/usr/bin/env bash
# training/venv.sh DIR: a virtual environment of the locked packages, made
# once for each state of requirements.txt.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
lock=$here/requirements.txt
cmp -s "$lock" "$1/installed.txt" && exit
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$python is older than 3.11" >&2; exit 1; }
"$python" -m venv "$1"
"$1/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$lock"
cp "$lock" "$1/installed.txt"
