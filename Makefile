# Two commands matter: `make demo` and `make test`. Both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint format docs bench clean $(BENCHES:%=bench-%)
demo: $(READY)  ## the whole recipe on MiniMed, the synthetic medical world
	$(BIN)/pmc-llama run recipes/minimed.yaml

test: $(READY)  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto

lint: $(READY)  ## style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Each benchmark measures ours and a peer in one run; a peer has an environment of its own.
PEER_datatrove := 'datatrove[io,processing]' orjson isal msgspec lxml pydantic pyyaml
PEER_lm_eval := lm_eval==0.4.13 transformers datasets accelerate sentencepiece protobuf

.venvs/%/.ready:
	$(PYTHON) -m venv .venvs/$*
	.venvs/$*/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 $(PEER_$*)
	@touch $@

BENCHES := corpus corpus_near tokens order_scale order_coverage qa train
bench-corpus bench-tokens: .venvs/datatrove/.ready
bench-qa: .venvs/lm_eval/.ready
$(BENCHES:%=bench-%): bench-%: $(READY)  ## one benchmark: prints a table, writes benchmarks/results
	$(BIN)/python benchmarks/$*.py

bench: $(BENCHES:%=bench-%)

docs: $(READY)  ## the generated part of the documentation
	$(BIN)/python -m pmc_llama.recipe.reference > docs/reference.md

# torch is named beside the project and pinned by the constraints, so that nothing pulls another build of it.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "pmc-llama needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) runs build .mypy_cache .pytest_cache .ruff_cache
