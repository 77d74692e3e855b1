#!/usr/bin/env bash
# Fetches the schemas by which a cluster checks KServe's resources, as KServe
# publishes them (Apache License 2.0). Its Go types would bring 1,400 packages.
set -euo pipefail
cd "$(dirname "$0")"
folder=$(go mod download -json github.com/kserve/kserve@v0.17.0 | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
for kind in servingruntimes inferenceservices; do
	gzip -9n <"$folder/config/crd/full/serving.kserve.io_$kind.yaml" >"kserve-v0.17.0-$kind.yaml.gz"
done
