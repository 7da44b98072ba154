# Everything a person types, in one place: `make help` lists it.
# Needs python3 (3.11 to 3.14) with venv, and make; the rest lands in .venv from the lock files.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo run test browser screenshots afternoon faults soak check fmt accuracy install uninstall test-systemd lock clean
.PHONY: bench-setup bench-memos bench-long bench-day bench-quant bench-batch bench-ladder bench-memory bench-scale bench-pages bench-viewers bench-fairness bench-speakers bench-crowd bench-monitor bench-report

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
CODE := $(wildcard daemon storage monitor tests benchmarks)
# The plain `python3` first: it is the one most likely to have venv. A version manager's stub counts only if it runs.
SUPPORTED := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c "$(SUPPORTED)" >/dev/null 2>&1 && echo $$p && break; done)
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check --no-input # quiet twice: errors only
CORPUS ?= # a folder with a manifest.jsonl; empty: our own clips
ARGS ?= # more for a benchmark: --repeats 5, --minutes 10, --only ours,fw-sequential, --device cuda, --model FOLDER
BENCH := .venv-bench
BENCH_STAMP := $(BENCH)/.set-up

export PIP_ROOT_USER_ACTION := ignore

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv (again only when the locked packages change)
	@:

$(STAMP): pyproject.toml requirements.lock requirements-dev.lock
	@test -n "$(PYTHON)" && $(PYTHON) -c "$(SUPPORTED)" 2>/dev/null || { \
		echo "make: this needs Python 3.11 to 3.14 with its venv module; found: $$(python3 --version 2>&1 || true)." >&2; \
		echo "Install one (on Debian and Ubuntu: python3 and python3-venv), or name it: make PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version): about 1 GB on disk, a few minutes the first time ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --require-hashes --use-pep517 --requirement requirements.lock --requirement requirements-dev.lock
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@
	@echo "Ready: $(BIN)/transcribed"

demo: setup ## start the daemon, drop the sample recordings in ./inbox, show the transcripts
	@$(BIN)/python tests/demo.py

run: setup ## keep the daemon running on ./inbox
	@mkdir -p inbox .state
	@echo "Drop recordings in $(CURDIR)/inbox; transcripts appear beside them. Pages: http://127.0.0.1:8765. Ctrl-C stops."
	@TRANSCRIBED_INBOX=inbox TRANSCRIBED_STATE_DIR=.state TRANSCRIBED_WEB_LISTEN="$${TRANSCRIBED_WEB_LISTEN-127.0.0.1:8765}" exec $(BIN)/transcribed run

test: setup ## run all tests
	@$(BIN)/python -m pytest --quiet

browser: ## install Debian's Chromium for the tests of the pages (as root; without it they are skipped)
	@command -v chromium >/dev/null || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-noto-cjk >/dev/null; }

screenshots: setup ## pictures of every page, light and dark, phone and desk, in ./screenshots (ARGS="--out FOLDER")
	@$(BIN)/python -m tests.screenshots $(ARGS)

afternoon: setup ## an afternoon in an office with three folders, and a record of it in ./afternoon (half an hour)
	@$(BIN)/python -m tests.afternoon $(ARGS)

faults: setup ## run every test of a fault, all of each; a table says which faults passed (ARGS=--short: less of each)
	@$(BIN)/python -m tests.fault.table $(ARGS)

soak: setup ## half an hour of files and kill -9 at random (ARGS="--minutes 5 --seed 1")
	@$(BIN)/python -m tests.soak $(ARGS)

check: setup ## lint, formatting, types, import rules, spelling
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check --quiet $(CODE)
	@$(BIN)/mypy
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports
	@$(BIN)/codespell $(wildcard *.md docs systemd) $(CODE)

fmt: setup ## format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

# As root, and without .venv: a server needs none of the development tools.
INSTALL := DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' BINDIR='$(BINDIR)' GPU='$(GPU)' NETWORK='$(NETWORK)' \
	PYTHON='$(PYTHON)' sh systemd/install.sh
install: ## install or upgrade the service in /opt/transcribed (GPU=yes, NETWORK=yes; DESTDIR=folder for a package)
	@$(INSTALL) install

uninstall: ## remove it; recordings, history and configuration stay
	@$(INSTALL) uninstall

test-systemd: setup ## install and run the service in a small Debian of its own, under a real systemd (as root, ten minutes)
	@$(BIN)/python -m tests.systemd $(ARGS)

