# Everything a developer runs. `make` alone lists it. Needs GNU make and Python 3.11 or newer, nothing else.

VENV := .venv
BIN := $(VENV)/bin
# The stamp names the checkout: a virtual environment does not survive being moved.
STAMP := $(VENV)/installed-in
INSTALLED := $(shell cat $(STAMP) 2>/dev/null)

# The first interpreter that is new enough; `make setup PYTHON=/path/to/python3` chooses another.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)

# Where this is set, each process compiles all of the project again.
export PYTHONDONTWRITEBYTECODE :=

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# What needs no servers, and so all processors.
QUICK := tests/unit tests/property tests/simulation
# Of that, what waits for no clock and nobody's answer. Where others come first it is slower, and as right.
TIMELESS := $(filter-out tests/property/test_bridge_fuzz.py,$(wildcard tests/property/test_*.py)) tests/simulation
# Before a command: it has what all others leave of the processors, on Linux nothing else.
LEFTOVER := $(shell chrt --idle 0 true 2>/dev/null && echo chrt --idle 0 || echo nice -n 19)
# Makes two targets at once. Trap: where a recipe has $(MAKE) itself, `make -n` runs all of its line.
BOTH := $(MAKE) --no-print-directory --jobs 2 --keep-going
# The rest waits for servers most of its time: several processes can share it by files, each with a broker of its own.
SERVER_PROCESSES ?= 2
# Their senders wait five seconds for each answer, and never ask again, while parts are restarted: they have the machine
# for themselves, but for the time of the processors that they leave.
ALONE := tests/system/test_delivery_matrix.py tests/system/test_ingress_restarts.py \
	tests/system/test_ingress_failures.py tests/system/test_stack_lifecycle.py tests/integration/test_accidents_topics.py
SERVERS := -n $(SERVER_PROCESSES) --dist loadfile --no-loadscope-reorder $(addprefix --ignore=,$(ALONE)) \
	tests/containers tests/system tests/integration
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help setup run demo test test-alone test-timeless test-fast test-long simulate simulate-mutations lint tools dist sbom audit fmt chart column docs site lock bench bench-growth bench-ingress bench-join bench-restarts bench-spool bench-views FORCE

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: $(STAMP) ## create .venv with everything in it (the other targets do this by themselves)

ifneq ($(INSTALLED),$(CURDIR))
$(STAMP): FORCE
endif
$(STAMP): requirements-dev.txt pyproject.toml testkit/pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, but no python3 on PATH is. Choose one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "$(PYTHON) is not Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@rm -f $(STAMP)
	@test "$(INSTALLED)" = "$(CURDIR)" && $(BIN)/python -c '' || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing what requirements-dev.txt lists into $(VENV); the first time this takes a minute or two"
	@$(PIP) --require-hashes --requirement requirements-dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable . --editable ./testkit
	@echo "$(CURDIR)" > $(STAMP)

run: setup ## start the whole stack, post the five payloads, show what came of them, go on running
	@$(BIN)/bridge demo --stay

demo: setup ## the same, but end: exit code 0 if everything expected was there
	@$(BIN)/bridge demo

test: lint ## linters, types and all tests but the long ones, against a real broker and registry
	@# All parts run whatever the one before says: one run tells everything that fails.
	@quick=0; all=0; \
	$(BIN)/pytest -m "not long" -n auto tests/unit tests/property/test_bridge_fuzz.py || quick=$$?; \
	$(BIN)/python -m openbsp.local --prepare || all=$$?; \
	$(BOTH) test-alone test-timeless || all=$$?; \
	$(BIN)/pytest -m "not long" --durations=20 $(SERVERS) || all=$$?; \
	if [ $$quick -ne 0 ]; then echo "tests without servers failed, further up: make test-fast runs them alone" >&2; fi; \
	exit $$((quick ? quick : all))

test-alone:
	@$(BIN)/pytest -m "not long" $(ALONE)

