# nanomq: `make start` runs a broker, `make test` sets up and passes the tests. `make help` lists the rest.

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3,$(shell \
	$(name) -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $(name))))
ENGINE := $(shell find engine -name '*.rs' -not -path '*/tests/*') $(wildcard engine/*/Cargo.toml) Cargo.toml Cargo.lock
PYTHON_CODE := nanomq tests $(wildcard bench scripts)
PYTEST_FLAGS ?= -n auto
FUZZ_SECONDS ?= 60
SOAK_FLAGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DELETE_ON_ERROR:
.PHONY: help start build test test-rust test-python conformance bench soak fuzz lint wheel docs coverage clean tools

help:
	@echo "make start      build, then run a broker on port 1883 (ARGS='--conf FILE' hands options on)"
	@echo "make build      .venv/bin/nanomq and .venv/bin/nanomq_cli with the release engine"
	@echo "make test       everything the tests need, then the tests"
	@echo "make lint       formatters, clippy, ruff, mypy, licences"
	@echo "make bench      measure against mosquitto; writes docs/performance.md"
	@echo "make soak       the long tests"
	@echo "make fuzz       every fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS))"
	@echo "make docs       generated pages: configuration reference and conformance"
	@echo "make wheel      dist/*.whl"
	@echo "make coverage   which lines the tests reach, Python and Rust"
	@echo "make clean      remove all that was built"

start: build
	@$(BIN)/nanomq start $(ARGS)

build: $(VENV)/.engine

tools:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later with venv is missing: apt-get install python3 python3-venv, or https://www.python.org/downloads/"; exit 1; }
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust as https://rustup.rs says"; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing (Rust links with it): apt-get install gcc libc6-dev"; exit 1; }

$(VENV)/.made: | tools
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q 'maturin>=1.7,<2'
	@touch $@

# An editable install: Python files are used where they lie; the engine is a release build, always.
$(VENV)/.engine: $(VENV)/.made pyproject.toml $(ENGINE)
	@echo "building the engine"
	@source $(BIN)/activate && PIP_QUIET=1 maturin develop --release --quiet
	@touch $@

# Only what one extra names, so that a changed test dependency builds no engine.
$(VENV)/.test $(VENV)/.dev: $(VENV)/.%: $(VENV)/.made pyproject.toml
	@$(BIN)/python scripts/requirements.py $* | $(BIN)/pip install -q -r /dev/stdin
	@touch $@

tests/clients/node_modules/.made: $(wildcard tests/clients/package*.json)
	@if command -v npm >/dev/null; then cd tests/clients && npm ci --silent --no-audit --no-fund && touch node_modules/.made; \
	else echo "npm is missing, tests with MQTT.js are skipped: apt-get install nodejs npm"; fi

test: test-rust test-python

test-rust: tools
	cargo test --quiet -p nanomq-proto -p nanomq-engine

test-python: $(VENV)/.engine $(VENV)/.test $(if $(wildcard tests/clients/package.json),tests/clients/node_modules/.made)
	$(BIN)/python -m pytest $(PYTEST_FLAGS) --shards 2 tests/conformance/v5 tests/behaviour/test_shared.py
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

bench: build
	$(BIN)/python bench/run.py $(ARGS)

soak: $(VENV)/.engine $(VENV)/.test
	$(BIN)/python -m pytest tests/soak --timeout 0 -s $(SOAK_FLAGS)

# The sanitizer needs nightly; everything else of this project is stable Rust.
fuzz: tools
	@cargo fuzz --version >/dev/null 2>&1 || { echo "cargo-fuzz is missing: cargo install cargo-fuzz"; exit 1; }
	@cargo +nightly --version >/dev/null 2>&1 || { echo "nightly Rust is missing: rustup toolchain install nightly"; exit 1; }
	@for target in $$(cargo +nightly fuzz list --fuzz-dir fuzz); do echo "fuzz $$target"; \
		cargo +nightly fuzz run --fuzz-dir fuzz $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; done

lint: tools $(VENV)/.test $(VENV)/.dev
	cargo fmt --all --check
	cargo clippy --quiet --workspace --all-targets -- -D warnings
	$(BIN)/ruff check $(PYTHON_CODE)
	$(BIN)/ruff format --check $(PYTHON_CODE)
	$(BIN)/mypy nanomq
	$(BIN)/python scripts/licences.py

docs: $(VENV)/.engine $(VENV)/.test
	$(BIN)/python -m nanomq.config
	$(BIN)/python tests/conformance/report.py

wheel: $(VENV)/.made
	source $(BIN)/activate && maturin build --release --out dist

coverage: $(VENV)/.engine $(VENV)/.test $(VENV)/.dev
	$(BIN)/coverage run --source nanomq -m pytest -q -p no:xdist
	$(BIN)/coverage report
	@cargo llvm-cov --version >/dev/null 2>&1 || { echo "Rust coverage needs cargo-llvm-cov: cargo install cargo-llvm-cov && rustup component add llvm-tools"; exit 1; }
	cargo llvm-cov --quiet -p nanomq-proto -p nanomq-engine

clean:
	rm -rf $(VENV) target fuzz/target build dist tests/clients/node_modules nanomq/*.so
