/* SPDX-License-Identifier: BSD-2-Clause */
/* The settings tables over the grammar: every type of value, ranges, defaults,
 * duplicates, hints. */
#include <check.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/ip.h"
#include "common/base/xalloc.h"
#include "tests/lib/errors.h"

struct all {
	bool on;
	int64_t number, time, ms, decimal;
	uint64_t size;
	char *text;
	struct conf_strings list;
	int choice;
	struct conf_nets nets;
	int64_t custom;
	struct conf_strings blocks;
};

static void
custom_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	if (node->n_values == 1 && str_is(node->values[0].text, "seven"))
		*(int64_t *)field = 7;
	else
		errs_add(
		    errs, node->name.file, node->name.line, "custom: expected seven");
}

static void
custom_print(const void *field, struct buf *out)
{
	buf_add_cstr(out, *(const int64_t *)field == 7 ? "seven" : "?");
}

static void
blocks_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct conf_strings *s = field;

	if (node->n_values != 1) {
		errs_add(
		    errs, node->name.file, node->name.line, "both: expected a label");
		return;
	}
	s->list = xreallocarray(s->list, s->n + 1, sizeof(*s->list));
	s->list[s->n++] = str_dup(node->values[0].text);
}

static void
blocks_clear(void *field)
{
	struct conf_strings *s = field;

	for (size_t i = 0; i < s->n; i++)
		free(s->list[i]);
	free(s->list);
}

static const char *
no_x(struct str s)
{
	return str_has(s, 'x') ? "no x" : NULL;
}

#define AT(field) offsetof(struct all, field)
static const struct conf_setting rows[] = {
	CONF_ROW("on", CONF_BOOL, AT(on), "on", 0, 0, NULL, STAGE_MAIL, MERGE_OWN, "h"),
	CONF_ROW("number", CONF_INT, AT(number), "5", 1, 100, NULL, STAGE_MAIL,
	    MERGE_OWN, "h"),
	CONF_ROW("time", CONF_TIME, AT(time), "5m", 1, 3600, NULL, STAGE_MAIL,
	    MERGE_OWN, "h"),
	CONF_ROW("ms", CONF_TIME_MS, AT(ms), "200ms", 10, 5000, NULL, STAGE_MAIL,
	    MERGE_OWN, "h"),
	CONF_ROW("size", CONF_SIZE, AT(size), "64k", 1024, 1 << 30, NULL, STAGE_MAIL,
	    MERGE_OWN, "h"),
	CONF_ROW("decimal", CONF_DECIMAL, AT(decimal), "7.5", 1, 100000, NULL, STAGE_MAIL,
	    MERGE_OWN, "h"),
	CONF_ROW("text", CONF_STRING, AT(text), NULL, 0, 0, NULL, STAGE_MAIL, MERGE_OWN,
	    "h", .check = no_x),
	CONF_ROW("list", CONF_LIST, AT(list), "a \"b c\"", 0, 0, NULL, STAGE_MAIL,
	    MERGE_OWN, "h", .check = no_x),
	CONF_ROW("choice", CONF_ENUM, AT(choice), "two", 0, 0, "one|two|three",
	    STAGE_MAIL, MERGE_OWN, "h"),
	CONF_ROW("nets", CONF_NET_LIST, AT(nets), "127.0.0.0/8", 0, 0, NULL, STAGE_MAIL,
	    MERGE_OWN, "h"),
	CONF_ROW("custom", CONF_CUSTOM, AT(custom), "seven", 0, 0, NULL, STAGE_MAIL,
	    MERGE_OWN, "h", .parse = custom_parse, .print = custom_print,
	    .size = sizeof(int64_t)),
	CONF_ROW("both", CONF_CUSTOM, AT(blocks), NULL, 0, 0, NULL, STAGE_MAIL,
	    MERGE_OWN, "h", .parse = blocks_parse, .clear = blocks_clear,
	    .size = sizeof(struct conf_strings), .block = true),
	CONF_ROW("both", CONF_BOOL, offsetof(struct all, on), NULL, 0, 0, NULL,
	    STAGE_MAIL, MERGE_OWN, "h"),
};
static const struct conf_table table = { "all", rows, sizeof(rows) / sizeof(rows[0]),
	sizeof(struct all) };

