/* SPDX-License-Identifier: BSD-2-Clause */
/* What other greylists wrote out, line by line, and our own table there and back. */
#include "contrib/ctl/greylist_import.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define NOW INT64_C(1800000000)
#define DAY INT64_C(86400)

static struct settings *settings;

/* An entry as a row of our table, without the line end; "" for none. */
static const char *
row_of(const struct store_entry *e)
{
	static char text[2000];
	struct buf b;

	buf_init(&b, sizeof(text));
	ck_assert(greylist_table_row(&b, e));
	ck_assert_uint_lt(b.len, sizeof(text));
	memcpy(text, b.p, b.len);
	text[b.len - 1] = '\0';
	buf_clear(&b);
	return text;
}

#define HEAD                                                                           \
	"kind\tclient\tsender\trecipient\tstate\tfirst\tlast\ttries\tconfirmed\tvoided\t"     \
	"weight\tkeep\texpires"
#define TRIPLE "triple\tnetwork:192.0.2.0/24\t"

/* Lines of a format; the last one is judged. */
static const struct {
	enum import_format format;
	const char *lines;
	enum import_result result;
	const char *row; /* of an entry; else what is told, in part */
} rows[] = {
	/* our own */
	{ IMPORT_TABLE, HEAD, IMPORT_NOTHING, "" },
	{ IMPORT_TABLE, "kind\tclient", IMPORT_BAD, "names the columns" },
	{ IMPORT_TABLE, HEAD "\n", IMPORT_NOTHING, "" },
	{ IMPORT_TABLE, HEAD "\n# a remark", IMPORT_NOTHING, "" },
	{ IMPORT_TABLE,
	    HEAD "\ntriple\tspf:a.example\t<>\tb@c.example\tpending\t1799999990\t1799999999"
		 "\t2\t-\t-\t-\t-\t1800000100",
	    IMPORT_ENTRY,
	    "triple\tspf:a.example\t<>\tb@c.example\tpending\t1799999990\t1799999999\t2\t-\t-"
	    "\t-\t-\t1800000100" },
	{ IMPORT_TABLE,
	    HEAD "\ntriple\tname:a\\x00b\ta\\x20b@c\t\\xff\\x5c\tknown\t1\t2\t3\t-\t-\t-\t-\t"
		 "1800000100",
	    IMPORT_ENTRY,
	    "triple\tname:a\\x00b\ta\\x20b@c\t\\xff\\x5c\tknown\t1\t2\t3\t-\t-\t-\t-\t1800000100" },
	{ IMPORT_TABLE,
	    HEAD "\ntriple\t#0123456789abcdefABCDEF\t#0123456789abcdefABCDEF\t"
		 "#0123456789abcdefABCDEF\tknown\t1\t2\t3\t-\t-\t-\t-\t1800000100",
	    IMPORT_ENTRY,
	    "triple\t#0123456789abcdefABCDEF\t#0123456789abcdefABCDEF\t#0123456789abcdefABCDEF\t"
	    "known\t1\t2\t3\t-\t-\t-\t-\t1800000100" },
	{ IMPORT_TABLE,
	    HEAD "\nclient\thelo:a.example\t-\t-\t-\t-\t1799999999\t-\t5\t17\t-\t-\t"
		 "1800000100",
	    IMPORT_ENTRY,
	    "client\thelo:a.example\t-\t-\t-\t-\t1799999999\t-\t5\t17\t-\t-\t1800000100" },
	{ IMPORT_TABLE,
	    HEAD "\nevent\t2001:db8::/64\t-\t-\tvirus\t-\t1799999999\t-\t-\t-\t3\t900\t"
		 "1800000100",
	    IMPORT_ENTRY,
	    "event\t2001:db8::/64\t-\t-\tvirus\t-\t1799999999\t-\t-\t-\t3\t900\t1800000100" },
	{ IMPORT_TABLE,
	    HEAD "\nclient\thelo:a.example\t-\t-\t-\t-\t17\t-\t5\t0\t-\t-\t1799999999",
	    IMPORT_OVER, "" },
	{ IMPORT_TABLE, HEAD "\ntriple\tx", IMPORT_BAD, "13 columns" },
	{ IMPORT_TABLE, HEAD "\na\tb\tc\td\te\tf\tg\th\ti\tj\tk\tl\t9", IMPORT_BAD, "kind" },
	{ IMPORT_TABLE, HEAD "\na\tb\tc\td\te\tf\tg\th\ti\tj\tk\tl\t9\tx", IMPORT_BAD,
	    "columns" },
	{ IMPORT_TABLE, HEAD "\na\tb\tc\td\te\tf\tg\th\ti\tj\tk\tl\t-9", IMPORT_BAD,
	    "expires" },
	{ IMPORT_TABLE,
	    HEAD "\ntriple\twhat:a\tb\tc\tknown\t1\t2\t3\t-\t-\t-\t-\t1800000100", IMPORT_BAD,
	    "no client" },
	{ IMPORT_TABLE,
	    HEAD "\ntriple\tspf:a\t\tc\tknown\t1\t2\t3\t-\t-\t-\t-\t1800000100", IMPORT_BAD,
	    "no address" },
	{ IMPORT_TABLE,
	    HEAD "\ntriple\tspf:a\ta\\x2\tc\tknown\t1\t2\t3\t-\t-\t-\t-\t1800000100",
	    IMPORT_BAD, "no address" },
	{ IMPORT_TABLE,
	    HEAD "\ntriple\tspf:a\tb\tc\tlost\t1\t2\t3\t-\t-\t-\t-\t1800000100", IMPORT_BAD,
	    "pending or known" },
	{ IMPORT_TABLE,
	    HEAD "\ntriple\tspf:a\tb\tc\tknown\t3\t2\t3\t-\t-\t-\t-\t1800000100", IMPORT_BAD,
	    "first before last" },
	{ IMPORT_TABLE,
	    HEAD "\ntriple\tspf:a\tb\tc\tknown\t1\t2\t0\t-\t-\t-\t-\t1800000100", IMPORT_BAD,
	    "a try" },
	{ IMPORT_TABLE,
	    HEAD "\nevent\t192.0.2.1/24\t-\t-\ttrap\t-\t1\t-\t-\t-\t3\t900\t1800000100",
	    IMPORT_BAD, "a network" },
	{ IMPORT_TABLE,
	    HEAD "\nevent\t192.0.2.0/24\t-\t-\train\t-\t1\t-\t-\t-\t3\t900\t1800000100",
	    IMPORT_BAD, "kind of an event" },
	{ IMPORT_TABLE,
	    HEAD "\nevent\t192.0.2.0/24\t-\t-\ttrap\t-\t1\t-\t-\t-\t3\t99999999999999999999"
		 "\t1800000100",
	    IMPORT_BAD, "keep" },
	/* milter-greylist: may pass at 1800000060, so first seen 300 s before */
	{ IMPORT_MILTER_GREYLIST, "", IMPORT_NOTHING, "" },
	{ IMPORT_MILTER_GREYLIST, "# greylisted tuples", IMPORT_NOTHING, "" },
	{ IMPORT_MILTER_GREYLIST, "  \t# indented", IMPORT_NOTHING, "" },
	{ IMPORT_MILTER_GREYLIST,
	    "192.0.2.7\t<Anna+x@A.example>\t<b@C.example>\t1800000060 # 2027-01-15",
	    IMPORT_ENTRY,
	    TRIPLE "anna@a.example\tb@c.example\tpending\t1799999760\t1799999760\t1\t-\t-\t-\t-"
		   "\t1800172560" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 <> b@c.example 1800000060\r", IMPORT_ENTRY,
	    TRIPLE "<>\tb@c.example\tpending\t1799999760\t1799999760\t1\t-\t-\t-\t-\t1800172560" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example 1803024000 auto",
	    IMPORT_ENTRY,
	    TRIPLE "a@b.example\tb@c.example\tknown\t1800000000\t1800000000\t1\t-\t-\t-\t-\t"
		   "1803024000" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example 1800000010 AUTO",
	    IMPORT_ENTRY,
	    TRIPLE "a@b.example\tb@c.example\tknown\t1796976010\t1796976010\t1\t-\t-\t-\t-\t"
		   "1800000010" },
	{ IMPORT_MILTER_GREYLIST, "fe80::1%em0 a@b.example b@c.example 1803024000 AUTO",
	    IMPORT_ENTRY,
	    "triple\tnetwork:fe80::/64\ta@b.example\tb@c.example\tknown\t1800000000\t1800000000"
	    "\t1\t-\t-\t-\t-\t1803024000" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example 1799999999 AUTO",
	    IMPORT_OVER, "" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example 1799000000", IMPORT_OVER,
	    "" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example", IMPORT_BAD,
	    "expected address" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example 1 AUTO x", IMPORT_BAD,
	    "expected address" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.700 a@b.example b@c.example 1", IMPORT_BAD,
	    "no IP address" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example soon", IMPORT_BAD,
	    "no time" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example 1800000000 MANUAL",
	    IMPORT_BAD, "expected AUTO" },
	{ IMPORT_MILTER_GREYLIST,
	    "192.0.2.7\t<a@b.example>\t<b@c.example>\t1800000000\t10 TARPIT # 2027-01-15 08:00:00",
	    IMPORT_FOREIGN, "a tarpit is no state" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example 1800000000 10 tarpit",
	    IMPORT_FOREIGN, "a tarpit is no state" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example 1800000000 10 x",
	    IMPORT_BAD, "expected address" },
	{ IMPORT_MILTER_GREYLIST, "192.0.2.7 a@b.example b@c.example 1800000000 10 TARPIT x",
	    IMPORT_BAD, "expected address" },
	/* postgrey, by db_dump -p and without -p */
	{ IMPORT_POSTGREY, "VERSION=3", IMPORT_NOTHING, "" },
	{ IMPORT_POSTGREY, "garbage", IMPORT_BAD, "db_dump" },
	{ IMPORT_POSTGREY, "HEADER=END\n 192.0.2.7/a@b.example/b@c.example", IMPORT_NOTHING,
	    "" },
	{ IMPORT_POSTGREY,
	    "HEADER=END\n 192.0.2.7/a@b.example/b@c.example\n 1799999000,1799999299",
	    IMPORT_ENTRY,
	    TRIPLE "a@b.example\tb@c.example\tpending\t1799999000\t1799999000\t1\t-\t-\t-\t-\t"
		   "1800171800" },
	{ IMPORT_POSTGREY,
	    "HEADER=END\n 192.0.2.0/a@b.example/b@c.example\n 1799999000,1799999300",
	    IMPORT_ENTRY,
	    TRIPLE "a@b.example\tb@c.example\tknown\t1799999000\t1799999300\t1\t-\t-\t-\t-\t"
		   "1803023300" },
	{ IMPORT_POSTGREY, "HEADER=END\n 192.0.2.7//b@c.example\n 1799999000,1799999300",
	    IMPORT_ENTRY,
	    TRIPLE "<>\tb@c.example\tknown\t1799999000\t1799999300\t1\t-\t-\t-\t-\t1803023300" },
	{ IMPORT_POSTGREY,
	    "HEADER=END\n 192.0.2.7/a/b@c.example/d/e@f.example\n 1799999000,1799999300",
	    IMPORT_ENTRY,
	    TRIPLE "a/b@c.example\td/e@f.example\tknown\t1799999000\t1799999300\t1\t-\t-\t-\t-\t"
		   "1803023300" },
	{ IMPORT_POSTGREY,
	    "HEADER=END\n 2001:db8::/64/a@b.example/b@c.example\n 1799999000,1799999300",
	    IMPORT_ENTRY,
	    "triple\tnetwork:2001:db8::/64\ta@b.example\tb@c.example\tknown\t1799999000\t"
	    "1799999300\t1\t-\t-\t-\t-\t1803023300" },
	{ IMPORT_POSTGREY, "HEADER=END\n 192.0.2.7/a\\5c@b/b\\\\@c\n 1799999000,1799999300",
	    IMPORT_ENTRY,
	    TRIPLE "a\\x5c@b\tb\\x5c@c\tknown\t1799999000\t1799999300\t1\t-\t-\t-\t-\t1803023300" },
	{ IMPORT_POSTGREY,
	    "format=bytevalue\nHEADER=END\n 3139322e302e322e37\n 352c31373939393939303030",
	    IMPORT_ENTRY,
	    "client\tnetwork:192.0.2.0/24\t-\t-\t-\t-\t1799999000\t-\t5\t0\t-\t-\t1803023000" },
	{ IMPORT_POSTGREY,
	    "HEADER=END\nDATA=END\nVERSION=3\nHEADER=END\n 192.0.2.7\n 2,1799999000",
	    IMPORT_ENTRY,
	    "client\tnetwork:192.0.2.0/24\t-\t-\t-\t-\t1799999000\t-\t2\t0\t-\t-\t1803023000" },
	{ IMPORT_POSTGREY, "HEADER=END\n 192.0.2.7\n 2,17", IMPORT_OVER, "" },
	{ IMPORT_POSTGREY, "HEADER=END\n 192.0.2.7\nDATA=END", IMPORT_BAD, "missing" },
	{ IMPORT_POSTGREY, "HEADER=END\n192.0.2.7", IMPORT_BAD, "blank" },
	{ IMPORT_POSTGREY, "HEADER=END\n a\\zz", IMPORT_BAD, "cannot be read" },
	{ IMPORT_POSTGREY, "HEADER=END\n a\\", IMPORT_BAD, "cannot be read" },
	{ IMPORT_POSTGREY, "format=bytevalue\nHEADER=END\n 313", IMPORT_BAD, "cannot be read" },
	{ IMPORT_POSTGREY, "HEADER=END\n 192.0.2.7\n 2", IMPORT_BAD, "two numbers" },
	{ IMPORT_POSTGREY, "HEADER=END\n 192.0.2.7\n 2,x", IMPORT_BAD, "two numbers" },
	{ IMPORT_POSTGREY, "HEADER=END\n 192.0.2.7/a@b\n 2,3", IMPORT_BAD, "no sender" },
	{ IMPORT_POSTGREY, "HEADER=END\n 5d41402abc4b2a76b9719d911017c592\n 2,3", IMPORT_BAD,
	    "--privacy" },
	/* spamdb */
	{ IMPORT_SPAMDB, "", IMPORT_NOTHING, "" },
	{ IMPORT_SPAMDB,
	    "GREY|192.0.2.7|mx.a.example|<a@b.example>|<b@c.example>|1799999990|1800001790|"
	    "1800014390|3|0",
	    IMPORT_ENTRY,
	    TRIPLE "a@b.example\tb@c.example\tpending\t1799999990\t1799999990\t3\t-\t-\t-\t-\t"
		   "1800172790" },
	{ IMPORT_SPAMDB,
	    "GREY|192.0.2.7|mx.a.example|<>|<b@c.example>|1799999990|1800001790|1800014390|0|0",
	    IMPORT_ENTRY,
	    TRIPLE "<>\tb@c.example\tpending\t1799999990\t1799999990\t1\t-\t-\t-\t-\t1800172790" },
	{ IMPORT_SPAMDB, "WHITE|192.0.2.7|||1700000000|1700000100|1803110400|2|17", IMPORT_ENTRY,
	    "client\tnetwork:192.0.2.0/24\t-\t-\t-\t-\t1800000000\t-\t5\t0\t-\t-\t1803024000" },
	{ IMPORT_SPAMDB, "WHITE|192.0.2.7|||1700000000|1700000100|1799999999|2|17", IMPORT_OVER,
	    "" },
	{ IMPORT_SPAMDB, "TRAPPED|192.0.2.7|1800003000", IMPORT_ENTRY,
	    "event\t192.0.2.0/24\t-\t-\ttrap\t-\t1799999400\t-\t-\t-\t1\t3024000\t1803023400" },
	{ IMPORT_SPAMDB, "TRAPPED|192.0.2.7|1800086400", IMPORT_ENTRY,
	    "event\t192.0.2.0/24\t-\t-\ttrap\t-\t1800000000\t-\t-\t-\t1\t3024000\t1803024000" },
	{ IMPORT_SPAMDB, "TRAPPED|192.0.2.7|1799999999", IMPORT_OVER, "" },
	{ IMPORT_SPAMDB, "SPAMTRAP|trap@c.example", IMPORT_FOREIGN, "trap@c.example" },
	{ IMPORT_SPAMDB, "SPAMTRAP", IMPORT_BAD, "no entry" },
	{ IMPORT_SPAMDB, "TRAPPED|192.0.2.7|x", IMPORT_BAD, "no entry" },
	{ IMPORT_SPAMDB, "TRAPPED|a.example|1800003000", IMPORT_BAD, "no entry" },
	{ IMPORT_SPAMDB, "GREY|192.0.2.7|a|b|c|1|2|3|4", IMPORT_BAD, "no entry" },
	{ IMPORT_SPAMDB, "GREY|192.0.2.7|a|b|c|1|2|3|4|5|6", IMPORT_BAD, "no entry" },
	{ IMPORT_SPAMDB, "BLACK|192.0.2.7|1", IMPORT_BAD, "no entry" },
};

