#!/usr/bin/env bash
# Runs the tests that need a real engine, on DynamoDB Local at a free port: this is `make test-engines`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
engines/need.sh java=default-jre-headless node=nodejs npm=npm curl=curl openssl=openssl cc=gcc

port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
log=${ENGINES_DIR:-target/engines}/dynamodb-local.log
mkdir -p "$(dirname "$log")"
engines/dynamodb-local.sh "$port" >"$log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true' EXIT

until curl -s -o /dev/null "http://127.0.0.1:$port"; do
  kill -0 "$server" 2>/dev/null || { echo "DynamoDB Local did not start:" >&2; tail -n 20 "$log" >&2; exit 1; }
  sleep 0.2
done
DYNAMODB_ENDPOINT=http://127.0.0.1:$port cargo test --test engines "$@"
