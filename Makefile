# The two commands: `make train` and `make test`. Both first make .venv from the lock, requirements.txt.
.PHONY: help train test check lint types docs lock clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.locked
# With GPU=1, CUDA's libraries lie beside the lock.
WITH_GPU := $(filter 1,$(GPU))
FOR_GPU := $(VENV)/.locked-gpu
# What builds the documents has an environment of its own; nothing that trains needs it.
DOCS := build/docs
# Tests that start no executor.
FAST := tests/test_configs.py tests/test_layering.py tests/test_compatibility.py tests/test_packaging.py tests/data/partition \
  tests/data/test_folders.py tests/privacy/test_cohorts.py tests/privacy/test_gdp.py tests/program/test_cells.py \
  tests/program/test_journal.py tests/secure/test_shamir.py tests/documents/test_site.py tests/documents/test_translations.py
UV_VERSION := 0.13.9

# The first of these commands that is a Python 3.11, or `make PYTHON=/path/to/python3.11 ...`.
PYTHON ?= $(firstword $(foreach name,python3.11 python3 python,\
  $(shell $(name) -c 'import sys; print("$(name)" if sys.version_info[:2] == (3, 11) else "")' 2>/dev/null)))

help:
	@echo 'make train   set up, then train the default model; options: make train FLAGS="--rounds=5 --seed=1"'
	@echo '             on NVIDIA GPUs: make train GPU=1'
	@echo 'make test    set up, then run every test; options: make test TESTS="-m ci"'
	@echo 'make check   style, types and the fast tests, in under two minutes'
	@echo 'make lint    check the style'
	@echo 'make types   check the types of the public API'
	@echo 'make docs    build the documents as a site, build/site/index.html'
	@echo 'make lock    compile requirements.in into requirements.txt; make lock UPGRADE=--upgrade for newer versions'
	@echo 'make clean   remove .venv and what tools cache (runs/ stays)'

train: $(INSTALLED) $(if $(WITH_GPU),$(FOR_GPU))
	$(RUN) -m pipelines.train $(if $(WITH_GPU),--runtime=device) $(FLAGS)

test: $(INSTALLED)
	$(RUN) -m pytest -n 2 --dist=loadfile $(TESTS)

check: lint types
	$(RUN) -m pytest -n 2 --dist=loadfile -m 'not slow and not ci' $(FAST)

lint: $(INSTALLED)
	$(RUN) -m ruff check .

types: $(INSTALLED)
	$(RUN) -m mypy

# --strict: a link that ends nowhere fails. Not with --quiet, which drops the warnings that --strict counts.
docs: $(DOCS)/.locked
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

$(DOCS)/.locked: requirements-docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet --no-deps -r requirements-docs.txt
	@touch $@

# An empty file that says: .venv exists, and it holds this requirements.txt.
$(INSTALLED): requirements.txt
	@test "$$(uname -sm)" = 'Linux x86_64' || { echo >&2 "This is $$(uname -sm), and TensorFlow Federated has a wheel" \
	  "for Linux on x86-64 only: use the Dockerfile (docs/how-to/install.md)."; exit 1; }
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo >&2 "No Python 3.11 here (looked at: $(or $(PYTHON),python3.11 python3 python)), and no other version will do:" \
	  "install it, or say where it is: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --no-deps -r requirements.txt
	@touch $@

# TensorFlow finds these packages by itself (docs/how-to/install.md, "GPUs").
$(FOR_GPU): requirements-gpu.txt $(INSTALLED)
	$(RUN) -m pip install --no-deps -r requirements-gpu.txt
	@touch $@

# uv resolves with overrides, which pip cannot; it lives beside .venv, so that the lock need not hold it.
lock:
	$(PYTHON) -m venv build/uv
	build/uv/bin/python -m pip install --quiet uv==$(UV_VERSION)
	UV_CUSTOM_COMPILE_COMMAND='make lock' build/uv/bin/uv pip compile --quiet $(UPGRADE) --no-emit-index-url \
	  --python '$(PYTHON)' --python-version 3.11 --python-platform x86_64-manylinux_2_31 \
	  requirements.in --override requirements.overrides.txt --output-file requirements.txt
	for name in docs trackers onnx notebooks gpu; do \
	  UV_CUSTOM_COMPILE_COMMAND='make lock' build/uv/bin/uv pip compile --quiet $(UPGRADE) --no-emit-index-url \
	    --python '$(PYTHON)' --python-version 3.11 --python-platform x86_64-manylinux_2_31 \
	    requirements-$$name.in --constraint requirements.txt --output-file requirements-$$name.txt || exit 1; done

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
