/* SPDX-License-Identifier: BSD-2-Clause */
/* Sums that decay, buckets that leak, notes, places.  A clock that stepped back counts as one that
 * stands still; sums saturate. */
#include "db/store_step.h"

#include <assert.h>

_Static_assert(RECORD_PLACES_MAX == STORE_HOLD_MAX, "all places can be kept");
_Static_assert(RECORD_NOTE_MAX == STORE_NOTE_MAX, "what is asked can be kept");

#define NANO INT64_C(1000000000)

int64_t
store_later(int64_t from, int64_t seconds)
{
	int64_t sum;

	return __builtin_add_overflow(from, seconds, &sum) ? INT64_MAX : sum;
}

static int64_t
clamp(int64_t v, int64_t max)
{
	return v < 0 ? 0 : v > max ? max : v;
}

struct event_answer
event_step(
    struct event_sum *sum, int64_t weight, int64_t keep, int64_t now, int64_t *expires)
{
	*expires = 0;
	if (sum->last > now)
		sum->last = now;
	if (now > store_later(sum->last, sum->keep))
		*sum = (struct event_sum){ 0 };
	if (weight > 0) {
		sum->weight = store_later(sum->weight, weight);
		sum->last = now;
		sum->keep = clamp(keep, INT64_MAX);
		*expires = store_later(now, sum->keep);
	}
	return (struct event_answer){ STORE_OK, sum->weight, sum->last };
}

/* Seconds in which at least `level` leaks; rate > 0. */
static int64_t
leak_time(int64_t level, const struct rate_args *args)
{
	__int128 whole = (__int128)level * args->per;
	__int128 leak = (__int128)args->rate * NANO;
	__int128 seconds = (whole + leak - 1) / leak;

	return seconds > INT64_MAX ? INT64_MAX : (int64_t)seconds;
}

static void
leak(struct rate_level *level, const struct rate_args *args, int64_t now)
{
	__int128 elapsed = (__int128)now - level->stamp;

	level->stamp = now;
	if (elapsed <= 0 || args->rate == 0)
		return;
	if (elapsed >= leak_time(level->level, args)) {
		level->level = 0;
		return;
	}
	/* Less than leak_time: the product stays below level * per + one second's leak.
	 */
	level->level -= (int64_t)(elapsed * args->rate * NANO / args->per);
}

struct rate_answer
rate_step(struct rate_level *level, const struct rate_args *asked, int64_t now,
    int64_t *expires)
{
	struct rate_args args = { .n = clamp(asked->n, RATE_UNITS_MAX),
		.burst = clamp(asked->burst, RATE_UNITS_MAX),
		.rate = clamp(asked->rate, RATE_UNITS_MAX),
		.per = asked->per < 1 ? 1 : asked->per };
	struct rate_answer a = { .state = STORE_OK };
	int64_t add = args.n * NANO, burst = args.burst * NANO;

	*expires = 0;
	level->level = clamp(level->level, RATE_UNITS_MAX * NANO);
	leak(level, &args, now);
	a.allowed = level->level + add <= burst;
	if (a.allowed)
		level->level += add;
	else if (add > burst || args.rate == 0)
		a.wait = -1;
	else
		a.wait = leak_time(level->level + add - burst, &args);
	a.level = (level->level + NANO - 1) / NANO;
	if (a.allowed && add > 0)
		*expires = args.rate == 0 ? INT64_MAX
					  : store_later(now, leak_time(level->level, &args));
	return a;
}

struct note_answer
note_step(struct note *note, const struct str *text, int64_t now)
{
	struct note_answer a = { .state = STORE_OK, .found = note->exists };

	if (note->since > now)
		note->since = now;
	if (text != NULL) {
		struct str old = { note->text, note->len };

		assert(text->len <= sizeof(note->text));
		if (!note->exists || !str_eq(old, *text))
			note->since = now;
		note->exists = true;
		note->len = text->len;
		if (text->len > 0)
			memcpy(note->text, text->p, text->len);
	}
	a.since = note->since;
	a.len = note->len;
	memcpy(a.text, note->text, note->len);
	return a;
}

void
hold_read(const struct hold *in, struct hold_set *set)
{
	set->n = in->n;
	for (size_t i = 0; i < in->n; i++) {
		const uint8_t *p = in->places + i * RECORD_PLACE;

		set->place[i] =
		    (struct hold_place){ be64_get(p), (uint64_t)be64_get(p + 8) };
	}
}

void
hold_write(const struct hold_set *set, uint8_t *out)
{
	for (size_t i = 0; i < set->n; i++, out += RECORD_PLACE) {
		be64_put(out, set->place[i].until);
		be64_put(out + 8, (int64_t)set->place[i].holder);
	}
}

/* Forget the places whose time is over; returns the holder's, NULL: it has none. */
static struct hold_place *
hold_sweep(struct hold_set *set, uint64_t holder, int64_t now)
{
	struct hold_place *own = NULL;
	size_t n = 0;

	for (size_t i = 0; i < set->n; i++) {
		if (set->place[i].until < now)
			continue;
		set->place[n] = set->place[i];
		if (set->place[n].holder == holder)
			own = &set->place[n];
		n++;
	}
	set->n = n;
	return own;
}

struct hold_answer
hold_step(
    struct hold_set *set, const struct hold_args *args, int64_t now, int64_t *expires)
{
	struct hold_place *own = hold_sweep(set, args->holder, now);
	struct hold_answer a = { .state = STORE_OK, .allowed = own != NULL };
	int64_t limit = clamp(args->limit, RECORD_PLACES_MAX);

	if (args->drop) {
		if (own != NULL)
			*own = set->place[--set->n];
	} else {
		if (own == NULL && (int64_t)set->n < limit)
			own = &set->place[set->n++];
		a.allowed = own != NULL;
		if (own != NULL)
			*own = (struct hold_place){
				store_later(now, clamp(args->keep, INT64_MAX)),
				args->holder
			};
	}
	*expires = 0;
	for (size_t i = 0; i < set->n; i++)
		if (set->place[i].until > *expires)
			*expires = set->place[i].until;
	a.held = (int64_t)set->n;
	return a;
}

int64_t
map_version_next(int64_t version, int64_t now)
{
	int64_t by_time, next = store_later(version, 1);

	if (now < 0 || __builtin_mul_overflow(now, INT64_C(1000), &by_time))
		return next;
	return next > by_time ? next : by_time;
}
