# Everything from a fresh clone: needs python3 (3.11 or newer), make and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help run test lint format clean

help:
	@echo "make run   environment, then the main job on synthetic stand-ins (minutes on two cores)"
	@echo "make test  environment, then the whole test suite"
	@echo "make lint  ruff and mypy"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[datasets,dev]"
	@touch $@

run: $(STAMP)
	$(BIN)/python -m launch.sweep --num_seeds=3 --scale=0.05 --epochs=20 --workdir=checkpoints/default

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist=loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
