/* SPDX-License-Identifier: BSD-2-Clause */
/* What becomes of content: the decision table, names that try to look harmless, and the
 * text that takes a part's place. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/mail/charset.h"
#include "common/mail/mime.h"
#include "common/run/jail.h"
#include "milters/mime/content.h"

/* --- names --- */

#define RTLO "\xe2\x80\xae"
#define ZWSP "\xe2\x80\x8b"
#define BOM "\xef\xbb\xbf"
#define FULL_DOT "\xef\xbc\x8e"
#define IDEOGRAPHIC_DOT "\xe3\x80\x82"
#define LEADER_DOT "\xe2\x80\xa4"
#define NBSP "\xc2\xa0"
#define CLSID "{00020906-0000-0000-C000-000000000046}"

static const struct {
	struct str name;
	const char *ending;
} names[] = {
	{ { "a.exe", 5 }, "exe" },
	{ { "A.EXE", 5 }, "exe" },
	{ { ".exe", 4 }, "exe" },
	{ { "exe", 3 }, "" },
	{ { "", 0 }, "" },
	{ { ".", 1 }, "" },
	{ { "...", 3 }, "" },
	{ { "a.txt", 5 }, "" },
	{ { "a.exec", 6 }, "" },
	{ { "aexe", 4 }, "" },
	{ STR("photo.jpg.exe"), "exe" },
	{ STR("setup.exe.txt"), "exe" },
	{ STR("a.exe.b.c"), "" }, /* the third from the right is no ending any more */
	{ STR("a.exe."), "exe" },
	{ STR("a.exe. . ."), "exe" },
	{ STR("a.exe     "), "exe" },
	{ STR("a.exe ... .txt"), "exe" },
	{ STR("a. exe"), "exe" },
	{ STR("a.exe\t\r\n"), "exe" },
	{ STR("a.exe/"), "exe" },
	{ STR("a.exe\\"), "exe" },
	{ STR("a.exe;"), "exe" },
	{ STR("\"a.exe\""), "exe" },
	{ STR("<a.exe>"), "exe" },
	{ STR("a.exe?"), "exe" },
	{ STR("gpj." RTLO "exe"), "exe" },
	{ STR("a.e" ZWSP "xe"), "exe" },
	{ STR(BOM "a.exe" BOM), "exe" },
	{ STR("a" FULL_DOT "exe"), "exe" },
	{ STR("a" IDEOGRAPHIC_DOT "exe"), "exe" },
	{ STR("a" LEADER_DOT "exe"), "exe" },
	{ STR("a.\xef\xbd\x85\xef\xbd\x98\xef\xbd\x85"), "exe" }, /* full-width letters */
	{ STR("a.exe" NBSP NBSP), "exe" },
	{ STR("a.e\xc2\xadxe"), "exe" }, /* soft hyphen */
	{ STR("a.exe::$DATA"), "exe" },
	{ STR("C:\\temp\\a.exe::$DATA"), "exe" },
	{ STR("C:a.exe"), "exe" },
	{ STR("stream:a.exe"), "exe" },
	{ STR("a.exe:b:c:d:e:f:g"), "exe" },
	{ STR("a:b:c:d:e:f.exe:g"), "exe" },
	{ STR("a.exe. :x"), "exe" },
	{ STR("a.exe\0.txt.pdf"), "exe" },
	{ STR("a\0.exe"), "exe" },
	{ STR("a.txt." CLSID), "{clsid}" },
	{ STR("a." CLSID "."), "{clsid}" },
	{ STR("a.{short}"), "" },
	{ STR("a." CLSID ".txt"), "" },
	{ STR("\xff\xfe.exe\xff"), "" }, /* U+FFFD is a visible character */
	{ STR("\xff\xfe.exe"), "exe" },
	{ STR("dir.exe/readme"), "" },
	{ STR("dir/a.exe"), "exe" },
};

static char *list[] = { (char[]){ "exe" }, (char[]){ "ps1" }, (char[]){ "js" } };
static const struct conf_strings endings = { .list = list, .n = 3 };