START_TEST(table_defaults)
{
	struct all a;

	conf_defaults(&table, &a);
	ck_assert(a.on);
	ck_assert_int_eq(a.number, 5);
	ck_assert_int_eq(a.time, 300);
	ck_assert_int_eq(a.ms, 200);
	ck_assert_int_eq(a.decimal, 7500);
	ck_assert_uint_eq(a.size, 65536);
	ck_assert_str_eq(a.text, "");
	ck_assert_uint_eq(a.list.n, 2);
	ck_assert_str_eq(a.list.list[1], "b c");
	ck_assert_int_eq(a.choice, 1);
	ck_assert_uint_eq(a.nets.n, 1);
	ck_assert_uint_eq(a.nets.list[0].prefix, 8);
	ck_assert_int_eq(a.custom, 7);
	conf_clear(&table, &a);
	ck_assert_ptr_null(a.text);
	conf_clear(&table, &a); /* twice is harmless */
}
END_TEST

/* What stands in the file, which row, how it is printed again. */
static const struct {
	const char *in, *row, *printed;
} values[] = {
	{ "on yes;", "on", "on" },
	{ "on FALSE;", "on", "off" },
	{ "on off;", "on", "off" },
	{ "number 1;", "number", "1" },
	{ "number 100;", "number", "100" },
	{ "time 1h;", "time", "1h" },
	{ "time 90s;", "time", "1m30s" },
	{ "time 90;", "time", "1m30s" },
	{ "ms 5s;", "ms", "5s" },
	{ "ms 1500;", "ms", "1s500ms" },
	{ "decimal 5;", "decimal", "5" },
	{ "decimal 5.0;", "decimal", "5" },
	{ "decimal 0.001;", "decimal", "0.001" },
	{ "decimal 12.05;", "decimal", "12.05" },
	{ "decimal 99.90;", "decimal", "99.9" },
	{ "size 1G;", "size", "1G" },
	{ "size 1025;", "size", "1025" },
	{ "size 2048;", "size", "2k" },
	{ "text abc;", "text", "abc" },
	{ "text \"\";", "text", "\"\"" },
	{ "text \"a b\";", "text", "\"a b\"" },
	{ "text \"a\\\"\\\\\";", "text", "\"a\\\"\\\\\"" },
	{ "text \"#\";", "text", "\"#\"" },
	{ "list a;", "list", "a" },
	{ "list a b;list c;", "list", "a b c" },
	{ "list \"a b\" \";\";", "list", "\"a b\" \";\"" },
	{ "choice three;", "choice", "three" },
	{ "nets 10.0.0.0/8 2001:db8::/32;nets 192.0.2.1;", "nets",
	    "10.0.0.0/8 2001:db8::/32 192.0.2.1/32" },
	{ "custom seven;", "custom", "seven" },
};

static bool
apply(const char *text, struct all *a, struct errs *errs)
{
	char *block = xasprintf("all {%s}", text);
	struct conf_tree *tree = conf_parse_text(str_of(block), "t", errs);

	ck_assert_ptr_nonnull(tree);
	conf_defaults(&table, a);
	bool good_all = conf_apply(&table, conf_root(tree), a, errs);
	conf_free(tree);
	free(block);
	return good_all;
}

START_TEST(table_values)
{
	struct all a;
	struct errs errs = { 0 };
	struct buf b;
	const struct conf_setting *row = conf_find(&table, str_of(values[_i].row));

	ck_assert(apply(values[_i].in, &a, &errs));
	check_errors(&errs, "");
	buf_init(&b, 1000);
	conf_print(row, &a, &b);
	ck_assert_str_eq(buf_cstr(&b), values[_i].printed);
	/* what is printed reads back as the same */
	char *again = xasprintf("%s %s;", row->name, buf_cstr(&b));
	conf_clear(&table, &a);
	ck_assert(apply(again, &a, &errs));
	buf_reset(&b);
	conf_print(row, &a, &b);
	ck_assert_str_eq(buf_cstr(&b), values[_i].printed);
	free(again);
	buf_clear(&b);
	conf_clear(&table, &a);
}
END_TEST

