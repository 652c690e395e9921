PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: install demo test test-fast coverage lint types bench clean

install: $(INSTALLED)

# Editable, so only a change of the dependencies makes it stale.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED)
	$(BIN)/mmreg-demo

# Two processes of one thread each: most tests wait for processes that start.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# OPTIONS are pytest's.
test: $(INSTALLED)
	$(PYTEST) $(OPTIONS)

# What no mark calls slow: about a minute.
test-fast: $(INSTALLED)
	$(PYTEST) -m "not slow"

# All tests, how long the slowest take, and which lines they reach; of the mathematics that must be most.
COVERED := functional geometry descent solvers
LEAST := 90
coverage:
	@$(MAKE) test OPTIONS="--durations=20 --cov=mmreg_lightning --cov-report="
	@$(BIN)/python -m coverage report --sort=cover --skip-covered
	@for folder in $(COVERED); do \
		found=$$($(BIN)/python -m coverage report --format=total --include="mmreg_lightning/$$folder/*"); \
		echo "coverage of $$folder: $$found % of the lines"; \
		if [ "$$found" -lt $(LEAST) ]; then \
			echo "error: the tests must reach $(LEAST) % of the lines of mmreg_lightning/$$folder" >&2; failed=1; \
		fi; \
	done; exit $${failed:-0}

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
	rm -rf $(VENV) dist .coverage .mypy_cache .pytest_cache .ruff_cache