START_TEST(lines)
{
	static struct import import;
	struct str all = str_of(rows[_i].lines), line = { "", 0 };
	enum import_result result = IMPORT_NOTHING;
	struct greylist_entry e;
	struct err err = { .text = "" };

	import_init(&import, rows[_i].format, &settings->greylist, NOW);
	do {
		ck_assert_msg(result == IMPORT_NOTHING, "%s", err.text);
		if (!str_cut(&all, '\n', &line))
			line = STR("");
		result = import_line(&import, line, &e, &err);
	} while (all.len > 0);
	ck_assert_msg(result == rows[_i].result, "result %d: %s", result, err.text);
	if (result == IMPORT_ENTRY)
		ck_assert_str_eq(row_of(&e.entry), rows[_i].row);
	else
		ck_assert_msg(strstr(err.text, rows[_i].row) != NULL, "%s", err.text);
}
END_TEST

START_TEST(long_line)
{
	static struct import import;
	static char octets[IMPORT_LINE_MAX + 1];
	struct greylist_entry e;
	struct err err = { .text = "" };

	memset(octets, ' ', sizeof(octets));
	for (int f = 0; f < IMPORT_FORMATS; f++) {
		import_init(&import, (enum import_format)f, &settings->greylist, NOW);
		ck_assert_int_eq(import_line(&import,
				     (struct str){ octets, sizeof(octets) }, &e, &err),
		    IMPORT_BAD);
		ck_assert_ptr_nonnull(strstr(err.text, "more than 4096"));
	}
}
END_TEST

