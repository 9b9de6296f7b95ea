# Everything a developer does is a target here; `make` lists them. Tools and clusters are built from pinned Go modules into
# ${STELLARFLOW_CACHE:-~/.cache/stellarflow}, so a second run is fast.

SHELL := bash
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

# More arguments for go test, such as TESTARGS='-run TestPlacement -v'.
TESTARGS ?=
# How long each fuzz target runs.
FUZZTIME ?= 30s

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Start three local clusters with Stellarflow and run a Workflow on one (root)
	@go run ./hack/demo

.PHONY: demo-down
demo-down: ## Remove every trace of the demo (root)
	@go run ./hack/demo down

.PHONY: generate
generate: ## Write generated code and CRDs
	@go run ./hack/generate

.PHONY: format
format: ## Format the code
	@go run ./hack/verify -fix

.PHONY: verify
verify: ## Check generated files, format, lint, vet and the dependency rules
	@start=$$SECONDS; go run ./hack/verify; code=$$?; took=$$((SECONDS - start)); \
	if [ $$code = 0 ]; then printf 'ok  \tsuite verify\t%ss\n' $$took; else printf 'FAIL\tsuite verify\t%ss\n' $$took; fi; exit $$code

.PHONY: unit
unit: ## Run the tests that need nothing
	@go run ./hack/suite unit $(TESTARGS) $$(go list ./... | grep -v '^stellarflow.io/stellarflow/test\(/\|$$\)')

.PHONY: integration
integration: ## Run the tests against real API servers
	@assets=$$(go run ./hack/fleet assets) && KUBEBUILDER_ASSETS="$$assets" STELLARFLOW_MINIO="$$assets/minio" go run ./hack/suite integration -count=1 -timeout=20m $(TESTARGS) ./test/integration/...

# Seed and number of Workflows of make chaos. make chaos-few runs a few hundred with seed 42 and one of the day, and the mutants.
SEED ?=
N ?= 10000

.PHONY: chaos
chaos: ## Break API servers, networks and managers under N Workflows and check the laws (SEED, N)
	@assets=$$(go run ./hack/fleet assets) && KUBEBUILDER_ASSETS="$$assets" SEED="$(SEED)" N="$(N)" go run ./test/chaos/run

.PHONY: chaos-few
chaos-few: ## Run a small chaos, and its checker against a manager that breaks each law
	@assets=$$(go run ./hack/fleet assets) && seed="$(SEED)" && seed="$${seed:-$$(date +%Y%m%d)}" && \
	echo "chaos: seeds 42 and $$seed: SEED=$$seed make chaos-few runs this again" && \
	KUBEBUILDER_ASSETS="$$assets" SEED="$$seed" go run ./hack/suite chaos -count=1 -timeout=15m $(TESTARGS) ./test/chaos/...

.PHONY: e2e
e2e: needs-root ## Run the tests against real clusters (root)
	@go run ./hack/suite -stream e2e -count=1 -timeout=70m $(TESTARGS) ./test/e2e/...

.PHONY: pictures
pictures: needs-root ## Take the pictures of docs/images anew, in Argo's UI (root)
	@E2E_PICTURES="$(CURDIR)/docs/images" go run ./hack/suite -stream e2e -count=1 -timeout=30m -run 'TestFleet/shared/ui' $(TESTARGS) ./test/e2e/...

.PHONY: test
test: ## Run verify, unit, integration, chaos-few and e2e (root for the last)
	@failed=; \
	for suite in verify unit integration chaos-few e2e; do \
		echo "== $$suite"; \
		$(MAKE) $$suite || failed="$$failed $$suite"; \
	done; \
	if [ -n "$$failed" ]; then printf 'FAIL\tmake test: failed:%s\n' "$$failed"; exit 1; fi; \
	printf 'ok  \tmake test\t%ss\n' $$SECONDS

.PHONY: fuzz
fuzz: ## Run each fuzz target, FUZZTIME each
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "== $$package $$target"; \
			go test $$package -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $(TESTARGS) || exit 1; \
		done; \
	done

.PHONY: needs-root
needs-root:
	@if [ "$$(id -u)" != 0 ]; then \
		echo 'FAIL: e2e starts real clusters and needs root. Use:' >&2; \
		echo "  sudo -E env \"PATH=\$$PATH\" make $(filter-out needs-root,$(MAKECMDGOALS))" >&2; \
		exit 1; \
	fi
