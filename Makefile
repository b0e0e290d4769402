# Everything a developer does here. `make demo` and `make test` need only Python 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
# A change of any of these files sets the environment up again.
SETUP_FILES := pyproject.toml constraints.txt

.PHONY: demo test check bench clean

demo: .venv/ready  ## install, draw the demo dataset, audit it, train on it
	$(BIN)/fieldmark demo

test: .venv/ready-for-tests  ## all tests, in the same environment with the test tools
	$(BIN)/python -m pytest

check: .venv/ready-for-tests  ## format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: .venv/ready-for-tests  ## speed and accuracy against peers, side by side
	$(BIN)/python benchmarks/run.py

# Debian's python3 comes without ensurepip; its package python3-venv has it.
.venv/ready: $(SETUP_FILES)
	$(PYTHON) -m venv .venv || (rm -rf .venv && apt-get update && apt-get install -y python3-venv && $(PYTHON) -m venv .venv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[train,serve]'
	touch $@

.venv/ready-for-tests: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		pytest hypothesis ruff mypy httpx playwright axe-playwright-python schemathesis
	command -v chromium >/dev/null || (apt-get update && apt-get install -y --no-install-recommends chromium)
	touch $@

clean:
	rm -rf .venv build dist *.egg-info src/*.egg-info demo runs
