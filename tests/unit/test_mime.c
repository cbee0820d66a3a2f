/* SPDX-License-Identifier: BSD-2-Clause */
/* The MIME reader and the decoders: tables for what each is, and the recorded messages of
 * tests/vectors/mime for what readers in the field make of malformed mail. */
#include <check.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/mail/mime.h"
#include "common/mail/mime_field.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))
#define VECTORS "tests/vectors/mime/"

static const struct {
	const char *in;
	enum decode_mode mode;
	const char *out;
	unsigned seen;
} base64s[] = {
	{ "aGVsbG8=", DECODE_STOP, "hello", 0 },
	{ "aGVs\r\nbG8=\r\n", DECODE_STOP, "hello", 0 },
	{ "aGVsbG8", DECODE_STOP, "hello", DECODED_TRUNCATED },
	{ "a!G*V(s)b G8=", DECODE_STOP, "hello", DECODED_JUNK },
	{ "aGVsbG8=aGVsbG8=", DECODE_STOP, "hello", DECODED_AFTER_PAD },
	{ "aGVsbG8=aGVsbG8=", DECODE_RESYNC, "hellohello", DECODED_AFTER_PAD },
	{ "=aGVsbG8=", DECODE_STOP, "hello", 0 },
	{ "Pz8_Pj4-", DECODE_STOP, "\?\?\?>>>", DECODED_URLSAFE },
	{ "", DECODE_STOP, "", 0 },
	{ "====", DECODE_STOP, "", 0 },
	{ "a", DECODE_STOP, "", DECODED_TRUNCATED },
};

START_TEST(base64)
{
	struct buf out;

	buf_init(&out, 1000);
	unsigned seen = decode_base64(str_of(base64s[_i].in), base64s[_i].mode, &out);
	ck_assert_str_eq(buf_cstr(&out), base64s[_i].out);
	ck_assert_uint_eq(seen, base64s[_i].seen);
	buf_clear(&out);
}
END_TEST

static const struct {
	const char *in, *out;
	unsigned seen;
} qps[] = {
	{ "plain", "plain", 0 },
	{ "a=3Db", "a=b", 0 },
	{ "a=3db", "a=b", 0 },
	{ "soft=\r\nbreak", "softbreak", 0 },
	{ "soft=  \r\nbreak", "softbreak", 0 },
	{ "soft=\nbreak", "softbreak", 0 },
	{ "soft=\rbreak", "softbreak", 0 },
	{ "end=", "end", 0 },
	{ "added blanks \t\r\nx", "added blanks\r\nx", 0 },
	{ "a=zzb", "a=zzb", DECODED_BAD_ESCAPE },
	{ "a==41", "a=A", DECODED_BAD_ESCAPE },
	{ "a=4", "a=4", DECODED_BAD_ESCAPE },
};

START_TEST(quoted_printable)
{
	struct buf out;

	buf_init(&out, 1000);
	unsigned seen = decode_qp(str_of(qps[_i].in), &out);
	ck_assert_str_eq(buf_cstr(&out), qps[_i].out);
	ck_assert_uint_eq(seen, qps[_i].seen);
	buf_clear(&out);
}
END_TEST

START_TEST(uuencoded)
{
	struct str text = STR("before\r\nbegin 644 a b.exe\r\n%:&5L;&\\ \r\n \r\nend\r\nafter\r\n");
	struct str name;
	struct buf out;
	size_t at = 0;

	buf_init(&out, 1000);
	ck_assert(decode_uu_next(text, &at, &name, &out));
	ck_assert_str_eq(buf_cstr(&out), "hello");
	ck_assert(str_is(name, "a b.exe"));
	ck_assert(!decode_uu_next(text, &at, &name, &out));
	buf_clear(&out);
}
END_TEST

static const struct {
	const char *in, *out;
} loose[] = {
	{ "a=3Db=\r\nc", "a=bc" },
	{ "=4=\r\n1", "A" },
	{ "==\r\n41", "A" },
	{ "=4= \t\n1", "A" },
	{ "=41=0=42", "AB" },
	{ "=41= =\r\n=42", "AB" },
	{ "a=", "a" },
	{ "a=4", "a" },
	{ "", "" },
};