START_TEST(forbidden_endings)
{
	struct str seen = content_forbidden_ending(&endings, names[_i].name);

	ck_assert_msg(str_is(seen, names[_i].ending), "row %d: %.*s: %.*s", _i,
	    STR_ARG(names[_i].name), STR_ARG(seen));
}
END_TEST

START_TEST(long_names_keep_their_end)
{
	static char name[200000];
	struct str seen;

	memset(name, '\xff', sizeof(name));
	memcpy(name + sizeof(name) - 4, ".exe", 4);
	seen = content_forbidden_ending(&endings, (struct str){ name, sizeof(name) });
	ck_assert(str_is(seen, "exe"));
	memset(name, ' ', sizeof(name));
	memcpy(name, "a.exe", 5);
	seen = content_forbidden_ending(&endings, (struct str){ name, sizeof(name) });
	ck_assert(str_is(seen, "exe"));
	memset(name, ':', sizeof(name));
	ck_assert(str_is(
	    content_forbidden_ending(&endings, (struct str){ name, sizeof(name) }), ""));
}
END_TEST

/* --- decisions --- */

#define EXE STR("x.exe")
#define TXT STR("x.txt")

/* One part, the message around it, and what the settings say. */
static const struct decision {
	const char *what;
	const char *conf; /* of block mime, beside the defaults */
	enum scan_state state; /* of the part */
	struct str name; /* its own */
	const char *sniffed;
	uint32_t flags, views;
	int top;
	enum scan_state whole;
	const char *whole_virus;
	enum action action;
	const char *why;
	size_t strips;
	bool quarantine, notify;
} decisions[] = {
	{ .what = "nothing", .name = TXT, .why = "clean" },
	{ .what = "a virus", .state = SCAN_INFECTED, .whole = SCAN_INFECTED,
	    .action = ACTION_REJECT, .why = "infected", .quarantine = true, .notify = true },
	{ .what = "a virus, no copies", .conf = "keep-copies off;", .state = SCAN_INFECTED,
	    .action = ACTION_REJECT, .why = "infected", .notify = true },
	{ .what = "a virus, quarantined", .conf = "infected quarantine; keep-copies off;",
	    .state = SCAN_INFECTED, .action = ACTION_DISCARD, .why = "infected",
	    .quarantine = true, .notify = true },
	{ .what = "a virus, stripped", .conf = "infected strip;", .state = SCAN_INFECTED,
	    .whole = SCAN_INFECTED, .why = "stripped", .strips = 1, .notify = true },
	{ .what = "another virus in the message as it stands", .conf = "infected strip;",
	    .state = SCAN_INFECTED, .whole = SCAN_INFECTED, .whole_virus = "Other",
	    .action = ACTION_REJECT, .why = "infected", .quarantine = true, .notify = true },
	{ .what = "a virus in the message as it stands only", .conf = "infected strip;",
	    .whole = SCAN_INFECTED, .action = ACTION_REJECT, .why = "infected",
	    .quarantine = true, .notify = true },
	{ .what = "a virus that may pass", .conf = "infected pass;", .state = SCAN_INFECTED,
	    .whole = SCAN_INFECTED, .why = "clean" },
	{ .what = "a virus that may pass under a forbidden name", .conf = "infected pass;",
	    .state = SCAN_INFECTED, .whole = SCAN_INFECTED, .name = EXE, .why = "stripped",
	    .strips = 1 },
	{ .what = "a forbidden name", .name = EXE, .why = "stripped", .strips = 1 },
	{ .what = "a forbidden name, refused", .conf = "forbidden reject;", .name = EXE,
	    .action = ACTION_REJECT, .why = "forbidden-name", .quarantine = true },
	{ .what = "a forbidden name, passed", .conf = "forbidden pass;", .name = EXE,
	    .why = "clean" },
	{ .what = "a forbidden name, deferred", .conf = "forbidden tempfail;", .name = EXE,
	    .action = ACTION_TEMPFAIL, .why = "forbidden-name" },
	{ .what = "a forbidden name in another view only", .name = EXE, .views = 2, .top = -1,
	    .action = ACTION_REJECT, .why = "forbidden-name", .quarantine = true },
	{ .what = "a forbidden name where readers differ", .name = EXE, .views = 2,
	    .action = ACTION_REJECT, .why = "forbidden-name", .quarantine = true },
	{ .what = "a forbidden type by content", .sniffed = "exe", .name = TXT,
	    .why = "stripped", .strips = 1 },
	{ .what = "an engine that fails", .state = SCAN_ERROR, .action = ACTION_TEMPFAIL,
	    .why = "scan-error" },
	{ .what = "an engine that fails over the message", .whole = SCAN_ERROR,
	    .action = ACTION_TEMPFAIL, .why = "scan-error" },
	{ .what = "an engine that fails, everything else may pass",
	    .conf = "infected pass; forbidden pass; limit pass; encrypted pass; ambiguous pass;",
	    .state = SCAN_ERROR, .action = ACTION_TEMPFAIL, .why = "scan-error" },
	{ .what = "a limit", .state = SCAN_LIMIT, .action = ACTION_DISCARD, .why = "limit",
	    .quarantine = true, .notify = true },
	{ .what = "a limit that may pass", .conf = "limit pass;", .state = SCAN_LIMIT,
	    .whole = SCAN_LIMIT, .why = "clean" },
	{ .what = "a limit that may pass, under a forbidden name", .conf = "limit pass;",
	    .state = SCAN_LIMIT, .name = EXE, .why = "stripped", .strips = 1 },
	{ .what = "a limit of the structure", .flags = MIME_LIMIT_PARTS,
	    .action = ACTION_DISCARD, .why = "limit", .quarantine = true, .notify = true },
	{ .what = "a limit of the structure cannot be stripped", .conf = "limit strip;",
	    .flags = MIME_LIMIT_DEPTH, .action = ACTION_REJECT, .why = "limit",
	    .quarantine = true },
	{ .what = "a limit of the message cannot be stripped", .conf = "limit strip;",
	    .whole = SCAN_LIMIT, .action = ACTION_REJECT, .why = "limit", .quarantine = true },
	{ .what = "a forbidden name in a structure beyond limits", .conf = "limit pass;",
	    .flags = MIME_LIMIT_PARTS, .name = EXE, .action = ACTION_REJECT,
	    .why = "forbidden-name", .quarantine = true },
	{ .what = "encrypted", .state = SCAN_ENCRYPTED, .whole = SCAN_ENCRYPTED,
	    .action = ACTION_DISCARD, .why = "encrypted", .quarantine = true, .notify = true },
	{ .what = "encrypted that may pass, with a forbidden name in it",
	    .conf = "encrypted pass;", .state = SCAN_ENCRYPTED, .whole = SCAN_ENCRYPTED,
	    .name = EXE, .why = "stripped", .strips = 1 },
	{ .what = "encrypted is sterner than forbidden", .state = SCAN_ENCRYPTED, .name = EXE,
	    .action = ACTION_DISCARD, .why = "encrypted", .quarantine = true, .notify = true },
	{ .what = "ambiguous", .views = 2, .action = ACTION_DISCARD, .why = "ambiguous",
	    .quarantine = true, .notify = true },
	{ .what = "ambiguous that may pass", .conf = "ambiguous pass;", .views = 3,
	    .why = "clean" },
	{ .what = "ambiguous cannot be stripped", .conf = "ambiguous strip;", .views = 2,
	    .action = ACTION_REJECT, .why = "ambiguous", .quarantine = true },
	{ .what = "a part of a message", .flags = MIME_AMB_PARTIAL, .action = ACTION_DISCARD,
	    .why = "partial", .quarantine = true, .notify = true },
	{ .what = "a part of a message cannot be stripped", .conf = "limit strip;",
	    .flags = MIME_AMB_PARTIAL, .action = ACTION_REJECT, .why = "partial",
	    .quarantine = true },
	{ .what = "oddities that all read alike", .flags = MIME_AMB_CR | MIME_AMB_FIELD,
	    .why = "clean" },
};

