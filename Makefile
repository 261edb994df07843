# `make climb` and `make test` work from a fresh clone: they make .venv and install what each needs.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable

ENGINE := src/rungwise/engine/native
CPP := $(wildcard $(ENGINE)/*.cpp $(ENGINE)/*.h tests/engine/*.cpp)

.PHONY: page climb test test-long check bench docs pictures wasm wheels clean

.venv/climb: pyproject.toml constraints.txt  # what the commands need
	@$(PYTHON) -c 'import sys; sys.exit("rungwise needs Python 3.11 or later; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv, once. To download: 340 MB with a PyTorch for CPUs alone, gigabytes where pip takes"
	@echo "the one with CUDA (Linux's default). On disk: 1.4 GB, or several. A minute or two on a fast line."
	$(INSTALL) .
	@touch $@

.venv/installed: .venv/climb  # and what tests, documentation and the optional parts need
	@echo "Installing what tests and optional parts need: 1.4 GB more on disk, a minute or two."
	$(INSTALL) '.[dev]'
	@touch $@

page: .venv/climb  ## rungwise.html: a page that trains the ladder in the browser, without any model yet
	$(BIN)/rungwise play --empty --out rungwise.html

climb: .venv/climb  ## climb the article's ladder; ARGS="--seeds 5 --rungs all" for more
	$(BIN)/rungwise climb $(ARGS)

test: .venv/installed  ## the fast tests
	$(BIN)/python -m pytest -n auto $(ARGS)

test-long: .venv/installed  ## every test, the slow ones too
	$(BIN)/python -m pytest -n auto -m '' $(ARGS)

node_modules: package.json  # what checks the page's JavaScript; nothing else needs it
	npm install --no-package-lock --no-audit --no-fund
	@touch $@

check: .venv/installed $(if $(shell command -v npm),node_modules)  ## style and types, of C++ too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(if $(wildcard $(BIN)/clang-format),$(BIN)/clang-format --dry-run -Werror $(CPP),@echo "The style of C++ was not checked: clang-format is missing.")
	$(if $(wildcard $(BIN)/clang-tidy),$(BIN)/clang-tidy --quiet $(ENGINE)/engine.cpp -- -std=c++17,@echo "C++ was not checked: clang-tidy is missing.")
	$(if $(shell command -v npm),npm run --silent check,@echo "The page's JavaScript was not checked: npm is missing.")

runs/site/results.jsonl: .venv/installed
	$(BIN)/rungwise climb --seeds 1 --out runs/site

docs: runs/site/results.jsonl  ## generated documentation and the site, in site/, with a page of trained rungs
	$(BIN)/python -m scripts.write_docs
	$(BIN)/rungwise play --empty --out docs/train.html
	$(BIN)/rungwise play runs/site --out docs/inside.html --chapters rungs/
	PYTHONPATH=. $(BIN)/zensical build

pictures: .venv/installed  ## the pictures of the documentation, of the latest climb
	$(BIN)/python -m scripts.pictures

bench: .venv/installed  ## how fast; compared with others: make bench MAKEMORE=its/checkout MICROGPT_C=its/checkout ARGS=--full
	$(BIN)/rungwise bench $(if $(MAKEMORE),--makemore $(MAKEMORE)) $(if $(MICROGPT_C),--microgpt-c $(MICROGPT_C)) $(ARGS)

wasm: .venv/installed  ## engine.wasm, the native engine for browsers, from its sources
	$(BIN)/python -m scripts.build_wasm

wheels: .venv/installed  ## a wheel with the native engine for each system, and the sdist, in dist/
	$(BIN)/python -m scripts.build_wheels

clean:
	rm -rf .venv runs dist build site .pytest_cache .ruff_cache
