/* SPDX-License-Identifier: BSD-2-Clause */
/* Inspecting and rewriting, with the real engine and without: what hides is found, what
 * is too much is a limit and never clean, and what stays stays as it was. */
#define XXH_INLINE_ALL
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "common/mail/mime.h"
#include "common/run/jail.h"
#include "milters/mime/scand/inspect.h"
#include "milters/mime/scand/rewrite.h"

#define SIGNATURES "tests/vectors/mime/postern-test.ndb"
#define SLOW_MS 30000 /* no bomb takes that long, on any machine */

static char dir[] = "/tmp/postern-scand-test-XXXXXX";
static struct clam *clam;
static const struct inspect_limits limits = { .decoded = 20u << 20, .depth = 4 };

static struct clam *
load(const char *signatures)
{
	struct clam_conf conf = { .signatures = signatures,
		.scan_size = 20u << 20,
		.file_size = 20u << 20,
		.recursion = 12,
		.files = 2000,
		.time_ms = 5000 };
	struct err err = { 0 };
	struct clam *c = clam_load(&conf, &err);

	ck_assert_msg(c != NULL, "%s", err.text);
	ck_assert_int_eq(clam_set_dir(c, dir, &err), 0);
	return c;
}

static void
setup(void)
{
	char command[200];

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(command, sizeof(command), "python3 tests/lib/hostile_mail.py '%s'", dir);
	ck_assert_int_eq(system(command), 0);
	clam = load(SIGNATURES);
}