static const struct {
	enum import_format format;
	const char *lines;
	bool complete;
} ends[] = {
	{ IMPORT_TABLE, "", false },
	{ IMPORT_TABLE, HEAD "\n", true },
	{ IMPORT_MILTER_GREYLIST, "", true },
	{ IMPORT_SPAMDB, "", true },
	{ IMPORT_POSTGREY, "", false },
	{ IMPORT_POSTGREY, "HEADER=END\n", false },
	{ IMPORT_POSTGREY, "HEADER=END\n 192.0.2.7\n", false },
	{ IMPORT_POSTGREY, "HEADER=END\nDATA=END\n", true },
};

START_TEST(ends_of_files)
{
	static struct import import;
	struct str all = str_of(ends[_i].lines), line;
	struct greylist_entry e;
	struct err err = { .text = "" };

	import_init(&import, ends[_i].format, &settings->greylist, NOW);
	while (all.len > 0 && str_cut(&all, '\n', &line))
		ck_assert_int_eq(import_line(&import, line, &e, &err), IMPORT_NOTHING);
	ck_assert_int_eq(import_complete(&import, &err), ends[_i].complete);
	ck_assert(ends[_i].complete || err.text[0] != '\0');
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("greylist_import");
	TCase *tc = tcase_create("lines");
	struct errs errs = { 0 };

	settings = settings_load(NULL, &errs);
	if (settings == NULL)
		return EXIT_FAILURE;
	tcase_add_loop_test(tc, lines, 0, N(rows));
	tcase_add_test(tc, long_line);
	tcase_add_loop_test(tc, ends_of_files, 0, N(ends));
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	settings_unref(settings);
	return ran == N(rows) + 1 + N(ends) && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