START_TEST(quoted_printable_loosely)
{
	struct buf out;

	buf_init(&out, 1000);
	ck_assert_uint_eq(decode_qp_loose(str_of(loose[_i].in), &out), 0);
	ck_assert_str_eq(buf_cstr(&out), loose[_i].out);
	buf_clear(&out);
	buf_init(&out, 1);
	ck_assert_uint_eq(decode_qp_loose(STR("=4=\r\n1BC"), &out), DECODED_FULL);
	buf_clear(&out);
}
END_TEST

/* Blocks of three kinds in one text, and what only looks like one. */
START_TEST(blocks_of_each_kind)
{
	struct str text = STR("begin-base64 644 x.exe\r\naGVs\r\nbG8=\r\n====\r\n"
			      "begin-base64 tomorrow\r\n=ybegin line=128 size=3\r\n"
			      "=ybegin part=1 line=128 size=3 name=y z.com\r\n"
			      "=ypart begin=1 end=3\r\n\x8b=\x7d\x8c\r\n=yend size=3\r\n"
			      "begin 644 u\r\n%:&5L;&\\ \r\nend\r\n");
	struct str name;
	struct buf out;
	size_t at = 0;

	buf_init(&out, 1000);
	ck_assert(decode_uu_next(text, &at, &name, &out));
	ck_assert(str_is(name, "x.exe"));
	ck_assert_str_eq(buf_cstr(&out), "hello");
	buf_reset(&out);
	ck_assert(decode_uu_next(text, &at, &name, &out));
	ck_assert(str_is(name, "y z.com"));
	ck_assert(str_eq(buf_str(&out), STR("a\x13" "b")));
	buf_reset(&out);
	ck_assert(decode_uu_next(text, &at, &name, &out));
	ck_assert(str_is(name, "u"));
	ck_assert_str_eq(buf_cstr(&out), "hello");
	ck_assert(!decode_uu_next(text, &at, &name, &out));
	buf_clear(&out);
}
END_TEST

START_TEST(decoders_obey_the_maximum)
{
	struct buf out;

	buf_init(&out, 4);
	ck_assert_uint_ne(decode_base64(STR("aGVsbG8gd29ybGQ="), DECODE_STOP, &out) & DECODED_FULL, 0);
	ck_assert_uint_le(out.len, 4);
	buf_reset(&out);
	ck_assert_uint_ne(decode_qp(STR("hello"), &out) & DECODED_FULL, 0);
	buf_clear(&out);
}
END_TEST

static const struct {
	const char *raw, *param;
	const char *values; /* joined with '|' */
	bool broken, comments;
} params[] = {
	{ "multipart/mixed; boundary=abc", "boundary", "abc", false, false },
	{ "multipart/mixed; boundary=\"a b;c\"", "boundary", "a b;c", false, false },
	{ "multipart/mixed;\r\n\tboundary=\"a\\\"b\"", "boundary", "a\"b", false, false },
	{ "x/y; boundary=a; boundary=b", "boundary", "a|b", false, false },
	{ "x/y; boundary=(c)abc", "boundary", "abc", false, true },
	{ "x/y; boundary=\"abc", "boundary", "abc", true, false },
	{ "x/y; boundary*0=ab; boundary*1=cd", "boundary", "abcd", false, false },
	{ "x/y; boundary*1=cd; boundary*0=ab; boundary=z", "boundary", "z|abcd", false, false },
	{ "x/y; name*=utf-8'en'a%2Eexe", "name", "a.exe|utf-8'en'a%2Eexe", false, false },
	{ "x/y; name*0*=utf-8''a%2E; name*1=exe", "name", "a.exe", false, false },
	{ "x/y; name=\"=?utf-8?B?YS5leGU=?=\"", "name", "=?utf-8?B?YS5leGU=?=|a.exe", false,
	    false },
	{ "x/y; name=\"=?utf-8?Q?a?= =?utf-8?Q?.exe?=\"", "name",
	    "=?utf-8?Q?a?= =?utf-8?Q?.exe?=|a.exe", false, false },
	{ "x/y; name=a b.exe", "name", "a b.exe", false, false },
	{ "x/y; NAME = \"a\"", "name", "a", false, false },
	{ "x/y; name", "name", "", true, false },
	{ "x/y name=a", "name", "", false, false },
	{ "", "name", "", false, false },
	{ "x/y; (unclosed", "name", "", true, true },
};