test-timeless:
	@# Shown at its end: the other one writes to the same terminal.
	@output=$$(mktemp); trap 'rm -f "$$output"' EXIT; status=0; \
	$(LEFTOVER) $(BIN)/pytest -m "not long" -n auto --timeout 3600 $(TIMELESS) >"$$output" 2>&1 || status=$$?; \
	echo; cat "$$output"; exit $$status

tools: setup ## build what takes tests minutes to build the first time on a machine
	@cd tests && $(LEFTOVER) ../$(BIN)/python -m support.prepare

test-fast: lint ## linters, types, unit and property tests: no servers
	$(BIN)/pytest -m "not long and not integration" -n auto $(QUICK)

test-long: setup ## the tests that take minutes, and a soak of an hour (SOAK_S=300: of so many seconds)
	$(BIN)/pytest -m long

simulate: setup ## run simulated histories: SEEDS=0-9999 (or SEED=17, shown with what the workers log)
	cd tests && ../$(BIN)/python -m simulation.run $(or $(SEED),$(SEEDS),0-1999) $(if $(SEED),--verbose,--jobs 2)

simulate-mutations: setup ## break each rule of the join once: the simulation has to find it
	cd tests && ../$(BIN)/python -m simulation.run $(or $(SEEDS),0-1999) --mutation each

lint: setup ## linters, types, and the rule which package may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 --package openbsp_testkit
	$(BIN)/lint-imports

dist: setup ## build wheels and sdists of the services and the test kit, the image where Docker is, bills of materials, and the sums of all
	@$(BIN)/python deploy/dist.py

sbom: setup ## write the bill of materials (CycloneDX) of what requirements.txt pins, and with IMAGE=name that of an image
	@$(BIN)/python deploy/sbom.py $(if $(IMAGE),--image $(IMAGE))

audit: setup ## ask an advisory database for known vulnerabilities of what requirements.txt pins (AUDIT_OSV_URL: which one)
	@$(BIN)/python deploy/audit.py

fmt: setup ## format the code and repair what the linter can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

chart: setup ## copy alert rules, dashboard and the names of settings into the Helm chart
	$(BIN)/python deploy/chart.py

column: setup ## give a column a field of its own: make column TABLE=messages NAME=reply_to TYPE=text
	@$(BIN)/python docs/howto/column.py "$(TABLE)" "$(NAME)" "$(TYPE)"

docs: setup chart ## write the generated pages of docs/ again, and what the Helm chart copies
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/generate_topics.py

site: setup ## build the documentation as a site, in build/site; a link that leads nowhere fails
	$(BIN)/mkdocs build --quiet

lock: setup ## resolve the pinned requirements again, to the newest versions that pyproject.toml allows
	$(LOCK) --upgrade pyproject.toml --all-extras --group dev --output-file requirements-dev.txt
	$(LOCK) --upgrade pyproject.toml --extra otel --constraint requirements-dev.txt --output-file requirements.txt
	$(LOCK) --upgrade pyproject.toml --extra local --constraint requirements-dev.txt --output-file openbsp/local/requirements.txt

bench: setup ## measure everything on a quiet machine, in less than 40 minutes; writes docs/ and says which goals were met (SMOKE=1: a smoke test)
	$(BIN)/python benchmarks/all.py $(if $(SMOKE),--quick)

bench-growth: setup ## measure how cost grows with conversations, workers and partitions
	$(BIN)/python benchmarks/growth.py

bench-ingress: setup ## measure the ingress
	$(BIN)/python benchmarks/ingress.py

bench-join: setup ## measure the join
	$(BIN)/python benchmarks/join.py

bench-restarts: setup ## restart and kill workers under load
	$(BIN)/python benchmarks/restarts.py

bench-spool: setup ## measure the spool
	$(BIN)/python benchmarks/spool.py

bench-views: setup ## measure the views
	$(BIN)/python benchmarks/views.py
