/* SPDX-License-Identifier: BSD-2-Clause */
/* The scanner's answer over the border of the jail: what was written is read, and what a
 * worker that was taken over may write instead is refused or harmless. */
#include <check.h>
#include <stdlib.h>

#include "milters/mime/inspection.h"

#define MESSAGE_LEN 1000

static struct inspected_part sample[3];

static void
make_sample(void)
{
	sample[0] = (struct inspected_part){ .top = 0, .head = 0, .body = 100, .body_end = 900,
		.multipart = true, .type = STR("multipart/mixed") };
	sample[1] = (struct inspected_part){ .top = 1, .head = 120, .body = 200, .body_end = 800,
		.state = SCAN_INFECTED, .virus = STR("Eicar"), .type = STR("application/zip"),
		.sniffed = STR("zip"), .names = { STR("a.zip"), STR("b\0c.exe"), STR("") },
		.n_names = 3, .n_own_names = 1 };
	sample[2] = (struct inspected_part){ .top = -1, .type = STR("(message)") };
}

static void
write_sample(struct buf *out)
{
	make_sample();
	buf_init(out, 100000);
	inspection_write_head(out, 0x10203, 2, STR("ClamAV 1/3 signatures"), 3);
	for (int i = 0; i < 3; i++)
		inspection_write_part(out, &sample[i]);
	ck_assert(!out->failed);
}

START_TEST(round_trip)
{
	struct inspection found;
	struct buf raw;
	struct err err;

	write_sample(&raw);
	ck_assert_int_eq(inspection_read(buf_str(&raw), MESSAGE_LEN, &found, &err), 0);
	ck_assert_uint_eq(found.flags, 0x10203);
	ck_assert_uint_eq(found.n_views, 2);
	ck_assert(str_is(found.engine, "ClamAV 1/3 signatures"));
	ck_assert_uint_eq(found.n_parts, 3);
	for (size_t i = 0; i < 3; i++) {
		const struct inspected_part *a = &sample[i], *b = &found.parts[i];

		ck_assert_int_eq(a->top, b->top);
		ck_assert_uint_eq(a->head, b->head);
		ck_assert_uint_eq(a->body, b->body);
		ck_assert_uint_eq(a->body_end, b->body_end);
		ck_assert(a->multipart == b->multipart && a->state == b->state);
		ck_assert(str_eq(a->virus, b->virus) && str_eq(a->type, b->type));
		ck_assert(str_eq(a->sniffed, b->sniffed));
		ck_assert_uint_eq(a->n_names, b->n_names);
		ck_assert_uint_eq(a->n_own_names, b->n_own_names);
		for (size_t k = 0; k < a->n_names; k++)
			ck_assert(str_eq(a->names[k], b->names[k]));
	}
	inspection_clear(&found);
	buf_clear(&raw);
}
END_TEST

START_TEST(long_texts_are_cut_by_the_writer)
{
	static char text[INSPECTION_TEXT_MAX + 70000];
	struct inspected_part p = { .virus = { text, sizeof(text) }, .names = { { text, sizeof(text) } },
		.n_names = 1 };
	struct inspection found;
	struct buf raw;
	struct err err;

	memset(text, 'x', sizeof(text));
	buf_init(&raw, 100000);
	inspection_write_head(&raw, 0, 1, STR(""), 1);
	inspection_write_part(&raw, &p);
	ck_assert_int_eq(inspection_read(buf_str(&raw), 0, &found, &err), 0);
	ck_assert_uint_eq(found.parts[0].virus.len, INSPECTION_TEXT_MAX);
	ck_assert_uint_eq(found.parts[0].names[0].len, INSPECTION_TEXT_MAX);
	inspection_clear(&found);
	buf_clear(&raw);
}
END_TEST

