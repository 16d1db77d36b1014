# make build   ./dockerauth
# make demo    the service, a registry and a client on this machine; make demo-clean removes what
#              it leaves
# make faults  real faults under load, and a table of their effects
# make package a Debian package, an rpm and an archive for a folder of a web site, in dist
# make release VERSION=1.2.3
#              the same for amd64 and arm64, with lists of modules (SBOM) and checksums
# make bench   speed and memory beside the least programs that do the same, and which goals are met
#              (ten minutes; ROWS=cgi for a part; installs the Debian packages it needs)
# make bench-short
#              a minute of it, which fails when dockerauth is far behind them
# make bench-compare OLD=FILE NEW=FILE
#              what moved between two outputs of go test -bench . -count 10
# make test    everything: check, fuzz, e2e (installs the Debian packages it needs)
# make soak    a million requests, to see whether memory, files or processes grow (an hour;
#              SOAK=100000 for fewer)
GO       ?= go
FUZZTIME ?= 2s
SOAK     ?= 1000000
ROWS     ?= .
RELEASE  ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LINT      = $(GO) tool -modfile=$(CURDIR)/e2e/lint/go.mod

.PHONY: build package release demo demo-clean \
	setup test inside beside check fuzz tools e2e e2e-vm e2e-frontends soak faults \
	bench bench-short bench-compare vuln clean

build:
	@e2e/scripts/setup --check build
	$(GO) build -ldflags '-s -w -X dockerauth/cli.release=$(RELEASE)' -o dockerauth .

package:
	@e2e/scripts/setup --check build
	@packaging/scripts/build dist

release:
	@e2e/scripts/setup --check release
	@packaging/scripts/build --release dist

demo:
	@e2e/scripts/demo

demo-clean:
	@e2e/scripts/demo --clean

setup:
	@e2e/scripts/setup test

test: setup
	$(MAKE) build tools
	$(MAKE) -j2 --output-sync=target inside beside

# The C code of SQLite takes ten times as long to compile with optimisation.
QUICK = CGO_CFLAGS=-O0

# The booted machines mostly wait. Ratios do not mind what runs beside them.
beside:
	$(MAKE) e2e-vm
	$(MAKE) bench-short

inside:
	$(MAKE) check
	$(MAKE) fuzz
	$(MAKE) e2e-frontends

check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { echo "gofmt would change: $$unformatted" >&2; exit 1; }
	$(GO) mod tidy -diff
	$(GO) vet ./...
	CGO_ENABLED=0 $(GO) build -o /dev/null .
	$(LINT) golangci-lint run ./...
	cd e2e && $(GO) mod tidy -diff && $(GO) vet ./... && $(LINT) golangci-lint run ./...
	cd bench && $(GO) mod tidy -diff && $(GO) vet ./... && $(LINT) golangci-lint run ./...
	$(QUICK) $(GO) test -race -shuffle=on ./...

fuzz:
	@$(QUICK) e2e/scripts/fuzz $(FUZZTIME)

tools:
	e2e/scripts/build-tools

e2e: build tools e2e-vm e2e-frontends

# Tests that boot a machine, start containers or build a release measure nothing, so others run beside
# them.
VM_TESTS = ^Test(TheContainerExampleWorksAsWritten|TheDebianPackageOnDebian.*|ARelease.*|TheArm64.*|TheRpm.*|AccountsOfADirectory)$$
# -count=1: go test does not notice a new binary and would print the cached result.
E2E      = cd e2e && DOCKERAUTH_BINARY=$(CURDIR)/dockerauth $(GO) test -count=1 -timeout 20m

e2e-vm:
	$(E2E) -run '$(VM_TESTS)' .

e2e-frontends:
	$(E2E) -parallel 8 -skip '$(VM_TESTS)' ./...

# e2e runs a tenth of it.
soak: build
	cd e2e && DOCKERAUTH_BINARY=$(CURDIR)/dockerauth SOAK=$(SOAK) $(GO) test -count=1 -timeout 12h -v -run '^TestASoak' .

# Every fault, behind every front end where it differs. "make e2e" runs the short form.
# DOCKERAUTH_REPORT=FILE keeps the table.
faults: setup build
	cd e2e && DOCKERAUTH_BINARY=$(CURDIR)/dockerauth DOCKERAUTH_FAULTS=long $(GO) test -count=1 -timeout 30m -run '^TestFaults$$'

# -run has a part for each level of tests: the group, and a curve of growth.
BENCH = cd bench && DOCKERAUTH_BINARY=$(CURDIR)/dockerauth $(GO) test -count=1 -timeout 20m -run '^(TestBench|Test(A|The).*)$$/$(ROWS)'

bench bench-short: bench-setup build

.PHONY: bench-setup
bench-setup:
	@e2e/scripts/setup bench

bench:
	$(BENCH)

bench-short:
	$(BENCH) -short

bench-compare:
	$(LINT) benchstat $(OLD) $(NEW)

# Needs the vulnerability database on the network, so it is not part of test.
vuln: build
	$(LINT) govulncheck -mode binary dockerauth

clean: demo-clean
	rm -rf dockerauth dist e2e/.cache
