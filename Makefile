# make demo: train four methods on scikit-learn's digits, compare them, write the report.
# make test: lint, layers, types, tests.       make docs: the documentation, into site/.
# make sanitize: the C++ under AddressSanitizer and UndefinedBehaviorSanitizer, by few tests, or by TESTS=...
# TORCH=... passes options to the call that installs torch, e.g. TORCH="--extra-index-url https://download.pytorch.org/whl/cpu".

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
READY := .venv/.installed
# threads that wait sleep: spinning ones take the processor from the others on a busy machine
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test lint docs sanitize clean
.DEFAULT_GOAL := demo

demo: $(READY)
	$(BIN)/spikeloom demo --out runs/demo
	@echo "report: runs/demo/report.html   table: runs/demo/compare.json"

test: lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

sanitize: $(READY)
	.ci/sanitize $(TESTS)

clean:
	rm -rf .venv site runs/demo

$(READY): constraints.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt $(TORCH) $$(grep '^torch==' constraints.txt)
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@
