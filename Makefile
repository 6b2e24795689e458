# One virtual environment in .venv holds everything; each target makes it when it is missing or out of date.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
include tests/cluster/cluster.mk
.PHONY: help install demo test lint format typecheck bench crds clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

install: $(STAMP) ## install the project and its tools into .venv

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@echo "installing into $(VENV) (a minute or two, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP) ## stream a run through the whole system on this machine, and show it
	@$(BIN)/python examples/demo.py

test: $(STAMP) ## run the test suite (unit and local)
	@$(BIN)/pytest -n auto
	@echo "$(CLUSTER_NOTE)"

lint: $(STAMP) ## check style and the layers of the code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

format: $(STAMP) ## rewrite the code in the project's style
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

typecheck: $(STAMP) ## check types (mypy, strict)
	@$(BIN)/mypy

bench: $(STAMP) ## measure what benchmarks/README.md claims
	@$(BIN)/python -m benchmarks

crds: $(STAMP) ## write crds/ from the models in lclstream/spec
	@$(BIN)/lclstream crd --output crds

clean: ## remove what the other targets made
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
