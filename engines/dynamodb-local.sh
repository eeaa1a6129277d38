#!/usr/bin/env bash
# Starts DynamoDB Local in memory on 127.0.0.1:PORT and installs it before, if it is missing. Needs Java 17.
#   dynamodb-local.sh PORT [OPTION...]     options replace -inMemory, such as: -dbPath FOLDER
# This process becomes the server: end it by its id. It is ready, after some seconds, when anything answers on the port.
set -euo pipefail
port=${1:?usage: dynamodb-local.sh PORT [OPTION...]}
shift
[ $# -gt 0 ] || set -- -inMemory

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=$("$scripts/install.sh" dynamodb-local)
# The server listens on all addresses and has no option against it.
shim=$("$scripts/install.sh" lobind)
exec env LD_PRELOAD="$shim" "${JAVA:-java}" -Djava.net.preferIPv4Stack=true \
  -Djava.library.path="$folder/DynamoDBLocal_lib" -jar "$folder/DynamoDBLocal.jar" \
  -sharedDb -disableTelemetry -port "$port" "$@"