START_TEST(parameters)
{
	struct str raw = str_of(params[_i].raw);
	struct mime_values values = { .n = 0 };
	struct mime_field f;
	struct buf scratch, joined;

	buf_init(&scratch, MIME_SCRATCH(raw.len));
	buf_reserve(&scratch, scratch.max);
	buf_init(&joined, 1000);
	mime_field_parse(raw, &f, &scratch);
	mime_field_values(&f, params[_i].param, &values, &scratch);
	for (size_t i = 0; i < values.n; i++) {
		buf_add_cstr(&joined, i > 0 ? "|" : "");
		buf_add_str(&joined, values.list[i]);
	}
	ck_assert_str_eq(buf_cstr(&joined), params[_i].values);
	ck_assert_int_eq(f.broken, params[_i].broken);
	ck_assert_int_eq(f.comments, params[_i].comments);
	ck_assert(!scratch.failed);
	buf_clear(&scratch);
	buf_clear(&joined);
}
END_TEST

/* A view as text: "multipart/mixed(text/plain application/x[a.exe])". */
static void
print_part(const struct mime_view *v, int index, struct buf *out)
{
	const struct mime_part *p = &v->parts[index];
	const char *between = "(";

	buf_add_str(out, p->type.len > 0 ? p->type : STR("-"));
	for (size_t i = 0; i < p->n_names; i++)
		buf_addf(out, "[%.*s]", STR_ARG(p->names[i]));
	for (size_t i = 0; i < v->n_parts; i++)
		if (v->parts[i].parent == index) {
			buf_add_cstr(out, between);
			print_part(v, (int)i, out);
			between = " ";
		}
	if (*between == ' ')
		buf_add_cstr(out, ")");
}

static const struct {
	const char *message, *tree;
	unsigned flags;
	size_t n_views;
} trees[] = {
	{ "Subject: x\r\n\r\nbody\r\n", "-", 0, 1 },
	{ "", "-", 0, 1 },
	{ "no header at all\r\n", "-", MIME_AMB_HEADER_END, 2 },
	{ "Content-Type: Text/HTML; charset=UTF-8\r\n\r\n<p>\r\n", "text/html", 0, 1 },
	{ "Content-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\n"
	  "Content-Type: a/b; name=a.exe\r\n\r\ntwo\r\n--b--\r\npost\r\n",
	    "multipart/mixed(- a/b[a.exe])", 0, 1 },
	{ "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n",
	    "multipart/mixed(-)", 0, 1 },
	/* the inner one ends with the outer delimiter, unclosed */
	{ "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
	  "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--a\r\n"
	  "Content-Type: c/d\r\n\r\ny\r\n--a--\r\n",
	    "multipart/mixed(multipart/alternative(-) c/d)", 0, 1 },
	{ "Content-Type: message/rfc822\r\n\r\nSubject: in\r\nContent-Type: e/f\r\n\r\nz\r\n",
	    "message/rfc822(e/f)", 0, 1 },
	{ "Content-Type: multipart/mixed; boundary=a; boundary=b\r\n\r\n--a\r\n"
	  "Content-Type: a/a\r\n\r\n--b\r\nContent-Type: b/b\r\n\r\n--b--\r\n--a--\r\n",
	    "multipart/mixed(a/a)", MIME_AMB_BOUNDARY, 2 },
	{ "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\n1\r\n--a--\r\n--a\r\n"
	  "Content-Type: l/l\r\n\r\n2\r\n",
	    "multipart/mixed(- l/l)", MIME_AMB_AFTER_CLOSE, 1 },
	{ "Content-Type: multipart/mixed\r\n\r\n--x\r\nContent-Type: s/s\r\n\r\n1\r\n--x--\r\n",
	    "multipart/mixed", MIME_AMB_NO_BOUNDARY, 2 },
	{ "Content-Type: message/partial; id=1; number=1\r\n\r\nx\r\n", "message/partial",
	    MIME_AMB_PARTIAL, 1 },
	{ "Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 7bit\r\n\r\nYQ==",
	    "-", MIME_AMB_FIELD, 2 },
	/* a delimiter inside the header section of a message ends both */
	{ "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
	  "Content-Type: message/rfc822\r\n--a--\r\nContent-Type: n/o\r\n\r\n",
	    "multipart/mixed(message/rfc822(-))", 0, 1 },
	{ "Content-Type : text/plain\r\n\r\nx", "text/plain", 0, 1 },
};

