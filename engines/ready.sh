#!/usr/bin/env bash
# Waits until an engine can be used, or says why it cannot.
#   ready.sh dynamodb-local|localstack PORT PID LOG
set -euo pipefail
engine=${1:?} port=${2:?} pid=${3:?} log=${4:?}

# Longer than the first start of LocalStack takes on a busy machine.
give_up=$((SECONDS + 300))

fail() {
  echo "$engine $1:" >&2
  tail -n 30 "$log" >&2
  exit 1
}

answers() {
  case $engine in
    dynamodb-local) curl -s -o /dev/null "http://127.0.0.1:$port" ;;
    localstack)
      local state
      state=$(curl -fsS "http://127.0.0.1:$port/_localstack/init/ready" 2>/dev/null) || return 1
      grep -Eq '"completed": *true' <<<"$state" || return 1
      ! grep -q ERROR <<<"$state" || fail "could not run its hooks: $state"
      ;;
  esac
}

until answers; do
  kill -0 "$pid" 2>/dev/null || fail "did not start"
  [ "$SECONDS" -lt "$give_up" ] || fail "was not ready in time"
  sleep 0.2
done
