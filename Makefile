# Plain `make` lists what can be made. Needs Rust, make and a C compiler; what else a target needs it installs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Settings for `make run`; .env.example lists them.
-include .env
export

CARGO_DENY := 0.20.2
# nextest gives each test a process of its own and names the one that hangs; without it, cargo's own runner.
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo nextest run || echo test)

.PHONY: help
help: ## List these verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: ## Join Discord if DISCORD_TOKEN is set, else open the playground; in containers where a Docker engine answers
	@engines/stack.sh run

.PHONY: stop
stop: ## Stop the containers; what they remember stays
	@engines/stack.sh stop

.PHONY: logs
logs: ## Follow the containers' logs
	@engines/stack.sh logs

.PHONY: local
local: ## Open the playground: a simulated Discord in the browser
	@cargo run -- playground

.PHONY: check
check: ## Format, lints, docs, licences, and what is generated
	cargo fmt --check
	cargo clippy --all-targets --test engines --test relay --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --all-features --no-deps --document-private-items
	cargo deny --version 2>/dev/null | grep -qF '$(CARGO_DENY)' || cargo install --quiet --locked cargo-deny@$(CARGO_DENY)
	cargo deny --log-level error check licenses bans sources
	@if cargo deny fetch db >/dev/null 2>&1; then cargo deny --log-level error check advisories; \
	else echo "advisories: the database is out of reach and was not checked"; fi

.PHONY: test
test: ## All tests that need nothing but Rust
	cargo $(NEXTEST) --no-fail-fast

.PHONY: test-long
test-long: ## The seeded tests with many more rounds, optimised: a long build, and each round a fifth of the time
	MNEME_ROUNDS=20 cargo $(NEXTEST) --release --no-fail-fast

.PHONY: test-engines
test-engines: ## The store, the hook and a load on DynamoDB Local and LocalStack; the relay on Prosody and ejabberd
	engines/test.sh

.PHONY: test-engines-long
test-engines-long: ## The same with 50,000 commands on each; takes hours on LocalStack
	MNEME_COMMANDS=50000 STORM_SEEDS=0..100 engines/test.sh

.PHONY: check-stack
check-stack: ## Lint the Dockerfile, the compose file and the scripts
	engines/check.sh

.PHONY: test-browser
test-browser: ## The playground, typed into by a headless Chromium
	tests/browser/run

.PHONY: shots
shots: ## Take the pictures in docs/ anew
	tests/browser/run shots

.PHONY: bench
bench: ## Measure the bot beside a bare echo bot and bare SDK calls
	cargo bench

.PHONY: image
image: ## Build the container image, with docker, podman or buildah
	engines/image.sh

.PHONY: test-image
test-image: ## The same without a registry, on stand-ins for the base images; looks at what came out
	engines/image-test.sh

.PHONY: release
release: ## Build the executable for use, with its commit in its version
	MNEME_COMMIT=$$(git rev-parse --short HEAD) cargo build --release

# The Terraform of a deployment is tested with the engines.
test-engines: test-terraform

.PHONY: test-terraform
test-terraform: ## Format, tests, plans and policies of terraform/, without an account
	PROVIDER=$(or $(PROVIDER),double) engines/terraform-test.sh

.PHONY: check-workflows
check-workflows: ## The workflows of GitHub: what they run is here
	.ci/workflows

.PHONY: dist
dist: ## A release for this machine in dist/: executable, checksums, contents
	.ci/dist

# What `make image` makes.
IMAGE ?= mneme

.PHONY: push-image
push-image: image ## Push this machine's image to IMAGE_REPOSITORY
	.ci/registry push

.PHONY: push-index
push-index: ## Join the pushed images of both architectures under one version
	.ci/registry index

.PHONY: publish
publish: ## Make a release of GitHub from dist/ and the tag in RELEASE
	gh release create "$${RELEASE:?the tag of the release}" --verify-tag --generate-notes dist/*
