# Two commands set up everything on a machine with Python 3.11 or newer: `make demo`, `make test`.
# The tools folder holds uv; uv builds .venv from the committed lock.

UV_VERSION := 0.13.8
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
WORKERS ?= 2
OUT ?= runs/demo
UV := .tools/bin/uv
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check lint format types floors wheel bench mutants lock clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.runtime  ## Make the sample fund, run the whole job on it, write the report (OUT=runs/demo)
	$(BIN)/mca demo --out $(OUT)

test: .venv/.dev wheel  ## Run every test
	MCA_WHEEL="$$(ls -t dist/*.whl | head -n 1)" $(BIN)/pytest -n $(WORKERS)

check: .venv/.dev lint types floors  ## Lint, types, floors and the quick tests: before every commit
	$(BIN)/pytest -n $(WORKERS) -m "not slow and not conformance"

lint: .venv/.dev  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.dev  ## Apply formatting and the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: .venv/.dev  ## Check types: strict on engine/ and tools/
	$(BIN)/mypy

floors: .venv/.dev  ## Check that imports go down only
	$(BIN)/lint-imports

wheel: $(UV)  ## Build the wheel into dist/
	rm -rf dist
	$(UV) build --quiet --wheel --python $(PYTHON) --out-dir dist .

bench: .venv/.dev  ## Run the benchmarks: ratios within one run, CPU time
	$(BIN)/pytest benchmarks -q -s -n 0 -o "python_files=bench_*.py test_*.py"

mutants: .venv/.dev  ## Mutation testing of the margin engine (AREA='engine.margin.span.*' for a part)
	$(BIN)/mutmut run --max-children $(WORKERS) $(if $(AREA),'$(AREA)')

lock: $(UV)  ## Refresh uv.lock after a change of dependencies
	$(UV) lock --python $(PYTHON)

clean:  ## Remove environments, builds and caches (runs/ stays)
	rm -rf .venv .tools dist build mutants .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(UV):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3"; exit 5; }
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# The demo needs the run-time packages only; --inexact keeps what a developer has installed.
.venv/.runtime: pyproject.toml uv.lock | $(UV)
	$(UV) sync --quiet --locked --no-default-groups --inexact --python $(PYTHON)
	@touch $@

.venv/.dev: pyproject.toml uv.lock | $(UV)
	$(UV) sync --quiet --locked --python $(PYTHON)
	@touch $@ .venv/.runtime
