#!/usr/bin/env bash
# Applies terraform/modules/tables to a DynamoDB that is not Amazon's and looks at what came of it.
#   terraform-apply.sh ENDPOINT     such as http://127.0.0.1:4566; it must know backups and tags, as LocalStack does
# The AWS provider is a test double (aws_stub.py): this is about our configuration, not about the provider.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
endpoint=${1:?usage: terraform-apply.sh ENDPOINT}
if ! command -v terraform >/dev/null; then
  echo "terraform is missing: install 1.11 or newer from https://developer.hashicorp.com/terraform/install, then try again" >&2
  exit 1
fi
TF_CLI_CONFIG_FILE=$(engines/terraform-install.sh stub)
python=$(engines/terraform-install.sh python)
export TF_CLI_CONFIG_FILE CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1
export AWS_ENDPOINT_URL_DYNAMODB=$endpoint AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1
unset AWS_PROFILE AWS_SESSION_TOKEN TF_LOG TF_DATA_DIR TF_WORKSPACE "${!TF_VAR_@}" 2>/dev/null || true

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r terraform/modules terraform/*.json "$work"

step() { echo "terraform (test double): $*"; }
fail() { echo "terraform-apply.sh: $*" >&2; cat "$work/log" >&2; exit 1; }
# tf DIRECTORY STATUS ARGUMENT...: what it says goes to the log, and its status must be this one.
tf() {
  local folder=$1 expected=$2 status=0
  shift 2
  terraform -chdir="$folder" "$@" -no-color >"$work/log" 2>&1 || status=$?
  [ "$status" = "$expected" ] || fail "terraform $* gave $status, not $expected"
}
said() { grep -qF "$1" "$work/log" || fail "Terraform did not say: $1"; }
# Each run has names of its own, so that it can be repeated on the same server.
run=$$-$RANDOM

# Copies of the example, each with a state of its own; the policy in it is beyond the double, so only the tables count.
for name in new old; do
  mkdir -p "$work/examples/$name"
  cp terraform/examples/tables-only/{main,outputs,variables,versions}.tf "$work/examples/$name"
  tf "$work/examples/$name" 0 init -input=false
done
new=(-target=module.tables -var "table_prefix=new-$run-")
old=(-target=module.tables -var "table_prefix=old-$run-" -var 'adopt=["remember"]')

step "new tables are made"
tf "$work/examples/new" 0 apply -input=false -auto-approve "${new[@]}"
count=$("$python" -c 'import json; print(len(json.load(open("terraform/tables.json"))))')
said "Resources: $count added, 0 changed, 0 destroyed"

step "a second plan is empty"
tf "$work/examples/new" 0 plan -input=false -detailed-exitcode "${new[@]}"

step "the bot finds the tables that it needs"
cargo run --quiet -- tables check --store dynamodb --dynamodb-endpoint "$endpoint" --table-prefix "new-$run-"

step "a protection that somebody took away is noticed and put back"
"$python" engines/terraform_tables.py unprotect "new-$run-remember"
tf "$work/examples/new" 2 plan -input=false -detailed-exitcode "${new[@]}"
said "deletion_protection_enabled = false -> true"
tf "$work/examples/new" 0 apply -input=false -auto-approve "${new[@]}"

step "the tables are not destroyed"
tf "$work/examples/new" 1 destroy -input=false -auto-approve "${new[@]}"
said "Instance cannot be destroyed"

step "the original bot's table is taken over with what is in it"
"$python" engines/terraform_tables.py original "old-$run-remember"
tf "$work/examples/old" 0 apply -input=false -auto-approve "${old[@]}"
said "Resources: 1 imported, $((count - 1)) added, 1 changed, 0 destroyed"
"$python" engines/terraform_tables.py taken-over "old-$run-remember"
tf "$work/examples/old" 0 plan -input=false -detailed-exitcode "${old[@]}"
cargo run --quiet -- tables check --store dynamodb --dynamodb-endpoint "$endpoint" --table-prefix "old-$run-"
step "all is well"
