/* SPDX-License-Identifier: BSD-2-Clause */
/* Every row of the table in greylist_state.h, its borders, clocks that jump, voids. */
#include "db/greylist_state.h"

#include <stdlib.h>

#include <check.h>

#define T0 INT64_C(1800000000) /* a moment of 2027 */
#define Y2038 INT64_C(2147483648)
#define DAY INT64_C(86400)

static const struct greylist_times usual = { .delay = 300,
	.window = 2 * DAY,
	.keep = 35 * DAY,
	.auto_whitelist = 5,
	.whitelist_keep = 30 * DAY };
static const struct greylist_times never_white = { .delay = 300,
	.window = 2 * DAY,
	.keep = 35 * DAY,
	.auto_whitelist = 0,
	.whitelist_keep = 30 * DAY };
static const struct greylist_times no_delay = { .delay = 0,
	.window = 2 * DAY,
	.keep = 35 * DAY,
	.auto_whitelist = 5,
	.whitelist_keep = 30 * DAY };
static const struct greylist_times short_window = { .delay = 300,
	.window = 100,
	.keep = 35 * DAY,
	.auto_whitelist = 5,
	.whitelist_keep = 30 * DAY };
static const struct greylist_times huge = { .delay = INT64_MAX,
	.window = INT64_MAX,
	.keep = INT64_MAX,
	.auto_whitelist = 1,
	.whitelist_keep = INT64_MAX };

#define PENDING(f, t)                                                                  \
	{                                                                              \
		.exists = true, .first = (f), .last = (f), .tries = (t)                \
	}
#define KNOWN(f, l)                                                                    \
	{                                                                              \
		.exists = true, .known = true, .first = (f), .last = (l), .tries = 2   \
	}
#define CLIENT(c, l)                                                                   \
	{                                                                              \
		.exists = true, .confirmed = (c), .last = (l)                          \
	}
#define CLIENT_VOID(c, l, v)                                                           \
	{                                                                              \
		.exists = true, .confirmed = (c), .last = (l), .voided = (v)           \
	}

