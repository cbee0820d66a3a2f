/* SPDX-License-Identifier: BSD-2-Clause */
/* The front of the store: turns meanings into requests with bounded keys and hands them
 * to the engine.  It knows nothing of how an engine keeps things. */
#include "db/store.h"

#include <assert.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store_embedded.h"
#include "db/store_privacy.h"
#include "db/store_private.h"
#include "db/store_redis.h"

#define STATS_WAIT_MS 2000

_Static_assert(STORE_HIDDEN_NAME == STORE_HIDDEN, "room for a hidden name");

struct store {
	const struct store_engine *engine;
	void *state;
	int64_t (*wall_us)(void); /* NULL: this host's clock */
	struct store_privacy privacy;
};

static const struct store_engine *const engines[] = { &store_embedded, &store_redis };

static const char *const event_names[EVENT_KINDS] = {
	[EVENT_VIRUS] = "virus",
	[EVENT_TRAP] = "trap",
	[EVENT_SPAM] = "spam",
	[EVENT_FLOOD] = "flood",
	[EVENT_HARVEST] = "harvest",
	[EVENT_EARLY] = "early",
};

const char *
event_kind_name(enum event_kind kind)
{
	assert(kind >= 0 && kind < EVENT_KINDS);
	return event_names[kind];
}

static const char *const note_names[NOTE_KINDS] = {
	[NOTE_CORRESPONDENT] = "correspondent",
	[NOTE_RECIPIENT] = "recipient",
	[NOTE_LIST] = "list",
};

const char *
note_kind_name(enum note_kind kind)
{
	assert(kind >= 0 && kind < NOTE_KINDS);
	return note_names[kind];
}

/* The store without its engine. */
static struct store *
store_new(const struct store_engine *engine, const struct store_conf *conf,
    struct err *err)
{
	struct store *s = xcalloc(1, sizeof(*s));

	s->engine = engine;
	s->wall_us = conf->wall_us;
	if (conf->secret_file == NULL || conf->secret_file[0] == '\0' ||
	    store_privacy_read(&s->privacy, conf->secret_file, err) == 0)
		return s;
	free(s);
	return NULL;
}

/* s with what its engine gave; NULL: it gave nothing. */
static struct store *
store_of(struct store *s, void *state)
{
	s->state = state;
	if (state != NULL)
		return s;
	explicit_bzero(s, sizeof(*s));
	free(s);
	return NULL;
}

struct store *
store_open(const struct store_conf *conf, struct err *err)
{
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (strcmp(engines[i]->name, conf->engine) == 0) {
			struct store *s = store_new(engines[i], conf, err);

			return s == NULL ? NULL
					 : store_of(s, engines[i]->open(conf, err));
		}
	err_set(err, "no store engine \"%s\", expected \"embedded\" or \"redis\"",
	    conf->engine);
	return NULL;
}

struct store *
store_open_booted(const struct store_conf *conf, const char *boot_id, struct err *err)
{
	struct store *s = store_new(&store_embedded, conf, err);

	return s == NULL ? NULL : store_of(s, store_embedded_open(conf, boot_id, err));
}

bool
store_hides(const struct store *s)
{
	return s->privacy.on;
}

struct str
store_entry_name(const struct store *s, struct str name, char out[STORE_HIDDEN_NAME])
{
	return store_privacy_name(&s->privacy, name, true, out);
}

const struct store_privacy *
store_privacy_of(const struct store *s)
{
	return &s->privacy;
}

void
store_close(struct store *s)
{
	if (s == NULL)
		return;
	s->engine->close(s->state);
	explicit_bzero(s, sizeof(*s));
	free(s);
}

int64_t
store_now(struct store *s)
{
	int64_t now = s->wall_us == NULL ? clock_wall() : s->wall_us() / 1000000;

	return s->engine->clock_offset == NULL
	    ? now
	    : now + s->engine->clock_offset(s->state);
}

bool
store_request_reads(const struct store_request *r)
{
	switch (r->op) {
	case STORE_GREYLIST:
	case STORE_RATE:
	case STORE_HOLD:
	case STORE_MAP_SET:
	case STORE_PUT:
	case STORE_DELETE:
		return false;
	case STORE_EVENT_ASK:
		return r->weight == 0;
	case STORE_NOTE:
		return !r->put;
	case STORE_MAP_GET:
	case STORE_MAP_VERSION:
	case STORE_MAP_READ:
	case STORE_MAP_LOG:
	case STORE_SCAN:
	case STORE_STATS:
		return true;
	}
	return false;
}

