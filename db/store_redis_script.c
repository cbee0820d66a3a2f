/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands of store_redis_script.h: which script a question asks, and its keys and
 * arguments.  The scripts themselves are store_redis_lua.c's. */
#include "db/store_redis_script.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

/* Version of keys and values, by kind; another version's keys are not ours to read. */
#define KIND_TRIPLE "2:t"
#define KIND_CLIENT "1:c"
#define KIND_EVENT "1:e"
#define KIND_RATE "1:r"
#define KIND_NOTE "1:n"
#define KIND_HOLD "1:h"
#define KIND_MAP "1:m" /* shared: entries, log, version */
#define KIND_MAP_LOG "1:l"
#define KIND_MAP_VERSION "1:v"

void
store_command_init(struct store_command *c)
{
	c->argc = 0;
	c->used = 0;
}

void
store_command_add(struct store_command *c, struct str s)
{
	assert(c->argc < STORE_COMMAND_ARGS);
	c->argv[c->argc] = s.len == 0 ? "" : s.p;
	c->len[c->argc++] = s.len;
}

/* Room is made for the longest names that store.c lets pass. */
static void
text_add(struct store_command *c, struct str s)
{
	assert(s.len <= sizeof(c->text) - c->used);
	if (s.len > 0)
		memcpy(c->text + c->used, s.p, s.len);
	c->used += s.len;
}

static void
add_cursor(struct store_command *c, uint64_t v)
{
	char number[24];
	int len = snprintf(number, sizeof(number), "%" PRIu64, v);
	size_t from = c->used;

	text_add(c, (struct str){ number, (size_t)len });
	store_command_add(c, (struct str){ c->text + from, (size_t)len });
}

void
store_command_int(struct store_command *c, int64_t v)
{
	char number[24];
	int len = snprintf(number, sizeof(number), "%" PRId64, v);
	size_t from = c->used;

	text_add(c, (struct str){ number, (size_t)len });
	store_command_add(c, (struct str){ c->text + from, (size_t)len });
}

/* What Lua counts exactly. */
static void
add_number(struct store_command *c, int64_t v)
{
	store_command_int(c,
	    v > STORE_NUMBER_MAX        ? STORE_NUMBER_MAX
		: v < -STORE_NUMBER_MAX ? -STORE_NUMBER_MAX
					: v);
}

static void
add_within(struct store_command *c, int64_t v, int64_t min, int64_t max)
{
	add_number(c, v < min ? min : v > max ? max : v);
}

/* PREFIX:VERSION:KIND:{=TAG}NAME.  The '=' keeps an empty tag from being none at all.  A tag
 * with '}' in it ends there for the cluster, in all keys of the script alike. */
static void
add_key(struct store_command *c, const char *prefix, const char *kind, struct str tag,
    struct str name)
{
	size_t from = c->used;

	text_add(c, str_of(prefix));
	text_add(c, STR(":"));
	text_add(c, str_of(kind));
	text_add(c, STR(":{="));
	text_add(c, tag);
	text_add(c, STR("}"));
	text_add(c, name);
	store_command_add(c, (struct str){ c->text + from, c->used - from });
}

/* Whether a triple's key begins with its client, after two octets of length. */
static bool
begins_with_client(struct str client, struct str key)
{
	return key.len >= client.len + 2 &&
	    (unsigned char)key.p[0] == client.len >> 8 &&
	    (unsigned char)key.p[1] == (client.len & 0xff) &&
	    str_eq(str_sub(key, 2, 2 + client.len), client);
}

/* What the tag says already is not said again: of a million keys, that is a tenth.  The
 * rest of such a key begins with a length, so with an octet below '=', with which begins
 * what stands for a whole key. */
static void
add_triple_key(
    struct store_command *c, const char *prefix, struct str client, struct str key)
{
	size_t from = c->used;

