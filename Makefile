# What a newcomer and CI run. Needs Rust, git and make; what a target needs beyond them it installs or says how.

CARGO ?= cargo
# The program as `make unit` built it. `cargo run` would compile the libraries once more, without what only tests need.
BUILT = $(abspath $(or $(CARGO_TARGET_DIR),target))/debug/countersign
EXAMPLES = policy test policies --min-coverage 100

.PHONY: help demo test tools check unit policies twins clients fuzz helm proof soak bench docs

help:
	@echo "make demo          a server, an agent, and two people who countersign (AUTO=1: exit at the end)"
	@echo "make test          everything that CI runs"
	@echo "make check         formatting and lints"
	@echo "make policies      the example policies against their own tests"
	@echo "make twins         take each protection away in turn and see its test fail"
	@echo "make fuzz          each reader of strangers' bytes on bytes that nobody wrote, FUZZ_SECONDS (15) each; nightly longer"
	@echo "make helm          the Helm chart: lint, render, schemas, checkov, and the server's own word"
	@echo "make proof         the policy index beside Cedar's authorizer on a million random queries (nightly)"
	@echo "make soak          a server under a mix of everything for SOAK_SECONDS (600): memory flat, nothing wrong"
	@echo "make bench         the benchmarks (benches/README.md)"
	@echo "make docs          write docs/configuration.md, its schema and docs/api.md anew"

demo:
	$(CARGO) run --quiet -- demo $(if $(AUTO),--auto)

# Stops at the first failure: each is a line of its own. The demo is a test as well.
test: tools check unit twins
	COUNTERSIGN_BIN=$(BUILT) $(MAKE) clients
	COUNTERSIGN_BIN=$(BUILT) $(MAKE) helm
	$(MAKE) fuzz
	$(BUILT) $(EXAMPLES)
	$(BUILT) demo --auto

# What the tests need beyond Rust: installed, or named.
tools:
	tests/tools

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# The library's tests and the one binary of integration tests (tests/main.rs).
unit:
	$(CARGO) test --locked

# The example policies against their own tests, which see every policy and every condition; as their authors would write them.
policies:
	$(CARGO) run --locked --quiet -- $(EXAMPLES)

# Every safety test has a twin that fails with its protection off (tests/twins).
twins:
	$(CARGO) run --locked --quiet --example twins

# Clients and issuers that others wrote (tests/clients: oidc-provider, buf); each directory brings its own `run`.
clients:
	@set -e; for client in tests/clients/*/run; do [ ! -e "$$client" ] || "$$client"; done

# Targets, seeds and how long: tests/fuzz.
fuzz:
	tests/fuzz/run

# The chart and the container's files (tests/helm). The first time it may build helm with Go, which takes minutes.
helm:
	tests/helm/run

# `make unit` compares 20,000, the same on every run; this other ones each time. Some minutes.
proof:
	COUNTERSIGN_PROOF_QUERIES=1000000 $(CARGO) test --locked --lib engine::index::proof -- --nocapture

# Ends with an error where the server did not stay as it was (benches/soak).
soak:
	$(CARGO) bench --locked --bench soak -- $(or $(SOAK_SECONDS),600)

# `scale`, `replicas` and `peers` have to be told what to measure.
bench:
	$(CARGO) bench --locked --bench decide --bench identity --bench loopback --bench masking --bench policies

docs:
	$(CARGO) run --quiet -- config print --reference > docs/configuration.md
	$(CARGO) run --quiet -- config schema > docs/countersign.schema.json
	$(CARGO) run --quiet --example api-docs > docs/api.md
