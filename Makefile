# Two commands do everything: `make up` and `make test`.

CARGO ?= cargo
SUDO := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo)
TARGET := $(or $(CARGO_TARGET_DIR),target)
# Tests of containers and networks need root; building does not.
RUNNER := CARGO_TARGET_$(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')_RUNNER

.PHONY: up test build bench check fuzz

## Builds Knarr and starts a cluster in the background.
up: build
	$(SUDO) $(TARGET)/release/knarr up --detach

build:
	$(SUDO) script/setup
	$(CARGO) build --release --package knarr

## Runs every test: unit, integration and, as root, end-to-end with real containers.
test:
	$(SUDO) script/setup test
	$(if $(SUDO),$(RUNNER)="sudo --preserve-env") $(CARGO) test --workspace

## Formatting and lints, as the tests' machine wants them.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- --deny warnings

## Runs the fuzzers of fuzz/ for a few seconds each.
fuzz:
	script/fuzz

## Prints the figures of docs/performance.md for this machine.
bench: build
	$(CARGO) build --release --package knarr --package knarr-bench
	$(SUDO) bench/run $(TARGET)/release/knarr
