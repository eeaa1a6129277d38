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
run: ## Join Discord if DISCORD_TOKEN is set, else open the playground
	@if [ -n "$${DISCORD_TOKEN:-}" ]; then cargo run --quiet -- run; else cargo run -- playground; fi

.PHONY: local
local: ## Open the playground: a simulated Discord in the browser
	@cargo run -- playground

.PHONY: check
check: ## Format, lints, docs, licences, and what is generated
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items
	cargo deny --version 2>/dev/null | grep -qF '$(CARGO_DENY)' || cargo install --quiet --locked cargo-deny@$(CARGO_DENY)
	cargo deny --log-level error check licenses bans sources
	@if cargo deny fetch db >/dev/null 2>&1; then cargo deny --log-level error check advisories; \
	else echo "advisories: the database is out of reach and was not checked"; fi

.PHONY: test
test: ## All tests that need nothing but Rust
	cargo $(NEXTEST)

.PHONY: test-long
test-long: ## The seeded tests with many more rounds
	MNEME_ROUNDS=20 cargo $(NEXTEST)

.PHONY: test-engines
test-engines: ## The store's conformance suite on the real DynamoDB Local
	engines/test.sh

.PHONY: test-browser
test-browser: ## The playground, typed into by a headless Chromium
	tests/browser/run

.PHONY: bench
bench: ## Measure the bot beside a bare echo bot and bare SDK calls
	cargo bench

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