static void
teardown(void)
{
	char command[200];

	clam_free(clam);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

/* The caller frees message.p. */
static struct str
message_of(const char *name)
{
	char path[300];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s.eml", dir, name);
	int fd = open(path, O_RDONLY);
	ck_assert_msg(fd >= 0, "%s", path);
	ck_assert_int_eq(fstat(fd, &st), 0);
	char *p = xmalloc((size_t)st.st_size);
	ck_assert_int_eq(read(fd, p, (size_t)st.st_size), st.st_size);
	close(fd);
	return (struct str){ p, (size_t)st.st_size };
}

/* raw must live as long as found; both are the caller's to clear. */
static void
inspect(struct str message, struct clam *c, const struct inspect_limits *l, struct buf *raw,
    struct inspection *found)
{
	struct err err = { 0 };

	buf_init(raw, JAIL_REPLY_MAX);
	inspect_message(message, c, l, raw);
	ck_assert(!raw->failed);
	ck_assert_msg(inspection_read(buf_str(raw), message.len, found, &err) == 0, "%s", err.text);
	ck_assert(str_is(found->parts[found->n_parts - 1].type, "(message)"));
}

static enum scan_state
worst(const struct inspection *found)
{
	static const int rank[] = { [SCAN_CLEAN] = 0, [SCAN_ENCRYPTED] = 1, [SCAN_LIMIT] = 2,
		[SCAN_ERROR] = 3, [SCAN_INFECTED] = 4 };
	enum scan_state state = SCAN_CLEAN;

	for (size_t i = 0; i < found->n_parts; i++)
		if (rank[found->parts[i].state] > rank[state])
			state = found->parts[i].state;
	return (found->flags & MIME_LIMITS) != 0 && state == SCAN_CLEAN ? SCAN_LIMIT : state;
}

static bool
has_name(const struct inspection *found, size_t part, const char *name)
{
	for (size_t k = 0; k < found->parts[part].n_names; k++)
		if (str_is(found->parts[part].names[k], name))
			return true;
	return false;
}

static const struct {
	const char *name;
	enum scan_state state;
} messages[] = {
	{ "plain", SCAN_CLEAN },
	{ "eicar", SCAN_INFECTED },
	{ "nested-zip-in-message", SCAN_INFECTED },
	{ "base64-message", SCAN_INFECTED },
	{ "base64-named-eml", SCAN_INFECTED },
	{ "uuencode", SCAN_INFECTED },
	{ "uuencode-many", SCAN_LIMIT },
	{ "same-zip-twice", SCAN_CLEAN },
	{ "office", SCAN_CLEAN },
	{ "many-endings", SCAN_LIMIT },
	{ "encrypted", SCAN_ENCRYPTED },
	{ "many-parts", SCAN_LIMIT },
	{ "deep-multiparts", SCAN_LIMIT },
	{ "deep-messages", SCAN_LIMIT },
	{ "ratio-bomb", SCAN_LIMIT },
	{ "tree-bomb", SCAN_LIMIT },
	{ "deep-zip", SCAN_LIMIT },
	{ "many-members", SCAN_LIMIT },
};

START_TEST(with_the_engine)
{
	struct str message = message_of(messages[_i].name);
	int64_t began = clock_mono_ms();
	struct inspection found;
	struct buf raw;

	inspect(message, clam, &limits, &raw, &found);
	enum scan_state seen = worst(&found);
	ck_assert_msg(seen == messages[_i].state, "%s: %s", messages[_i].name,
	    scan_state_name(seen));
	ck_assert_msg(clock_mono_ms() - began < SLOW_MS, "%s", messages[_i].name);
	ck_assert(str_starts(found.engine, STR("ClamAV ")));
	inspection_clear(&found);
	buf_clear(&raw);
	free((void *)(uintptr_t)message.p);
}
END_TEST

/* What does not need the engine is a limit without it as well. */
static const struct {
	const char *name;
	struct inspect_limits limits;
	const char *reason;
} limited[] = {
	{ "decoded-size", { 1u << 20, 4, 0 }, "too much decoded content" },
	{ "decoded-sum", { 1u << 20, 4, 0 }, "too much decoded content" },
	{ "deep-messages", { 1u << 24, 2, 0 }, "messages too deep in each other" },
	{ "uuencode-many", { 1u << 24, 2, 0 }, "too many uuencoded blocks" },
};

START_TEST(limits_without_the_engine)
{
	struct str message = message_of(limited[_i].name);
	struct inspection found;
	struct buf raw;
	bool told = false;

	inspect(message, NULL, &limited[_i].limits, &raw, &found);
	for (size_t i = 0; i < found.n_parts; i++)
		told = told ||
		    (found.parts[i].state == SCAN_LIMIT &&
			str_is(found.parts[i].virus, limited[_i].reason));
	ck_assert_msg(told, "%s", limited[_i].name);
	inspection_clear(&found);
	buf_clear(&raw);
	free((void *)(uintptr_t)message.p);
}
END_TEST

START_TEST(an_answer_that_does_not_fit_is_a_limit)
{
	struct str message = message_of("many-part-names");
	struct inspection found;
	struct buf raw;
	struct err err;

	buf_init(&raw, 50000);
	buf_add_cstr(&raw, "before");
	inspect_message(message, NULL, &limits, &raw);
	ck_assert(!raw.failed);
	ck_assert(str_starts(buf_str(&raw), STR("before")));
	ck_assert_int_eq(
	    inspection_read(str_sub(buf_str(&raw), 6, raw.len), message.len, &found, &err), 0);
	ck_assert_uint_eq(found.n_parts, 1);
	ck_assert_int_eq(found.parts[0].state, SCAN_LIMIT);
	inspection_clear(&found);
	buf_clear(&raw);
	free((void *)(uintptr_t)message.p);
}
END_TEST

START_TEST(time_is_a_limit)
{
	static const struct inspect_limits hasty = { 20u << 20, 4, 1 };
	struct str message = message_of("many-parts");
	struct inspection found;
	struct buf raw;

	inspect(message, clam, &hasty, &raw, &found);
	ck_assert_int_eq(found.parts[0].state, SCAN_CLEAN);
	const struct inspected_part *last = &found.parts[found.n_parts - 1];
	ck_assert_int_eq(last->state, SCAN_LIMIT);
	ck_assert(str_is(last->virus, "too much time"));
	inspection_clear(&found);
	buf_clear(&raw);
	free((void *)(uintptr_t)message.p);
}
END_TEST

/* The part of view 0 that a finding belongs to. */
START_TEST(findings_have_their_top)
{
	struct str message = message_of("base64-message");
	struct inspection found;
	struct buf raw;
	int infected = 0;

	inspect(message, clam, &limits, &raw, &found);
	for (size_t i = 0; i + 1 < found.n_parts; i++)
		if (found.parts[i].state == SCAN_INFECTED) {
			ck_assert_int_eq(found.parts[i].top, 2);
			infected++;
		}
	ck_assert_int_ge(infected, 1);
	ck_assert_uint_gt(found.parts[2].body, found.parts[2].head);
	inspection_clear(&found);
	buf_clear(&raw);
	free((void *)(uintptr_t)message.p);
}
END_TEST

/* Content is scanned once, but each part that has it has its members' names. */
START_TEST(members_of_every_copy)
{
	struct str message = message_of("same-zip-twice");
	struct inspection found;
	struct buf raw;

	inspect(message, clam, &limits, &raw, &found);
	ck_assert_uint_eq(found.n_parts, 4);
	for (size_t i = 1; i < 3; i++) {
		ck_assert(has_name(&found, i, i == 1 ? "0.zip" : "1.zip"));
		ck_assert(has_name(&found, i, "evil.exe") && has_name(&found, i, "b.txt"));
		ck_assert_uint_eq(found.parts[i].n_own_names, 1);
	}
	inspection_clear(&found);
	buf_clear(&raw);
	free((void *)(uintptr_t)message.p);
}
END_TEST

START_TEST(members_of_encrypted_archives)
{
	struct str message = message_of("encrypted");
	struct inspection found;
	struct buf raw;

	inspect(message, clam, &limits, &raw, &found);
	ck_assert(has_name(&found, 2, "evil.exe"));
	inspection_clear(&found);
	buf_clear(&raw);
	free((void *)(uintptr_t)message.p);
}
END_TEST

/* Six hundred members, four endings; folders are none. */
START_TEST(members_by_their_endings)
{
	struct str message = message_of("office");
	struct inspection found;
	struct buf raw;

	inspect(message, clam, &limits, &raw, &found);
	ck_assert_uint_le(found.parts[2].n_names, 8);
	ck_assert(!has_name(&found, 2, "example.com/"));
	inspection_clear(&found);
	buf_clear(&raw);
	free((void *)(uintptr_t)message.p);
}
END_TEST

START_TEST(long_names_keep_what_decides)
{
	static char message[9000];
	struct inspection found;
	struct buf raw;
	int n = snprintf(message, sizeof(message),
	    "Content-Type: application/x; name=\"evil.exe%*s\"\r\n\r\nx", 3000, " ");

	inspect((struct str){ message, (size_t)n }, NULL, &limits, &raw, &found);
	bool seen = false;
	for (size_t k = 0; k < found.parts[0].n_names; k++)
		seen = seen || str_ends_nocase(str_trim(found.parts[0].names[k]), STR("evil.exe"));
	ck_assert(seen);
	inspection_clear(&found);
	buf_clear(&raw);
}
END_TEST

static void
put64(unsigned char *p, uint64_t v)
{
	memcpy(p, &v, 8);
}

static uint64_t
key64(size_t at)
{
	uint64_t v;

	memcpy(&v, XXH3_kSecret + at, 8);
	return v;
}

/* Two contents of one (unkeyed) XXH3: in lanes whose upper half is the secret's the
 * product is zero, so only the sum of the lanes counts. */
static void
collide(unsigned char content[512], uint32_t first, uint32_t second)
{
	memset(content, 'x', 512);
	put64(content, (key64(0) & 0xffffffff00000000) | first);
	put64(content + 64, (key64(8) & 0xffffffff00000000) | second);
}

static void
add_base64(struct buf *out, const unsigned char *p, size_t len)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i + 2 < len; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)p[i + 1] << 8 | p[i + 2];

		for (int k = 18; k >= 0; k -= 6)
			buf_add_char(out, digits[v >> k & 63]);
		if (i % 57 == 54)
			buf_add_cstr(out, "\r\n");
	}
	buf_add_cstr(out, "\r\n");
}

