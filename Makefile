# SPDX-License-Identifier: BSD-2-Clause
# One file, no recursion: the folders are the module list, the compiler writes the
# dependencies.  `make help` names the targets.
#
#   make check BUILD=build-asan SAN=address,undefined     the suite under a sanitizer
#   make all BUILD=build-clang CC=clang-14 WERROR=-Werror another compiler

BUILD   ?= build
CFLAGS  ?= -O2 -g
WERROR  ?=
SAN     ?=
PREFIX  ?= /usr/local
DESTDIR ?=
STATE   ?= embedded
PKG     := pkg-config

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wformat=2 \
	-Wundef -Wvla $(WERROR)
ifeq ($(SAN),)
HARDEN  := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection
ifneq (,$(findstring clang,$(CC)))
HARDEN  := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection
endif
else
override CFLAGS := -O1 -g -fno-omit-frame-pointer -fsanitize=$(SAN) -fno-sanitize-recover=all
HARDEN  :=
SANLD   := -fsanitize=$(SAN)
endif
STD := -std=gnu17 -D_GNU_SOURCE -I. -MMD -MP -fPIE
LD_ALL := $(LDFLAGS) $(SANLD) -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed

# What each program may link; nothing is linked that is not listed here.
PKG_base   := libxxhash
PKG_net    := libcares
PKG_names  := libpsl
PKG_db     := lmdb hiredis
PKG_ldap   := ldap lber
PKG_milter := milter
PKG_jail   := libseccomp
PKG_clamav := libclamav
PKG_pcre   := libpcre2-8
PKG_event  := libevent_core
PKG_yaml   := yaml-0.1
LIB_spf    := -lspf2 # ships no .pc
pkgs       = $(shell $(PKG) --libs $(foreach g,$(1),$(PKG_$(g)))) $(foreach g,$(1),$(LIB_$(g))) -lpthread -lm
LIBS_access   = $(call pkgs,base net db ldap milter spf)
LIBS_greylist = $(call pkgs,base net names db milter spf)
LIBS_mime     = $(call pkgs,base db milter)
LIBS_scand    = $(call pkgs,base jail clamav)
LIBS_score    = $(call pkgs,base net names db milter spf)
LIBS_scorejail = $(call pkgs,base jail pcre)
LIBS_relay    = $(call pkgs,base net db event)
LIBS_ctl      = $(call pkgs,base net names db ldap event pcre spf yaml)
LIBS_tests    = $(call pkgs,base net names db ldap milter event jail clamav pcre spf yaml) $(shell $(PKG) --libs check)

