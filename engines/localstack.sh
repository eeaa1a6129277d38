#!/usr/bin/env bash
# Starts the real LocalStack 4.14.0 on 127.0.0.1:PORT, without Docker or an account, and installs it before, if it is missing.
#   localstack.sh PORT STATE     STATE is a folder of its own, which may be new. Needs Python 3.13 and Java 17.
# This process becomes the server: end it by its id. It is ready when /_localstack/init/ready says "completed"; a hook that
# failed counts as completed there, so look for ERROR as well: ready.sh does.
set -euo pipefail
port=${1:?usage: localstack.sh PORT STATE}
mkdir -p "${2:?usage: localstack.sh PORT STATE}"
state=$(cd "$2" && pwd)

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$("$scripts/install.sh" localstack)
engine=$("$scripts/install.sh" dynamodb-local)
ENGINES_LOBIND=$("$scripts/install.sh" lobind)
ENGINES_JAVA=$(command -v "${JAVA:-java}")

# It would download what it does not find here.
library=$state/var/lib/localstack/lib
mkdir -p "$library/dynamodb-local" "$library/java/21/bin" "$state/etc/localstack/init"
ln -sfn "$engine" "$library/dynamodb-local/2"
install -m 755 "$scripts/java.sh" "$library/java/21/bin/java"
ln -sfn "$scripts/../localstack/ready.d" "$state/etc/localstack/init/ready.d"

export ENGINES_LOBIND ENGINES_JAVA LD_PRELOAD=$ENGINES_LOBIND PATH=$python/bin:$PATH
# Where /.dockerenv exists it would take itself for a container and write to /etc, /var/lib and /usr/lib.
export FILESYSTEM_ROOT=$state OVERRIDE_IN_DOCKER=0
export GATEWAY_LISTEN=127.0.0.1:$port LOCALSTACK_HOST=127.0.0.1:$port AWS_ENDPOINT_URL=http://127.0.0.1:$port
# kms is for tables that are encrypted with a key of their own.
export SERVICES=dynamodb,dynamodbstreams,kms STRICT_SERVICE_LOADING=1
# The older providers install a server from npm when a table has a stream.
export PROVIDER_OVERRIDE_DYNAMODB=v2 PROVIDER_OVERRIDE_DYNAMODBSTREAMS=v2
# Nobody is called, and no name server is started.
export DISABLE_EVENTS=1 SKIP_SSL_CERT_DOWNLOAD=1 DNS_ADDRESS=0
export TABLES_JSON=${TABLES_JSON:-$scripts/../terraform/tables.json}
cd "$state"
exec "$python/bin/python" -m localstack.runtime.main
