# Everything from a fresh clone: needs python3 (3.11 or newer), make and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# The newest Python and JAX that are tested.
PYTHON_NEWEST ?= python3.13
NEWEST := .venv-newest
# What meets Python, JAX and flax first, and takes minutes.
FAST := tests/ground tests/metrics/test_bank_metrics.py tests/models/test_networks.py \
	tests/training/test_golden.py tests/data/test_encodings.py tests/data/test_splits.py

.PHONY: help run test long newest compiled lint docs format clean

help:
	@echo "make run     environment, then the main job on synthetic stand-ins (minutes on two cores)"
	@echo "make test    environment, then the test suite"
	@echo "make long    tests that take minutes each, after the others"
	@echo "make newest  the main job and the suite's fast part on Python 3.13 with the newest JAX"
	@echo "make compiled  programs for an H100 and TPUs, compiled without one (1.3 GB of compilers first)"
	@echo "make lint    ruff and mypy"
	@echo "make docs    the documentation site, in site/"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[datasets,dev,docs]"
	@touch $@

$(NEWEST)/.installed: pyproject.toml constraints-3.13.txt
	$(PYTHON_NEWEST) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --upgrade pip
	$(NEWEST)/bin/pip install --quiet --constraint constraints-3.13.txt --editable ".[datasets,dev]"
	@touch $@

run: $(STAMP)
	$(BIN)/python -m launch.sweep --num_seeds=3 --scale=0.05 --epochs=20 --workdir=checkpoints/default

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist=loadfile

long: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m long
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -n 2 -m "long or not long" tests/fuzz

newest: $(NEWEST)/.installed
	rm -rf $(NEWEST)/run
	$(NEWEST)/bin/python -m launch.sweep --num_seeds=1 --scale=0.02 --epochs=2 --workdir=$(NEWEST)/run
	$(NEWEST)/bin/python -m pytest -n 2 --dist=loadfile $(FAST)

# Its compilers are fetched once; the tests that need them are skipped elsewhere.
compiled: $(STAMP)
	$(BIN)/python -m benchmarks.accelerator.compiled --device=h100 --cases=attack
	$(BIN)/python -m benchmarks.accelerator.compiled --device=v5e:2x2 --cases=attack
	$(BIN)/python -m pytest tests/benchmarks/test_compiled.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# mkdocs-material's notice is about a version of mkdocs that is not installed.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(NEWEST) .mypy_cache .pytest_cache .ruff_cache site *.egg-info
