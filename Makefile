# Every target makes or refreshes .venv by itself. Only Python 3.11 or later and make are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.installed-bench
JOBS ?= 2
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

EXECUTE := $(BIN)/jupyter nbconvert --to notebook --execute --inplace \
	--ExecutePreprocessor.store_widget_state=False --ExecutePreprocessor.record_timing=False

.PHONY: help reproduce test lint notebooks lab bench docs clean

help:
	@echo "make reproduce  rerun the papers on the embedded data, print the scoreboard, write runs/report.html"
	@echo "make test       all checks and tests"
	@echo "make lab        JupyterLab on the start notebook"
	@echo "make bench      measure against the peers, write benchmarks/RESULTS.md"
	@echo "make docs       the documentation site, in docs/_build"
	@echo "make notebooks  execute the committed notebooks in place"
	@echo "make clean      remove the virtual environment and caches (never runs/)"

# torch first and pinned: a looser requirement may pull the CUDA build, several GB.
$(STAMP): pyproject.toml .ci/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "workbench needs Python 3.11 or later; set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q torch -c .ci/constraints.txt
	$(if $(LOCKED),$(BIN)/python -m pip install -q --require-hashes -r requirements.lock)
	$(BIN)/python -m pip install -q -e '.[test]' -c .ci/constraints.txt
	@touch $@

$(BENCH_STAMP): $(STAMP)
	-$(BIN)/python -m pip install -q -e '.[bench]' -c .ci/constraints.txt
	@touch $@

reproduce: $(STAMP)
	$(BIN)/workbench run --jobs $(JOBS)
	$(BIN)/workbench report

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope
	TQDM_DISABLE=1 $(BIN)/python -m pytest -p no:jaxtyping -o addopts="" -q --nbval-lax \
		--nbval-sanitize-with tests/notebooks/sanitize.cfg -n $(JOBS) --dist loadscope notebooks

notebooks: $(STAMP)
	TQDM_DISABLE=1 $(EXECUTE) $(filter-out notebooks/00_start_here.ipynb,$(wildcard notebooks/*.ipynb))
	$(EXECUTE) notebooks/00_start_here.ipynb

lab: $(STAMP)
	$(BIN)/workbench lab

bench: $(BENCH_STAMP)
	$(BIN)/python -m benchmarks

docs: $(STAMP)
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis docs/_build docs/notebooks docs/papers.md docs/api/rooms docs/api/rooms.md docs/_static/explorers docs/jupyter_execute