/* Whatever is accepted stays within the message and the limits. */
static bool
read_exactly(const char *p, size_t len)
{
	struct inspection found;
	struct err err = { 0 };
	char *copy = malloc(len > 0 ? len : 1); /* for the sanitizer, to the octet */

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, p, len);
	bool good = inspection_read((struct str){ copy, len }, MESSAGE_LEN, &found, &err) == 0;
	if (!good) {
		ck_assert_ptr_null(found.parts);
		ck_assert_uint_eq(found.n_parts, 0);
		ck_assert(err.text[0] != '\0');
	}
	ck_assert(!good || (found.n_parts > 0 && found.n_parts <= INSPECTION_PARTS_MAX));
	for (size_t i = 0; i < found.n_parts; i++) {
		const struct inspected_part *q = &found.parts[i];

		ck_assert(q->top >= -1);
		ck_assert(q->head <= q->body && q->body <= q->body_end);
		ck_assert(q->body_end <= MESSAGE_LEN);
		ck_assert(q->state <= SCAN_ERROR && scan_state_name(q->state) != NULL);
		ck_assert(q->n_own_names <= q->n_names && q->n_names <= INSPECTION_NAMES_MAX);
		for (size_t k = 0; k < q->n_names; k++)
			ck_assert(q->names[k].p >= copy &&
			    q->names[k].p + q->names[k].len <= copy + len);
	}
	inspection_clear(&found);
	free(copy);
	return good;
}

START_TEST(every_truncation_is_refused)
{
	struct buf raw;

	write_sample(&raw);
	ck_assert(read_exactly(raw.p, raw.len));
	for (size_t len = 0; len < raw.len; len++)
		ck_assert_msg(!read_exactly(raw.p, len), "%zu octets of it", len);
	buf_add_char(&raw, 'x');
	ck_assert(!read_exactly(raw.p, raw.len));
	buf_clear(&raw);
}
END_TEST

START_TEST(every_octet_may_be_anything)
{
	static const unsigned char values[] = { 0, 1, 0x40, 0x7f, 0x80, 0xff };
	struct buf raw;

	write_sample(&raw);
	for (size_t i = 0; i < raw.len; i++) {
		char was = raw.p[i];

		for (size_t k = 0; k < sizeof(values); k++) {
			raw.p[i] = (char)values[k];
			read_exactly(raw.p, raw.len);
		}
		for (int bit = 0; bit < 8; bit++) {
			raw.p[i] = (char)(was ^ (1 << bit));
			bool good = read_exactly(raw.p, raw.len);
			ck_assert(!good || i >= 4); /* the magic */
		}
		raw.p[i] = was;
	}
	ck_assert(read_exactly(raw.p, raw.len));
	buf_clear(&raw);
}
END_TEST

static const struct {
	const char *what;
	struct inspected_part p;
	bool good;
} parts[] = {
	{ "at its end", { .head = MESSAGE_LEN, .body = MESSAGE_LEN, .body_end = MESSAGE_LEN },
	    true },
	{ "beyond the message", { .body_end = MESSAGE_LEN + 1 }, false },
	{ "head behind body", { .head = 2, .body = 1, .body_end = 3 }, false },
	{ "body behind its end", { .body = 3, .body_end = 2 }, false },
	{ "no such top", { .top = -2 }, false },
	{ "no such state", { .state = (enum scan_state)(SCAN_ERROR + 1) }, false },
	{ "more own names than names", { .n_own_names = 1 }, false },
};

START_TEST(offsets_are_checked)
{
	struct buf raw;

	buf_init(&raw, 10000);
	inspection_write_head(&raw, 0, 1, STR(""), 1);
	inspection_write_part(&raw, &parts[_i].p);
	ck_assert_msg(read_exactly(raw.p, raw.len) == parts[_i].good, "%s", parts[_i].what);
	buf_clear(&raw);
}
END_TEST

START_TEST(an_answer_has_parts)
{
	struct buf raw;

	buf_init(&raw, 10000);
	inspection_write_head(&raw, 0, 1, STR(""), 0);
	ck_assert(!read_exactly(raw.p, raw.len));
	buf_reset(&raw);
	inspection_write_head(&raw, 0, 1, STR(""), INSPECTION_PARTS_MAX + 1);
	ck_assert(!read_exactly(raw.p, raw.len));
	buf_clear(&raw);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("inspection");
	TCase *tc = tcase_create("inspection");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, round_trip);
	tcase_add_test(tc, long_texts_are_cut_by_the_writer);
	tcase_add_test(tc, every_truncation_is_refused);
	tcase_add_test(tc, every_octet_may_be_anything);
	tcase_add_loop_test(tc, offsets_are_checked, 0, sizeof(parts) / sizeof(parts[0]));
	tcase_add_test(tc, an_answer_has_parts);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int bad = srunner_ntests_failed(runner);
	srunner_free(runner);
	return bad == 0 ? 0 : 1;
}
