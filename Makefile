PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: quickstart test format peers

quickstart: $(READY)
	rm -rf runs/make-quickstart
	$(BIN)/python -m experiments.sweep --config=experiments/configs/quickstart.py \
	  --out=runs/make-quickstart

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	# A file's tests share fixtures and programs, so they stay in one process.
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What is installed follows setup.cfg and constraints.txt.
$(READY): setup.cfg constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	touch $(READY)

# What the benchmarks compare with, in an interpreter of its own.
peers: .venv-peers/.ready

.venv-peers/.ready: benchmarks/peers-requirements.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --upgrade pip
	.venv-peers/bin/python -m pip install --quiet -r benchmarks/peers-requirements.txt
	touch $@