START_TEST(contents_of_one_hash_are_two)
{
	static unsigned char good[512], bad[512];
	char path[300], line[100];
	struct inspection found;
	struct buf message, raw;
	/* The bytes of 0xddccbbaa in memory are the signature. */
	collide(good, 0xddccbbab, 0x11111110);
	collide(bad, 0xddccbbaa, 0x11111111);

	ck_assert(memcmp(good, bad, 512) != 0);
	ck_assert(XXH128_isEqual(XXH3_128bits(good, 510), XXH3_128bits(bad, 510)));
	snprintf(path, sizeof(path), "%s/collide.ndb", dir);
	int n = snprintf(line, sizeof(line), "Test.Collide:0:*:aabbccdd%08x\n",
	    __builtin_bswap32((uint32_t)(key64(0) >> 32)));
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_eq(write(fd, line, (size_t)n), n);
	close(fd);
	struct clam *c = load(path);
	buf_init(&message, 10000);
	buf_add_cstr(&message, "Content-Type: multipart/mixed; boundary=b\r\n\r\n");
	for (int i = 0; i < 2; i++) {
		buf_add_cstr(&message,
		    "--b\r\nContent-Type: application/x\r\n"
		    "Content-Transfer-Encoding: base64\r\n\r\n");
		add_base64(&message, i == 0 ? good : bad, 510);
	}
	buf_add_cstr(&message, "--b--\r\n");
	inspect(buf_str(&message), c, &limits, &raw, &found);
	ck_assert_int_eq(found.parts[1].state, SCAN_CLEAN);
	ck_assert_int_eq(found.parts[2].state, SCAN_INFECTED);
	inspection_clear(&found);
	buf_clear(&raw);
	buf_clear(&message);
	clam_free(c);
}
END_TEST

