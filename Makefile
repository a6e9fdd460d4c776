# On a fresh machine, start with `make quickstart` or `make test`.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt
CODE := setup.py src tests benchmarks examples docs
# One process per core; each test computes on one thread.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: quickstart test test-slow test-processors test-numba fuzz faults coverage lint format docs bench bench-quick pictures notebook wheel clean

quickstart: .venv/kernels
	$(BIN)/allyouneed quickstart

test: .venv/installed-dev .venv/kernels .venv/browser .venv/valgrind
	$(BIN)/pytest $(PARALLEL)

test-slow: .venv/installed-dev
	$(BIN)/pytest -m slow

# Numerical tests as on other processors: Numba targets without AVX-512 or VNNI, baseline code of PyTorch and MKL.
NUMERICAL := tests/kernels tests/model tests/translation tests/training/test_plain.py tests/training/test_loss.py
test-processors: .venv/installed-dev
	NUMBA_CPU_NAME=generic $(BIN)/pytest $(PARALLEL) $(NUMERICAL)
	NUMBA_CPU_NAME=haswell ATEN_CPU_CAPABILITY=avx2 $(BIN)/pytest $(PARALLEL) $(NUMERICAL)
	NUMBA_CPU_NAME=skylake-avx512 $(BIN)/pytest $(PARALLEL) $(NUMERICAL)
	ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE $(BIN)/pytest $(PARALLEL) $(NUMERICAL)

# Kernels with the oldest and the newest release of Numba that `kernels/capabilities.py` names, or with NUMBA=VERSION.
NUMBA ?= $(shell sed -n 's/^TESTED = ("\(.*\)", "\(.*\)").*/\1 \2/p' src/allyouneed/kernels/capabilities.py)
test-numba: .venv/installed-dev
	for version in $(NUMBA); do \
		$(BIN)/pip install --quiet --upgrade --target .venv/numba-$$version numba==$$version && \
		PYTHONPATH=.venv/numba-$$version $(BIN)/pytest $(PARALLEL) $(NUMERICAL) || exit 1; done

# Feeds damaged files to all readers and writers; failing ones are stored in runs/fuzz. FILES: a folder of documents.
MINUTES ?= 5
fuzz: .venv/installed-dev
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) $(if $(FILES),--folder $(FILES))

# Kills, failing disks, damaged files, signals and losses of power, thousands of them. CASES: a number of them.
faults: .venv/installed-dev
	$(BIN)/python -m benchmarks.faults --jobs $$(nproc) $(if $(CASES),--cases $(CASES))

# Fails if coverage is below fail_under in pyproject.toml.
coverage: .venv/installed-dev .venv/browser .venv/valgrind
	$(BIN)/pytest $(PARALLEL) --cov

lint: .venv/installed-dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

# site/index.html opens from disk. The variable silences a notice about the successor of Material for MkDocs.
docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo site/index.html

# DATA: a folder with the Multi30k files (see benchmarks/README.md).
bench: .venv/installed-dev
	$(BIN)/python benchmarks/training.py throughput $(DATA)

# The headline ratios in about five minutes, on one page. DATA as above, or none; PEERS: the folder of the set-up peers.
bench-quick: .venv/installed-dev
	$(BIN)/python benchmarks/quick.py $(DATA) $(if $(PEERS),--peers $(PEERS))

# Redraws the README's pictures. RUN: a translator from English.
pictures: .venv/installed-dev .venv/browser
	$(BIN)/python docs/pictures/draw.py $(RUN)

# Runs examples/attention.ipynb and stores its outputs. RUN: a translator from English.
notebook: .venv/installed-dev
	$(BIN)/python docs/notebook.py $(RUN)

# Builds dist/allyouneed-*.whl without network, after removing the output of earlier builds.
wheel: .venv/installed
	rm -rf build dist/*.whl
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(PIP) --editable '.[dev]'
	touch $@

.venv/kernels: .venv/installed
	$(BIN)/allyouneed warm
	touch $@

# Chromium for the explorer's tests, and Valgrind for the instruction counts; their tests are skipped without them.
.venv/browser: .venv/installed-dev
	@$(call install,chromium,Chromium)
	@touch $@

.venv/valgrind: .venv/installed-dev
	@$(call install,valgrind,Valgrind)
	@$(BIN)/python -c "from benchmarks import instructions as i; i.obstacle() or i.compile_kernels()"
	@touch $@

# $(call install,COMMAND,NAME): install the package of a command by apt, if run as root.
install = command -v $(1) >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	&& apt-get install --yes --quiet $(1) >/dev/null; } || echo "$(2) not found: its tests will be skipped"

clean:
	rm -rf .venv build dist runs site .coverage
