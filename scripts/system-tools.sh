#!/usr/bin/env bash
# Fetches what judges the files in deploy/kubernetes into target/system-tools; does nothing where it is there.
#
# The schemas of Kubernetes come from PyPI (kubernetes-validate), those of KEDA and the Prometheus operator from npm.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/say.sh

TOOLS=target/system-tools
KUBERNETES_VALIDATE=1.37.0
NPM=(@kubernetes-models/keda@0.4.2 @kubernetes-models/prometheus-operator@6.0.0 js-yaml@5.5.0)

if [ ! -d "$TOOLS/python/kubernetes_validate" ]; then
    say "fetching kubernetes-validate $KUBERNETES_VALIDATE"
    python3 -m pip install --quiet --root-user-action ignore --target "$TOOLS/python" "kubernetes-validate==$KUBERNETES_VALIDATE"
fi
if [ ! -d "$TOOLS/node_modules/@kubernetes-models/prometheus-operator" ]; then
    say "fetching ${NPM[*]}"
    npm install --silent --no-fund --no-audit --prefix "$TOOLS" "${NPM[@]}"
fi