/* A copy with its text behind it. */
static union store_answer *
answer_own(const struct store_request *r)
{
	union store_answer *a = xmalloc(sizeof(*a) + r->octets.len);
	struct str text = { (char *)(a + 1), r->octets.len };

	*a = r->answer;
	if (text.len > 0)
		memcpy(a + 1, r->octets.p, text.len);
	if (r->op == STORE_MAP_GET)
		a->value.value = text;
	if (r->op == STORE_MAP_READ || r->op == STORE_MAP_LOG || r->op == STORE_SCAN)
		a->chunk.rows = text;
	return a;
}

void
store_request_done(struct store_request *r, enum store_state state)
{
	union store_answer *value = NULL;

	if (state != STORE_OK) {
		memset(&r->answer, 0, sizeof(r->answer));
		r->answer.state = state;
	}
	if (state == STORE_OK || r->op != STORE_STATS)
		value = answer_own(r);
	future_set(r->future, value);
	future_unref(r->future);
	buf_clear(&r->octets);
	free(r->text);
	free(r);
}

/* A request with room for `room` octets of text. */
struct store_request *
store_request_new(enum store_op op, int64_t now, size_t room)
{
	struct store_request *r = xcalloc(1, sizeof(*r));

	r->op = op;
	r->now = now;
	r->future = future_new(free);
	r->text = xmalloc(room + 1);
	buf_init(&r->octets, STORE_ROWS_MAX);
	return r;
}

/* Append to the request's text; returns the place of the copy. */
struct str
store_request_text(struct store_request *r, size_t *used, struct str s)
{
	char *to = r->text + *used;

	if (s.len > 0)
		memcpy(to, s.p, s.len);
	*used += s.len;
	return (struct str){ to, s.len };
}

/* The caller's future, a reference of its own: the request may be done before we
 * return. */
struct future *
store_submit(struct store *s, struct store_request *r)
{
	struct future *f = future_ref(r->future);

	r->asked_ms = clock_mono_ms();
	s->engine->submit(s->state, r);
	return f;
}

/* A name that is too long is a mistake of the caller, who bounds what strangers send.
 */
struct future *
store_refuse(struct store_request *r)
{
	struct future *f = future_ref(r->future);

	store_request_done(r, STORE_DOWN);
	return f;
}

size_t
store_event_key(const struct ipnet *network, enum event_kind kind,
    char out[STORE_EVENT_KEY_MAX])
{
	char net[IP_TEXT_MAX + 4];
	struct buf b;

	buf_init(&b, STORE_EVENT_KEY_MAX);
	buf_addf(&b, "%s|%s", event_kind_name(kind), ipnet_format(network, net));
	memcpy(out, b.p, b.len);
	size_t len = b.len;
	buf_clear(&b);
	return len;
}

/* Hidden names may be longer than short ones. */
#define GREYLIST_TEXT_MAX                                                              \
	(STORE_HIDDEN_KEY_MAX + STORE_HIDDEN + 2 * STORE_EVENT_KEY_MAX)

struct future *
store_greylist_check(struct store *s, const struct ipnet *network, struct str client,
    struct str key, const struct greylist_times *times, int64_t now)
{
	static const enum event_kind voiding[2] = { EVENT_VIRUS, EVENT_TRAP };
	bool fits = key.len <= STORE_NAME_MAX && client.len <= STORE_NAME_MAX;
	struct store_request *r = store_request_new(
	    STORE_GREYLIST, now, fits ? GREYLIST_TEXT_MAX + key.len + client.len : 0);
	char name[STORE_HIDDEN], parts[STORE_HIDDEN_KEY_MAX];
	size_t used = 0;

	if (!fits)
		return store_refuse(r);
	r->times = *times;
	r->key = store_request_text(
	    r, &used, store_privacy_key(&s->privacy, key, false, parts));
	r->client = store_request_text(
	    r, &used, store_privacy_name(&s->privacy, client, false, name));
	for (size_t i = 0; network != NULL && i < 2; i++) {
		char event[STORE_EVENT_KEY_MAX];
		size_t len = store_event_key(network, voiding[i], event);

		r->void_by[i] = store_request_text(r, &used, (struct str){ event, len });
	}
	return store_submit(s, r);
}

static struct future *
event_ask(struct store *s, const struct ipnet *network, enum event_kind kind,
    int64_t weight, int64_t keep, int64_t now)
{
	struct store_request *r = store_request_new(STORE_EVENT_ASK, now, STORE_EVENT_KEY_MAX);
	char key[STORE_EVENT_KEY_MAX];
	size_t used = 0, len = store_event_key(network, kind, key);

	r->key = store_request_text(r, &used, (struct str){ key, len });
	r->weight = weight;
	r->keep = keep;
	return store_submit(s, r);
}