START_TEST(tree)
{
	struct mime m;
	struct buf out;

	buf_init(&out, 10000);
	mime_read(str_of(trees[_i].message), &m);
	print_part(&m.views[0], 0, &out);
	ck_assert_str_eq(buf_cstr(&out), trees[_i].tree);
	ck_assert_uint_eq(m.flags, trees[_i].flags);
	ck_assert_uint_eq(m.n_views, trees[_i].n_views);
	mime_clear(&m);
	buf_clear(&out);
}
END_TEST

START_TEST(content_has_exact_offsets)
{
	static const char text[] = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
				   "X: y\r\n\r\nline 1\r\nline 2\r\n\r\n--b--\r\n";
	struct mime m;

	mime_read(str_of(text), &m);
	ck_assert_uint_eq(m.views[0].n_parts, 2);
	const struct mime_part *p = &m.views[0].parts[1];
	struct str body = str_sub(str_of(text), p->body, p->body_end);
	ck_assert(str_is(body, "line 1\r\nline 2\r\n"));
	struct str head = str_sub(str_of(text), p->head, p->head_end);
	ck_assert(str_is(head, "X: y\r\n"));
	mime_clear(&m);
}
END_TEST

START_TEST(limits_are_told)
{
	struct buf text;
	struct mime m;

	buf_init(&text, 1u << 22);
	buf_add_cstr(&text, "Content-Type: multipart/mixed; boundary=b\n\n");
	for (int i = 0; i < MIME_PARTS_MAX + 10; i++)
		buf_add_cstr(&text, "--b\n\nx\n");
	mime_read(buf_str(&text), &m);
	ck_assert_uint_ne(m.flags & MIME_LIMIT_PARTS, 0);
	mime_clear(&m);
	buf_reset(&text);
	for (int i = 0; i < MIME_DEPTH_MAX + 10; i++)
		buf_addf(&text, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i);
	mime_read(buf_str(&text), &m);
	ck_assert_uint_ne(m.flags & MIME_LIMIT_DEPTH, 0);
	mime_clear(&m);
	buf_reset(&text);
	for (int i = 0; i < MIME_DEPTH_MAX + 10; i++)
		buf_add_cstr(&text, "Content-Type: message/rfc822\n\n");
	mime_read(buf_str(&text), &m);
	ck_assert_uint_ne(m.flags & MIME_LIMIT_DEPTH, 0);
	mime_clear(&m);
	buf_clear(&text);
}
END_TEST

/* --- the recorded messages --- */

struct vector {
	char file[160], class[40], payload[12];
	bool detect, tier_a;
};
static struct vector vectors[600];
static int n_vectors;

static void
read_manifest(void)
{
	char line[2000];
	FILE *f = fopen(VECTORS "manifest.tsv", "r");

	if (f == NULL || fgets(line, sizeof(line), f) == NULL)
		return;
	while (n_vectors < 600 && fgets(line, sizeof(line), f) != NULL) {
		struct str rest = str_of(line), col[8];
		struct vector *v = &vectors[n_vectors];

		for (int i = 0; i < 8; i++)
			if (!str_cut(&rest, '\t', &col[i]))
				col[i] = (struct str){ "", 0 };
		snprintf(v->file, sizeof(v->file), "%.*s", STR_ARG(col[0]));
		snprintf(v->class, sizeof(v->class), "%.*s", STR_ARG(col[1]));
		snprintf(v->payload, sizeof(v->payload), "%.*s", STR_ARG(col[3]));
		v->detect = str_is(col[4], "must_detect");
		v->tier_a = str_is(col[6], "A");
		n_vectors++;
	}
	fclose(f);
}

static struct str
slurp(const char *file)
{
	char path[300];
	struct stat st;

	snprintf(path, sizeof(path), VECTORS "%s", file);
	int fd = open(path, O_RDONLY);
	ck_assert_msg(fd >= 0 && fstat(fd, &st) == 0, "%s", path);
	char *p = malloc((size_t)st.st_size + 1);
	ck_assert_int_eq(read(fd, p, (size_t)st.st_size), st.st_size);
	close(fd);
	return (struct str){ p, (size_t)st.st_size };
}