static const struct {
	const char *name, *content;
} bases[] = {
	{ "none", NULL },
	{ "empty.ndb", "" },
	{ "broken.ndb", "No.Such:::line\n" },
};

START_TEST(no_signatures_no_engine)
{
	char path[300];
	struct clam_conf conf = { .signatures = path, .scan_size = 1 << 20,
		.file_size = 1 << 20, .recursion = 5, .files = 10, .time_ms = 1000 };
	struct err err = { 0 };

	snprintf(path, sizeof(path), "%s/%s", dir, bases[_i].name);
	if (bases[_i].content != NULL) {
		FILE *f = fopen(path, "w");

		fputs(bases[_i].content, f);
		fclose(f);
	}
	ck_assert_ptr_null(clam_load(&conf, &err));
	ck_assert_ptr_nonnull(strstr(err.text, path));
}
END_TEST

/* --- rewriting --- */

#define NL "\r\n"
#define TEXT_HEAD                                                                      \
	"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n" \
	"Content-Disposition: inline\r\n\r\n"
#define TOP "Subject: s" NL "Content-Type: multipart/mixed; boundary=b" NL NL
#define TWO                                                                            \
	TOP "pre\namble" NL "--b" NL "Content-Type: text/plain" NL NL "one\0\xff" NL       \
	    "--b  " NL "X: y" NL NL "two" NL "--b--" NL "epi\rlogue"

static const struct {
	const char *what;
	struct str message;
	struct str request; /* without "R" */
	struct str out; /* from the body on */
} rewrites[] = {
	{ "nothing", STR(TWO), { "", 0 },
	    STR("pre\namble" NL "--b" NL "Content-Type: text/plain" NL NL "one\0\xff" NL "--b  " NL
		"X: y" NL NL "two" NL "--b--" NL "epi\rlogue") },
	{ "the first", STR(TWO), STR("\0\0\0\1\0\4gone"),
	    STR("pre\namble" NL "--b" NL TEXT_HEAD "gone" NL NL "--b  " NL "X: y" NL NL "two" NL
		"--b--" NL "epi\rlogue") },
	{ "the second", STR(TWO), STR("\0\0\0\2\0\4a\nb\n"),
	    STR("pre\namble" NL "--b" NL "Content-Type: text/plain" NL NL "one\0\xff" NL "--b  " NL
		TEXT_HEAD "a" NL "b" NL NL "--b--" NL "epi\rlogue") },
	{ "both", STR(TWO), STR("\0\0\0\1\0\1x\0\0\0\2\0\1y"),
	    STR("pre\namble" NL "--b" NL TEXT_HEAD "x" NL NL "--b  " NL TEXT_HEAD "y" NL NL "--b--" NL
		"epi\rlogue") },
	{ "the root", STR("Subject: s" NL NL "evil"), STR("\0\0\0\0\0\4gone"), STR("gone" NL) },
	{ "the root, and what is in it", STR(TWO), STR("\0\0\0\0\0\4gone\0\0\0\2\0\1y"),
	    STR("gone" NL) },
	{ "twice the same", STR(TWO), STR("\0\0\0\2\0\1x\0\0\0\2\0\1y"),
	    STR("pre\namble" NL "--b" NL "Content-Type: text/plain" NL NL "one\0\xff" NL "--b  " NL
		TEXT_HEAD "x" NL NL "--b--" NL "epi\rlogue") },
	{ "in an inner message",
	    STR(TOP "--b" NL "Content-Type: message/rfc822" NL NL "Subject: in" NL
		    "Content-Type: multipart/mixed; boundary=c" NL NL "--c" NL NL "keep" NL "--c" NL NL
		    "evil" NL "--c--" NL NL "--b--" NL),
	    STR("\0\0\0\4\0\1x"),
	    STR("--b" NL "Content-Type: message/rfc822" NL NL "Subject: in" NL
		"Content-Type: multipart/mixed; boundary=c" NL NL "--c" NL NL "keep" NL "--c" NL TEXT_HEAD
		"x" NL NL "--c--" NL NL "--b--" NL) },
};