static const struct row {
	const char *name;
	const struct greylist_times *times;
	struct greylist_triple triple;
	struct greylist_client client;
	int64_t now;
	enum greylist_state state;
	struct greylist_triple after;
	struct greylist_client client_after;
	int64_t seen_first, seen_tries, expires, expires_client;
} rows[] = {
	{ "nothing known", &usual, { 0 }, { 0 }, T0, GREYLIST_NEW, PENDING(T0, 1),
	    { 0 }, T0, 1, T0 + 2 * DAY, 0 },
	{ "again in the same second", &usual, PENDING(T0, 1), { 0 }, T0, GREYLIST_EARLY,
	    PENDING(T0, 2), { 0 }, T0, 2, T0 + 2 * DAY, 0 },
	{ "a second before the delay is over", &usual, PENDING(T0, 1), { 0 }, T0 + 299,
	    GREYLIST_EARLY, { true, false, T0, T0 + 299, 2 }, { 0 }, T0, 2,
	    T0 + 2 * DAY, 0 },
	{ "exactly after the delay", &usual, PENDING(T0, 4), { 0 }, T0 + 300,
	    GREYLIST_RETRIED, { true, true, T0, T0 + 300, 5 }, CLIENT(1, T0 + 300), T0,
	    5, T0 + 300 + 35 * DAY, T0 + 300 + 30 * DAY },
	{ "last second of the window", &usual, PENDING(T0, 1), CLIENT(3, T0),
	    T0 + 2 * DAY, GREYLIST_RETRIED, { true, true, T0, T0 + 2 * DAY, 2 },
	    CLIENT(4, T0 + 2 * DAY), T0, 2, T0 + 37 * DAY, T0 + 32 * DAY },
	{ "a second after the window", &usual, PENDING(T0, 9), { 0 }, T0 + 2 * DAY + 1,
	    GREYLIST_NEW, PENDING(T0 + 2 * DAY + 1, 1), { 0 }, T0 + 2 * DAY + 1, 1,
	    T0 + 4 * DAY + 1, 0 },
	{ "known, soon again", &usual, KNOWN(T0, T0 + 400), CLIENT(1, T0 + 400),
	    T0 + 401, GREYLIST_KNOWN, { true, true, T0, T0 + 401, 3 },
	    CLIENT(1, T0 + 400), T0, 3, T0 + 401 + 35 * DAY, 0 },
	{ "known, last second of its keep", &usual, KNOWN(T0, T0), { 0 }, T0 + 35 * DAY,
	    GREYLIST_KNOWN, { true, true, T0, T0 + 35 * DAY, 3 }, { 0 }, T0, 3,
	    T0 + 70 * DAY, 0 },
	{ "known, a second after its keep", &usual, KNOWN(T0, T0), { 0 },
	    T0 + 35 * DAY + 1, GREYLIST_NEW, PENDING(T0 + 35 * DAY + 1, 1), { 0 },
	    T0 + 35 * DAY + 1, 1, T0 + 37 * DAY + 1, 0 },
	{ "no delay: first try", &no_delay, { 0 }, { 0 }, T0, GREYLIST_NEW,
	    PENDING(T0, 1), { 0 }, T0, 1, T0 + 2 * DAY, 0 },
	{ "no delay: second in the same second", &no_delay, PENDING(T0, 1), { 0 }, T0,
	    GREYLIST_RETRIED, { true, true, T0, T0, 2 }, CLIENT(1, T0), T0, 2,
	    T0 + 35 * DAY, T0 + 30 * DAY },
	{ "window shorter than the delay counts from its end", &short_window,
	    PENDING(T0, 1), { 0 }, T0 + 400, GREYLIST_RETRIED,
	    { true, true, T0, T0 + 400, 2 }, CLIENT(1, T0 + 400), T0, 2,
	    T0 + 400 + 35 * DAY, T0 + 400 + 30 * DAY },
	{ "and ends", &short_window, PENDING(T0, 1), { 0 }, T0 + 401, GREYLIST_NEW,
	    PENDING(T0 + 401, 1), { 0 }, T0 + 401, 1, T0 + 801, 0 },

	{ "whitelisted client, new triple", &usual, { 0 }, CLIENT(5, T0), T0 + 60,
	    GREYLIST_WHITELISTED, { 0 }, CLIENT(5, T0 + 60), 0, 0, 0,
	    T0 + 60 + 30 * DAY },
	{ "whitelisted client, pending triple stays", &usual, PENDING(T0, 1),
	    CLIENT(7, T0), T0 + 60, GREYLIST_WHITELISTED, PENDING(T0, 1),
	    CLIENT(7, T0 + 60), T0, 0, 0, T0 + 60 + 30 * DAY },
	{ "one confirmation short", &usual, { 0 }, CLIENT(4, T0), T0 + 60, GREYLIST_NEW,
	    PENDING(T0 + 60, 1), CLIENT(4, T0), T0 + 60, 1, T0 + 60 + 2 * DAY, 0 },
	{ "auto-whitelisting off", &never_white, { 0 }, CLIENT(500, T0), T0 + 60,
	    GREYLIST_NEW, PENDING(T0 + 60, 1), CLIENT(500, T0), T0 + 60, 1,
	    T0 + 60 + 2 * DAY, 0 },
	{ "whitelisting, last second", &usual, { 0 }, CLIENT(5, T0), T0 + 30 * DAY,
	    GREYLIST_WHITELISTED, { 0 }, CLIENT(5, T0 + 30 * DAY), 0, 0, 0,
	    T0 + 60 * DAY },
	{ "whitelisting ran out", &usual, { 0 }, CLIENT(5, T0), T0 + 30 * DAY + 1,
	    GREYLIST_NEW, PENDING(T0 + 30 * DAY + 1, 1), CLIENT(0, T0),
	    T0 + 30 * DAY + 1, 1, T0 + 32 * DAY + 1, 0 },
	{ "old confirmations do not add up", &usual, PENDING(T0 + 31 * DAY, 1),
	    CLIENT(4, T0), T0 + 31 * DAY + 300, GREYLIST_RETRIED,
	    { true, true, T0 + 31 * DAY, T0 + 31 * DAY + 300, 2 },
	    CLIENT(1, T0 + 31 * DAY + 300), T0 + 31 * DAY, 2, T0 + 66 * DAY + 300,
	    T0 + 61 * DAY + 300 },

	{ "virus after the last mail", &usual, { 0 }, CLIENT_VOID(9, T0, T0 + 50),
	    T0 + 60, GREYLIST_NEW, PENDING(T0 + 60, 1), CLIENT_VOID(0, T0, T0 + 50),
	    T0 + 60, 1, T0 + 60 + 2 * DAY, 0 },
	{ "virus in the second of the last mail", &usual, { 0 }, CLIENT_VOID(9, T0, T0),
	    T0 + 60, GREYLIST_NEW, PENDING(T0 + 60, 1), CLIENT_VOID(0, T0, T0), T0 + 60,
	    1, T0 + 60 + 2 * DAY, 0 },
	{ "virus before what was confirmed", &usual, { 0 }, CLIENT_VOID(5, T0, T0 - 1),
	    T0 + 60, GREYLIST_WHITELISTED, { 0 }, CLIENT_VOID(5, T0 + 60, T0 - 1), 0, 0,
	    0, T0 + 60 + 30 * DAY },
	{ "counting begins anew after a virus", &usual, PENDING(T0, 1),
	    CLIENT_VOID(9, T0, T0 + 50), T0 + 300, GREYLIST_RETRIED,
	    { true, true, T0, T0 + 300, 2 }, CLIENT_VOID(1, T0 + 300, T0 + 50), T0, 2,
	    T0 + 300 + 35 * DAY, T0 + 300 + 30 * DAY },
	{ "a known triple survives a virus", &usual, KNOWN(T0, T0),
	    CLIENT_VOID(1, T0, T0 + 50), T0 + 60, GREYLIST_KNOWN,
	    { true, true, T0, T0 + 60, 3 }, CLIENT_VOID(0, T0, T0 + 50), T0, 3,
	    T0 + 60 + 35 * DAY, 0 },
	{ "virus seen by a host whose clock is ahead", &usual, { 0 },
	    CLIENT_VOID(9, T0, T0 + 600), T0 + 60, GREYLIST_NEW, PENDING(T0 + 60, 1),
	    CLIENT_VOID(0, T0, T0 + 60), T0 + 60, 1, T0 + 60 + 2 * DAY, 0 },

	{ "clock back an hour: waits one delay at most", &usual, PENDING(T0, 1), { 0 },
	    T0 - 3600, GREYLIST_EARLY, PENDING(T0 - 3600, 2), { 0 }, T0 - 3600, 2,
	    T0 - 3600 + 2 * DAY, 0 },
	{ "clock back, known stays known", &usual, KNOWN(T0, T0), { 0 }, T0 - 3600,
	    GREYLIST_KNOWN, { true, true, T0 - 3600, T0 - 3600, 3 }, { 0 }, T0 - 3600,
	    3, T0 - 3600 + 35 * DAY, 0 },
	{ "clock back, whitelisted stays", &usual, { 0 }, CLIENT(5, T0), T0 - 3600,
	    GREYLIST_WHITELISTED, { 0 }, CLIENT(5, T0 - 3600), 0, 0, 0,
	    T0 - 3600 + 30 * DAY },
	{ "clock at 1970", &usual, PENDING(T0, 1), { 0 }, 0, GREYLIST_EARLY,
	    PENDING(0, 2), { 0 }, 0, 2, 2 * DAY, 0 },
	{ "record of 1970, clock right again", &usual, PENDING(5, 1), { 0 }, T0,
	    GREYLIST_NEW, PENDING(T0, 1), { 0 }, T0, 1, T0 + 2 * DAY, 0 },
	{ "clock before 1970", &usual, KNOWN(T0, T0), { 0 }, -10, GREYLIST_KNOWN,
	    { true, true, -10, -10, 3 }, { 0 }, -10, 3, 35 * DAY - 10, 0 },
	{ "over the end of 32 bits", &usual, PENDING(Y2038 - 100, 1), { 0 },
	    Y2038 + 200, GREYLIST_RETRIED, { true, true, Y2038 - 100, Y2038 + 200, 2 },
	    CLIENT(1, Y2038 + 200), Y2038 - 100, 2, Y2038 + 200 + 35 * DAY,
	    Y2038 + 200 + 30 * DAY },
	{ "sums saturate", &huge, PENDING(T0, INT64_MAX), { 0 }, INT64_MAX - 1,
	    GREYLIST_EARLY, { true, false, T0, INT64_MAX - 1, INT64_MAX }, { 0 }, T0,
	    INT64_MAX, INT64_MAX, 0 },
	{ "confirmations saturate", &never_white, PENDING(T0, 1), CLIENT(INT64_MAX, T0),
	    T0 + 300, GREYLIST_RETRIED, { true, true, T0, T0 + 300, 2 },
	    CLIENT(INT64_MAX, T0 + 300), T0, 2, T0 + 300 + 35 * DAY,
	    T0 + 300 + 30 * DAY },
};

