#!/usr/bin/env bash
# Builds the image where no registry can be reached, and looks at it: this is `make test-image`. Needs root, Debian's
# package archive and crates.io; takes about a quarter of an hour on two cores and 6 GB under IMAGE_DIR.
# The base images are stand-ins made from Debian's packages under the names in the Dockerfile: what is proved is the
# Dockerfile and what it adds, not the content of the real bases.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
engines/need.sh buildah=buildah mmdebstrap=mmdebstrap cargo=cargo
work=${IMAGE_DIR:-target/image}
mkdir -p "$work"
work=$(cd "$work" && pwd)
rust_base=$(sed -n 's/^FROM \(.*\) AS build$/\1/p' Dockerfile)
commit=$(git rev-parse --short HEAD)
final_base=$(sed -n 's/^FROM \([^ ]*\)$/\1/p' Dockerfile)

b() { buildah --root "$work/store" --runroot "$work/run" --storage-driver vfs "$@"; }
in_container() { b run --isolation chroot "$@"; }
step() { echo "image: $* ($SECONDS s)"; }
there() { b inspect --type image "$1" >/dev/null 2>&1; }

# A compiler, this machine's Rust, and its authorities: the network may be behind one of its own.
stand_in_for_rust() {
  local container
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,gcc,g++,make,libc6-dev bookworm "$work/debian.tar"
  container=$(b from scratch)
  b add -q "$container" "$work/debian.tar" /
  b copy -q "$container" "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" /etc/ssl/certs/ca-certificates.crt
  tar cf "$work/rust.tar" -C "$(rustc --print sysroot)" --exclude=share bin lib
  b add -q "$container" "$work/rust.tar" /usr/local/
  b config --cmd bash --env CARGO_HOME=/usr/local/cargo --env PATH=/usr/local/bin:/usr/bin:/bin "$container"
  b commit -q --rm "$container" "$rust_base" >/dev/null
  rm "$work/debian.tar" "$work/rust.tar"
}

# As distroless makes its own: packages unpacked, no shell, nothing configured.
stand_in_for_distroless() {
  local container root=$work/distroless
  mkdir -p "$root" "$work/packages"
  (cd "$work/packages" && apt-get download -qq base-files netbase tzdata libc6 libgcc-s1 libstdc++6 libgomp1 libssl3)
  for package in "$work"/packages/*.deb; do dpkg-deb -x "$package" "$root"; done
  mkdir -p "$root/etc/ssl/certs" "$root/home/nonroot"
  cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$root/etc/ssl/certs/ca-certificates.crt"
  echo 'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$root/etc/passwd"
  container=$(b from scratch)
  b add -q "$container" "$root" /
  b config --user 65532 --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "$container"
  b commit -q --rm "$container" "$final_base" >/dev/null
  rm -r "$root" "$work/packages"
}

there "$rust_base" || { step "a stand-in for $rust_base"; stand_in_for_rust; }
there "$final_base" || { step "a stand-in for $final_base"; stand_in_for_distroless; }
step "the image"
b bud --isolation chroot --pull-never --format docker --build-arg MNEME_COMMIT="$commit" -t mneme:test .

container=$(b from --pull-never localhost/mneme:test)
trap 'b rm "$container" >/dev/null' EXIT
files=$(b mount "$container")
failed=
# expect WHAT PATTERN FOUND
expect() {
  echo "  $1: $3"
  # shellcheck disable=SC2053 # It is a pattern.
  [[ $3 == $2 ]] || { echo "image: $1 should be $2" >&2; failed=1; }
}
of_image() { b inspect --type image --format "{{$1}}" localhost/mneme:test; }

expect "user" "65532:65532" "$(of_image .Docker.Config.User)"
expect "entry point and command" "\[/usr/local/bin/mneme\] \[run\]" "$(of_image .Docker.Config.Entrypoint) $(of_image .Docker.Config.Cmd)"
expect "health check" "\[CMD /usr/local/bin/mneme health\]" "$(of_image .Docker.Config.Healthcheck.Test)"
expect "revision" "$commit" "$(of_image '(index .Docker.Config.Labels "org.opencontainers.image.revision")')"
expect "files that mneme adds" "data usr/local/bin/mneme" \
  "$(cd "$files" && find data usr/local/bin -mindepth 0 ! -name bin | sort | tr '\n' ' ' | sed 's/ $//')"
expect "owner of /data" "65532:65532" "$(stat -c %u:%g "$files/data")"
expect "shells" "" "$(find "$files" -name sh -o -name bash -o -name busybox)"
expect "files with more rights than their caller" "" "$(find "$files" -xdev -perm /6000 -type f)"
expect "libraries that are missing" "" "$(chroot "$files" /lib64/ld-linux-x86-64.so.2 --list /usr/local/bin/mneme 2>&1 | grep 'not found' || true)"
expect "version" "mneme *" "$(in_container "$container" -- /usr/local/bin/mneme --version)"
echo "  executable: $(stat -c %s "$files/usr/local/bin/mneme" | numfmt --to=iec), all files: $(du -sb "$files" | cut -f1 | numfmt --to=iec)"
[ -z "$failed" ]
step "as its Dockerfile says"
