# The same targets by hand and in CI. `make help` lists them.
.PHONY: help build install uninstall deb deb-test deb-test-short boot-test boot-test-short image-test run test quick check lint doc deny man bench fuzz boot peers clean

SECONDS_PER_TARGET ?= 600
export NIGHTLATCH_PEERS ?= $(CURDIR)/target/peers

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# Runs a program of the build. Alone it is built quickest; CI has built everything, with the features of all packages.
tool = $(if $(CI),cargo build --quiet --workspace --all-targets && target/debug/$(2),cargo run --quiet --package nightlatch-$(1) --bin $(2) --)

build: man ## all that is installed: programs, manual pages, completions; `sudo make install` puts it in place
	cargo build --release --package nightlatch-server --package nightlatch-agent --package nightlatch-card --package nightlatch-cli
	$(MAKE) --no-print-directory boot
	@mkdir -p target/completions
	@$(call tool,packages,libraries) target/libraries.txt
	@for shell in bash zsh fish; do target/release/nightlatch completions $$shell > target/completions/nightlatch.$$shell; done

# Installation directories with their GNU names: prefix=/usr, sbindir=... dist/install.list has the place of each file.
prefix ?= $(or $(PREFIX),/usr/local)
PLACES := DESTDIR prefix bindir sbindir libdir mandir docdir sysconfdir localstatedir \
	bashcompletiondir zshcompletiondir fishcompletiondir \
	unitdir sysusersdir tmpfilesdir dbusdir polkitdir initdir logrotatedir initramfsdir dracutdir mkinitcpiodir
placed = $(foreach place,$(PLACES),$(if $($(place)),$(place)="$($(place))"))

install: ## install what was built, into prefix (/usr/local), below DESTDIR; PACKAGES="common server client" (and card)
	@$(placed) scripts/install install $(PACKAGES)

uninstall: ## remove it, except changed configuration, keys and state
	@$(placed) scripts/install uninstall $(PACKAGES)

deb: build ## build Debian packages, into target/deb
	@scripts/prepare deb
	@scripts/deb $(DEB_VERSION)

deb-test: deb ## install, upgrade, remove and purge the packages in Debian systems; needs root
	@scripts/prepare deb-test
	cargo test --package nightlatch-packages -- --include-ignored

deb-test-short: deb ## check the contents of the packages, and run lintian
	@scripts/prepare deb-test
	cargo test --workspace --test contents --test sources -- --include-ignored

SUITES ?= bookworm trixie
# Guests need taps and network namespaces: root.
boot_tests = scripts/prepare boot-test && cargo build --quiet --workspace --all-targets && \
	for suite in $(1); do $(if $(filter 0,$(shell id -u)),,sudo --preserve-env=NIGHTLATCH_PEERS) target/debug/boot-test --suite $$suite $(2) || exit; done

boot-test: deb ## boot real guests with encrypted disks, all scenarios; needs root; SUITES="bookworm trixie" ARGUMENTS="--only mdns"
	@$(call boot_tests,$(SUITES),$(ARGUMENTS))

boot-test-short: deb ## the same with the few most important scenarios
	@$(call boot_tests,bookworm,--short)

image-test: boot ## check what the boot client adds to the images of Debian 12 and 13, and how much; needs root
	@scripts/prepare test
	cargo build --workspace --all-targets
	NIGHTLATCH_BOOT=$(CURDIR)/target/boot/nightlatch-boot cargo test --workspace --test image_contents -- --nocapture initramfs_tools

run: ## build, then show the whole sequence in a temporary directory: enrolment, reboot, theft, refusal
	@echo "1/3  installing build dependencies: a C compiler, cryptsetup, iproute2 (a minute if packages are missing)"
	@scripts/prepare run
	@echo "2/3  building the server, the boot client, the administrator's command and the demonstration: some five minutes on two cores the first time"
	@cargo build --profile story --workspace --bin nightlatchd --bin nightlatch-boot --bin nightlatch --bin story
	@echo "3/3  running the demonstration: some ten seconds"
	@target/story/story

