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
#include "common/net/dnsbl.h"
#include "db/greylist_state.h"
#include "db/store.h"

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
	char *user, *password_file;
	int64_t database;
	char *prefix; /* of all keys */
	int64_t connections;
	int64_t deadline_ms; /* of one question to the server; 100 */
};

/* When greylisting applies. */
enum greylist_when { GREYLIST_ALWAYS, GREYLIST_NEVER };

struct settings_greylist { /* block `greylist` */
	char *socket;
	int64_t socket_mode;
	char *socket_group;
	char *metrics; /* "unix:/path", "/path" or "" */
	int when; /* enum greylist_when */
	int64_t delay, window, keep; /* 5m, 2d, 35d */
	int64_t auto_whitelist; /* 5 */
	int64_t whitelist_keep; /* 35d */
	int64_t prefix4, prefix6; /* 24, 64: client identity is its network */
	bool header; /* write X-Greylist */
	char *text; /* reply; %w seconds to wait */
};

/* delay_checks of sendmail: off, on, on with friends, on with haters. */
enum access_delay { ACCESS_DELAY_OFF, ACCESS_DELAY_ON, ACCESS_DELAY_FRIEND,
	ACCESS_DELAY_HATER };

struct settings_access { /* block `access` */
	char *socket;
	int64_t socket_mode;
	char *socket_group;
	char *metrics;
	struct conf_strings maps; /* files in order; the first that has the key wins */
	int delay_checks; /* enum access_delay */
	bool blocklist_recipients;
	struct access_dnsbls { /* repeated: dnsbl "zone" { codes ...; text "..."; } */
		struct dnsbl *list;
		size_t n;
	} dnsbl_lists;
	bool dnsbl; /* ask the lists at all: policies turn it off per client */
	int64_t dnsbl_deadline_ms;
};

#define ACCESS_DNSBLS_MAX 32 /* each is a question per connection */

/* What happens to content; a later one is sterner and wins over an earlier one. */
enum mime_action { MIME_PASS, MIME_STRIP, MIME_QUARANTINE, MIME_REJECT, MIME_TEMPFAIL };

struct settings_mime { /* block `mime` */
	char *socket;
	int64_t socket_mode;
	char *socket_group;
	char *metrics;
	char *signatures; /* file or folder of ClamAV's */
	char *tmp; /* where the jail's workers have their directories */
	char *quarantine; /* folder */
	int64_t workers; /* scans at once */
	uint64_t worker_memory; /* octets beyond what all share */
	int64_t scan_time_ms; /* of one scan, libclamav's own limit */
	int64_t budget_ms; /* of one message on one worker; then the worker is killed */
	uint64_t message_size; /* larger ones are not scanned: `limit` applies */
	uint64_t scan_size; /* decoded octets of one message */
	int64_t archive_depth, archive_members;
	struct conf_strings forbidden_names, forbidden_types; /* endings; types */
	int infected, forbidden, limit, encrypted, ambiguous; /* enum mime_action */
	bool keep_copies; /* of what is refused, in quarantine */
	bool header; /* write X-Virus-Scanned */
	char *notify; /* address; "" nobody */
	char *notify_via; /* SMTP server that takes the notice: address:port */
};

/* What happens to mail that could not be scored; merging takes the later one. */
enum score_failure { SCORE_FAILURE_PASS, SCORE_FAILURE_TEMPFAIL };

struct settings_score { /* block `score` */
	char *socket;
	int64_t socket_mode;
	char *socket_group;
	char *metrics;
	struct conf_strings rules; /* files and folders of .cf files, in order */
	char *tmp; /* where the jail's workers have their directories */
	int64_t workers; /* messages at once */
	uint64_t worker_memory; /* octets beyond what all share */
	bool scan; /* score at all: policies turn it off */
	uint64_t scan_size; /* octets of a message that are looked at */
	int64_t budget_ms; /* of one message on one worker; then the worker is killed */
	int64_t tag, reject; /* points in thousandths */
	int on_failure; /* enum score_failure */
	char *subject_tag; /* put before the subject of tagged mail; "" nothing */
	char *text; /* reply to refused mail */
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
/* Whether another program owns this section.  Names not listed anywhere are errors. */
bool settings_foreign_section(struct str name);

#endif