static struct settings *
settings_of(const char *conf)
{
	char text[500];
	struct errs errs = { 0 };

	snprintf(text, sizeof(text), "mime { forbidden-names exe; forbidden-types exe elf; %s }",
	    conf == NULL ? "" : conf);
	struct settings *s = settings_from_text(str_of(text), "test", &errs);
	ck_assert_msg(s != NULL, "%s: %s", text, errs.n > 0 ? errs.list[0].text : "");
	return s;
}

START_TEST(decide)
{
	const struct decision *row = &decisions[_i];
	struct inspected_part parts[2] = {
		{ .top = row->top,
		    .state = row->state,
		    .virus = row->state == SCAN_CLEAN ? STR("") : STR("Bad"),
		    .type = STR("application/octet-stream"),
		    .sniffed = str_of(row->sniffed == NULL ? "" : row->sniffed),
		    .names = { row->name },
		    .n_names = row->name.len > 0,
		    .n_own_names = row->name.len > 0 },
		{ .top = -1,
		    .state = row->whole,
		    .virus = row->whole == SCAN_CLEAN
			? STR("")
			: str_of(row->whole_virus == NULL ? "Bad" : row->whole_virus) },
	};
	struct inspection found = { .flags = row->flags,
		.n_views = row->views == 0 ? 1 : row->views,
		.parts = parts,
		.n_parts = 2 };
	struct settings *s = settings_of(row->conf);
	struct content_decision d;

	content_decide(&s->mime, &found, &d);
	ck_assert_msg(d.verdict.action == row->action, "%s: %s", row->what,
	    action_name(d.verdict.action));
	ck_assert_msg(strcmp(d.verdict.why, row->why) == 0, "%s: %s", row->what, d.verdict.why);
	ck_assert_msg(d.n_strips == row->strips, "%s: %zu", row->what, d.n_strips);
	ck_assert_msg(d.quarantine == row->quarantine, "%s: quarantine", row->what);
	ck_assert_msg(d.notify == row->notify, "%s: notify", row->what);
	if (row->action == ACTION_REJECT)
		ck_assert_int_eq(d.verdict.code, 550);
	settings_unref(s);
}
END_TEST

