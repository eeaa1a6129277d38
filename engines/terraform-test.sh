#!/usr/bin/env bash
# Checks terraform/ without an account: this is `make test-terraform`. The AWS provider is a test double with the real
# one's arguments, installed from npm and PyPI; PROVIDER=real takes hashicorp/aws from Terraform's registry instead.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v terraform >/dev/null; then
  echo "terraform is missing: install 1.11 or newer from https://developer.hashicorp.com/terraform/install, then try again" >&2
  exit 1
fi
engines/need.sh python3=python3-venv node=nodejs npm=npm openssl=openssl
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_CLI_CONFIG_FILE=/dev/null
unset TF_LOG TF_DATA_DIR TF_WORKSPACE "${!TF_VAR_@}" 2>/dev/null || true

# Terraform writes beside the configuration, and a lock file made with the double is of no use to anybody.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A copy is also one moment of a tree that others may be working in.
tar c --exclude=.terraform --exclude='.terraform.lock.hcl' --exclude='*.tfstate*' --exclude='*.tfvars' --exclude=backend.tf terraform |
  tar x -C "$work"

step() { echo "terraform: $*"; }
quietly() { "$@" -no-color >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }; }
# A run of tests that finds none is a success for Terraform, and not for us.
passes() { quietly "$@" && grep -E '^Success! [1-9]' "$work/log"; }

step "format"
terraform fmt -check -diff -recursive terraform

step "tables and permissions as data, without a provider"
passes terraform -chdir="$work/terraform/modules/tables-data" test

if [ "${PROVIDER:-double}" = real ]; then
  step "the provider is the real one"
  export TF_PLUGIN_CACHE_DIR=$work/plugins
  mkdir "$TF_PLUGIN_CACHE_DIR"
else
  step "the provider is a test double"
  TF_CLI_CONFIG_FILE=$(engines/terraform-install.sh stub)
fi
for folder in "$work"/terraform/modules/* "$work"/terraform/examples/*; do
  [ "$(basename "$folder")" != tables-data ] || continue
  step "init, validate, test: ${folder#"$work/"}"
  quietly terraform -chdir="$folder" init -input=false -backend=false
  quietly terraform -chdir="$folder" validate
  passes terraform -chdir="$folder" test
done

if [ "${PROVIDER:-double}" != real ]; then
  step "the planned tables are those of tables.json"
  example=$work/terraform/examples/tables-only
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  quietly terraform -chdir="$example" plan -input=false -out=plan -var table_prefix=zoo-
  terraform -chdir="$example" show -json plan >"$work/plan.json"
  python3 engines/terraform_plan.py "$work/plan.json" "$work/terraform/tables.json" zoo-
fi

step "policies"
checkov=$(engines/terraform-install.sh checkov)
"$checkov" --directory "$work/terraform" --framework terraform --skip-download --compact --quiet
step "all is well"