MILTERS := $(patsubst milters/%/main.c,%,$(wildcard milters/*/main.c))
CONTRIB := $(patsubst contrib/%/main.c,%,$(wildcard contrib/*/main.c))
# a room has an archive, for tests, even where its program is still to come
ROOMS   := $(sort $(patsubst contrib/%/,%,$(dir $(wildcard contrib/*/*.c))))

obj = $(patsubst %.c,$(BUILD)/%.o,$(1))
LIBSRC  := $(wildcard common/*/*.c db/*.c policy/*.c)
TESTLIB := $(filter-out %_main.c,$(wildcard tests/lib/*.c))
TOOLS   := $(patsubst tests/lib/%_main.c,%,$(wildcard tests/lib/*_main.c))
UNITS   := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
FUZZERS := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
BENCHES := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/bench_*.c))

progname = $(if $(filter ctl,$(1)),posternctl,postern-$(1))
JAILED   := $(BUILD)/postern-scand $(BUILD)/postern-scorejail
PROGRAMS := $(foreach p,$(MILTERS) $(CONTRIB),$(BUILD)/$(call progname,$(p))) $(JAILED)
ARCHIVES := $(BUILD)/milters/mime/scand.a $(foreach p,$(MILTERS),$(BUILD)/milters/$(p).a) $(foreach p,$(ROOMS),$(BUILD)/contrib/$(p).a)

all: $(PROGRAMS) $(TOOLS:%=$(BUILD)/tests/%)

help:
	@echo "make          build all programs into $(BUILD)/"
	@echo "make deps     install missing Debian packages (root or sudo)"
	@echo "make demo     three tiers on loopback; STATE=redis, KEEP=1 leaves them running"
	@echo "make check    every test; ends with 'N passed, N failed'"
	@echo "make bench    speed, as ratios within one run"
	@echo "make fuzz     each fuzz target for FUZZ_SECONDS=20"
	@echo "make install  DESTDIR= PREFIX=$(PREFIX)"

deps:
	@tests/lib/deps.sh

demo: deps
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) STATE=$(STATE) python3 tests/demo/demo.py

check: deps
	@$(MAKE) --no-print-directory -j2 all tests
	@BUILD=$(BUILD) SAN=$(SAN) python3 tests/run.py

tests: all $(UNITS) $(FUZZERS:%=$(BUILD)/fuzz/replay_%)

bench: all $(BENCHES)
	@BUILD=$(BUILD) python3 tests/bench/bench.py
	@BUILD=$(BUILD) python3 tests/bench/bench_peers.py
	@BUILD=$(BUILD) python3 tests/bench/bench_postscreen.py

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(CC) $(STD) $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# Where a program finds what is installed beside it: built anew when PREFIX is another.
$(BUILD)/prefix: FORCE
	@mkdir -p $(@D)
	@echo '$(PREFIX)' | cmp -s - $@ || echo '$(PREFIX)' >$@

$(BUILD)/policy/settings_greylist.o: $(BUILD)/prefix
$(BUILD)/policy/settings_greylist.o: CPPFLAGS += -DPOSTERN_SHARE='"$(PREFIX)/share/postern"'

# Texts that a source takes in as they are.
$(BUILD)/contrib/ctl/licenses.o: LICENSE $(wildcard contrib/licenses/*)

$(BUILD)/libpostern.a: $(call obj,$(LIBSRC))
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/tests/testlib.a: $(call obj,$(TESTLIB))
	@rm -f $@
	$(AR) rcs $@ $^

# $(1) folder, $(2) name: an archive without main.c, and the program
define program
$(BUILD)/$(1)/$(2).a: $(call obj,$(filter-out %/main.c,$(wildcard $(1)/$(2)/*.c)))
	@rm -f $$@
	$(AR) rcs $$@ $$^
$(BUILD)/$(call progname,$(2)): $(BUILD)/$(1)/$(2)/main.o $(BUILD)/$(1)/$(2).a $(if $(filter ctl,$(2)),$(filter-out %/ctl.a,$(ARCHIVES))) $(BUILD)/libpostern.a
	$(CC) $(CFLAGS) $(LD_ALL) -o $$@ $$^ $$(LIBS_$(2))
endef
$(foreach m,$(MILTERS),$(eval $(call program,milters,$(m))))

# The jailed programs of milters: the only ones that link what parses hostile octets.
$(BUILD)/milters/mime/scand.a: $(call obj,$(filter-out %/main.c,$(wildcard milters/mime/scand/*.c)))
	@rm -f $@
	$(AR) rcs $@ $^
$(BUILD)/postern-scand: $(BUILD)/milters/mime/scand/main.o $(BUILD)/milters/mime/scand.a $(BUILD)/milters/mime.a $(BUILD)/libpostern.a
	$(CC) $(CFLAGS) $(LD_ALL) -o $@ $^ $(LIBS_scand)

$(BUILD)/postern-scorejail: $(BUILD)/milters/score/jail/main.o $(BUILD)/milters/score.a $(BUILD)/libpostern.a
	$(CC) $(CFLAGS) $(LD_ALL) -o $@ $^ $(LIBS_scorejail)

$(foreach c,$(ROOMS),$(eval $(call program,contrib,$(c))))

$(TOOLS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/lib/%_main.o $(BUILD)/tests/testlib.a $(BUILD)/libpostern.a
	$(CC) $(CFLAGS) $(LD_ALL) -o $@ $^ $(LIBS_tests)

$(UNITS) $(BENCHES): %: %.o $(BUILD)/tests/testlib.a $(ARCHIVES) $(BUILD)/libpostern.a
	$(CC) $(CFLAGS) $(LD_ALL) -o $@ $^ $(LIBS_tests)

# Every fuzz target is also a plain program that replays its seeds in `make check`.
$(FUZZERS:%=$(BUILD)/fuzz/replay_%): $(BUILD)/fuzz/replay_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(BUILD)/tests/testlib.a $(ARCHIVES) $(BUILD)/libpostern.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LD_ALL) -o $@ $^ $(LIBS_tests)

FUZZ_SECONDS ?= 20
fuzz:
	@tests/lib/deps.sh fuzz
	@$(MAKE) --no-print-directory -j2 BUILD=$(BUILD)-fuzz CC=clang-14 SAN=address,undefined,fuzzer-no-link fuzzers
	@for t in $(FUZZERS); do tests/fuzz/run.sh $(BUILD)-fuzz $$t $(FUZZ_SECONDS) || exit 1; done
fuzzers: $(FUZZERS:%=$(BUILD)/fuzz/fuzz_%)
$(FUZZERS:%=$(BUILD)/fuzz/fuzz_%): $(BUILD)/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/testlib.a $(ARCHIVES) $(BUILD)/libpostern.a
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LD_ALL) -fsanitize=address,undefined,fuzzer -o $@ $^ $(LIBS_tests)

install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/share/man/man5 $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/share/doc/postern
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/sbin
	install -m 644 $(wildcard common/*.5 db/*.5 policy/*.5 milters/*/*.5) $(DESTDIR)$(PREFIX)/share/man/man5
	install -m 644 $(wildcard milters/*/*.8 contrib/*/*.8) $(DESTDIR)$(PREFIX)/share/man/man8
	install -d $(DESTDIR)$(PREFIX)/share/postern/rules
	install -m 644 $(wildcard policy/rules/*.cf) $(DESTDIR)$(PREFIX)/share/postern/rules
	install -m 644 policy/greylist-exempt.list $(DESTDIR)$(PREFIX)/share/postern
	install -m 644 README.md LICENSE policy/postern.conf.example $(DESTDIR)$(PREFIX)/share/doc/postern
	cp -R contrib/sendmail contrib/postfix contrib/redis contrib/licenses $(DESTDIR)$(PREFIX)/share/doc/postern/

clean:
	rm -rf $(BUILD) $(BUILD)-fuzz

.PHONY: FORCE all help deps demo check tests bench fuzz fuzzers install clean
.SECONDARY:
-include $(shell find $(BUILD) -name peers -prune -o -type f -name '*.d' -print 2>/dev/null)
