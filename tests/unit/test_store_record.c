/* SPDX-License-Identifier: BSD-2-Clause */
/* Records to octets and back, what is taken as damaged or foreign, and the steps of
 * rates at the ends of their numbers. */
#include "db/store_record.h"

#include <stdlib.h>

#include <check.h>

#include "db/store_step.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 INT64_C(1800000000)

static char long_name[RECORD_NAME_KEPT + 100];

static const struct record records[] = {
	{ .kind = RECORD_TRIPLE,
	    .expires = T0 + 5,
	    .indexed = T0,
	    .triple = { true, true, T0 - 9, T0, 3 },
	    .name = { "a\0b", 3 },
	    .name_len = 3 },
	{ .kind = RECORD_TRIPLE,
	    .expires = -1,
	    .indexed = -5,
	    .triple = { true, false, -10, -10, 1 },
	    .name_len = 0 },
	{ .kind = RECORD_CLIENT,
	    .expires = INT64_MAX,
	    .indexed = INT64_MIN,
	    .client = { true, 5, T0, T0 - 1 },
	    .name = { "192.0.2.0/24", 12 },
	    .name_len = 12 },
	{ .kind = RECORD_EVENT,
	    .expires = T0,
	    .indexed = T0,
	    .event = { 7, T0, 60 },
	    .name = { "virus|192.0.2.0/24", 18 },
	    .name_len = 18 },
	{ .kind = RECORD_RATE,
	    .expires = T0,
	    .indexed = T0,
	    .rate = { INT64_MAX, T0 },
	    .name = { long_name, sizeof(long_name) },
	    .name_len = sizeof(long_name) },
	{ .kind = RECORD_NOTE,
	    .expires = T0,
	    .indexed = T0,
	    .note = { true, T0 - 1, 4, "a\0b " },
	    .name = { "list|n", 6 },
	    .name_len = 6 },
	{ .kind = RECORD_HOLD,
	    .expires = T0,
	    .indexed = T0,
	    .hold = { 2, (const uint8_t *)"0123456789abcdef0123456789abcdeF" },
	    .name = { "n", 1 },
	    .name_len = 1 },
	{ .kind = RECORD_HOLD,
	    .expires = T0,
	    .indexed = T0,
	    .hold = { 0, NULL },
	    .name = { "n", 1 },
	    .name_len = 1 },
	{ .kind = RECORD_NOTE,
	    .expires = T0,
	    .indexed = T0,
	    .note = { true, T0 - 1, 0, "" },
	    .name = { "list|", 5 },
	    .name_len = 5 },
};

START_TEST(round_trip)
{
	const struct record *r = &records[_i];
	struct record back;
	uint8_t octets[RECORD_MAX], again[RECORD_MAX];
	size_t len = record_encode(r, octets);

	ck_assert_int_eq(
	    record_decode((struct str){ (char *)octets, len }, &back), RECORD_OK);
	ck_assert_int_eq(back.kind, r->kind);
	ck_assert_int_eq(back.expires, r->expires);
	ck_assert_int_eq(back.indexed, r->indexed);
	ck_assert(record_is(&back, r->name));
	ck_assert_uint_eq(record_encode(&back, again), len);
	ck_assert_mem_eq(octets, again, len);
	/* Any octet less is damage, and so is one more. */
	for (size_t cut = 0; cut < len; cut++)
		ck_assert_int_eq(
		    record_decode((struct str){ (char *)octets, cut }, &back),
		    RECORD_BAD);
	uint8_t more[RECORD_MAX + 1] = { 0 };
	memcpy(more, octets, len);
	ck_assert_int_eq(
	    record_decode((struct str){ (char *)more, len + 1 }, &back), RECORD_BAD);
}
END_TEST