/* Members of one archive and parts in one part are one cut, and cuts go upward. */
START_TEST(cuts_are_ordered_and_bounded)
{
	static struct inspected_part parts[CONTENT_STRIPS_MAX + 2];
	struct settings *s = settings_of("");
	struct inspection found = { .n_views = 1, .parts = parts };
	struct content_decision d;

	for (int i = 0; i < 6; i++)
		parts[i] = (struct inspected_part){
			.top = 10 - i / 2, .names = { EXE }, .n_names = 1, .n_own_names = 1
		};
	parts[6] = (struct inspected_part){ .top = -1 };
	found.n_parts = 7;
	content_decide(&s->mime, &found, &d);
	ck_assert_uint_eq(d.n_strips, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(d.strips[i].part, 8 + i);
	for (int i = 0; i <= CONTENT_STRIPS_MAX; i++)
		parts[i] = (struct inspected_part){
			.top = i, .names = { EXE }, .n_names = 1, .n_own_names = 1
		};
	parts[CONTENT_STRIPS_MAX + 1] = (struct inspected_part){ .top = -1 };
	found.n_parts = CONTENT_STRIPS_MAX + 1;
	content_decide(&s->mime, &found, &d);
	ck_assert_uint_eq(d.n_strips, CONTENT_STRIPS_MAX);
	ck_assert_int_eq(d.verdict.action, ACTION_CONTINUE);
	found.n_parts++;
	content_decide(&s->mime, &found, &d);
	ck_assert_uint_eq(d.n_strips, 0);
	ck_assert_int_eq(d.verdict.action, ACTION_REJECT);
	settings_unref(s);
}
END_TEST

START_TEST(a_reply_text_is_one_line)
{
	struct inspected_part parts[2] = { { .names = { STR("a\r\n250 ok\0.exe") },
					       .n_names = 1, .n_own_names = 1 },
		{ .top = -1 } };
	struct inspection found = { .n_views = 1, .parts = parts, .n_parts = 2 };
	struct settings *s = settings_of("forbidden reject;");
	struct content_decision d;

	content_decide(&s->mime, &found, &d);
	ck_assert_int_eq(d.verdict.action, ACTION_REJECT);
	for (const char *p = d.verdict.text; *p != '\0'; p++)
		ck_assert((unsigned char)*p >= ' ');
	settings_unref(s);
}
END_TEST

/* --- explanations --- */

static const struct {
	struct str name, detail;
	const char *has, *lacks;
} texts[] = {
	{ STR("x.exe"), STR("x.exe"), "\n\n    x.exe\n\nReason: forbidden-name\n", "(" },
	{ STR("x.zip"), STR("x.exe"), "Reason: forbidden-name (x.exe)\n", NULL },
	{ { "", 0 }, { "", 0 }, "removed from this message\n\nReason: forbidden-name\n", "    " },
	{ STR("a\r\nb\0c" RTLO "\x1b[1m.exe"), { "", 0 }, "    abc[1m.exe\n", "\r" },
	{ STR("x"), STR("line\nbegin 644 evil.exe\n"), "(linebegin 644 evil.exe)", "\nbegin" },
	{ STR("gr\xc3\xbc\xc3\x9f" "e.exe"), { "", 0 }, "    gr\xc3\xbc\xc3\x9f" "e.exe\n", NULL },
	{ STR("\xff.exe"), { "", 0 }, "    \xef\xbf\xbd.exe\n", "\xff" },
};

START_TEST(explanations)
{
	struct content_strip strip = { .name = texts[_i].name,
		.why = "forbidden-name",
		.detail = texts[_i].detail };
	struct buf out;

	buf_init(&out, 10000);
	content_explain(&strip, "mx.example", &out);
	ck_assert(!out.failed);
	ck_assert(utf8_valid(buf_str(&out)));
	ck_assert_msg(strstr(buf_cstr(&out), texts[_i].has) != NULL, "%s", buf_cstr(&out));
	if (texts[_i].lacks != NULL)
		ck_assert_msg(
		    strstr(buf_cstr(&out), texts[_i].lacks) == NULL, "%s", buf_cstr(&out));
	ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "-- \nmx.example\n"));
	buf_clear(&out);
}
END_TEST

