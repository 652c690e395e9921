PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo test lint types bench clean

install: $(INSTALLED)

# Editable, so only a change of the dependencies makes it stale.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/mmreg-demo

# Two processes of one thread each: most tests wait for processes that start.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# CHECKPOINT=outputs/full/last.ckpt measures the registration of a large pair, too, beside the packages of the extra peers.
bench: $(INSTALLED)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[peers]'
	$(BIN)/python -W ignore scripts/bench $(if $(CHECKPOINT),--checkpoint $(CHECKPOINT),--parts solver mind training startup scaling)

clean:
	rm -rf $(VENV) dist .mypy_cache .pytest_cache .ruff_cache