	if (begins_with_client(client, key) && key.len > client.len + 2 &&
	    key.p[client.len + 2] >= 0 && key.p[client.len + 2] < '=' &&
	    !str_has(client, '}')) {
		key = str_sub(key, client.len + 2, key.len);
	} else {
		text_add(c, STR("="));
		text_add(c, key);
		key = (struct str){ c->text + from, c->used - from };
	}
	add_key(c, prefix, KIND_TRIPLE, client, key);
}

bool
store_triple_name(
    struct str name, struct str *client, char key[STORE_NAME_MAX], size_t *key_len)
{
	struct str rest, whole = { 0 };
	ptrdiff_t brace = str_index(name, '}');

	if (!str_starts(name, STR("{=")) || brace < 0)
		return false;
	*client = str_sub(name, 2, (size_t)brace);
	rest = str_sub(name, (size_t)brace + 1, name.len);
	if (rest.len > 0 && rest.p[0] >= 0 && rest.p[0] < '=') {
		*key_len = 2 + client->len + rest.len;
		if (*key_len > STORE_NAME_MAX)
			return false;
		key[0] = (char)(client->len >> 8);
		key[1] = (char)(client->len & 0xff);
		memcpy(key + 2, client->p, client->len);
		memcpy(key + 2 + client->len, rest.p, rest.len);
		return true;
	}
	/* A client may have braces: its key, where that begins with it, says its end. */
	for (size_t i = (size_t)brace; i + 1 < name.len; i++) {
		struct str it = str_sub(name, 2, i);
		struct str its = str_sub(name, i + 2, name.len);

		if (name.p[i] != '}' || name.p[i + 1] != '=')
			continue;
		if (whole.p == NULL || begins_with_client(it, its)) {
			*client = it;
			whole = its;
		}
		if (begins_with_client(it, its))
			break;
	}
	if (whole.p == NULL || whole.len > STORE_NAME_MAX)
		return false;
	*key_len = whole.len;
	memcpy(key, whole.p, whole.len);
	return true;
}

/* "kind|network", "kind|name" */
static void
add_kind_key(
    struct store_command *c, const char *prefix, const char *of, struct str whole)
{
	struct str kind = { 0 };

	(void)str_cut(&whole, '|', &kind);
	add_key(c, prefix, of, whole, kind);
}

/* Kinds that a walk gives. */
static const struct {
	enum store_kind kind;
	enum record_kind record;
	const char *key;
} entries[] = {
	{ STORE_TRIPLE, RECORD_TRIPLE, KIND_TRIPLE },
	{ STORE_CLIENT, RECORD_CLIENT, KIND_CLIENT },
	{ STORE_EVENT, RECORD_EVENT, KIND_EVENT },
};
#define N_ENTRIES (sizeof(entries) / sizeof(entries[0]))

enum store_kind
store_entry_kind(const char *prefix, struct str key, struct str *name)
{
	char start[STORE_PREFIX_MAX + 16];

	for (size_t i = 0; i < N_ENTRIES; i++) {
		int len = snprintf(
		    start, sizeof(start), "%s:%s:", prefix, entries[i].key);
		struct str s = { start, (size_t)len };

		if (str_starts(key, s)) {
			*name = str_sub(key, s.len, key.len);
			return entries[i].kind;
		}
	}
	return 0;
}

static void
add_entry_key(
    struct store_command *c, const char *prefix, const struct store_request *r)
{
	if (r->record.kind == RECORD_TRIPLE)
		add_triple_key(c, prefix, r->client, r->key);
	else if (r->record.kind == RECORD_CLIENT)
		add_key(c, prefix, KIND_CLIENT, r->client, STR(""));
	else
		add_kind_key(c, prefix, KIND_EVENT, r->key);
}

/* The record's numbers, as the scripts write them. */
static void
put_args(struct store_command *c, const struct record *r)
{
	if (r->kind == RECORD_TRIPLE) {
		add_number(c, r->triple.known);
		add_number(c, r->triple.first);
		add_number(c, r->triple.last);
		add_number(c, r->triple.tries);
	} else if (r->kind == RECORD_CLIENT) {
		add_number(c, r->client.confirmed);
		add_number(c, r->client.last);
		add_number(c, r->client.voided);
	} else {
		add_number(c, r->event.weight);
		add_number(c, r->event.last);
		add_number(c, r->event.keep);
	}
	add_number(c, r->expires);
}

