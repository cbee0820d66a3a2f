/* SPDX-License-Identifier: BSD-2-Clause */
/* The questions of the store on records in LMDB: read, step as greylist_state.h and
 * store_step.h say, write. */
#include "db/store_apply.h"

#include <errno.h>
#include <xxhash.h>

#include "db/store_step.h"
#include "db/store_table_map.h"
#include "db/store_table_scan.h"

static int
apply_voided(
    struct table_txn *tx, const struct store_request *r, struct greylist_client *client)
{
	int rc = 0;

	for (size_t i = 0; i < 2 && rc == 0 && r->void_by[i].len > 0; i++) {
		struct record event;
		int64_t expires;

		rc = table_get(tx, RECORD_EVENT, r->void_by[i], r->now, &event);
		struct event_answer seen =
		    event_step(&event.event, 0, 0, r->now, &expires);
		if (seen.last > client->voided)
			client->voided = seen.last;
	}
	return rc;
}

static int
apply_greylist(struct table_txn *tx, struct store_request *r)
{
	struct record triple, client;
	int rc = table_get(tx, RECORD_TRIPLE, r->key, r->now, &triple);

	if (rc == 0)
		rc = table_get(tx, RECORD_CLIENT, r->client, r->now, &client);
	if (rc == 0)
		rc = apply_voided(tx, r, &client.client);
	if (rc != 0)
		return rc;
	r->answer.greylist.state = STORE_OK;
	r->answer.greylist.seen = greylist_try(&triple.triple, &client.client,
	    &r->times, r->now, &triple.expires, &client.expires);
	if (triple.expires != 0)
		rc = table_put(tx, &triple);
	if (rc == 0 && client.expires != 0)
		rc = table_put(tx, &client);
	return rc;
}

static int
apply_event(struct table_txn *tx, struct store_request *r)
{
	struct record event;
	int rc = table_get(tx, RECORD_EVENT, r->key, r->now, &event);

	if (rc != 0)
		return rc;
	r->answer.event =
	    event_step(&event.event, r->weight, r->keep, r->now, &event.expires);
	return event.expires == 0 ? 0 : table_put(tx, &event);
}

static int
apply_rate(struct table_txn *tx, struct store_request *r)
{
	struct record bucket;
	int rc = table_get(tx, RECORD_RATE, r->key, r->now, &bucket);

	if (rc != 0)
		return rc;
	r->answer.bucket = rate_step(&bucket.rate, &r->rate, r->now, &bucket.expires);
	return bucket.expires == 0 ? 0 : table_put(tx, &bucket);
}

static int
apply_note(struct table_txn *tx, struct store_request *r)
{
	struct record note;
	int rc = table_get(tx, RECORD_NOTE, r->key, r->now, &note);

	if (rc != 0)
		return rc;
	r->answer.note = note_step(&note.note, r->put ? &r->note : NULL, r->now);
	if (!r->put)
		return 0;
	note.expires = store_later(r->now, r->keep);
	return table_put(tx, &note);
}

static int
apply_hold(struct table_txn *tx, struct store_request *r)
{
	struct hold_args args = { .holder = XXH3_64bits(r->holder.p, r->holder.len),
		.drop = !r->put,
		.limit = r->limit,
		.keep = r->keep };
	uint8_t octets[RECORD_PLACES_MAX * RECORD_PLACE];
	struct hold_set set;
	struct record hold;
	bool found;
	int rc = table_get(tx, RECORD_HOLD, r->key, r->now, &hold);

	if (rc != 0)
		return rc;
	hold_read(&hold.hold, &set);
	r->answer.hold = hold_step(&set, &args, r->now, &hold.expires);
	if (set.n == 0)
		return table_delete(tx, RECORD_HOLD, r->key, &found);
	hold_write(&set, octets);
	hold.hold = (struct hold){ set.n, octets };
	return table_put(tx, &hold);
}

int
store_apply(struct table_txn *tx, struct store_request *r)
{
	buf_reset(&r->octets);
	memset(&r->answer, 0, sizeof(r->answer));
	switch (r->op) {
	case STORE_GREYLIST:
		return apply_greylist(tx, r);
	case STORE_EVENT_ASK:
		return apply_event(tx, r);
	case STORE_RATE:
		return apply_rate(tx, r);
	case STORE_NOTE:
		return apply_note(tx, r);
	case STORE_HOLD:
		return apply_hold(tx, r);
	case STORE_MAP_SET:
		return table_map_set(tx, r, &r->answer.map);
	case STORE_MAP_GET:
		return table_map_get(tx, r, &r->answer.value, &r->octets);
	case STORE_MAP_VERSION:
		return table_map_version(tx, r->key, &r->answer.map.version);
	case STORE_MAP_READ:
		return table_map_read(tx, r, &r->answer.chunk, &r->octets);
	case STORE_MAP_LOG:
		return table_map_log(tx, r, &r->answer.chunk, &r->octets);
	case STORE_SCAN:
		return table_scan(tx, r, &r->answer.chunk, &r->octets);
	case STORE_PUT:
		return table_put(tx, &r->record);
	case STORE_DELETE:
		return table_delete(tx, r->record.kind, r->key, &r->answer.gone.found);
	case STORE_STATS:
		break;
	}
	return EINVAL;
}
