# Two commands do everything on a fresh machine: `make quickstart` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# A process for each core: tests compute on one thread each.
AT_ONCE := --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: quickstart test test-slow coverage lint format docs bench pictures wheel clean

quickstart: .venv/installed
	$(BIN)/allyouneed quickstart

test: .venv/installed-dev .venv/browser
	$(BIN)/pytest $(AT_ONCE)

test-slow: .venv/installed-dev
	$(BIN)/pytest -m slow

# Fails below the share of lines that pyproject.toml asks for.
coverage: .venv/installed-dev .venv/browser
	$(BIN)/pytest $(AT_ONCE) --cov

lint: .venv/installed-dev
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/ruff format --check src tests benchmarks examples docs
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix src tests benchmarks examples docs
	$(BIN)/ruff format src tests benchmarks examples docs

# site/index.html opens from disk. The notice is about what follows Material for MkDocs; the versions are pinned.
docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo site/index.html

# DATA: a folder with Multi30k's files (see benchmarks/README.md).
bench: .venv/installed-dev
	$(BIN)/python benchmarks/training.py throughput $(DATA)

# The README's pictures, drawn anew. RUN: a translator from English.
pictures: .venv/installed-dev .venv/browser
	$(BIN)/python docs/pictures/draw.py $(RUN)

# What `pip install` is given elsewhere: dist/allyouneed-*.whl. Needs no network; what an earlier build left is not packed.
wheel: .venv/installed
	rm -rf build dist/*.whl
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# A browser for the tests of the explorer, which skip without one: Debian's, where root may install it.
.venv/browser: .venv/installed-dev
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get install --yes --quiet chromium >/dev/null; } || echo "no Chromium: its tests will skip"
	@touch $@

clean:
	rm -rf .venv build dist runs site .coverage
