# Every target that is meant for people has a ## line; `make` prints them.

GO           ?= go
VERSION      ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME     ?= 20s
CRASH_TIME   ?= 5m
FUZZ_EXAMPLES ?= 50
FUZZ_SEED    ?= 1
TEST_TIMEOUT ?= 45m
# The release is one static file; the targets that need a C compiler say so.
CGO_ENABLED  ?= 0
LDFLAGS      := -s -w -X main.version=$(VERSION)

SQLC     := CGO_ENABLED=0 $(GO) tool -modfile=tools/sqlc.mod sqlc
GOLANGCI := CGO_ENABLED=0 $(GO) tool -modfile=tools/golangci-lint.mod golangci-lint

# The version comes in by the linker. Asking git for it during the build fails
# where the checkout belongs to another user, as in many containers.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

# Notes to self, tests that do not run, and merge marks. The brackets keep the
# pattern from finding itself.
FORBIDDEN := ^(<<<<<<<|>>>>>>>) |T[O]DO|F[I]XME|\bX[X]X\b|\b[bft]\.Skip(f|Now)?\(

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help run build test check words lint lint-openapi release-openapi gen race crash fuzz fuzz-api bench conformance clients clients-test e2e clean

help: ## Say what there is to make
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Serve ROMI_DB (default ./plantdb-data) on port 5000; makes a sample tree when it is empty
	@bin/plantdb serve --demo --download-postgres $(ARGS)

build: ## Build bin/plantdb
	CGO_ENABLED=$(CGO_ENABLED) $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/plantdb ./cmd/plantdb

test: ## Run every test, on a real PostgreSQL and with the real Python client
	@tools/ensure.sh postgres venv clients node chromium
	$(GO) test -timeout $(TEST_TIMEOUT) ./...

check: words ## Check format, vet, build, fresh generated files, no break for clients; quick, builds no tool
	@files=$$(gofmt -s -l .); [ -z "$$files" ] || { echo "not formatted, run gofmt -s -w:"; echo "$$files"; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	$(GO) build ./...
	$(GO) test ./db ./openapi/...
	$(GO) test ./internal/api -run '^(TestDocumentsAreFresh|TestReleasedClients)$$'
	$(GO) test ./conformance -run '^TestClientsAreFresh$$'

words:
	@if git grep --untracked -nIE '$(FORBIDDEN)' -- . ':!openapi/swaggerui/dist' ':!openapi/released' ':!openapi/clients/python/plantdb_api' ':!openapi/clients/typescript/src' ':!*.sum' ':!LICENSE'; then \
		echo "the lines above hold what no commit may hold"; exit 1; fi

lint: ## Run the linters, the layer rules among them, and compare db/ and the Go client with what they are made of
	$(GOLANGCI) run ./...
	$(SQLC) diff
	openapi/clients/generate.sh go && git diff --exit-code -- openapi/clients/go

OPENAPI_LINT := tools/openapi-lint

lint-openapi: $(OPENAPI_LINT)/node_modules/.package-lock.json ## Hold the documents against Redocly's and Spectral's recommended rules (needs npm)
	cd $(OPENAPI_LINT) && REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true \
		npx --no-install redocly lint --config redocly.yaml --format summary ../../openapi/*.yaml
	cd $(OPENAPI_LINT) && npx --no-install spectral lint --quiet --fail-severity hint -r spectral.yaml ../../openapi/*.yaml

$(OPENAPI_LINT)/node_modules/.package-lock.json: $(OPENAPI_LINT)/package-lock.json
	@tools/ensure.sh node
	cd $(OPENAPI_LINT) && npm ci --silent
	@touch $@

release-openapi: build ## Keep the documents as clients of VERSION know them; make check compares with them
	mkdir -p openapi/released/$(VERSION)
	bin/plantdb openapi --json --write openapi/released/$(VERSION)
	rm openapi/released/$(VERSION)/openapi-3.0.json

gen: ## Write what is generated: db/ from queries/ and migrations/, openapi/, and the Go client of it
	$(SQLC) generate
	$(GO) test ./db -run '^TestSum$$' -count=1 -args -write
	@$(MAKE) build
	bin/plantdb openapi --write openapi/
	openapi/clients/generate.sh go

# Left out: what only starts the built program, so that the detector would
# watch nothing there.
race: ## Run the tests under the race detector (needs a C compiler)
	@tools/ensure.sh postgres venv cc
	CGO_ENABLED=1 $(GO) test -race -timeout $(TEST_TIMEOUT) $$($(GO) list ./... | grep -vE '/(conformance|conformance/fuzzapi|e2e|e2e/tus|e2e/browser|bench|cmd/plantdb)$$')

crash: ## Kill server, PostgreSQL, or both under load for CRASH_TIME (default 5m) and print what it came to
	@tools/ensure.sh postgres venv
	CRASH_TIME=$(CRASH_TIME) $(GO) test ./cmd/plantdb -run '^TestCrash$$' -v -count=1 -timeout 0

fuzz: ## Run every fuzz test for FUZZTIME (default 20s) each
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*:func | |' | sort | \
	while read -r dir name; do \
		echo "== $$dir $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$dir" </dev/null || exit 1; \
	done

fuzz-api: ## Hold the running server against its document with made-up requests, FUZZ_EXAMPLES (default 50) a phase
	@tools/ensure.sh postgres venv
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) FUZZ_SEED=$(FUZZ_SEED) $(GO) test ./conformance/fuzzapi/ -run . -count=1 -v -timeout 0

bench: ## Print the figures that README quotes, with the machine's limits beside them
	@tools/ensure.sh postgres nginx chromium
	$(GO) run ./bench

conformance: ## Run the published Python client against the built server, call by call
	@tools/ensure.sh postgres venv
	$(GO) test ./conformance/ -run . -count=1 -v

clients: ## Make the clients of the document anew (make gen makes the Go one alone)
	@tools/ensure.sh clients
	openapi/clients/generate.sh go python typescript java

clients-test: ## Install the generated clients and do with them what programs do
	@tools/ensure.sh postgres venv clients
	$(GO) test ./conformance/ -run '^TestClients' -count=1 -v

e2e: ## Try the promises of SECURITY.md on the built program, verbosely
	@tools/ensure.sh postgres venv node
	$(GO) test ./e2e/... ./cmd/... -run . -count=1 -v

clean: ## Remove what was built; trees and databases stay
	rm -rf bin
