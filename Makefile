# What a person types. `make help` lists it; everything installs itself into .venv and .cache.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export SATMACHINE_CACHE_DIR ?= $(CURDIR)/.cache

# pip's output, told as progress; whatever is wrong is shown as it is.
PIP_PROGRESS = /^Collecting/ { printf "\r  %d packages fetched", ++n; fflush() } \
               /^Installing collected/ { printf "\n  installing them\n"; fflush() } \
               /^ERROR|^error|^  ERROR|HASHES/ { print } END { print "" }

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types unit coverage newest vulnerabilities test-browser test-compat test-interop test-host deb test-found day chaos simulate fuzz mutants bench docs \
        format lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(VENV)/.ready  ## make the virtual environment (python3 3.11 or newer)

# An environment that is only linked here, of another working tree, is renewed there: to clear it would take it from that tree.
$(VENV)/.ready: $(if $(shell test -L $(VENV) && echo linked),,requirements-dev.txt pyproject.toml)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"satmachine needs Python 3.11 or newer, but $(PYTHON) is {v[0]}.{v[1]}. Name another one: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv package (on Debian and Ubuntu: apt-get install python3-venv)."; exit 1; }
	@echo "Making $(VENV) and installing the pinned packages into it (about a minute) ..."
	@# Not $(PYTHON) itself: in an activated environment that is the one that is about to be cleared.
	@"$$($(PYTHON) -c 'import sys; print(sys._base_executable)')" -m venv --clear $(VENV)
	@{ $(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes --progress-bar off \
	     -r requirements-dev.txt 2>&1 || touch $(VENV)/.failed; } | awk '$(PIP_PROGRESS)'
	@test ! -e $(VENV)/.failed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install  ## the whole system on this machine: a sale arrives and is shared out; ARGS=--keep: a fleet to play with
	@$(BIN)/satmachine demo $(ARGS)

test: install  ## style, types and every test, against a real relay and a real LNbits (JOBS=4 at once: most of them wait)
	@$(MAKE) --no-print-directory lint types unit

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@told=$$($(BIN)/lint-imports --no-logo --no-cache 2>&1) || { echo "$$told"; exit 1; }

types: install
	@$(BIN)/mypy

# The tests that start whole systems, or play whole worlds. What they reach is not counted: counting makes them twice as slow.
WHOLE := $(addprefix tests/,integration found day bench simulator interop)
PYTEST = $(BIN)/pytest -n $(or $(JOBS),4) --dist worksteal

unit: install
ifdef COVERAGE
	@$(PYTEST) $(WHOLE)
	@$(PYTEST) --ignore=tests/browser $(addprefix --ignore=,$(WHOLE)) --cov --cov-report=
	@echo "covered by the tests that start no whole system, branches counted: $$($(BIN)/coverage report --format=total) %"
else
	@$(PYTEST) --ignore=tests/browser $(ARGS)
endif
	@$(BIN)/pytest -q tests/browser # in a process of its own: Playwright keeps an event loop running

coverage: install  ## what the tests reach, without those that start whole systems; then the lines that they do not
	@$(PYTEST) -q --ignore=tests/browser $(addprefix --ignore=,$(WHOLE)) --cov --cov-report=term-missing $(ARGS)

newest: install  ## the tests once more, against the newest packages that pyproject.toml allows
	@$(BIN)/python -m venv --clear .cache/newest
	@.cache/newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@.cache/newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --group dev -e .
	@.cache/newest/bin/python -m pip list --disable-pip-version-check --outdated
	@.cache/newest/bin/python -m pytest -n $(or $(JOBS),4) --dist worksteal $(ARGS)

vulnerabilities: install  ## is any pinned package known to be dangerous? asks the network
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	@$(BIN)/pip-audit --require-hashes --disable-pip -r requirements.txt

test-compat: install  ## the integration tests against every LNbits that is supported, on SQLite and PostgreSQL
	@$(BIN)/python -m testkit.compat $(ARGS)

test-interop: install  ## beside a relay server and a library that others have written: nostr-relay (PyPI), nostr-tools (npm)
	@$(BIN)/python -m testkit.interop $(ARGS)

test-host: install deb  ## a booted Debian: install, sales, reload, watchdog, kills, backup, restore, upgrade, purge (root; ten minutes)
	@$(BIN)/pytest -m '' -rs tests/host $(ARGS)

deb: install  ## the Debian package, into build/ (ARCH=arm64, DEB_PYTHON=3.13 for other hosts)
	@packaging/make-deb

test-found: install  ## everything that once went wrong with money, every variant, and the drill of a second host (half an hour)
	@$(BIN)/pytest -m '' tests/found tests/integration/test_failover.py $(ARGS)

day: install  ## a whole day of an operator, every situation, by the command line alone (half an hour)
	@$(BIN)/pytest -m '' tests/day $(ARGS)

test-browser: install  ## the pages in a real browser, in every look; gets Chromium by apt-get where there is none; SHOTS=folder keeps pictures
	@command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null || \
		{ command -v apt-get >/dev/null && apt-get install -y --no-install-recommends chromium; } || \
		{ echo "There is no Chromium here, and apt-get cannot install it (are you root?): the browser's tests were NOT run."; exit 1; }
	@SATMACHINE_SCREENSHOTS=$(abspath $(SHOTS)) $(BIN)/pytest -m '' tests/browser $(ARGS)

chaos: install  ## nothing lost, nothing paid twice: RUNS=9 SEED=1 KILLS=0 FAULT=.. FRESH=1
	@$(BIN)/python -m chaos.campaign $(foreach o,SEED RUNS KILLS FAULT,$(if $($(o)),--$(shell echo $(o) | tr A-Z a-z) $($(o)))) $(if $(FRESH),--fresh)

simulate: install  ## the money core in a made-up world, judged from the wallets: SEEDS=2000 STEPS=1000 FIRST=1, SEED=n [SHRINK=1], PLANTED=1
	@$(BIN)/python -m simulator.run $(if $(SEEDS),--seeds $(SEEDS)) $(if $(STEPS),--steps $(STEPS)) $(if $(FIRST),--first $(FIRST)) $(if $(SEED),--replay $(SEED)) $(if $(SHRINK),--shrink) $(if $(PLANTED),--planted) $(ARGS)

fuzz: install  ## let a fuzzer loose on everything that strangers send; RUNS=1000000 inputs, TARGETS="events ..."
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: -r fuzz/requirements.txt || \
		{ echo "The fuzzer, atheris, has no package for this Python or system (it has for Python 3.11 to 3.13 on Linux x86_64)."; exit 1; }
	@$(BIN)/python -m fuzz.campaign --runs $(or $(RUNS),100000) $(TARGETS)

mutants: install  ## which changes of a module do its tests not notice? MODULE=satmachine/money.py TESTS=tests/test_money.py, LIMIT=50 SEED=1
	@$(BIN)/python -m testkit.mutants $(MODULE) $(TESTS) $(if $(LIMIT),--limit $(LIMIT)) $(if $(SEED),--seed $(SEED))

bench: install  ## measure it, beside others: ONLY="ingest fleet .."; the last results are in bench/RESULTS.md
	@$(BIN)/python -m bench $(ONLY)

docs: install  ## renew docs/commands.md and docs/output.schema.json from the program itself
	@$(BIN)/python -m satmachine.cli.manual docs/commands.md
	@$(BIN)/python -m satmachine.cli.manual --schema docs/output.schema.json

format: install  ## put the code into its standard form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: install  ## renew the pinned versions after a change in pyproject.toml
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --group dev pyproject.toml -o requirements-dev.txt
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header -c requirements-dev.txt --extra web pyproject.toml -o requirements.txt

clean:  ## remove everything that make has installed here
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build .coverage .import_linter_cache