#define N_ROWS ((int)(sizeof(rows) / sizeof(rows[0])))

START_TEST(transition)
{
	const struct row *r = &rows[_i];
	struct greylist_triple triple = r->triple;
	struct greylist_client client = r->client;
	int64_t expires = -1, expires_client = -1;
	struct greylist_seen seen =
	    greylist_try(&triple, &client, r->times, r->now, &expires, &expires_client);

	ck_assert_msg(seen.state == r->state, "%s: state %s, expected %s", r->name,
	    greylist_state_name(seen.state), greylist_state_name(r->state));
#define SAME(got, want)                                                                \
	ck_assert_msg((got) == (want), "%s: " #got " %lld, expected %lld", r->name,    \
	    (long long)(got), (long long)(want))
	SAME(triple.exists, r->after.exists);
	SAME(triple.known, r->after.known);
	SAME(triple.first, r->after.first);
	SAME(triple.tries, r->after.tries);
	if (seen.state != GREYLIST_WHITELISTED)
		SAME(triple.last, triple.exists ? r->now : 0);
	SAME(client.exists, r->client_after.exists);
	SAME(client.confirmed, r->client_after.confirmed);
	SAME(client.last, r->client_after.last);
	SAME(client.voided, r->client_after.voided);
	SAME(seen.first, r->seen_first);
	SAME(seen.tries, r->seen_tries);
	SAME(expires, r->expires);
	SAME(expires_client, r->expires_client);
#undef SAME
}
END_TEST

