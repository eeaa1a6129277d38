#!/usr/bin/env bash
# Creates the tables of tables.json where they are missing, and switches expiry on. LocalStack runs it at every start, when
# it is ready; by hand it does the same for any DynamoDB that is not Amazon's:
#   AWS_ENDPOINT_URL=http://127.0.0.1:8000 localstack/ready.d/10-tables.sh
# Running it again changes nothing. A table that is there with other keys or indexes is an error: only a person may delete it.
#   AWS_ENDPOINT_URL   the server, by default this LocalStack      TABLES_JSON    the tables, by default the repository's
#   TABLE_PREFIX       stands before every name, by default none
set -Eeuo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
endpoint=${AWS_ENDPOINT_URL:-http://127.0.0.1:4566}
tables=${TABLES_JSON:-$here/../../terraform/tables.json}
# Any will do where nobody checks them; without them the client does not start. It would try for half a minute what
# fails, and show its answers in a pager.
export AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:-test} AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:-test}
export AWS_DEFAULT_REGION=${AWS_DEFAULT_REGION:-${AWS_REGION:-us-east-1}} AWS_MAX_ATTEMPTS=1 AWS_PAGER=

fail() {
  echo "10-tables.sh: ERROR: $*" >&2
  exit 1
}
trap 'fail "line $LINENO failed; not all tables are there"' ERR

dynamodb() {
  aws --endpoint-url "$endpoint" --output json dynamodb "$@"
}

# For each table a line: name, expiry attribute or "-", and the request that creates it.
requests() {
  python3 - "$tables" "${TABLE_PREFIX:-}" <<'PY'
import json, sys

def schema(*keys):
    return [{"AttributeName": key["name"], "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE")) if key]

def projection(index):
    names = {"NonKeyAttributes": index["attributes"]} if index["projection"] == "INCLUDE" else {}
    return {"ProjectionType": index["projection"], **names}

for name, table in json.load(open(sys.argv[1])).items():
    name, hash_key = sys.argv[2] + name, table["hash_key"]
    indexes = [
        {"IndexName": index["name"], "KeySchema": schema(hash_key, index["range_key"]), "Projection": projection(index)}
        for index in table["local_indexes"]
    ]
    keys = [hash_key, table["range_key"], *(index["range_key"] for index in table["local_indexes"])]
    types = {key["name"]: key["type"] for key in keys if key}
    request = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "KeySchema": schema(hash_key, table["range_key"]),
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": types[key]} for key in types],
        **({"LocalSecondaryIndexes": indexes} if indexes else {}),
    }
    print(name, table["ttl_attribute"] or "-", json.dumps(request), sep="\t")
PY
}

# Says what is different between a request and the description of the table that is there.
differences() {
  python3 -c '
import json, sys

def indexes(table):
    found = table.get("LocalSecondaryIndexes") or []
    names = lambda index: sorted(index["Projection"].get("NonKeyAttributes", []))
    return {i["IndexName"]: (i["KeySchema"], i["Projection"]["ProjectionType"], names(i)) for i in found}

def types(table):
    return {key["AttributeName"]: key["AttributeType"] for key in table["AttributeDefinitions"]}

wanted, found = json.loads(sys.argv[1]), json.load(sys.stdin)["Table"]
parts = ("keys", lambda table: table["KeySchema"]), ("key types", types), ("indexes", indexes)
different = [f"its {what} are {of(found)}, expected {of(wanted)}" for what, of in parts if of(wanted) != of(found)]
print(", ".join(different))
' "$1"
}

create() {
  local status
  status=$(dynamodb create-table --cli-input-json "$2" --query TableDescription.TableStatus)
  [ "$status" = '"ACTIVE"' ] || dynamodb wait table-exists --table-name "$1"
  echo "10-tables.sh: created $1"
}

compare() {
  local described different
  described=$(dynamodb describe-table --table-name "$1")
  different=$(differences "$2" <<<"$described")
  [ -z "$different" ] || fail "the table $1 is there, but $different. Nothing was changed; to start anew, delete it"
}

# Whether records of a table expire by an attribute; "-" is none.
expires() {
  [ "$2" = - ] || [ "$(dynamodb describe-time-to-live --table-name "$1" \
    --query "TimeToLiveDescription.TimeToLiveStatus != 'DISABLED' && TimeToLiveDescription.AttributeName")" = "\"$2\"" ]
}

expire() {
  [ "$2" = - ] ||
    dynamodb update-time-to-live --table-name "$1" --time-to-live-specification "Enabled=true,AttributeName=$2" >/dev/null
}

main() {
  local tool there requested name expiry request count=0
  for tool in aws python3; do
    command -v "$tool" >/dev/null || fail "$tool is missing"
  done
  [ -r "$tables" ] || fail "$tables cannot be read; TABLES_JSON names the file that lists the tables"
  there=" $(dynamodb list-tables --query "join(' ', TableNames)") "
  there=${there//\"/ }
  requested=$(requests)
  while IFS=$'\t' read -r name expiry request <&3; do
    case $there in
      *" $name "*)
        compare "$name" "$request"
        # LocalStack forgets expiry when it restarts; other servers refuse to enable what is enabled.
        expires "$name" "$expiry" || expire "$name" "$expiry"
        ;;
      *)
        create "$name" "$request"
        expire "$name" "$expiry"
        ;;
    esac
    count=$((count + 1))
  done 3<<<"$requested"
  [ "$count" -gt 0 ] || fail "$tables lists no tables"
  echo "10-tables.sh: $count tables are there, at $endpoint"
}

# As a function it is read whole before it runs, so that saving the file meanwhile does no harm.
main
exit
