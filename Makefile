# Both targets do all set-up on a fresh machine: own .venv, install, run.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: eval test check lint docs bench

eval: .venv/installed
	$(BIN)/wbench eval --agent networld

test: .venv/installed-test
	$(BIN)/python -m pytest

check: lint
	$(BIN)/python -m pytest -m "not slow"

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/types && ln -sfn ../.. build/types/wbench
	cd build/types && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p wbench

docs: .venv/installed-test
	$(BIN)/mkdocs build --strict

bench: .venv/installed
	$(BIN)/python experiments/simulator.py

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -e .
	touch $@

.venv/installed-test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -e ".[test]"
	touch $@ .venv/installed