/* A client confirms five triples, is whitelisted, sends a virus, and starts again. */
START_TEST(life_of_a_client)
{
	struct greylist_client client = { 0 };
	int64_t now = T0, expires, expires_client;

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 5; i++) {
			struct greylist_triple triple = { 0 };

			ck_assert_int_eq(greylist_try(&triple, &client, &usual, now,
					     &expires, &expires_client)
					     .state,
			    GREYLIST_NEW);
			now += 600;
			ck_assert_int_eq(greylist_try(&triple, &client, &usual, now,
					     &expires, &expires_client)
					     .state,
			    GREYLIST_RETRIED);
		}
		struct greylist_triple other = { 0 };

		ck_assert_int_eq(greylist_try(&other, &client, &usual, now, &expires,
				     &expires_client)
				     .state,
		    GREYLIST_WHITELISTED);
		ck_assert(!other.exists);
		client.voided = now += 10;
		now += 10;
	}
}
END_TEST

START_TEST(names)
{
	ck_assert_str_eq(greylist_state_name(GREYLIST_NEW), "new");
	ck_assert_str_eq(greylist_state_name(GREYLIST_WHITELISTED), "whitelisted");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("greylist_state");
	TCase *tc = tcase_create("table");
	SRunner *runner;

	tcase_add_loop_test(tc, transition, 0, N_ROWS);
	tcase_add_test(tc, life_of_a_client);
	tcase_add_test(tc, names);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == N_ROWS + 2 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