static bool
has_payload(struct str data, const char *payload)
{
	if (strcmp(payload, "eicar") == 0)
		return memmem(data.p, data.len, "EICAR-STANDARD-ANTIVIRUS", 24) != NULL;
	return data.len > 2 && memcmp(data.p, "MZ", 2) == 0;
}

static bool
view_finds(struct str message, const struct mime_view *v, const char *payload)
{
	bool found = false;
	struct buf out;

	buf_init(&out, 1u << 24);
	for (size_t i = 0; !found && i < v->n_parts; i++)
		for (int mode = DECODE_STOP; !found && mode <= DECODE_RESYNC; mode++) {
			buf_reset(&out);
			mime_decode(message, &v->parts[i], (enum decode_mode)mode, &out);
			found = has_payload(buf_str(&out), payload);
		}
	buf_clear(&out);
	return found;
}

/* What the union of views reaches today; it may only rise. */
#define UNION_FLOOR 152

/* Classes whose whole trick lies in MIME itself, not in archives, documents or text. */
static bool
mime_layer(const char *class)
{
	static const char *const classes[] = { "dup-header", "boundary-param", "structure",
		"header-syntax", "header-body-sep", "base64", "quoted-printable",
		"cte-semantics", "line-endings", "truncated" };

	for (int i = 0; i < COUNT(classes); i++)
		if (strcmp(class, classes[i]) == 0)
			return true;
	return false;
}

START_TEST(union_of_views_finds_payloads)
{
	int tried = 0, found = 0;

	for (int i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];

		if (!v->detect || !v->tier_a || !mime_layer(v->class) ||
		    (strcmp(v->payload, "eicar") != 0 && strcmp(v->payload, "exe") != 0))
			continue;
		struct str message = slurp(v->file);
		struct mime m;
		bool hit = false;

		mime_read(message, &m);
		for (size_t j = 0; !hit && j < m.n_views; j++)
			hit = view_finds(message, &m.views[j], v->payload);
		tried++;
		found += hit;
		if (!hit)
			printf("# %s payload: %s flags %x views %zu\n",
			    m.flags != 0 ? "flagged without" : "MISSED", v->file, m.flags,
			    m.n_views);
		mime_clear(&m);
		free((char *)(uintptr_t)message.p);
	}
	printf("# %d of %d payloads in the union of views\n", found, tried);
	ck_assert_int_eq(tried, 174);
	ck_assert_int_ge(found, UNION_FLOOR);
}
END_TEST

START_TEST(benign_mail_has_one_view)
{
	int seen = 0;

	for (int i = 0; i < n_vectors; i++) {
		if (strcmp(vectors[i].class, "benign") != 0)
			continue;
		struct str message = slurp(vectors[i].file);
		struct mime m;

		mime_read(message, &m);
		ck_assert_msg(m.n_views == 1 && m.flags == 0, "%s: %zu views, flags %x",
		    vectors[i].file, m.n_views, m.flags);
		seen++;
		mime_clear(&m);
		free((char *)(uintptr_t)message.p);
	}
	ck_assert_int_gt(seen, 30);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("mime");
	TCase *tc = tcase_create("mime");

	read_manifest();
	tcase_add_loop_test(tc, base64, 0, COUNT(base64s));
	tcase_add_loop_test(tc, quoted_printable, 0, COUNT(qps));
	tcase_add_test(tc, uuencoded);
	tcase_add_loop_test(
	    tc, quoted_printable_loosely, 0, sizeof(loose) / sizeof(loose[0]));
	tcase_add_test(tc, blocks_of_each_kind);
	tcase_add_test(tc, decoders_obey_the_maximum);
	tcase_add_loop_test(tc, parameters, 0, COUNT(params));
	tcase_add_loop_test(tc, tree, 0, COUNT(trees));
	tcase_add_test(tc, content_has_exact_offsets);
	tcase_add_test(tc, limits_are_told);
	tcase_add_test(tc, union_of_views_finds_payloads);
	tcase_add_test(tc, benign_mail_has_one_view);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int bad = srunner_ntests_failed(runner);
	srunner_free(runner);
	return bad == 0 ? 0 : 1;
}