/* However long the names: all explanations together are one request to the jail. */
START_TEST(explanations_fit_a_request)
{
	char name[INSPECTION_TEXT_MAX], host[256];
	struct content_strip strip = { .why = "forbidden-name" };
	struct buf out;

	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = "\xf0\x9f\x98\x80"[i % 4];
	memset(host, 'h', 255);
	host[255] = '\0';
	strip.name = (struct str){ name, sizeof(name) };
	strip.detail = (struct str){ name, sizeof(name) - 4 };
	buf_init(&out, JAIL_REQUEST_MAX);
	for (int i = 0; i < CONTENT_STRIPS_MAX; i++) {
		buf_add_cstr(&out, "123456");
		content_explain(&strip, host, &out);
	}
	ck_assert(!out.failed);
	buf_clear(&out);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("content");
	TCase *tc = tcase_create("content");

	tcase_add_loop_test(tc, forbidden_endings, 0, sizeof(names) / sizeof(names[0]));
	tcase_add_test(tc, long_names_keep_their_end);
	tcase_add_loop_test(tc, decide, 0, sizeof(decisions) / sizeof(decisions[0]));
	tcase_add_test(tc, cuts_are_ordered_and_bounded);
	tcase_add_test(tc, a_reply_text_is_one_line);
	tcase_add_loop_test(tc, explanations, 0, sizeof(texts) / sizeof(texts[0]));
	tcase_add_test(tc, explanations_fit_a_request);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int bad = srunner_ntests_failed(runner);
	srunner_free(runner);
	return bad == 0 ? 0 : 1;
}
