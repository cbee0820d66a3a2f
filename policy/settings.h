/* SPDX-License-Identifier: BSD-2-Clause */
/* All settings of the milters as one immutable, reference-counted snapshot, read from
 * postern.conf.  One row of a table per setting (settings_table.c); other programs'
 * sections (relay) are known by name and read by their own program with the same grammar. */
#ifndef POSTERN_POLICY_SETTINGS_H
#define POSTERN_POLICY_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/conf.h"
#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/net/resolver.h"
#include "db/greylist_state.h"
#include "db/store.h"
#include "policy/settings_access.h"
#include "policy/settings_greylist.h"
#include "policy/settings_mime.h"
#include "policy/settings_score.h"

#define POSTERN_CONF_DEFAULT "/etc/postern/postern.conf"

/* Strings are never NULL; "" where nothing is set. */

/* Statements outside blocks, and block `run`. */
struct settings_run {
	char *host; /* our name in headers and replies; default: the system's */
	char *user, *group; /* "": stay */
	char *runtime_dir; /* "/run/postern": sockets */
	char *log; /* "syslog", "stderr", "/path" */
	int log_level; /* enum log_level */
	int64_t drain; /* seconds */
};

struct settings_dns { /* block `dns` */
	struct conf_strings servers;
	int64_t timeout_ms, deadline_ms;
	int64_t tries;
	int64_t cache_entries;
	char *public_suffixes; /* path for suffixes_open(); "": the system's */
};

enum settings_engine { STATE_EMBEDDED, STATE_REDIS };

struct settings_state { /* block `state` */
	int engine; /* enum settings_engine */
	char *path;
	uint64_t size;
	int64_t sync_ms;
	int64_t snapshot;
	int64_t budget_ms; /* store time per message; 200 */
	char *redis; /* address of the server: see db/store_address.h */
	/* Instead of redis: sentinels and a master's name, or nodes of a cluster. */
	struct conf_strings sentinels, cluster;
	char *master, *sentinel_user, *sentinel_password_file;
	char *user, *password_file;
	char *secret_file; /* privacy mode; "": off */
	int64_t database;
	char *prefix; /* of all keys */
	int64_t connections;
	int64_t deadline_ms; /* of one question to the server; 100 */
};

struct policy_set; /* lists and policies in order: policy/policy.h */

struct settings {
	struct settings_run run;
	struct settings_dns dns;
	struct settings_state state;
	struct settings_greylist greylist;
	struct settings_access access;
	struct settings_mime mime;
	struct settings_score score;
	struct policy_set *policies; /* NULL: none */
	struct settings_origin *origin; /* see settings_where */
	_Atomic unsigned refs;
};

/* Read a file (NULL: the defaults alone).  NULL when errs has an entry; all faults of the
 * file and its includes are then told, in the order of files and lines.  The caller owns
 * one reference. */
struct settings *settings_load(const char *path, struct errs *errs);
/* The same from memory; name stands for the file in errors and for relative includes. */
struct settings *settings_from_text(struct str text, const char *name, struct errs *errs);
struct settings *settings_ref(struct settings *s);
void settings_unref(struct settings *s); /* accepts NULL */

/* Name what differs between two snapshots but needs a restart (STAGE_START rows). */
void settings_restart_needed(
    const struct settings *from, const struct settings *to, struct errs *errs);

/* How to open the store that these settings describe; strings borrow from state. */
struct store_conf settings_store(const struct settings_state *state);
/* How to start the resolver that they describe; strings borrow from dns. */
struct resolver_conf settings_resolver(const struct settings_dns *dns);

/* The tables, for check, explain and the test that every key stands in the manual: run,
 * dns, state, greylist, access, mime, score. */
const struct conf_table *const *settings_tables(size_t *n);
/* The struct in s that table i fills. */
const void *settings_section(const struct settings *s, size_t i);
/* Where row j of table i was read: the file, with *line, borrowed while s lives; NULL: it
 * has its default. */
const char *settings_where(const struct settings *s, size_t i, size_t j, int *line);

/* Sections that other programs read from the same file are skipped here.  A program that
 * can read one registers how, so that `posternctl check` reads everything; check gets each
 * such block, adds what is wrong to errs and returns false if it did.  section: static
 * text.  Call it before settings_load, from one thread. */
void settings_register_foreign(const char *section,
    bool (*check)(const struct conf_node *block, struct errs *errs));
/* The ith block of such a program, in the file's order; NULL: there are no more.  Borrowed
 * while s lives. */
const struct conf_node *settings_foreign_block(const struct settings *s, size_t i);
/* Whether another program owns this section.  Names not listed anywhere are errors. */
bool settings_foreign_section(struct str name);

#endif
