# `make climb` and `make test` work from a fresh clone: they make .venv and install the rest.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: climb test test-long check bench docs clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("rungwise needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	@echo "Installing the pinned dependencies into .venv (once; a minute or more) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

climb: .venv/installed  ## climb the article's ladder; ARGS="--seeds 5 --rungs all" for more
	$(BIN)/rungwise climb $(ARGS)

test: .venv/installed  ## the fast tests
	$(BIN)/python -m pytest -n auto $(ARGS)

test-long: .venv/installed  ## every test, the slow ones too
	$(BIN)/python -m pytest -n auto -m '' $(ARGS)

check: .venv/installed  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: .venv/installed  ## generated documentation and the site, in site/, with the page of the latest climb
	$(BIN)/python -m scripts.write_docs
	$(BIN)/rungwise play --out docs/inside.html --chapters rungs/ || echo "No climb to look inside: make climb, then make docs again."
	$(BIN)/zensical build

bench: .venv/installed  ## how fast; compared with others: make bench MAKEMORE=its/checkout MICROGPT_C=its/checkout ARGS=--full
	$(BIN)/rungwise bench $(if $(MAKEMORE),--makemore $(MAKEMORE)) $(if $(MICROGPT_C),--microgpt-c $(MICROGPT_C)) $(ARGS)

clean:
	rm -rf .venv runs dist build site .pytest_cache .ruff_cache
