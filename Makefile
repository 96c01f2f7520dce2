# From a fresh clone: `make finetune`, `make test`. Needs Python 3.11 or newer, and nothing installed into it.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt

# Your own `python3` where it is new enough, else the newest that is there.
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11

# The commands of the stages (`dvc repro` types them) find this environment's `kedro`.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DELETE_ON_ERROR:
.PHONY: help finetune test check clean

help:
	@echo "make finetune   from nothing to a fine-tuned, evaluated model"
	@echo "make test       the whole test suite"
	@echo "make check      format, lint, types, layers"
	@echo "make clean      remove $(VENV) and caches; data and models stay"

finetune: $(VENV)/installed
	$(BIN)/kedro run --pipeline finetune

test: $(VENV)/installed-for-tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(VENV)/installed-for-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing PyTorch"
	@$(PIP) torch
	@echo "installing the rest, some 200 packages; this takes a minute or two"
	@$(PIP) --quiet --editable .
	@touch $@

$(VENV)/installed-for-tests: $(VENV)/installed
	@echo "installing what the tests need"
	@$(PIP) --quiet --editable '.[test]'
	@touch $@

# Debian and Ubuntu leave `ensurepip` out of their Python, and venv then fails half-way.
$(BIN)/python:
	@for python in $(PYTHONS); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		if $$python -c 'import ensurepip, venv' 2>/dev/null; then \
			echo "making $(VENV) with $$($$python --version)"; \
			exec $$python -m venv --clear $(VENV); \
		fi; \
		bare=$${bare:-$$python}; \
	done; \
	if [ "$$bare" ]; then \
		echo "error: $$bare has no venv: install it (Debian, Ubuntu: apt-get install $$bare-venv)" >&2; \
	else \
		echo "error: no Python 3.11 or newer among $(PYTHONS): install one, e.g. from python.org" >&2; \
	fi; \
	exit 1
