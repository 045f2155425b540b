# Everything here is one line per step; `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# an operator's own values of the variables below, kept out of git
-include local.mk

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# -P: only installed packages, never a folder of the same name
FLEET := $(BIN)/python -P -m workers

# SITE=, LOG_DIR=, ... on the command line or in the environment set CLOUDMESH_SITE, CLOUDMESH_LOG_DIR, ...
SETTINGS := SITE LOG_DIR STATE_DIR BROKER_URL BROKER_PASSWORD_FILE STORE_URL STORE_PASSWORD_FILE WORKERS THREADS WEB_HOST WEB_PORT WEB_TOKEN_FILE WEB_ALLOWED_HOSTS WEB_READ_ONLY
define export-setting
ifneq ($$($(1)),)
export CLOUDMESH_$(1) := $$($(1))
endif
endef
$(foreach setting,$(SETTINGS),$(eval $(call export-setting,$(setting))))

# made when its packages are installed; SETUP=no takes the environment in VENV as it is
ifneq ($(SETUP),no)
READY := $(VENV)/.ready
READY_FOR_TESTS := $(VENV)/.ready-for-tests
READY_FOR_COBBLER := $(VENV)/.ready-for-cobbler
endif

SERVERS_OF_TESTS := openipmi ipmitool freeipmi-tools redis-server rabbitmq-server openssh-server postgresql slurm-wlm slurm-wlm-torque munge fence-agents rsync libmagic1 chromium

##@ Set-up
.PHONY: setup
setup: $(READY) ## make the virtual environment, with all packages
	@echo "the virtual environment $(VENV) is ready"

$(VENV)/.ready: requirements.lock setup.cfg
	@bin/setup $(VENV) $(PYTHON) requirements.lock
	@touch $@

$(VENV)/.ready-for-tests: requirements-dev.lock $(VENV)/.ready
	@bin/setup $(VENV) $(PYTHON) requirements.lock requirements-dev.lock
	@touch $@

$(VENV)/.ready-for-cobbler: requirements-cobbler.lock $(VENV)/.ready
	@bin/setup-cobbler $(VENV) requirements-cobbler.lock && touch $@

##@ The fleet
.PHONY: workers-up workers-down workers-restart workers-status workers-clean logs web-up web-down up down
workers-up: $(READY) ## start what is down: broker, workers, beat; wait until all are ready
	@$(FLEET) up

workers-down: $(READY) ## stop everything; running tasks may finish within the grace time
	@$(FLEET) down

workers-restart: $(READY) ## stop everything and start it afresh
	@$(FLEET) restart

workers-status: $(READY) ## show every worker: queue, pid, uptime, memory, done, failed, depth
	@$(FLEET) status

workers-clean: $(READY) ## stop everything, delete this fleet's logs and pid files, keep its jobs
	@$(FLEET) clean

logs: $(READY) ## follow the logs; W="rack l1" for some workers only
	@$(BIN)/cm-actors logs --follow $(W)

web-up: $(READY) ## start the web console on http://127.0.0.1:5000, and the fleet if it is down
	@$(FLEET) web-up

web-down: $(READY) ## stop the web console alone
	@$(FLEET) web-down

up: $(READY) ## everything there is: broker, workers, beat and the web console
	@$(FLEET) up --web

down: workers-down ## stop everything; the same as workers-down

##@ A look around
.PHONY: demo demo-down
demo: $(READY) ## start a fleet of its own on the simulated site and read four BMCs through the queue
	@$(DEMO) $(FLEET) up
	@$(DEMO) $(BIN)/cm-actors send rack.read_sensors "i[001-004]" --wait
	@$(DEMO) $(BIN)/cm-actors jobs

demo-down: $(READY) ## stop that fleet and delete it
	@$(DEMO) $(FLEET) clean
	@rm -rf logs/demo

DEMO := env $(SETTINGS:%=--unset=CLOUDMESH_%) CLOUDMESH_LOG_DIR=logs/demo

##@ Development
.PHONY: test lint lock
test: $(READY_FOR_TESTS) $(READY_FOR_COBBLER) ## install the servers that tests need, then lint and run all tests
	@bin/debian-packages $(SERVERS_OF_TESTS)
	@$(MAKE) lint
	@$(BIN)/python -m pytest --numprocesses=4 --dist=loadfile $(T)

lint: $(READY_FOR_TESTS) ## ruff, its formatting, mypy --strict
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy

lock: ## pin the newest packages that setup.cfg allows (needs uv)
	@UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet --upgrade --universal --python-version 3.11 setup.cfg --extra postgresql --output-file requirements.lock
	@UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet --upgrade --universal --python-version 3.11 setup.cfg --all-extras --constraint requirements.lock --output-file requirements-dev.lock

bench-%: $(READY_FOR_TESTS) $(READY_FOR_COBBLER) ## run one benchmark: benchmarks/bench_NAME.py
	@$(BIN)/python benchmarks/bench_$*.py

.PHONY: chaos
chaos: $(READY_FOR_TESTS) ## break everything while jobs run, count what is lost or doubled; CHAOS="--short" for a quick look
	@PYTHONPATH=$(CURDIR)/tests $(BIN)/python -m chaos $(CHAOS)

.PHONY: help
help: ## show this
	@awk 'BEGIN { FS = ":.*## " } /^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z%-]+:.*## / { sub("%", "NAME", $$1); printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo; echo "Variables: $(SETTINGS)" | fold -s -w 100