test: peers ## run all tests, and list what was skipped; ARGUMENTS="-p nightlatch-interop --test signals" for some
	@scripts/test $(ARGUMENTS)

quick: ## run the tests that need no stock programs and mostly no root: two minutes
	@scripts/test --quick

peers:
	@scripts/prepare test

check: lint doc deny ## check formatting, lints, docs, licences

lint:
	cargo fmt --all --check
	rustfmt --check --edition 2024 fuzz/fuzz_targets/*.rs
	cargo clippy --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

deny:
	@command -v cargo-deny >/dev/null || { echo "installing cargo-deny from crates.io"; cargo install --debug --locked cargo-deny@0.20.2; }
	cargo deny --locked check bans licenses sources

man: ## build the manual pages, into target/man: man -M target/man nightlatchd
	@$(call tool,manuals,manuals) target/man

bench: peers ## benchmarks beside the peers, in one run; TABLES="unlocks many" for some of them
	cargo build --release --package nightlatch-server --package nightlatch-cli --package nightlatch-interop --bins
	$(MAKE) --no-print-directory boot
	NIGHTLATCH_BOOT=$(CURDIR)/target/boot/nightlatch-boot cargo run --release --package nightlatch-bench -- $(TABLES)

fuzz: ## fuzz every parser of untrusted data, SECONDS_PER_TARGET (600) each; SEED=1 repeats the same inputs
	fuzz/run $(SECONDS_PER_TARGET)

# 136 kB of relocations become 8 kB, if the C library can read them: glibc 2.36, as in Debian 12.
RELR := $(shell getconf GNU_LIBC_VERSION 2>/dev/null | awk '$$2 >= 2.36 { print "-Clink-arg=-Wl,-z,pack-relative-relocs" }')

# A flag of the linker, if it knows it: the flags below are those of rustc's own, the default on x86-64
# (docs/decisions/0053-a-small-client.md).
linker_flag = $(shell folder=$$(mktemp -d) && echo 'fn main() {}' | rustc -Clink-arg=-Wl,$(1) -o "$$folder/probe" - 2>/dev/null \
	&& echo -Clink-arg=-Wl,$(1); rm -rf "$$folder")

# Functions with the same code become one.
FOLD = $(call linker_flag,--icf=all)

# Functions with similar code stand side by side, which compresses better. -O2: a text that ends another is kept once.
SORT = $(call linker_flag,--bp-compression-sort=function) $(call linker_flag,-O2)

# The client does one handshake: AWS-LC's further implementations for processors with AVX would be a tenth of the
# program. Upstream builds without them if the assembler is too old.
BOOT_CFLAGS := -fno-asynchronous-unwind-tables -DMY_ASSEMBLER_IS_TOO_OLD_FOR_ADX_AVX2 -DMY_ASSEMBLER_IS_TOO_OLD_FOR_AVX

# One implementation of a curve and of a cipher each, the plain one in constant time, in place of a choice by the
# processor: the OpenPGP library opens one short message.
BOOT_CFGS := --cfg=curve25519_dalek_backend="serial" --cfg=aes_force_soft --cfg=polyval_force_soft

boot: ## build the client for the initramfs, alone and small
	RUSTFLAGS='$(RELR) $(FOLD) $(SORT) $(BOOT_CFGS)' AWS_LC_SYS_CFLAGS="$(BOOT_CFLAGS)" cargo build --package nightlatch-boot --profile boot
	@# A panic aborts, so the tables for unwinding are not used: a tenth of what goes into an image.
	@scripts/blank-sections target/boot/nightlatch-boot .eh_frame .eh_frame_hdr .gcc_except_table
	@ls -l target/boot/nightlatch-boot

clean: ## remove all build results
	cargo clean
	rm -rf fuzz/target
