# `make` lists what there is to do. Every target sets up .venv by itself when it is missing.

# Settings of other Python projects must not reach this one.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP VIRTUAL_ENV

SHELL := /bin/bash
PYTHON := .venv/bin/python
STAMP := .venv/.setup-done
CHECKER := .venv-compliance/.setup-done

.DEFAULT_GOAL := help
.PHONY: help setup compliance demo demo/fit demo/loess test test-slow docs robust lint types imports check lock wheel release-check newcomer clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make .venv with everything that is needed

$(STAMP): pyproject.toml requirements.lock .python-version scripts/bootstrap.sh
	@scripts/bootstrap.sh
	@touch $@

compliance: $(CHECKER) ## make .venv-compliance, with the checker of netCDF files that a test runs

$(CHECKER): compliance.lock .python-version scripts/bootstrap.sh
	@scripts/bootstrap.sh compliance
	@touch $@

demo: $(STAMP) ## calibrate Rothamsted quickly, and let a loess develop, into demo/
	@mkdir -p demo
	@$(MAKE) --no-print-directory --jobs 2 demo/fit demo/loess

demo/fit:
	.venv/bin/diffsoil calibrate rothamsted -o demo/fit --quick --overwrite

demo/loess: # beside the calibration, which uses one core in some of its parts
	.venv/bin/diffsoil simulate loess_dry_agriculture -o demo/loess.nc --overwrite
	.venv/bin/diffsoil plot demo/loess.nc -o demo/loess --overwrite

test: $(STAMP) ## run the tests on two cores
	$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slow: $(STAMP) ## run the tests that take minutes, compiled as users have them
	$(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m slow --optimised

docs: $(STAMP) ## build the documentation into site; runs what the tutorial types
	rm -rf site
	$(PYTHON) -m sphinx --fail-on-warning --fresh-env --quiet --doctree-dir site/.doctrees docs site

robust: $(STAMP) ## extreme soils, mutants of cases and tables, runs killed at any moment
	$(PYTHON) scripts/robust.py
	$(PYTHON) -m pytest -m slow tests/test_mutants.py
	$(PYTHON) scripts/robust_kill.py

lint: $(STAMP) ## check style and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: $(STAMP) ## check types
	$(PYTHON) -m mypy

imports: $(STAMP) ## check who imports whom
	.venv/bin/lint-imports

check: lint types imports test ## all of the checks

lock: ## choose the newest versions pyproject.toml allows, for every platform
	@scripts/bootstrap.sh lock

wheel: $(STAMP) ## build the wheel into dist
	$(PYTHON) -m build --wheel --no-isolation

release-check: $(STAMP) ## install the wheel with each Python that is here, oldest and newest packages, and run it
	$(PYTHON) scripts/release_check.py

newcomer: $(STAMP) ## do what the page for newcomers says, with the wheel and nothing of the clone
	$(PYTHON) scripts/newcomer.py

clean: ## remove .venv and all that can be made again
	rm -rf .venv .venv-compliance .uv .pytest_cache .ruff_cache .mypy_cache .import_linter_cache build dist demo site docs/tutorial/_run
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
