.DEFAULT_GOAL := help
.PHONY: help install search train results tensorboard test test-full lint type bench clean

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  ARGS=... is passed on, e.g. make search ARGS='data=fashion_mnist trials=40'"

# The stamp is as new as pyproject.toml, so a changed dependency installs again and nothing else does.
$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Coevo needs Python >= 3.11, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed ## make .venv and install everything into it

search: install ## the main job: search networks for accuracy and speed (a few minutes on 2 cores)
	$(BIN)/python scripts/search.py $(ARGS)

train: install ## train one network
	$(BIN)/python scripts/train.py $(ARGS)

results: install ## train the networks of docs/results.md and write that page (about two hours on 2 cores; goes on where it stopped)
	$(BIN)/python scripts/results.py page=docs/results.md $(ARGS)

tensorboard: install ## compare the runs under runs/ in a browser, on this machine only
	$(BIN)/tensorboard --logdir runs --host 127.0.0.1

# A worker for each core, with one thread each: more threads than cores would only wait for each other.
test test-full: export OMP_NUM_THREADS ?= 1
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses=8 --dist=worksteal

test: install ## the quick tests (under 5 minutes on 2 cores)
	$(PYTEST) $(ARGS)

test-full: install ## the quick tests and the slow ones
	$(PYTEST) -m '' $(ARGS)

lint: install ## style, and the arrows of the house
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

type: install ## static types
	$(BIN)/mypy

bench: install ## timings of this machine, as ratios
	$(BIN)/python -m scripts.bench $(ARGS)

clean: ## remove caches, not runs or .venv
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
