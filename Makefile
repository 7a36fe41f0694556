# `make demo` and `make test` do all set-up themselves; everything lives in .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
TORCH   = torch==2.13.0
PIP     = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: help demo test test-fast lint types format docs bench peers peers-installed evidence pictures clean

help:            ## show what there is
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

# A stamp per set of extras: installed once, and again only when what is asked for changes.
$(VENV)/torch.stamp: constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing torch (the CPU build, where pip has one at hand) ..."
	@$(PIP) $(TORCH)
	@touch $@

$(VENV)/%.stamp: pyproject.toml $(VENV)/torch.stamp
	@echo "Installing hfal[$*] into $(VENV) (once; takes a few minutes) ..."
	@$(PIP) -e '.[$*]'
	@touch $@

demo: $(VENV)/demo.stamp  ## the main job on real tweets, without network: table and report.html
	@$(BIN)/hfal run recipes/sentiment-offline.yaml

# Two of a kind on each core would only wait for each other: a process a core, one thread each.
PYTEST  = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadscope --durations 20

test: $(VENV)/test.stamp  ## the whole test suite
	@$(PYTEST)

test-fast: $(VENV)/test.stamp  ## the suite without what takes minutes
	@$(PYTEST) -m "not slow"

lint: $(VENV)/test.stamp  ## ruff, formatting included
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/test.stamp  ## mypy, strict on hfal/
	@$(BIN)/mypy

format: $(VENV)/test.stamp  ## put the code into the agreed form
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

docs: $(VENV)/docs.stamp  ## the site, into site/; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/torch.stamp  ## speed against peers, as ratios (an environment of its own: .venv-bench)
	@$(MAKE) --no-print-directory VENV=.venv-bench peers-installed
	@.venv-bench/bin/python -m benchmarks

peers: $(VENV)/torch.stamp  ## other packages' functions on the same inputs: docs/peers.md
	@$(MAKE) --no-print-directory VENV=.venv-bench peers-installed
	@.venv-bench/bin/python -m benchmarks.peers

# These two ask for builds of torchvision that do not go with a CPU torch, and use none of it.
peers-installed: $(VENV)/bench.stamp
	@$(PIP) --no-deps batchbald-redux==2.0.5 bmdal-reg==3.0.2

evidence: $(VENV)/demo.stamp  ## the learning curves of docs/evidence.md (two hours; it goes on where it stopped)
	@$(BIN)/python -m benchmarks.evidence
	@$(BIN)/python -m benchmarks.evidence_words

pictures: $(VENV)/demo.stamp  ## what each strategy picks on a toy: docs/images/strategies-*.png
	@$(PIP) faiss-cpu
	@$(BIN)/python -m benchmarks.pictures

clean:           ## remove environments and caches, never runs/
	rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
