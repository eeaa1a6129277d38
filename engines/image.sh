#!/usr/bin/env bash
# Builds the container image with docker, podman or buildah, whichever there is: this is `make image`.
#   IMAGE=name:tag engines/image.sh [OPTION...]     for example: --platform linux/arm64
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
set -- --build-arg "MNEME_COMMIT=$commit" --tag "${IMAGE:-mneme}" "$@" .

if docker info >/dev/null 2>&1; then
  exec docker build "$@"
elif command -v podman >/dev/null; then
  # The format that keeps the health check.
  exec podman build --format docker "$@"
elif command -v buildah >/dev/null; then
  exec buildah build --format docker "$@"
fi
echo "image.sh: no Docker engine answers, and neither podman nor buildah is installed" >&2
exit 1