static const struct {
	const char *in, *errors;
} faults[] = {
	{ "on 1;", "t:1: on: \"1\" cannot be read: expected on or off" },
	{ "on;", "t:1: on has no value: expected one" },
	{ "number 0;", "t:1: number: \"0\" is out of range: expected 1 to 100" },
	{ "number 101;", "t:1: number: \"101\" is out of range: expected 1 to 100" },
	{ "number 99999999999999999999;",
	    "t:1: number: \"99999999999999999999\" cannot be read: expected a whole "
	    "number" },
	{ "number 18446744073709551615;",
	    "t:1: number: \"18446744073709551615\" is out of range: expected 1 to "
	    "100" },
	{ "number -1;", "t:1: number: \"-1\" cannot be read: expected a whole number" },
	{ "number 1 2 3;", "t:1: number has 3 values: expected one" },
	{ "number 1\n on off;",
	    "t:1: number goes on in line 2: expected \";\" at the end of line 1" },
	{ "time 0;", "t:1: time: \"0\" is out of range: expected 1s to 1h" },
	{ "time 61m;", "t:1: time: \"61m\" is out of range: expected 1s to 1h" },
	{ "time 5x;",
	    "t:1: time: \"5x\" cannot be read: expected a duration like 90s, 5m, "
	    "1h30m, 2d" },
	{ "time 250ms;",
	    "t:1: time: \"250ms\" cannot be read: expected a duration like 90s, 5m, "
	    "1h30m, "
	    "2d" },
	{ "ms 9;", "t:1: ms: \"9\" is out of range: expected 10ms to 5s" },
	{ "ms x;",
	    "t:1: ms: \"x\" cannot be read: expected a duration like 200ms, 5s, 1m" },
	{ "size 1023;", "t:1: size: \"1023\" is out of range: expected 1k to 1G" },
	{ "size 16000000T;",
	    "t:1: size: \"16000000T\" is out of range: expected 1k to 1G" },
	{ "size 1X;",
	    "t:1: size: \"1X\" cannot be read: expected a size like 4096, 64k, 10M, "
	    "1G" },
	{ "text ax;", "t:1: text: \"ax\" cannot stand here: expected no x" },
	{ "text a;\ntext b;",
	    "t:2: text is set again: expected it once, it stands in t:1" },
	{ "list ax b;", "t:1: list: \"ax\" cannot stand here: expected no x" },
	{ "list;", "t:1: list has no value: expected one" },
	{ "choice four;",
	    "t:1: choice: \"four\" is not known: expected one of one, two, three" },
	{ "nets 10.0.0.1/8 x;",
	    "t:1: nets: \"10.0.0.1/8\" is not a network: expected an address or "
	    "network like "
	    "192.0.2.0/24, host bits zero\n"
	    "t:1: nets: \"x\" is not a network: expected an address or network like "
	    "192.0.2.0/24, host bits zero" },
	{ "custom eight;", "t:1: custom: expected seven" },
	{ "custom seven;custom seven;",
	    "t:1: custom is set again: expected it once, it stands in t:1" },
	{ "numbr 1;", "t:1: \"numbr\" is no setting of all: did you mean \"number\"?" },
	{ "zzzzz 1;",
	    "t:1: \"zzzzz\" is no setting of all: expected one of those in "
	    "postern.conf(5)" },
	{ "on { }", "t:1: on has a block: expected a value and \";\"" },
	{ "both { }", "t:1: both: expected a label" },
	{ "both x;", "t:1: both: \"x\" cannot be read: expected on or off" },
	{ "numbr 1;\non x;\nchoice x;\ntime x",
	    "t:1: \"numbr\" is no setting of all: did you mean \"number\"?\n"
	    "t:2: on: \"x\" cannot be read: expected on or off\n"
	    "t:3: choice: \"x\" is not known: expected one of one, two, three\n"
	    "t:4: time: \"x\" cannot be read: expected a duration like 90s, 5m, 1h30m, "
	    "2d" },
};

START_TEST(table_faults)
{
	struct all a;
	struct errs errs = { 0 };

	ck_assert(!apply(faults[_i].in, &a, &errs));
	check_errors(&errs, faults[_i].errors);
	conf_clear(&table, &a);
}
END_TEST