/* One kind is asked for by its version and letter, several by all letters. */
static void
scan_args(struct store_command *c, const char *prefix, const struct store_request *r)
{
	const char *one = "";
	size_t n = 0, from;

	for (size_t i = 0; i < N_ENTRIES; i++)
		if ((r->kinds & (unsigned)entries[i].kind) != 0) {
			one = entries[i].key;
			n++;
		}
	store_command_int(c, 0);
	add_number(c, r->now);
	add_cursor(c, r->cursor.number);
	from = c->used;
	text_add(c, str_of(prefix));
	text_add(c, STR(":"));
	text_add(c, n == 1 ? str_of(one) : STR("?:[tce]"));
	text_add(c, STR(":*"));
	store_command_add(c, (struct str){ c->text + from, c->used - from });
	store_command_int(c, STORE_CHUNK_ROWS);
}

void
store_command_script(
    struct store_command *c, enum store_script script, const char *digest)
{
	bool known = digest[0] != '\0';

	store_command_add(c, known ? STR("EVALSHA") : STR("EVAL"));
	store_command_add(c, known ? str_of(digest) : store_script_source(script));
}

enum store_script
store_request_script(const struct store_request *r)
{
	switch (r->op) {
	case STORE_GREYLIST:
		return STORE_SCRIPT_GREYLIST;
	case STORE_EVENT_ASK:
		return STORE_SCRIPT_EVENT;
	case STORE_RATE:
		return STORE_SCRIPT_RATE;
	case STORE_NOTE:
		return STORE_SCRIPT_NOTE;
	case STORE_HOLD:
		return STORE_SCRIPT_HOLD;
	case STORE_MAP_SET:
		return STORE_SCRIPT_MAP_SET;
	case STORE_SCAN:
		return STORE_SCRIPT_SCAN;
	case STORE_PUT:
		return STORE_SCRIPT_PUT;
	case STORE_DELETE:
		return STORE_SCRIPT_DELETE;
	case STORE_MAP_GET:
	case STORE_MAP_VERSION:
	case STORE_MAP_READ:
	case STORE_MAP_LOG:
	case STORE_STATS:
		break;
	}
	return STORE_SCRIPTS;
}

static void
greylist_args(struct store_command *c, const char *prefix,
    const struct store_request *r, int64_t voided)
{
	const struct greylist_times *times = &r->times;

	store_command_int(c, 2);
	add_triple_key(c, prefix, r->client, r->key);
	add_key(c, prefix, KIND_CLIENT, r->client, STR(""));
	add_number(c, r->now);
	add_number(c, times->delay);
	add_number(c, times->window);
	add_number(c, times->keep);
	add_number(c, times->auto_whitelist);
	add_number(c, times->whitelist_keep);
	add_number(c, voided > times->voided ? voided : times->voided);
}

