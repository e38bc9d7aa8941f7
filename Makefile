# One door for every routine. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed.stamp
SEED ?= 7
NODES ?= 50
SCENARIO ?= cut-and-heal
# So many tests run at a time. Those with real daemons wait most of their time: one more keeps the processors busy.
WORKERS ?= 2
WORKERS_REAL ?= $(shell echo $$(($(WORKERS) + 1)))
# Files stay together, the longest begin (tests/order.py).
IN_ORDER := --dist loadfile --no-loadscope-reorder
# A commit is fuzzed with inputs of its own, the same wherever it is tried; the long form draws others each time.
FUZZ_S ?= $(if $(LONG),1800,60)
FUZZ_SEED ?= $(if $(LONG),,$(shell printf '%d' 0x$$(git rev-parse --short=8 HEAD 2>/dev/null || echo 7)))

# Bytecode is kept: without it every start of a daemon would compile three hundred modules.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-14s %s\n", $$1, $$2}'

# What must be on the machine before anything else; one line names all that is missing.
needs:
	@missing=""; command -v git >/dev/null || missing="$$missing git"; \
	command -v $(PYTHON) >/dev/null || missing="$$missing python3"; \
	if command -v $(PYTHON) >/dev/null; then \
	  $(PYTHON) -c 'import sys; sys.exit(not (3,11) <= sys.version_info[:2] < (3,13))' || missing="$$missing python3.11-or-3.12"; \
	  $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || missing="$$missing python3-venv"; fi; \
	if [ -n "$$missing" ]; then echo "missing on this machine:$$missing (Debian: apt install make git python3 python3-venv)"; exit 2; fi

$(STAMP): requirements/dev.txt pyproject.toml | needs
	@echo "setting up $(VENV) (once)"
	@test -x "$(BIN)/python" || $(PYTHON) -m venv "$(VENV)"
	@"$(BIN)/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@"$(BIN)/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch "$@"

# The page's libraries: npm packages by lock file, copied beside the page. node and npm are in .venv.
PAGE := cloud_gateway/page
VENDOR := $(PAGE)/vendor/installed.stamp
$(VENDOR): $(PAGE)/package-lock.json $(PAGE)/vendor.mjs $(STAMP)
	@echo "installing the page's libraries (once)"
	@PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --prefix "$(PAGE)" --no-audit --no-fund --ignore-scripts --loglevel=error
	@PATH="$(CURDIR)/$(BIN):$$PATH" node "$(PAGE)/vendor.mjs" && touch "$@"

setup: $(STAMP) $(VENDOR) ## make .venv with pinned requirements, and the page's libraries

browser: ## install chromium for the tests of the page (Debian, as root)
	@command -v chromium >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; }
	@chromium --version

