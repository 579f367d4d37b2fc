# Coracle's commands. `make up` and `make test` are the two that a newcomer needs; `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Outside the clone, so that a second one does not compile RocksDB again. Nothing depends on what is there.
export CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/coracle
export CARGO_TARGET_DIR ?= $(CACHE)/target
export CCACHE_DIR ?= $(CACHE)/ccache
export CCACHE_MAXSIZE ?= 2G
export CCACHE_NOHASHDIR := 1
export PATH := $(CACHE)/rust/bin:$(CACHE)/bin:$(PATH)

CORACLE := $(CARGO_TARGET_DIR)/release/coracle

# Recorded answers and published test data, which lie beside the checkout or not at all.
SHARED ?= ../shared
export SHARED := $(abspath $(SHARED))

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: prepare
prepare: ## Install what building and running need, where it is missing
	@tools/prepare
	@tools/claim-target

.PHONY: kubectl
kubectl: prepare ## Build a current kubectl, where there is none
	@tools/kubectl $(CACHE)/bin >/dev/null

.PHONY: build
build: prepare ## Build the release binary
	@tools/with-ccache cargo build --release --locked --package coracle

.PHONY: up
up: build kubectl ## Start a cluster, deploy the example and show its page
	@CORACLE=$(CORACLE) tools/up

.PHONY: down
down: ## Stop the cluster and leave nothing behind
	@$(CORACLE) down

# Module docs lead maintainers to private items too; a link that leads nowhere is still an error.
.PHONY: check
check: prepare ## Formatting, lints, dependency direction, docs
	cargo fmt --all --check
	tools/with-ccache cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo xtask check
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" tools/with-ccache cargo doc --workspace --no-deps --locked --quiet

.PHONY: unit
unit: prepare ## Tests that need no cluster
	tools/with-ccache cargo test --workspace --locked --exclude coracle-e2e --quiet

.PHONY: e2e
e2e: build kubectl ## Tests with real containers, stock kubectl, Helm and other clients
	CORACLE_BIN=$(CORACLE) KUBECTLS=$$(tools/kubectl $(CACHE)/bin --all) HELMS=$$(tools/helm $(CACHE)/bin) \
		GO_CLIENTS=$$(tools/go-build e2e/clients $(CACHE)/bin/go-clients . && echo $(CACHE)/bin/go-clients) \
		PYTHON=$$(tools/python-client $(CACHE)/python) \
		tools/with-ccache cargo test --locked --package coracle-e2e

.PHONY: conformance
conformance: build kubectl ## The conformance suite against two nodes, into docs/conformance.md; FOCUS=REGEX runs a part
	@CORACLE=$(CORACLE) FOCUS='$(value FOCUS)' tools/conformance

.PHONY: quick-conformance
quick-conformance: build kubectl ## The part of it that takes a few minutes
	@CORACLE=$(CORACLE) tools/conformance --quick

.PHONY: test
test: check unit e2e quick-conformance ## Everything that has to pass

# How often `make crash` kills, and how often it takes the power.
KILLS ?= 300
POWER_LOSSES ?= 100

.PHONY: crash
crash: prepare ## Kill the apiserver hundreds of times, take its power, crowd it, and confuse the controllers
	tools/with-ccache cargo test --locked --package coracle-store --features failpoints --test contract -- failpoints
	tools/with-ccache cargo build --locked --package coracle --features failpoints
	@CORACLE=$(CARGO_TARGET_DIR)/debug/coracle tools/crash $(KILLS) $(POWER_LOSSES)

.PHONY: fuzz
fuzz: prepare ## Search each decoder of outside bytes for inputs that break it, for a minute; TARGET=json, FUZZ_SECONDS=600
	@tools/fuzz

.PHONY: bench
bench: build kubectl ## Measure into docs/figures.md; WHAT=alone or WHAT=compare for one half, ARGS for coracle-bench
	@tools/with-ccache cargo build --release --locked --package coracle-bench
	@CORACLE=$(CORACLE) BENCH=$(CARGO_TARGET_DIR)/release/coracle-bench tools/bench $(WHAT) $(ARGS)

.PHONY: wire
wire: build ## Replay recorded requests, and write the score into docs/figures.md
	@CORACLE=$(CORACLE) tools/wire

.PHONY: wire-live
wire-live: build ## Ask Coracle and a kube-apiserver the same, over every kind, and write the score into docs/figures.md
	@CORACLE=$(CORACLE) tools/wire-live

.PHONY: corpora
corpora: prepare ## Hold the API against published test data, and write the counts into docs/figures.md
	@tools/corpora

.PHONY: deny
deny: ## Licences, bans and duplicates of dependencies
	@command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny check licenses bans sources
