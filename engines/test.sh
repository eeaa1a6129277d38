#!/usr/bin/env bash
# Runs the tests that need real engines, on DynamoDB Local and on LocalStack, and those of the relay over XMPP, on Prosody and on
# ejabberd: this is `make test-engines`.
#   test.sh [dynamodb-local] [localstack] [prosody] [ejabberd]     all, unless some are named
#   MNEME_COMMANDS   commands of the load (500)      STORM_SEEDS   storms on DynamoDB Local (0..10)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -gt 0 ] || set -- dynamodb-local localstack prosody ejabberd
case " $* " in
  *dynamodb-local* | *localstack*)
    engines/need.sh java=default-jre-headless node=nodejs npm=npm curl=curl openssl=openssl cc=gcc
    # Slow steps first, so that a missing Python is told before anything is compiled. The hook needs `aws`, which is in there.
    PATH=$(engines/install.sh localstack)/bin:$PATH
    engines/install.sh dynamodb-local >/dev/null
    ;;
esac

# What is expected and not there is told by its message.
export RUST_BACKTRACE=0
work=$(mktemp -d)
logs=${ENGINES_DIR:-target/engines}
server=
stop() {
  [ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null || true
  server=
}
trap 'stop; rm -rf "$work"' EXIT

free_port() {
  node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}

# start ENGINE [ARGUMENT...]: the server is ready, and the tables without a prefix are there.
start() {
  local engine=$1 log=$logs/$1.log port
  shift
  port=$(free_port)
  "engines/$engine.sh" "$port" "$@" >"$log" 2>&1 &
  server=$!
  engines/ready.sh "$engine" "$port" "$server" "$log"
  export DYNAMODB_ENDPOINT=http://127.0.0.1:$port DYNAMODB_ENGINE=$engine
  echo "$engine is ready at $DYNAMODB_ENDPOINT after $SECONDS s"
}

# One after the other: these tests share a server, and some have the patience of people.
tests() {
  cargo test --test engines -- --nocapture --test-threads 1
  MNEME_TEST_ENDPOINT=$DYNAMODB_ENDPOINT cargo test --test it -- --test-threads 1 chats::
}

dynamodb_local() {
  start dynamodb-local
  AWS_ENDPOINT_URL=$DYNAMODB_ENDPOINT localstack/ready.d/10-tables.sh
  tests
  MNEME_TEST_ENDPOINT=$DYNAMODB_ENDPOINT STORM_SEEDS=${STORM_SEEDS:-0..10} cargo test --lib -- no_storm
  # In virtual time, which stands still while the engine answers.
  MNEME_TEST_ENDPOINT=$DYNAMODB_ENDPOINT STORM_SEEDS=${STORM_SEEDS:-0..10} \
    cargo test --lib -- shared::storm --skip without_
  # Processes of their own on one store, which are killed and stopped.
  MNEME_TEST_ENDPOINT=$DYNAMODB_ENDPOINT cargo test --test it -- --test-threads 1 --nocapture shared::
  stop
}

# LocalStack makes the tables itself: the project's hook is its hook. It is too slow for storms.
localstack() {
  start localstack "$work/localstack"
  tests
  engines/terraform-apply.sh "$DYNAMODB_ENDPOINT"
  stop
}

# Each test has a server of its own, with and without TLS, and some kill it.
xmpp() {
  engines/need.sh "$1=$2" openssl=openssl
  export XMPP_ENGINE=$2
  cargo test --features xmpp --lib -- --test-threads 2 relay::conformance::xmpp
  cargo test --features xmpp --test relay -- --nocapture --test-threads 1
}

prosody() {
  xmpp prosody prosody
}

ejabberd() {
  xmpp erl ejabberd
}

for engine in "$@"; do
  "${engine//-/_}"
done
echo "$* passed in $SECONDS s"