postgres: ## install PostgreSQL for the tests of the second store (Debian, as root); they start servers of their own
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null; }
	@ls -d /usr/lib/postgresql/*/bin

test-browser: $(STAMP) $(VENDOR) ## the page in headless chromium (make browser installs it)
	@"$(BIN)/python" -m pytest -q -n $(WORKERS) $(IN_ORDER) tests/browser

demo: $(STAMP) $(VENDOR) ## the main job, told and verified in under 2 minutes (KEEP=1 leaves it running, BREAK=... plants a fault)
	@"$(BIN)/python" -m tests.demo $(if $(KEEP),--keep) $(if $(BREAK),--break $(BREAK)) $(if $(CHAPTERS),--chapters $(CHAPTERS))

check: $(STAMP) lint unit ## the gate: format, lint, types, import contracts, unit tests

lint: $(STAMP)
	@"$(BIN)/ruff" format --check -q . && "$(BIN)/ruff" check -q .
	@"$(BIN)/lint-imports" --no-logo 2>/dev/null || "$(BIN)/lint-imports"
	@"$(BIN)/basedpyright"

unit: $(STAMP)
	@"$(BIN)/python" -m pytest -q -n $(WORKERS) tests/unit tests/adapters tests/house
	@tests/house/other_python.sh

test: check test-gateway test-sim test-real test-browser test-corpora ## everything that must pass before a change lands (<= 10 min on 2 cores)

test-gateway: $(STAMP) $(VENDOR) ## the gateway's rooms, both stores included (make postgres installs the server of the second)
	@"$(BIN)/python" -m pytest -q -n $(WORKERS) tests/gateway

test-sim: $(STAMP) ## simulator scenarios: workload x faults x seeds
	@"$(BIN)/python" -m pytest -q -n $(WORKERS) tests/sim

test-real: $(STAMP) $(VENDOR) ## real daemons, sockets and processes
	@"$(BIN)/python" -m pytest -q -n $(WORKERS_REAL) $(IN_ORDER) tests/real

test-corpora: $(STAMP)
	@for target in tests/fuzz/fuzz_*.py; do "$(BIN)/python" $$target 0 || exit 1; done

fuzz: $(STAMP) ## every parser that faces a peer, 60 s each (LONG=1: 30 min each)
	@broken=""; for target in tests/fuzz/fuzz_*.py; do "$(BIN)/python" $$target $(FUZZ_S) $(FUZZ_SEED) || broken="$$broken $$target"; done; \
	if [ -n "$$broken" ]; then echo "fuzzing found something in:$$broken"; exit 1; fi

sim: $(STAMP) ## one scenario: SEED=7 NODES=50 SCENARIO=cut-and-heal
	@"$(BIN)/python" -m meshnode.sim --seed $(SEED) --nodes $(NODES) --scenario $(SCENARIO)

soak: $(STAMP) ## hours: new examples for every property, more seeds for every scenario
	@HYPOTHESIS_PROFILE=soak "$(BIN)/python" -m pytest -q tests/unit
	@for seed in $$(seq 100 160); do for scenario in cut-and-heal crash-and-return one-way-cuts slow-and-torn-disks clocks \
	  pauses flapping everything kill-and-move cut-both-work reboot-alone daemon-restart slow-disk lost-writes \
	  spoilt-checkpoints everything-stateful re-roots-in-cuts re-roots-and-crashes re-roots-and-everything re-roots-and-older \
	  relays-die ways-open; do echo "SEED=$$seed SCENARIO=$$scenario"; \
	  "$(BIN)/python" -m meshnode.sim --seed $$seed --nodes 7 --scenario $$scenario | tail -n 2 || exit 1; done; done
	@"$(BIN)/python" -m meshnode.sim.forgers --steps 1000000 && "$(BIN)/python" -m meshnode.sim.days --days 40

bench-house: $(STAMP) ## the figures of the first floor (QUICK=1: under 50 s of measuring)
	@"$(BIN)/python" -m bench.house $(if $(QUICK),--quick)

bench-recovery: $(STAMP) ## what survives kills, silence, cuts and cold starts, beside Ray (QUICK=1: under 50 s of measuring)
	@"$(BIN)/python" -m bench.recovery $(if $(QUICK),--quick)

bench-agents: $(STAMP) ## calls, starts, memory and density of agents, beside Ray, NATS and plain processes (QUICK=1)
	@"$(BIN)/python" -m bench.agents $(if $(QUICK),--quick)

bench-gateway: $(STAMP) $(VENDOR) ## the gateway: ingest, kills, pages, live feed, first view, memory (QUICK=1)
	@"$(BIN)/python" -m bench.gateway $(if $(QUICK),--quick)

bench-gossip: $(STAMP) ## gossip: news, deaths, idle cost, joins, beside serf and zenoh; simulator; lookup (QUICK=1; needs root)
	@"$(BIN)/python" -m bench.gossip $(if $(QUICK),--quick)

bench-talk: $(STAMP) ## calls, streams and objects between daemons and agents, beside C, zenoh, NATS and gRPC (QUICK=1; root once)
	@"$(BIN)/python" -m bench.talk $(if $(QUICK),--quick)

bench-state: $(STAMP) ## shared state: writes, cuts, disk, thousands of documents, beside etcd and pycrdt (QUICK=1; etcd needs root)
	@"$(BIN)/python" -m bench.state $(if $(QUICK),--quick)

figures: $(STAMP) ## one page of all figures in bench/results, the missed ones, too
	@"$(BIN)/python" -m bench.figures

screenshots: $(STAMP) $(VENDOR) ## the pictures of the handbook (make browser installs chromium)
	@"$(BIN)/python" -m tools.screenshots

reference: $(STAMP) ## make docs/reference out of the product
	@"$(BIN)/python" -m tools.reference

requirements: $(STAMP) ## raise the pinned versions
	@"$(BIN)/python" -m pip install -q uv
	@for f in runtime dev; do "$(BIN)/uv" pip compile -q --upgrade --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate requirements/$$f.in -o requirements/$$f.txt; done

wheel: $(STAMP) $(VENDOR) ## build the wheel into dist/
	@rm -rf build/lib
	@"$(BIN)/python" -m pip wheel -q --no-deps --no-build-isolation -w dist .

clean: ## remove what was built; the environment stays
	@rm -rf build dist *.egg-info .hypothesis .pytest_cache .ruff_cache .import_linter_cache bench/out

.PHONY: reference screenshots help needs setup demo check lint unit test test-gateway test-sim test-real test-corpora fuzz soak sim bench-house bench-recovery bench-agents bench-gateway bench-gossip bench-talk bench-state browser postgres test-browser requirements wheel clean
