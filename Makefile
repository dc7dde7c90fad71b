# Each target does its own set-up: a machine with Python >= 3.11 (venv) and make is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
export UV_PYTHON_DOWNLOADS := never
# Bytecode is kept even where the environment says otherwise: every start of a process costs seconds without it.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-cluster check chaos bench up lock pictures clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  ARGS="..." is handed on, for example: make demo ARGS="--once --json"'

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tuma needs Python >= 3.11; say which: make setup PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

# One stamp for running, one for developing: the demo need not wait for the test tools.
$(VENV)/.run: requirements.lock pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@

setup: $(VENV)/.dev ## Make .venv with everything pinned by hash

demo: $(VENV)/.run ## Run the whole story on embedded defaults: no accounts, no Redis
	$(BIN)/tuma demo $(ARGS)

up: $(VENV)/.run ## Run tuma with the settings in .env
	$(BIN)/tuma up $(ARGS)

test: $(VENV)/.dev ## Run every test, on a Valkey that the tests start
	$(BIN)/pytest $(ARGS)

test-cluster: $(VENV)/.dev ## Run the engine's tests on a cluster of three primaries, and those of failovers
	$(BIN)/pytest --store cluster tests/engine tests/store $(ARGS)

chaos: $(VENV)/.dev ## Kill, freeze and starve everything for ten minutes, and judge what was sent (docs/proofs)
	$(BIN)/python -m tests.chaos $(ARGS)

bench: $(VENV)/.dev ## Measure against the limit and other queues (docs/benchmarks.md; needs nginx)
	$(BIN)/python -m benchmarks $(ARGS)

check: $(VENV)/.dev ## Lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lock: | $(BIN)/uv ## Renew both lock files (names, versions and hashes only)
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --group build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 --no-header --no-annotate --group dev pyproject.toml -c requirements.lock -o requirements-dev.lock

pictures: $(VENV)/.dev ## Renew docs/pictures (needs a Chromium)
	$(BIN)/python docs/pictures.py $(ARGS)

clean: ## Remove what set-up, tests and demo made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build *.egg-info
