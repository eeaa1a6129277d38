# syntax=docker/dockerfile:1
# mneme as an image: one executable, the roots of trust for TLS, and a folder for data; no shell, no packages.
#   docker build --build-arg MNEME_COMMIT=$(git rev-parse --short HEAD) --tag mneme .          (or: make image)
# Nothing here depends on the processor: build on each kind, or with `buildx build --platform linux/amd64,linux/arm64`.

FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /build
# Line numbers in a backtrace would triple the size; names of functions stay.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo
# The allocator takes the builder's pages for everybody's; on arm64 a kernel may have larger ones, of up to 64 KiB.
ENV JEMALLOC_SYS_WITH_LG_PAGE=16
# Dependencies first, under an empty program: a change of the sources alone does not build them again.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/bot tests/engines \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs benches/bot/main.rs tests/engines/main.rs \
 && cargo build --release --locked --features xmpp --bin mneme
COPY src src
ARG MNEME_COMMIT
# Cargo goes by time: what was copied may be older than the empty program.
RUN touch src/main.rs src/lib.rs \
 && MNEME_COMMIT="${MNEME_COMMIT:-unknown}" cargo build --release --locked --features xmpp --bin mneme \
 && mkdir /data

# The executable needs glibc and libgcc. The roots of trust are for AWS; those for Discord are in the executable.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG MNEME_COMMIT
LABEL org.opencontainers.image.title="mneme" \
      org.opencontainers.image.description="A self-hosted Discord bot whose commands remember." \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.revision="${MNEME_COMMIT}"
COPY --from=build /build/target/release/mneme /usr/local/bin/mneme
# A new volume takes its owner from here.
COPY --from=build --chown=65532:65532 /data /data
# By number, so that a host can see that it is not root.
USER 65532:65532
WORKDIR /data
ENV DATA_DIR=/data PLAYGROUND_DIR=/data/playground HTTP=0.0.0.0:8080 LOG_FORMAT=json
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/local/bin/mneme", "health"]
ENTRYPOINT ["/usr/local/bin/mneme"]
CMD ["run"]
