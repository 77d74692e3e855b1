#!/usr/bin/env bash
# training/run.sh DATA OUT [flags of train.py]: installs the locked packages,
# trains, exports and evaluates. Started again, it goes on where it stopped.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,3s/^# //p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
venv=${EDGEVIT_TRAINING_VENV:-$here/../.venv/training}
"$here/venv.sh" "$venv"
"$venv/bin/python" "$here/train.py" "$@"
"$venv/bin/python" "$here/export.py" "$1" "$2"
