#!/usr/bin/env bash
# `make run`, `make stop` and `make logs`: in containers where a Docker engine answers, else as a program.
#   DOCKER=off make run     as a program in any case
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

has_docker() {
  [ "${DOCKER:-}" != off ] && docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1
}

# Whoever has chosen a store gets that one: the containers bring their own.
has_store() {
  [ -n "${STORE:-}${DYNAMODB_ENDPOINT:-}${LOCALSTACK:-}${AWS_ACCESS_KEY_ID:-}${AWS_PROFILE:-}" ]
}

as_program() {
  if [ -n "${DISCORD_TOKEN:-}" ]; then exec cargo run --quiet -- run; else exec cargo run -- playground; fi
}

in_containers() {
  MNEME_COMMIT=$(git rev-parse --short HEAD 2>/dev/null || true)
  export MNEME_COMMIT
  if [ -n "${DISCORD_TOKEN:-}" ]; then
    docker compose up --build --detach --wait mneme
    echo "The bot has joined Discord and remembers in LocalStack. See: make logs; to stop: make stop."
  else
    exec docker compose --profile playground up --build playground
  fi
}

every_profile=(--profile playground --profile dynamodb-local --profile observability)
case ${1:-} in
  run) if ! has_store && has_docker; then in_containers; else as_program; fi ;;
  stop | logs)
    has_docker || { echo "No Docker engine answers, so there are no containers; a program stops with Ctrl-C." >&2; exit 1; }
    if [ "$1" = stop ]; then exec docker compose "${every_profile[@]}" down; fi
    exec docker compose "${every_profile[@]}" logs --follow --tail 100
    ;;
  *) sed -n '2,3s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