/* Octet `at` of the first record is set to `to`. */
static const struct change {
	const char *name;
	size_t at;
	uint8_t to;
	enum record_read read;
} changes[] = {
	{ "version 0", 0, 0, RECORD_BAD },
	{ "a later version", 0, 2, RECORD_FOREIGN },
	{ "unknown kind", 1, 'z', RECORD_FOREIGN },
	{ "kind of another length", 1, 'r', RECORD_BAD },
	{ "index later than the end", 10, 0x7f, RECORD_BAD },
	{ "unknown flag", 18, 2, RECORD_BAD },
	{ "first after last", 19, 0x7f, RECORD_BAD },
	{ "negative tries", 35, 0xff, RECORD_BAD },
	{ "no tries", 42, 0, RECORD_BAD },
	{ "longer name", 44, 4, RECORD_BAD },
	{ "a note that is too long", 1, 'n', RECORD_BAD },
	{ "more places than octets", 1, 'h', RECORD_BAD },
	{ "another name", 45, 'x', RECORD_OK },
};

START_TEST(changed)
{
	const struct change *c = &changes[_i];
	struct record back;
	uint8_t octets[RECORD_MAX];
	size_t len = record_encode(&records[0], octets);

	octets[c->at] = c->to;
	ck_assert_msg(
	    record_decode((struct str){ (char *)octets, len }, &back) == c->read, "%s",
	    c->name);
	if (c->read == RECORD_OK)
		ck_assert(!record_is(&back, records[0].name));
	if (c->read == RECORD_FOREIGN) /* can still be expired */
		ck_assert_int_eq(back.expires, records[0].expires);
}
END_TEST

static const struct rate_row {
	const char *name;
	struct rate_level before;
	struct rate_args args;
	int64_t now;
	bool allowed;
	int64_t level, wait, expires;
} rates[] = {
	{ "first", { 0, 0 }, { 1, 10, 1, 60 }, T0, true, 1, 0, T0 + 60 },
	{ "leaked wholly", { 5000000000, T0 }, { 1, 10, 1, 1 }, T0 + 5, true, 1, 0,
	    T0 + 6 },
	{ "negative n adds nothing", { 0, 0 }, { -5, 10, 1, 60 }, T0, true, 0, 0, 0 },
	{ "negative burst", { 0, 0 }, { 1, -10, 1, 60 }, T0, false, 0, -1, 0 },
	{ "per 0 is 1", { 0, 0 }, { 2, 10, 1, 0 }, T0, true, 2, 0, T0 + 2 },
	{ "negative rate does not leak", { 5000000000, T0 }, { 1, 5, -1, 1 }, T0 + 99,
	    false, 5, -1, 0 },
	{ "no leak: kept for good", { 0, 0 }, { 1, 5, 0, 1 }, T0, true, 1, 0,
	    INT64_MAX },
	{ "stamp in the future", { 5000000000, T0 + 999 }, { 1, 10, 1, 1 }, T0, true, 6,
	    0, T0 + 6 },
	{ "largest numbers", { INT64_MAX, INT64_MIN },
	    { INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX }, INT64_MAX, true,
	    RATE_UNITS_MAX, 0, INT64_MAX },
	{ "largest level, slowest leak", { INT64_MAX, T0 },
	    { INT64_MAX, INT64_MAX, 1, INT64_MAX }, T0, false, RATE_UNITS_MAX,
	    INT64_MAX, 0 },
};

START_TEST(rate)
{
	const struct rate_row *r = &rates[_i];
	struct rate_level level = r->before;
	int64_t expires;
	struct rate_answer a = rate_step(&level, &r->args, r->now, &expires);

	ck_assert_msg(a.allowed == r->allowed && a.level == r->level &&
		a.wait == r->wait && expires == r->expires,
	    "%s: allowed %d level %lld wait %lld expires %lld", r->name, a.allowed,
	    (long long)a.level, (long long)a.wait, (long long)expires);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store_record");
	TCase *tc = tcase_create("records");

	memset(long_name, 'n', sizeof(long_name));
	tcase_add_loop_test(tc, round_trip, 0, N(records));
	tcase_add_loop_test(tc, changed, 0, N(changes));
	tcase_add_loop_test(tc, rate, 0, N(rates));
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == N(records) + N(changes) + N(rates) && failed == 0 ? EXIT_SUCCESS
									: EXIT_FAILURE;
}
