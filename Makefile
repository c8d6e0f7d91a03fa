# The commands of Assay. `make run` and `make test` need Python 3.11 to 3.13 and make; they set up the rest.
# ARGS goes to the command: make test ARGS="-k study", make run ARGS="--set recipe.train.epochs=5".
PYTHON ?= python3
ARGS ?=

CONSTRAINTS := docker/constraints.txt
BIN := .venv/bin
READY := .venv/.ready
AUDIT := $(BIN)/pip-audit --no-deps --disable-pip --progress-spinner off
ACCEPTED := # vulnerabilities by their ids; docs/docker.md gives the reason for each
UV := VIRTUAL_ENV=.venv UV_NO_PROGRESS=1 $(BIN)/uv

# With this set Python never writes byte code, and every import of the sources compiles them again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup run test lint audit bench ui lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with the pinned packages (once)

run: $(READY) ## Run the digits study
	$(BIN)/assay run digits $(ARGS)

test: $(READY) ## Run the tests
	$(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder $(ARGS)

lint: $(READY) ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --cache-dir .ruff_cache/imports
	$(BIN)/pyright
	$(BIN)/hadolint docker/Dockerfile

# Where no service can be asked pip-audit finds nothing, which is no result: it has to know at least of an old Jinja.
audit: $(READY) ## Ask for known vulnerabilities in the pinned packages
	@if echo jinja2==2.10 | $(AUDIT) --requirement /dev/stdin 2>&1 | grep -q '^Found [1-9]'; then \
		$(AUDIT) --requirement $(CONSTRAINTS) $(addprefix --ignore-vuln ,$(ACCEPTED)); \
	else \
		echo "Not audited: no service tells of vulnerabilities here." >&2; \
	fi

bench: $(READY) ## Measure speed, memory and false claims (not quality, which takes hours)
	@set -e; for script in $(filter-out %/quality.py,$(sort $(wildcard benchmarks/[a-z]*.py))); do \
		echo "== $$script"; $(BIN)/python "$$script" $(ARGS); \
	done

ui: $(READY) ## Show the runs in MLflow
	$(BIN)/assay ui $(ARGS)

lock: $(BIN)/uv ## Pin the packages again (ARGS=--upgrade for newer ones)
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra gpu --group dev --no-annotate \
		--custom-compile-command "make lock" --output-file $(CONSTRAINTS) $(ARGS) pyproject.toml

clean: ## Remove .venv, caches and builds; results (.assay, mlruns, mlflow.db) stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build dist
	find pipeline components tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || { \
		echo "Assay needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 | tail -n 1)." \
			"Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) uv

# Importing TensorFlow without byte code takes three times as long, so it is compiled here.
$(READY): pyproject.toml $(CONSTRAINTS) | $(BIN)/uv
	$(UV) pip install --quiet --compile-bytecode --constraints $(CONSTRAINTS) --build-constraints $(CONSTRAINTS) \
		--group dev --editable .
	$(BIN)/python -m compileall -q pipeline components
	@touch $@
