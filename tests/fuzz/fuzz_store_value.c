/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as a record of the store: damaged, foreign, or one that is written back to
 * the same octets; and whatever it says, a step on it does not overflow. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "db/greylist_state.h"
#include "db/store_record.h"
#include "db/store_step.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
step(struct record *r)
{
	static const struct greylist_times times = { 300, 172800, 3024000, 5, 3024000, 0 };
	const struct rate_args args = { 1, 10, 3, 60 };
	const struct str text = STR("text");
	const struct hold_args take = { 7, false, RECORD_PLACES_MAX, 60 };
	static struct hold_set set;
	struct greylist_triple triple = { 0 };
	struct greylist_client client = { 0 };
	int64_t now = r->indexed, a, b;

	switch (r->kind) {
	case RECORD_TRIPLE:
		greylist_try(&r->triple, &client, &times, now, &a, &b);
		break;
	case RECORD_CLIENT:
		greylist_try(&triple, &r->client, &times, now, &a, &b);
		break;
	case RECORD_EVENT:
		event_step(&r->event, 1, 60, now, &a);
		break;
	case RECORD_RATE:
		rate_step(&r->rate, &args, now, &a);
		break;
	case RECORD_NOTE:
		note_step(&r->note, &text, now);
		break;
	case RECORD_HOLD:
		hold_read(&r->hold, &set);
		if (hold_step(&set, &take, now, &a).held > RECORD_PLACES_MAX)
			abort();
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record r;
	uint8_t again[RECORD_MAX];

	if (record_decode((struct str){ (const char *)data, size }, &r) != RECORD_OK)
		return 0;
	size_t len = record_encode(&r, again);
	if (len != size || memcmp(data, again, len) != 0)
		abort();
	step(&r);
	return 0;
}
