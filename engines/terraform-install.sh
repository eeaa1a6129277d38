#!/usr/bin/env bash
# Installs what `make test-terraform` needs under $ENGINES_DIR (default: target/engines), unless it is there.
#   terraform-install.sh stub        the test double of the AWS provider; prints the path of a Terraform CLI configuration
#   terraform-install.sh python      a Python with boto3, which the double runs on; prints the path of its program
#   terraform-install.sh checkov     the checker of policies; prints the path of its program
set -euo pipefail

CHECKOV=3.3.30
# Generated from hashicorp/aws 6.66.0; MPL-2.0. Read at test time, never shipped.
BINDINGS=25.7.0
BINDINGS_SHA512='E/nhu0yVZE4mXMgIPuI8tEFt1BExLkA7ARjihdG+/HmfDfzLr+OEF3dkFRvI6glRt30lrrBWQLwXqCJBxcmyUg=='
# The protocol of Terraform's providers for Python, and DynamoDB's client.
PLUGIN=1.2.0
BOTO3=1.42.54

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${ENGINES_DIR:=$scripts/../target/engines}"
ENGINES_DIR=$(cd "$ENGINES_DIR" && pwd)

# venv FOLDER PACKAGE...
venv() {
  local folder=$ENGINES_DIR/$1
  shift
  if [ ! -e "$folder/installed" ]; then
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "$@" >&2
    touch "$folder/installed"
  fi
  echo "$folder"
}

bindings() {
  local folder=$ENGINES_DIR/provider-aws-$BINDINGS
  if [ ! -d "$folder" ]; then
    local work archive
    work=$(mktemp -d "$ENGINES_DIR/new.XXXXXX")
    archive=$work/$(cd "$work" && npm pack --silent "@cdktn/provider-aws@$BINDINGS")
    if [ "$(openssl dgst -sha512 -binary "$archive" | base64 -w0)" != "$BINDINGS_SHA512" ]; then
      echo "terraform-install.sh: @cdktn/provider-aws $BINDINGS is not what it used to be; nothing was installed" >&2
      rm -r "$work"
      exit 1
    fi
    # 1,700 resources: only what is read, which is one file of each.
    tar xzf "$archive" -C "$work" --wildcards package/package.json 'package/lib/*/index.js'
    mv "$work/package" "$folder"
    rm -r "$work"
  fi
  echo "$folder"
}

python() { echo "$(venv "aws-stub-$PLUGIN-$BOTO3" "tf==$PLUGIN" "boto3==$BOTO3")/bin/python"; }

stub() {
  local python folder package version platform plugin
  python=$(python)
  package=$(bindings)
  folder=$ENGINES_DIR/aws-stub
  mkdir -p "$folder"
  version=$("$python" "$scripts/aws_schema.py" "$package" "$scripts/../terraform" "$folder/schema.json")
  platform=$(terraform version -json | sed -n 's/.*"platform": "\(.*\)".*/\1/p')
  plugin=$folder/mirror/registry.terraform.io/hashicorp/aws/$version/$platform/terraform-provider-aws_v$version
  mkdir -p "$(dirname "$plugin")"
  printf '#!/bin/sh\nAWS_STUB_SCHEMA="%s" exec "%s" "%s" "$@"\n' \
    "$folder/schema.json" "$python" "$scripts/aws_stub.py" >"$plugin"
  chmod +x "$plugin"
  cat >"$folder/stub.tfrc" <<END
disable_checkpoint = true
provider_installation {
  filesystem_mirror {
    path    = "$folder/mirror"
    include = ["registry.terraform.io/hashicorp/aws"]
  }
}
END
  echo "$folder/stub.tfrc"
}

# Tests that start together install once.
exec 8>"$ENGINES_DIR/terraform.lock"
flock 8
export CHECKPOINT_DISABLE=1 TF_CLI_CONFIG_FILE=/dev/null
case ${1:-} in
  stub | python) "$1" ;;
  checkov) echo "$(venv "checkov-$CHECKOV" "checkov==$CHECKOV")/bin/checkov" ;;
  *) sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
