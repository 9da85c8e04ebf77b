PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check bench bench-accuracy

demo: .venv/installed
	QWEN_ALLINONE_MODEL=$${QWEN_ALLINONE_MODEL:-bundled} $(BIN)/qwen-allinone demo

test: .venv/installed-dev
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/installed-dev
	$(BIN)/python -m benchmarks.decisions
	$(BIN)/python -m benchmarks.batches
	$(BIN)/python -m benchmarks.turns
	$(BIN)/python -m benchmarks.concurrency
	$(BIN)/python -m benchmarks.conversation
	$(BIN)/python -m benchmarks.first_decision
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.machine
	$(BIN)/python -m benchmarks.decode
	$(BIN)/python -m benchmarks.plot

bench-accuracy: .venv/installed-dev
	$(BIN)/python -m training.learned --exclude benchmarks/sets --out runs/learned.jsonl $(if $(DATA),--data $(DATA))
	$(BIN)/python -m benchmarks.accuracy --learned runs/learned.jsonl $(if $(DATA),--data $(DATA))

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e .
	touch $@

.venv/installed-dev: .venv/installed
	$(INSTALL) -e '.[dev]'
	touch $@
