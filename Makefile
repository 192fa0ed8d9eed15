# What one does with orderd; `make` alone lists it. Each target installs what it needs where that is missing (scripts/setup.sh).

TARGET := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help setup demo deb test system-test bench bench-replicas recovery bench-live bench-ledger proof fuzz lint doc

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## Install what a build needs
	@scripts/setup.sh

demo: setup ## See orderd at work: a private Redis, some thousand events, and what became of them
	cargo build --release --locked
	$(TARGET)/release/orderd demo

deb: setup ## Build a Debian package: target/debian/orderd_*.deb
	cargo build --release --locked
	@scripts/deb.sh $(TARGET)/release/orderd $(TARGET)/debian

test: ## Run every test, against every server that can be had
	@scripts/setup.sh --tests
	@scripts/test-servers.sh
	cargo test --locked --features crash-points

system-test: ## Run it where it is to live: under a booted systemd, in containers (as root; about ten minutes)
	@scripts/setup.sh --system
	@scripts/system-images.sh $(TARGET)/system
	@scripts/system-tools.sh
	cargo test --locked --features system-tests --test system

bench: setup ## Measure orderd against the limit of the server; docs/performance.md says what the table means (ARGS=--quick for a first look)
	cargo bench --locked --bench road -- $(ARGS)

bench-replicas: ## Measure what a second worker brings, and a fourth: with a slow handler, and with the ledger on Postgres
	@scripts/setup.sh --tests
	cargo bench --locked --bench replicas -- $(ARGS)

recovery: setup ## Measure how soon work goes on after a death, a stop or an outage, and what trimming costs (about two minutes; ARGS=--quick for one round)
	cargo bench --locked --bench recovery -- $(ARGS)

bench-live: setup ## Measure how soon those who listen hear, and what telling them costs (about two minutes; ARGS=--quick for one round)
	cargo bench --locked --bench live -- $(ARGS)

bench-ledger: setup ## Measure the ledgers: transactions of one event and of many, beside an insert by hand; growth (several minutes; ARGS=--quick for a first look)
	cargo bench --locked --bench ledger -- $(ARGS)

proof: ## Prove what is promised: every fault, every server, every planted bug (about 15 minutes)
	@scripts/setup.sh --tests
	@scripts/test-servers.sh
	ORDERD_PROOF=long cargo test --locked --features crash-points --test proof -- --nocapture --test-threads 1
	@cat target/proof/*.md

fuzz: ## Search for replies that orderd and the client library read differently (a minute, after a build of several; ARGS=-max_total_time=600 for longer)
	@scripts/setup.sh --fuzz
	scripts/fuzz.sh $(TARGET)/fuzz $(ARGS)

lint: setup ## Check format and lints
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --all-targets --all-features -- -D warnings

doc: setup ## Build the documentation of the code; a broken link is an error
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