START_TEST(table_blocks_add_up)
{
	struct all a;
	struct errs errs = { 0 };

	ck_assert(apply("both p { } both q { } both off;", &a, &errs));
	check_errors(&errs, "");
	ck_assert_uint_eq(a.blocks.n, 2);
	ck_assert_str_eq(a.blocks.list[1], "q");
	ck_assert(!a.on);
	conf_clear(&table, &a);
}
END_TEST

/* A section may stand in several blocks; a scalar of it still only once. */
START_TEST(table_two_blocks)
{
	struct all a;
	struct errs errs = { 0 };
	const struct conf_node *seen[sizeof(rows) / sizeof(rows[0])] = { 0 };
	struct conf_tree *tree = conf_parse_text(
	    STR("s { number 3; list x1; }\ns { number 4; list y; }"), "t", &errs);

	conf_defaults(&table, &a);
	for (const struct conf_node *b = conf_root(tree); b != NULL; b = b->next)
		for (const struct conf_node *n = b->children; n != NULL; n = n->next)
			conf_apply_node(&table, n, &a, seen, &errs);
	check_errors(&errs,
	    "t:1: list: \"x1\" cannot stand here: expected no x\n"
	    "t:2: number is set again: expected it once, it stands in t:1");
	ck_assert_int_eq(a.number, 3);
	ck_assert_uint_eq(a.list.n, 1);
	conf_clear(&table, &a);
	conf_free(tree);
}
END_TEST

/* Errors beyond the cap are counted, in linear time, and memory stays bounded. */
START_TEST(table_many_errors)
{
	struct errs errs = { 0 };
	struct buf b;
	struct all a;

	buf_init(&b, CONF_FILE_MAX);
	buf_add_cstr(&b, "all {");
	while (buf_add_cstr(&b, "numbr 1;number x;") == 0)
		;
	b.len = CONF_FILE_MAX - 20;
	while (b.p[b.len - 1] != ';')
		b.len--;
	b.p[b.len++] = '}';
	struct conf_tree *tree = conf_parse_text(buf_str(&b), "t", &errs);
	ck_assert_ptr_nonnull(tree);
	conf_defaults(&table, &a);
	int64_t begin = clock_mono_ms();
	ck_assert(!conf_apply(&table, conf_root(tree), &a, &errs));
	ck_assert_int_lt(clock_mono_ms() - begin, 8000);
	ck_assert_uint_eq(errs.n, ERRS_MAX);
	ck_assert_uint_gt(errs.dropped, 400000);
	conf_clear(&table, &a);
	conf_free(tree);
	errs_clear(&errs);
	buf_clear(&b);
}
END_TEST

/* --- hints --- */

static const struct {
	const char *word, *nearest;
} hints[] = {
	{ "delay", "delay" },
	{ "dealy", "delay" },
	{ "dely", "delay" },
	{ "delays", "delay" },
	{ "DELAY", "delay" },
	{ "delxyzz", NULL },
	{ "a", NULL },
	{ "", NULL },
	{ "whn", "when" },
	{ "kep", "keep" },
	{ "auto-whitelits", "auto-whitelist" },
	{ "auto_whitelist", "auto-whitelist" },
};

START_TEST(nearest)
{
	static const char *const names[] = { "delay", "when", "keep", "auto-whitelist",
		"on" };
	const char *got = conf_nearest(str_of(hints[_i].word), names, 5);

	if (hints[_i].nearest == NULL)
		ck_assert_ptr_null(got);
	else
		ck_assert_str_eq(got, hints[_i].nearest);
}
END_TEST

#define ADD_ROWS(tcase, test, rows)                                                    \
	tcase_add_loop_test(tcase, test, 0, (int)(sizeof(rows) / sizeof((rows)[0])))

int
main(void)
{
	Suite *suite = suite_create("conf_table");
	TCase *tables = tcase_create("tables");

	tcase_set_timeout(tables, 30);
	tcase_add_test(tables, table_defaults);
	ADD_ROWS(tables, table_values, values);
	ADD_ROWS(tables, table_faults, faults);
	tcase_add_test(tables, table_blocks_add_up);
	tcase_add_test(tables, table_two_blocks);
	tcase_add_test(tables, table_many_errors);
	ADD_ROWS(tables, nearest, hints);
	suite_add_tcase(suite, tables);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
