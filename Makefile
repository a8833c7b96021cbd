# make test: everything from a bare Python 3.11 to a passed test suite. make demo: a whole trial in minutes.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: setup test test-long docs real-model lint style types demo starter worked-report bench-tuning gpu clean

setup: $(STAMP)

# torch first and alone: with the pinned version in place nothing else can ask for another build of it.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[tune,grade,parquet,dev,peers]'
	touch $@

# One thread a process and a process a core: the tests' models are too small to share one. Two sets of
# browser tests, each in processes of its own: playwright's loop stands once in a process.
test: setup style real-model
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n auto --dist loadfile --ignore=tests/reporting/test_browser.py
	$(BIN)/pytest -q tests/reporting/test_browser.py

# Those that take minutes each; docs/results/long-tests.md says when they last passed.
test-long: setup real-model
	$(BIN)/pytest -q -m long

# Where it cannot be fetched its tests skip loudly; in CI a skip fails.
real-model: setup
	@$(BIN)/python tools/real_model.py >/dev/null || true

lint: style types

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# 40 to 50 s of two cores from nothing, a second or two once its cache stands: not part of `make test`.
types: setup
	$(BIN)/mypy

# The site, into site/: strictly, so that a broken link or anchor or a missing figure ends it.
docs: $(VENV)/.docs-installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict

$(VENV)/.docs-installed: $(STAMP)
	$(BIN)/pip install -q -c constraints.txt -e '.[docs]'
	touch $@

demo: setup
	$(BIN)/finetrial demo

# The embedded model from nothing: 24 minutes on one core.
starter: setup
	$(BIN)/python tools/build_starter.py

# docs/worked-report from examples/worked_report/inputs.yaml; the PDF where a LaTeX is installed.
worked-report: setup
	PYTHONPATH=tools $(BIN)/python -m worked_report examples/worked_report/inputs.yaml --out docs/worked-report

bench-tuning: setup
	$(BIN)/python -m benchmarks.tuning

# On a CUDA card, with whatever torch and transformers are installed: no setup, no network. PART is tests, losses,
# attention, tune-1b, tune-8b, small, sampling or footprint; none is all. WHEELS: a folder of packages that are missing here.
PART   ?=
gpu:
	PYTHONPATH=src $(PYTHON) -m benchmarks.gpu $(PART) $(if $(WHEELS),--wheels $(WHEELS)) $(if $(DATA),--data $(DATA)) $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis
