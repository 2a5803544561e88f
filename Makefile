# The commands for people, in front of Meson. `make help` lists them.
# B=dir builds elsewhere, NINJAFLAGS goes to ninja, PROA_SKIP_DEPS=1 installs no packages.
B ?= build
prefix ?= /usr/local
DESTDIR ?=
FUZZ_SECONDS ?= 6
export FUZZ_SECONDS

RELEASE := $(B)/release
DEPS := tools/install-deps.sh
PYTHON ?= python3
# Make's own jobs are ninja's business.
.NOTPARALLEL:
.DEFAULT_GOAL := all

.PHONY: all
all: release ## build the binary (build/release/src/cli/proa, and a link to it named daprd)

.PHONY: release
release:
	@$(DEPS) build
	@test -f $(RELEASE)/build.ninja || meson setup $(RELEASE) -Dtests=false
	@ninja -C $(RELEASE) $(NINJAFLAGS)
	@ln -sfn src/cli/proa $(RELEASE)/daprd

.PHONY: demo
demo: release ## run the shop of examples/orders for a while (KEEP=1 stays up, DEMO_SECONDS=n)
	@$(DEPS) demo
	@KEEP=$(KEEP) DEMO_SECONDS=$(DEMO_SECONDS) $(PYTHON) demo/run.py --build $(RELEASE)

.PHONY: demo-polyglot
demo-polyglot: release ## the same with services in Python, JavaScript, Go and Java, by the official SDKs
	@$(DEPS) demo sdk
	@set -e; for service in examples/polyglot/*/; do \
	    $(PYTHON) tools/install_sdk.py $$service --into $(B)/polyglot --share $(B)/sdk; done
	@KEEP=$(KEEP) DEMO_SECONDS=$(DEMO_SECONDS) $(PYTHON) demo/run.py --build $(RELEASE) --polyglot $(B)/polyglot

.PHONY: demo-spike
demo-spike: release ## the shop in three zones: ten times the load, then a zone is lost and comes back
	@$(DEPS) demo
	@KEEP=$(KEEP) DEMO_SECONDS=$(DEMO_SECONDS) $(PYTHON) demo/spike.py --build $(RELEASE)

.PHONY: test
test: ## install what the tests need, run all of them (ONLY=unit,… some of them)
	@$(DEPS) build test sdk
	@$(PYTHON) tools/run_tests.py --build $(B) $(if $(ONLY),--only $(ONLY))

.PHONY: bench
bench: release ## measure: fiber switches, formats, engines, and the sidecar against nginx
	@$(DEPS) build bench
	@$(MAKE) --no-print-directory -C bench B=$(abspath $(B))

.PHONY: bench-sim
bench-sim: ## simulate the control laws in virtual time (SIM_SEEDS=n): figures, pictures for the docs
	@$(DEPS) build
	@$(MAKE) --no-print-directory -C bench sim B=$(abspath $(B))

.PHONY: install
install: release ## install to DESTDIR and prefix; WITH_DAPRD=1 also under the name daprd
	@meson configure $(RELEASE) --prefix=$(abspath $(prefix)) -Ddaprd=$(if $(filter 1,$(WITH_DAPRD)),true,false)
	@DESTDIR=$(DESTDIR) meson install -C $(RELEASE) --quiet
	@echo "Installed to $(DESTDIR)$(prefix)"

.PHONY: format
format: ## let clang-format write all C files
	@$(DEPS) test
	@$(PYTHON) tools/check_format.py --fix

.PHONY: lint
lint: ## the gates of make test alone: layers, banned calls, sizes, CO, format, clang-tidy
	@$(DEPS) build test
	@$(PYTHON) tools/run_tests.py --build $(B) --only gates,tidy

.PHONY: fuzz
fuzz: ## run each fuzzer for FUZZ_SECONDS (6)
	@$(DEPS) build test
	@$(PYTHON) tools/run_tests.py --build $(B) --only fuzz

.PHONY: clean
clean: ## remove what was built; the fuzzers' corpora stay
	@rm -rf $(foreach d,release test asan tsan ucontext aarch64 bench logs sdk polyglot,$(B)/$(d))

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22