START_TEST(rewriting)
{
	struct str request = rewrites[_i].request, message = rewrites[_i].message;
	struct buf out;
	struct err err = { 0 };
	size_t body = 0;

	buf_init(&out, 10000);
	ck_assert_msg(rewrite_message(request, message, &out, &body, &err) == 0, "%s: %s",
	    rewrites[_i].what, err.text);
	ck_assert_msg(str_eq(str_sub(buf_str(&out), body, out.len), rewrites[_i].out),
	    "%s: %.*s", rewrites[_i].what, (int)(out.len - body), out.p + body);
	/* In front of it: what the readers' header section will say. */
	if (request.len > 4 && request.p[3] == 0)
		ck_assert(str_eq(str_sub(buf_str(&out), 0, body), STR(TEXT_HEAD)));
	else
		ck_assert(str_eq(str_sub(buf_str(&out), 0, body), str_sub(message, 0, body)));
	buf_clear(&out);
}
END_TEST

static const struct str malformed[] = {
	STR("\0"),
	STR("\0\0\0\1\0"),
	STR("\0\0\0\1\0\5gone"),
	STR("\0\0\0\1\xff\xff"),
	STR("\0\0\0\3\0\1x"), /* there is no such part */
	STR("\xff\xff\xff\xff\0\1x"),
	STR("\0\0\0\1\0\1x\0\0\0\2"),
};

START_TEST(malformed_requests)
{
	struct buf out;
	struct err err = { 0 };
	size_t body;

	buf_init(&out, 10000);
	ck_assert_int_eq(rewrite_message(malformed[_i], STR(TWO), &out, &body, &err), -1);
	ck_assert(err.text[0] != '\0');
	buf_clear(&out);
	buf_init(&out, 50); /* no room */
	ck_assert_int_eq(
	    rewrite_message(STR("\0\0\0\1\0\1x"), STR(TWO), &out, &body, &err), -1);
	buf_clear(&out);
}
END_TEST

/* Parts that go in an order that nobody should ask for harm nothing. */
START_TEST(descending_requests)
{
	struct buf out;
	struct err err = { 0 };
	size_t body;

	buf_init(&out, 10000);
	ck_assert_int_eq(rewrite_message(STR("\0\0\0\2\0\1x\0\0\0\0\0\1y\0\0\0\1\0\1z"), STR(TWO),
			     &out, &body, &err),
	    0);
	ck_assert_uint_lt(out.len, sizeof(TWO) + sizeof(TEXT_HEAD) + 10);
	buf_clear(&out);
}
END_TEST

/* The cut message, inspected, has the finding no more. */
START_TEST(a_cut_is_clean)
{
	struct str message = message_of("eicar");
	struct inspection found;
	struct buf out, raw;
	struct err err;
	size_t body;

	buf_init(&out, 1 << 20);
	ck_assert_int_eq(
	    rewrite_message(STR("\0\0\0\2\0\4gone"), message, &out, &body, &err), 0);
	inspect(buf_str(&out), clam, &limits, &raw, &found);
	ck_assert_int_eq(worst(&found), SCAN_CLEAN);
	inspection_clear(&found);
	buf_clear(&raw);
	buf_clear(&out);
	free((void *)(uintptr_t)message.p);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("scand");
	TCase *tc = tcase_create("scand");

	tcase_add_unchecked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, with_the_engine, 0, sizeof(messages) / sizeof(messages[0]));
	tcase_add_loop_test(
	    tc, limits_without_the_engine, 0, sizeof(limited) / sizeof(limited[0]));
	tcase_add_test(tc, an_answer_that_does_not_fit_is_a_limit);
	tcase_add_test(tc, time_is_a_limit);
	tcase_add_test(tc, findings_have_their_top);
	tcase_add_test(tc, members_of_every_copy);
	tcase_add_test(tc, members_of_encrypted_archives);
	tcase_add_test(tc, members_by_their_endings);
	tcase_add_test(tc, long_names_keep_what_decides);
	tcase_add_test(tc, contents_of_one_hash_are_two);
	tcase_add_loop_test(tc, no_signatures_no_engine, 0, sizeof(bases) / sizeof(bases[0]));
	tcase_add_loop_test(tc, rewriting, 0, sizeof(rewrites) / sizeof(rewrites[0]));
	tcase_add_loop_test(
	    tc, malformed_requests, 0, sizeof(malformed) / sizeof(malformed[0]));
	tcase_add_test(tc, descending_requests);
	tcase_add_test(tc, a_cut_is_clean);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int bad = srunner_ntests_failed(runner);
	srunner_free(runner);
	return bad == 0 ? 0 : 1;
}