void
store_request_args(struct store_command *c, const char *prefix,
    const struct store_request *r, int64_t voided)
{
	switch (r->op) {
	case STORE_GREYLIST:
		greylist_args(c, prefix, r, voided);
		break;
	case STORE_EVENT_ASK:
		store_command_int(c, 1);
		add_kind_key(c, prefix, KIND_EVENT, r->key);
		add_number(c, r->now);
		add_number(c, r->weight);
		add_within(c, r->keep, 0, INT64_MAX);
		break;
	case STORE_RATE:
		store_command_int(c, 1);
		add_key(c, prefix, KIND_RATE, r->key, STR(""));
		add_number(c, r->now);
		add_within(c, r->rate.n, 0, RATE_UNITS_MAX);
		add_within(c, r->rate.burst, 0, RATE_UNITS_MAX);
		add_within(c, r->rate.rate, 0, RATE_UNITS_MAX);
		add_within(c, r->rate.per, 1, INT64_C(1) << 52);
		break;
	case STORE_NOTE:
		store_command_int(c, 1);
		add_kind_key(c, prefix, KIND_NOTE, r->key);
		add_number(c, r->now);
		store_command_int(c, r->put);
		add_within(c, r->keep, 0, INT64_MAX);
		store_command_add(c, r->note);
		break;
	case STORE_HOLD:
		store_command_int(c, 1);
		add_key(c, prefix, KIND_HOLD, r->key, STR(""));
		add_number(c, r->now);
		store_command_int(c, r->put);
		store_command_add(c, r->holder);
		add_within(c, r->limit, 0, STORE_HOLD_MAX);
		add_within(c, r->keep, 0, INT64_MAX);
		break;
	case STORE_MAP_SET:
		store_command_int(c, 3);
		add_key(c, prefix, KIND_MAP, r->key, STR(""));
		add_key(c, prefix, KIND_MAP_LOG, r->key, STR(""));
		add_key(c, prefix, KIND_MAP_VERSION, r->key, STR(""));
		add_number(c, r->now);
		store_command_int(c, r->value.p == NULL);
		store_command_add(c, r->member);
		store_command_add(c, r->value);
		store_command_add(c, r->change);
		break;
	case STORE_SCAN:
		scan_args(c, prefix, r);
		break;
	case STORE_PUT:
	case STORE_DELETE:
		store_command_int(c, 1);
		add_entry_key(c, prefix, r);
		add_number(c, r->now);
		if (r->op == STORE_PUT)
			put_args(c, &r->record);
		break;
	case STORE_MAP_GET:
	case STORE_MAP_VERSION:
	case STORE_MAP_READ:
	case STORE_MAP_LOG:
	case STORE_STATS:
		break;
	}
}

/* What only reads a shared map is no script, so that an ACL can let hosts read the maps
 * that they must not write. */
bool
store_request_plain(
    struct store_command *c, const char *prefix, const struct store_request *r)
{
	int64_t at = (int64_t)r->cursor.number;

	switch (r->op) {
	case STORE_MAP_GET:
		store_command_add(c, STR("HGET"));
		add_key(c, prefix, KIND_MAP, r->key, STR(""));
		store_command_add(c, r->member);
		return true;
	case STORE_MAP_VERSION:
		store_command_add(c, STR("GETRANGE"));
		add_key(c, prefix, KIND_MAP_VERSION, r->key, STR(""));
		store_command_int(c, 0);
		store_command_int(c, 31);
		return true;
	case STORE_MAP_READ:
		store_command_add(c, STR("HSCAN"));
		add_key(c, prefix, KIND_MAP, r->key, STR(""));
		add_cursor(c, r->cursor.number);
		store_command_add(c, STR("COUNT"));
		store_command_int(c, STORE_CHUNK_ROWS);
		return true;
	case STORE_MAP_LOG:
		store_command_add(c, STR("LRANGE"));
		add_key(c, prefix, KIND_MAP_LOG, r->key, STR(""));
		store_command_int(c, at);
		store_command_int(c, at + STORE_CHUNK_ROWS - 1);
		return true;
	case STORE_STATS:
		store_command_add(c, STR("INFO"));
		return true;
	case STORE_GREYLIST:
	case STORE_EVENT_ASK:
	case STORE_RATE:
	case STORE_NOTE:
	case STORE_HOLD:
	case STORE_MAP_SET:
	case STORE_SCAN:
	case STORE_PUT:
	case STORE_DELETE:
		break;
	}
	return false;
}

void
store_request_voiding(
    struct store_command *c, const char *prefix, const struct store_request *r)
{
	int n = r->void_by[1].len > 0 ? 2 : 1;

	store_command_int(c, n);
	for (int i = 0; i < n; i++)
		add_kind_key(c, prefix, KIND_EVENT, r->void_by[i]);
	add_number(c, r->now);
	add_number(c, 0);
	add_number(c, 0);
}
