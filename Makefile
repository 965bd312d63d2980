PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# jaxlib's LAPACK keeps a helper thread spinning after each call, which halves
# whatever runs next on a machine with few cores.
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo test lint docs bench clean

demo: $(VENV)/.ready
	$(BIN)/python -m experiments demo

test: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

docs: $(VENV)/.docs-ready
	rm -rf docs/api/generated
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet docs docs/_build

bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks.maps
	$(BIN)/python -m benchmarks.cells
	$(BIN)/python -m benchmarks.imports

$(VENV)/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[experiments,data,dynamics,tuning,test]"
	touch $@

$(VENV)/.docs-ready: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) runs .jax_cache docs/_build docs/api/generated
