/* SPDX-License-Identifier: BSD-2-Clause */
/* The questions of the store as Redis commands: one script per atomic decision, its
 * keys and its arguments.  Keys of one script share a hash tag, so they lie in one slot
 * of a cluster.  The scripts repeat db/greylist_state.h and db/store_step.h in Lua; the
 * conformance test holds both to the same rows. */
#ifndef POSTERN_DB_STORE_REDIS_SCRIPT_H
#define POSTERN_DB_STORE_REDIS_SCRIPT_H

#include "db/store_private.h"
#include "db/store_address.h"

enum store_script {
	STORE_SCRIPT_GREYLIST,
	STORE_SCRIPT_EVENT, /* adds to one key, or (weight 0) sums up several */
	STORE_SCRIPT_RATE,
	STORE_SCRIPT_NOTE,
	STORE_SCRIPT_HOLD,
	STORE_SCRIPT_MAP_SET,
	STORE_SCRIPT_SCAN,
	STORE_SCRIPT_PUT,
	STORE_SCRIPT_DELETE,
	STORE_SCRIPTS,
};

/* The text to load; static. */
struct str store_script_source(enum store_script script);

/* Lua counts in doubles: whole numbers up to here are exact, larger ones saturate. */
#define STORE_NUMBER_MAX ((INT64_C(1) << 53) - 1)

/* One command: octets with lengths, so what strangers wrote stays data. */
#define STORE_COMMAND_ARGS 20
#define STORE_COMMAND_TEXT (4 * STORE_NAME_MAX + 1024)
struct store_command {
	int argc;
	const char *argv[STORE_COMMAND_ARGS]; /* borrowed, or in text */
	size_t len[STORE_COMMAND_ARGS];
	size_t used;
	char text[STORE_COMMAND_TEXT];
};

void store_command_init(struct store_command *c);
/* s: borrowed until the command is sent. */
void store_command_add(struct store_command *c, struct str s);
void store_command_int(struct store_command *c, int64_t v); /* as it is */

/* digest: of the script as the server told it, 40 hex digits; "": the server gets the
 * whole text. */
void store_command_script(
    struct store_command *c, enum store_script script, const char *digest);

/* The key of an entry: PREFIX:VERSION:KIND: and what stands behind.  0: of no kind that a
 * walk gives. */
enum store_kind store_entry_kind(const char *prefix, struct str key, struct str *name);
/* The other way: what stands behind "PREFIX:2:t:" as the client (borrowed) and the key of
 * a triple.  false: that is none. */
bool store_triple_name(
    struct str name, struct str *client, char key[STORE_NAME_MAX], size_t *key_len);

/* What is one command and no script: the whole of it.  false: r is a script's. */
bool store_request_plain(
    struct store_command *c, const char *prefix, const struct store_request *r);
/* Which script answers r, and its keys and arguments (after store_command_script). */
enum store_script store_request_script(const struct store_request *r);
/* voided: wall seconds of the newest event that voids; 0: none.  Only of a triple. */
void store_request_args(struct store_command *c, const char *prefix,
    const struct store_request *r, int64_t voided);
/* The keys of the events that void a triple, as a question for their newest. */
void store_request_voiding(
    struct store_command *c, const char *prefix, const struct store_request *r);

#endif
