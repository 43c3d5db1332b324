# Everything runs from .venv, which `make` builds from requirements.lock on a machine with git, python3 (3.11 or newer) and make.
# With another interpreter: make PYTHON=python3.12 demo

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# What `make demo` fits: a hierarchical formula on a data set that a dependency ships.
DEMO ?= "log_radon ~ floor + (1 | county)" --data radon

BENCHMARKS ?= cold_start step_overhead site_estimators nuts kl posteriordb gp_sparse gp_state_space gp_uci vae_zoo scaling \
	streaming memory

# Compiled programs are kept here between runs of the tests, the benchmarks and the docs; `make clean` drops them.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.jax_cache

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench reliability docs lock clean

help:
	@echo 'make demo     fit a hierarchical model to real data, print its certificate, write demo/report.html'
	@echo 'make test     run the tests'
	@echo 'make lint     ruff, pyright, import-linter'
	@echo 'make format   let ruff mend what it can'
	@echo 'make bench    run the benchmarks'
	@echo 'make reliability  kill, damage, fuzz, stream and measure for an hour: docs/reliability.md'
	@echo 'make docs     build the documentation into site/'
	@echo 'make lock     resolve requirements.lock again from pyproject.toml'
	@echo 'make clean    remove everything that was built, the environment too'

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Jensen needs Python 3.11 or newer, and $(PYTHON) is older or missing.' >&2; \
		echo 'Name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo 'Could not make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	$(BIN)/python -m pip install --quiet 'uv>=0.8'
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

demo: $(STAMP)
	$(BIN)/jensen fit $(DEMO) --out demo --seed 0 --overwrite

# Neighbouring tests share compiled programs: each worker takes its half in order, the first to end takes from the other.
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(STAMP)
	@set -e; for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/jensen bench $$name; done

reliability: $(STAMP)
	$(BIN)/jensen bench reliability $(ARGS)
	$(BIN)/jensen bench fuzz --inputs 20000
	$(BIN)/jensen bench streaming --rows 20000000
	$(BIN)/jensen bench memory
	$(BIN)/jensen bench memory --growth
	$(BIN)/jensen bench scaling

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

lock: $(STAMP)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
		--extra dev --extra docs --extra bench pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv .jax_cache .pytest_cache .ruff_cache .import_linter_cache build dist site demo
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