accuracy: setup ## errors against faster-whisper on a corpus (CORPUS=folder), and no text for noise
	@$(BIN)/python -m benchmarks.accuracy $(CORPUS) $(ARGS)

bench-setup: setup $(BENCH_STAMP) ## install the peers of the benchmarks into .venv-bench (6 GB)
	@:

$(BENCH_STAMP): requirements-bench.lock
	@echo "Setting up $(BENCH): about 6 GB on disk ..."
	@$(BENCH)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(BENCH)
	@$(BENCH)/bin/python -m pip --quiet --quiet --disable-pip-version-check --no-input install --require-hashes \
		--use-pep517 --requirement requirements-bench.lock
	@touch $@

bench-memos: setup ## short recordings, through us and through peers (CORPUS=folder)
	@$(BIN)/python -m benchmarks.versus memos $(CORPUS) $(ARGS)

bench-long: setup ## long recordings, through us and through peers (CORPUS=folder)
	@$(BIN)/python -m benchmarks.versus long $(CORPUS) $(ARGS)

bench-day: setup ## an office day at a real daemon: from drop to file (CORPUS=folder)
	@$(BIN)/python -m benchmarks.day $(CORPUS) $(ARGS)

bench-quant: setup ## precisions: speed, memory, what is kept of the text (CORPUS=folder)
	@$(BIN)/python -m benchmarks.quant $(CORPUS) $(ARGS)

bench-batch: setup ## batch sizes: speed and use of the device (CORPUS=folder)
	@$(BIN)/python -m benchmarks.batch $(CORPUS) $(ARGS)

bench-ladder: setup ## what each idea of the engine adds (CORPUS=folder)
	@$(BIN)/python -m benchmarks.ladder $(CORPUS) $(ARGS)

bench-memory: setup ## memory of every process, from a minute to ten hours
	@$(BIN)/python -m benchmarks.memory $(ARGS)

bench-scale: setup ## 100,000 recordings at once, a million jobs of history
	@$(BIN)/python -m benchmarks.scale $(ARGS)

bench-pages: setup ## every page of the web over a million jobs, while it transcribes (CORPUS=folder)
	@$(BIN)/python -m benchmarks.pages $(CORPUS) $(ARGS)

bench-viewers: setup ## what people who look at the pages cost the transcription, and a daemon at rest (CORPUS=folder)
	@$(BIN)/python -m benchmarks.viewers $(CORPUS) $(ARGS)

bench-fairness: setup ## who waits for how long on a day with an archive of 200 hours, simulated
	@$(BIN)/python -m benchmarks.fairness $(ARGS)

bench-speakers: setup ## who says what on two channels, and that nothing is heard twice (CORPUS=folder)
	@$(BIN)/python -m benchmarks.speakers $(CORPUS) $(ARGS)

bench-crowd: setup ## many short recordings at once
	@$(BIN)/python -m benchmarks.crowd $(ARGS)

bench-monitor: setup ## what watching ourselves costs
	@$(BIN)/python -m benchmarks.monitor $(ARGS)

bench-report: bench-setup ## write docs/benchmarks.md and its plots from benchmarks/results
	@$(BENCH)/bin/python -m benchmarks.report

# The lock files hold names, versions and hashes, and no address: each machine uses its own index.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header
NAMED = $(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))$(1), sep="\n")'
lock: setup ## write the five lock files from pyproject.toml
	@$(LOCK) --extra embedded --extra web pyproject.toml --output-file requirements.lock
	@$(call NAMED,["dependency-groups"]["dev"]) \
		| $(LOCK) --no-annotate --constraint requirements.lock - --output-file requirements-dev.lock
	@$(call NAMED,["build-system"]["requires"]) \
		| $(LOCK) --no-annotate --constraint requirements-dev.lock - --output-file requirements-build.lock
	@$(call NAMED,["project"]["optional-dependencies"]["cuda"]) \
		| $(LOCK) --no-annotate - --output-file requirements-cuda.lock
	@$(call NAMED,["dependency-groups"]["bench"]) \
		| $(LOCK) --no-annotate --constraint requirements.lock - --output-file requirements-bench.lock

clean: ## remove .venv, .venv-bench, caches and build results (never the inbox, nor the job history in .state)
	@rm -rf $(VENV) $(BENCH) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