struct future *
store_event_add(struct store *s, const struct ipnet *network, enum event_kind kind,
    int64_t weight, int64_t keep, int64_t now)
{
	return event_ask(s, network, kind, weight < 0 ? 0 : weight, keep, now);
}

struct future *
store_event_get(
    struct store *s, const struct ipnet *network, enum event_kind kind, int64_t now)
{
	return event_ask(s, network, kind, 0, 0, now);
}

struct future *
store_rate_add(struct store *s, struct str name, int64_t n, int64_t burst, int64_t rate,
    int64_t per, int64_t now)
{
	bool fits = name.len <= STORE_NAME_MAX;
	struct store_request *r =
	    store_request_new(STORE_RATE, now, fits ? name.len + STORE_HIDDEN : 0);
	char hidden[STORE_HIDDEN];
	size_t used = 0;

	if (!fits)
		return store_refuse(r);
	r->key = store_request_text(
	    r, &used, store_privacy_name(&s->privacy, name, false, hidden));
	r->rate = (struct rate_args){ n, burst, rate, per };
	return store_submit(s, r);
}

/* "kind|name" */
static struct store_request *
note_request(const struct store *s, enum note_kind kind, struct str name, struct str text,
    int64_t now)
{
	struct str kind_name = str_of(note_kind_name(kind));
	bool fits = name.len <= STORE_NAME_MAX && text.len <= STORE_NOTE_MAX;
	struct store_request *r = store_request_new(STORE_NOTE, now,
	    fits ? kind_name.len + 1 + STORE_HIDDEN + name.len + text.len : 0);
	char hidden[STORE_HIDDEN];
	size_t used = 0;

	if (!fits)
		return r;
	name = store_privacy_name(&s->privacy, name, false, hidden);
	store_request_text(r, &used, kind_name);
	store_request_text(r, &used, STR("|"));
	store_request_text(r, &used, name);
	r->key = (struct str){ r->text, used };
	r->note = store_request_text(r, &used, text);
	return r;
}

struct future *
store_note_put(struct store *s, enum note_kind kind, struct str name, struct str text,
    int64_t keep, int64_t now)
{
	struct store_request *r = note_request(s, kind, name, text, now);

	r->put = true;
	r->keep = keep < 0 ? 0 : keep;
	return r->key.p == NULL ? store_refuse(r) : store_submit(s, r);
}

struct future *
store_note_get(struct store *s, enum note_kind kind, struct str name, int64_t now)
{
	struct store_request *r = note_request(s, kind, name, STR(""), now);

	return r->key.p == NULL ? store_refuse(r) : store_submit(s, r);
}

static struct store_request *
hold_request(const struct store *s, struct str name, struct str holder, int64_t now)
{
	bool fits = name.len <= STORE_NAME_MAX && holder.len <= STORE_NAME_MAX;
	struct store_request *r = store_request_new(
	    STORE_HOLD, now, fits ? name.len + holder.len + 2 * STORE_HIDDEN : 0);
	char hidden[STORE_HIDDEN];
	size_t used = 0;

	if (!fits)
		return r;
	r->key = store_request_text(
	    r, &used, store_privacy_name(&s->privacy, name, false, hidden));
	r->holder = store_request_text(
	    r, &used, store_privacy_name(&s->privacy, holder, false, hidden));
	return r;
}

struct future *
store_hold_take(struct store *s, struct str name, struct str holder, int64_t limit,
    int64_t keep, int64_t now)
{
	struct store_request *r = hold_request(s, name, holder, now);

	r->put = true;
	r->keep = keep < 0 ? 0 : keep;
	r->limit = limit < 0 ? 0 : limit > STORE_HOLD_MAX ? STORE_HOLD_MAX : limit;
	return r->holder.p == NULL ? store_refuse(r) : store_submit(s, r);
}

struct future *
store_hold_drop(struct store *s, struct str name, struct str holder, int64_t now)
{
	struct store_request *r = hold_request(s, name, holder, now);

	return r->holder.p == NULL ? store_refuse(r) : store_submit(s, r);
}

int
store_stats(struct store *s, struct store_stats *out, struct err *err)
{
	struct future *f = store_submit(s, store_request_new(STORE_STATS, 0, 0));
	int rc = -1;

	if (!future_wait(f, clock_mono_ms() + STATS_WAIT_MS))
		err_set(err, "store did not answer within %d ms", STATS_WAIT_MS);
	else if (future_value(f) == NULL)
		err_set(err, "store is down");
	else {
		const struct store_stats *got = future_value(f);

		*out = *got;
		rc = 0;
	}
	future_unref(f);
	return rc;
}
