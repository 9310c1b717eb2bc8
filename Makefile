# GPUaaS. One law: on a fresh machine with Python >= 3.11 and make, every target works as it stands here.
.DEFAULT_GOAL := help
.PHONY: help setup check types test drills ironic ironic-lane oidc oidc-lane papers papers-lane demo up bench release sbom vulnerabilities contracts compose compose-secrets manifests format clean
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
PACKAGES := $(wildcard libs/* services/*)
WORKERS ?= 2
STATE := $(or $(GPUAAS_STATE_DIR),.state)
ARGS ?=

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.from-lock: uv.lock pyproject.toml tools/bootstrap $(addsuffix /pyproject.toml,$(PACKAGES))
	@tools/bootstrap

setup: .venv/.from-lock ## .venv from uv.lock; does nothing when that has not changed (PYTHON= names an interpreter)
	@:

demo: setup ## start everything, run the main job, say what to look at (KEEP=1 leaves it running)
	@$(BIN)/gpuaas demo $(if $(KEEP),--keep) $(ARGS)

up: setup ## start everything and stay; Ctrl-C ends it in order
	@$(BIN)/gpuaas up $(ARGS)

test: setup ## every test on the embedded servers, a failed file once more by itself (ARGS="-k name"; WORKERS=0: one by one)
	@$(BIN)/python -m tools.tests -n $(WORKERS) --dist loadfile $(ARGS)

check: setup ## formatting, lint, types, walls, contracts: everything that needs no server
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@$(MAKE) types
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m tools.contracts check
	$(BIN)/python -m tools.contracts compat
	$(BIN)/python -m tools.openapi check
	$(BIN)/python -m tools.openapi compat
	$(BIN)/python -m gpuaas.cli.compose --check
	$(BIN)/python -m gpuaas.cli.manifests --check
	$(BIN)/gpuaas profile check
	$(BIN)/python -m pytest -q tests/walls

drills: setup ## every drill: kill, pause, fill, cut, flip and destroy, then compare everything; figures below .state/drills
	@GPUAAS_DRILLS=all GPUAAS_DRILL_REPORTS=$(STATE)/drills $(BIN)/python -m pytest -m drill tests/drills $(ARGS)

ironic-lane: setup # OpenStack Ironic and a Redfish emulator in a venv of their own; 5 s, 300 MB
	@mkdir -p "$(STATE)/ironic"
	@test -d "$(STATE)/ironic/venv" || .venv-tools/bin/uv venv -q --python $(BIN)/python "$(STATE)/ironic/venv"
	@.venv-tools/bin/uv pip sync -q --python "$(STATE)/ironic/venv/bin/python" services/nodes/tests/ironic-lane.txt

ironic: ironic-lane ## the provider contract against a real OpenStack Ironic, power through Redfish
	@$(BIN)/python -m pytest -m ironic services/nodes/tests/test_ironic.py $(ARGS)

oidc-lane: setup # the npm package oidc-provider, as locked, below the state directory; needs node and npm
	@mkdir -p "$(STATE)/oidc"
	@cp services/iam/tests/oidc-lane/* "$(STATE)/oidc/"
	@cd "$(STATE)/oidc" && npm ci --silent --fetch-retries=1 --fetch-timeout=20000 --no-audit --no-fund --ignore-scripts

oidc: oidc-lane ## sign-in against a certified OpenID provider
	@$(BIN)/python -m pytest -m oidc services/iam/tests/test_oidc_lane.py $(ARGS)

papers-lane: setup # bean-check and the rules of EN 16931 (120 MB); FOCUS's validator, where there is Python 3.12 (500 MB)
	@mkdir -p "$(STATE)/papers"
	@test -d "$(STATE)/papers/venv" || .venv-tools/bin/uv venv -q --python $(BIN)/python "$(STATE)/papers/venv"
	@.venv-tools/bin/uv pip sync -q --python "$(STATE)/papers/venv/bin/python" services/billing/tests/papers-lane/checkers.txt
	@test -d "$(STATE)/papers/focus" || PATH="$$PATH:$$(echo $$HOME/.pyenv/versions/3.12.*/bin)" \
	  .venv-tools/bin/uv venv -q --no-python-downloads --python 3.12 "$(STATE)/papers/focus"
	@.venv-tools/bin/uv pip sync -q --python "$(STATE)/papers/focus/bin/python" services/billing/tests/papers-lane/focus.txt

papers: papers-lane ## invoices, credit notes and journals before bean-check, the EN 16931 rules and FOCUS's validator
	@$(BIN)/python -m pytest -m papers services/billing/tests/test_papers_lane.py $(ARGS)

types: setup # each package alone, for their test folders share names
	@failed=0; for part in $(PACKAGES) tools tests conftest.py; do \
	  echo "mypy $$part"; MYPYPATH=$$part/tests $(BIN)/mypy --no-error-summary $$part || failed=1; done; exit $$failed

contracts: setup ## generate code, documents and permissions from schemas/
	$(BIN)/python -m tools.contracts generate

compose: setup ## generate docker-compose.yml from the service table
	$(BIN)/python -m gpuaas.cli.compose

manifests: setup ## generate deploy/base and deploy/profiles from the service table and the profiles
	$(BIN)/python -m gpuaas.cli.manifests

compose-secrets: setup ## make the passwords docker-compose.yml needs, once, below .state/compose
	@$(BIN)/python -m gpuaas.cli.compose --secrets

sbom: setup ## a CycloneDX bill of materials for each service, below dist/sbom
	@mkdir -p dist/sbom; for part in $(notdir $(wildcard services/*)); do \
	  .venv-tools/bin/uv export --frozen --quiet --no-dev --package gpuaas-$$part --format cyclonedx1.5 \
	    --output-file dist/sbom/$$part.cdx.json >/dev/null && echo dist/sbom/$$part.cdx.json; done

vulnerabilities: setup ## the lock against published advisories; needs a network
	@.venv-tools/bin/uv audit --frozen $(ARGS)

bench: setup ## figures and ratios against baselines measured in the same run
	$(BIN)/python -m tests.bench $(ARGS)

release: setup ## collect this repository's own evidence, let a gate decide, verify offline (ARGS="--only walls")
	@$(BIN)/python -m tools.release $(ARGS)

format: setup ## ruff: sort imports, format
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

clean: ## remove what was built and the state of `up` and `demo`
	@if [ -s "$(STATE)/postgres/data-is-in" ]; then rm -rf "$$(cat "$(STATE)/postgres/data-is-in")"; fi
	rm -rf "$(STATE)" .venv .venv-tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
