/* SPDX-License-Identifier: BSD-2-Clause */
/* The front of what tools see: entries as records and back, and the walk over all of
 * them in steps.  It reads what engines answer as foreign. */
#include "db/store_private.h"

#include "db/store_rows.h"

static const struct {
	enum store_kind kind;
	enum record_kind record;
} kinds[] = {
	{ STORE_TRIPLE, RECORD_TRIPLE },
	{ STORE_CLIENT, RECORD_CLIENT },
	{ STORE_EVENT, RECORD_EVENT },
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

bool
store_event_name(struct str key, struct ipnet *network, enum event_kind *kind)
{
	struct str name;

	if (!str_cut(&key, '|', &name) || !ipnet_parse(key, network))
		return false;
	for (int k = 0; k < EVENT_KINDS; k++)
		if (str_is(name, event_kind_name((enum event_kind)k))) {
			*kind = (enum event_kind)k;
			return true;
		}
	return false;
}

/* --- one entry --- */

/* The record of e but its name.  false: a kind that is none. */
static bool
record_of(const struct store_entry *e, struct record *r)
{
	*r = (struct record){ .expires = e->expires };
	switch (e->kind) {
	case STORE_TRIPLE:
		r->kind = RECORD_TRIPLE;
		r->triple = e->triple;
		r->triple.exists = true;
		return true;
	case STORE_CLIENT:
		r->kind = RECORD_CLIENT;
		r->client = e->person;
		r->client.exists = true;
		return true;
	case STORE_EVENT:
		r->kind = RECORD_EVENT;
		r->event = (struct event_sum){ e->sum.weight, e->sum.last, e->sum.keep };
		r->expires = store_later(e->sum.last, e->sum.keep);
		return true;
	}
	return false;
}

/* Numbers that a record may hold. */
static bool
record_good(const struct record *r)
{
	const struct greylist_triple *t = &r->triple;

	switch (r->kind) {
	case RECORD_TRIPLE:
		return t->tries > 0 && t->first <= t->last;
	case RECORD_CLIENT:
		return r->client.confirmed >= 0;
	case RECORD_EVENT:
		return r->event.weight >= 0 && r->event.keep >= 0;
	case RECORD_RATE:
	case RECORD_NOTE:
	case RECORD_HOLD:
		break;
	}
	return false;
}

static struct store_request *
entry_request(const struct store *s, enum store_op op, const struct store_entry *e,
    int64_t now)
{
	const struct store_privacy *privacy = store_privacy_of(s);
	char event[STORE_EVENT_KEY_MAX], name[STORE_HIDDEN], parts[STORE_HIDDEN_KEY_MAX];
	struct str key = e->kind == STORE_TRIPLE ? e->key : e->client, client = e->client;
	struct record record;

	if (e->kind == STORE_EVENT) {
		key = (struct str){ event, store_event_key(&e->network, e->event, event) };
		client = STR("");
	}
	bool good = record_of(e, &record) && !e->cut && key.len <= STORE_NAME_MAX &&
	    client.len <= STORE_NAME_MAX && (op == STORE_DELETE || record_good(&record));
	if (good && e->kind != STORE_EVENT) {
		client = store_privacy_name(privacy, client, true, name);
		key = e->kind == STORE_CLIENT
		    ? client
		    : store_privacy_key(privacy, key, true, parts);
	}
	struct store_request *r =
	    store_request_new(op, now, good ? key.len + client.len : 0);
	size_t used = 0;

	if (!good)
		return r;
	r->key = store_request_text(r, &used, key);
	r->client = store_request_text(r, &used, client);
	r->record = record;
	r->record.name = r->key;
	r->record.name_len = r->key.len;
	return r;
}

struct future *
store_entry_put(struct store *s, const struct store_entry *e, int64_t now)
{
	struct store_request *r = entry_request(s, STORE_PUT, e, now);

	return r->key.p == NULL ? store_refuse(r) : store_submit(s, r);
}

struct future *
store_entry_delete(struct store *s, const struct store_entry *e)
{
	struct store_request *r = entry_request(s, STORE_DELETE, e, 0);

	return r->key.p == NULL ? store_refuse(r) : store_submit(s, r);
}

/* --- all of them --- */

int
store_row_add(
    struct buf *rows, struct str client, struct str name, const struct record *r)
{
	struct record bare = *r;
	uint8_t octets[RECORD_MAX];

	bare.name = STR("");
	bare.name_len = 0;
	size_t len = record_encode(&bare, octets);
	bool added = rows_add(rows, client) == 0 && rows_add(rows, name) == 0 &&
	    rows_add(rows, r->name_len > name.len ? STR("cut") : STR("")) == 0 &&
	    rows_add(rows, (struct str){ (char *)octets, len }) == 0;
	return added ? 0 : -1;
}

/* false: the row cannot be read. */
static bool
row_read(struct str *rows, struct store_entry *e)
{
	struct record r;
	struct str octets, cut;

	*e = (struct store_entry){ 0 };
	if (!rows_part(rows, &e->client) || !rows_part(rows, &e->key) ||
	    !rows_part(rows, &cut) || !rows_part(rows, &octets) || record_decode(octets, &r) != RECORD_OK)
		return false;
	for (size_t i = 0; i < N_KINDS; i++)
		if (kinds[i].record == r.kind)
			e->kind = kinds[i].kind;
	e->expires = r.expires;
	e->cut = cut.len > 0;
	switch (e->kind) {
	case STORE_TRIPLE:
		e->triple = r.triple;
		return true;
	case STORE_CLIENT:
		e->person = r.client;
		return true;
	case STORE_EVENT:
		e->sum.weight = r.event.weight;
		e->sum.last = r.event.last;
		e->sum.keep = r.event.keep;
		return store_event_name(e->key, &e->network, &e->event);
	}
	return false;
}

struct scan {
	unsigned kinds;
	int64_t now;
	struct store_cursor cursor;
};

static struct store_request *
scan_ask(void *arg)
{
	const struct scan *scan = arg;
	struct store_request *r = store_request_new(STORE_SCAN, scan->now, 0);

	r->key = STR("");
	r->kinds = scan->kinds;
	r->cursor = scan->cursor;
	return r;
}

/* 1: go on; 0: each() wants no more; -1. */
static int
scan_rows(struct str rows, bool (*each)(void *arg, const struct store_entry *e),
    void *arg, struct err *err)
{
	struct store_entry e;

	while (rows.len > 0) {
		if (!row_read(&rows, &e))
			return err_set(err, "the store's answer cannot be read");
		if (!each(arg, &e))
			return 0;
	}
	return 1;
}

int
store_scan(struct store *s, unsigned which, int64_t now,
    bool (*each)(void *arg, const struct store_entry *e), void *arg, struct err *err)
{
	struct scan scan = { .kinds = which, .now = now };
	int rc = 1;

	while (rc > 0) {
		struct future *f = store_walk_wait(s, scan_ask, &scan, err);
		if (f == NULL)
			return -1;
		const struct store_chunk *chunk = future_value(f);
		scan.cursor = chunk->next;
		rc = scan_rows(chunk->rows, each, arg, err);
		if (rc > 0 && !chunk->more)
			rc = 0;
		future_unref(f);
	}
	return rc;
}
