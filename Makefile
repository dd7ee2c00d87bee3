# Everything starts from a bare machine with Python 3.11-3.13, a C compiler and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
KERNELS := $(shell find kernels -name '*.pyx' -o -name '*.pxd' -o -name '*.h')

# what `make bench` measures; `.venv/bin/python -m tests.bench --list` names all
SUITE ?= pipeline

.PHONY: setup demo test check bench fault sim clean

setup: $(STAMP)

$(STAMP): pyproject.toml setup.py $(KERNELS)
	$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info < (3, 14), "gridloom needs Python 3.11 to 3.13, this is %s" % sys.version.split()[0]'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[embedded,test,dev,plot]'
	touch $(STAMP)

demo: setup
	$(BIN)/gridloom demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	$(BIN)/python -m tests.bench $(SUITE)

fault: setup
	$(BIN)/python -m tests.fault

sim: setup
	$(BIN)/python -m tests.sim

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find schemas kernels streams tests \( -name '__pycache__' -o -name '*.so' -o -name '*.c' \) -prune -exec rm -rf {} +
