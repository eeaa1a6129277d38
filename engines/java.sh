#!/usr/bin/env bash
# The java that LocalStack starts, in place of one that it would download: localstack.sh puts it where it looks for it.
# Leaves out an agent that is in no package registry (tables with more than 20 indexes need it) and stays on loopback.
set -euo pipefail
arguments=()
for argument in "$@"; do
  [[ $argument == -javaagent:*ddb-local-loader* ]] || arguments+=("$argument")
done
exec env LD_PRELOAD="${ENGINES_LOBIND:?}" "${ENGINES_JAVA:?}" -Djava.net.preferIPv4Stack=true "${arguments[@]}"
