# `make` alone lists the targets. Needs python3 (3.11 or later) and git; everything else goes into $(VENV).

PYTHON ?= python3
VENV ?= .venv
# The package index to take torch from, if not pip's own, e.g. https://download.pytorch.org/whl/cpu (docs/install.md).
TORCH_INDEX ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-trainers coverage smoke lint docs docs-serve docs-cli clean

help:  ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP)  ## Make .venv with hnmine, every extra and the tools (done by the others when needed).

# Made anew only when the project's own files of dependencies are newer.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hnmine needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12" >&2; exit 1; }
	@if [ -z "$(TORCH_INDEX)" ] && [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null; then echo "No GPU here: with TORCH_INDEX=https://download.pytorch.org/whl/cpu make takes the CPU build of torch (docs/install.md)." >&2; fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## Mine hard negatives from a sample of the standard library's functions, with a real MiniLM.
	@scripts/demo.sh $(BIN)/hnmine

test: lint  ## Everything that must pass: lint, types, all tests that need no further packages.
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not alone and not installs" --durations=15
	$(BIN)/python -m pytest -m alone

coverage: $(STAMP)  ## Which lines and branches the tests in one process reach; nearly twice the time of the tests.
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not alone and not installs" --cov --cov-report=term:skip-covered

test-slow: $(STAMP)  ## Only the slow tests: real models and trainers.
	$(BIN)/python -m pytest -m "slow and not installs"

test-trainers: $(STAMP)  ## Training with every trainer's own package, each in an environment of its own.
	$(BIN)/python -m pytest -m installs

smoke: $(STAMP)  ## Build the wheel, install it in a bare environment, and do a small job with it.
	scripts/smoke_wheel.sh $(BIN)/python

lint: $(STAMP)  ## ruff and mypy.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: $(STAMP)  ## Build the docs site into site/: no warning, no dead link, no network.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: $(STAMP)  ## Show the docs site while you write.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

docs-cli: $(STAMP)  ## Write docs/cli.md anew from the commands.
	$(BIN)/python scripts/make_cli_reference.py

clean:  ## Remove what make made: the environment, the demo, caches.
	rm -rf $(VENV) demo site build dist .coverage .mypy_cache .pytest_cache .ruff_cache
