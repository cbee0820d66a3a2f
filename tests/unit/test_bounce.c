/* SPDX-License-Identifier: BSD-2-Clause */
/* The notification's text against the file bounce.ref (write it anew with UPDATE=1 and
 * read the difference), and which failure goes which way. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "contrib/relay/bounce.h"

#define REF "tests/unit/bounce.ref"

static void
sample(struct record *r)
{
	*r = (struct record){ .slots = NULL };
	envelope_init(&r->envelope);
	snprintf(r->envelope.id, sizeof(r->envelope.id), "0ORIGINAL");
	envelope_set(&r->envelope.sender, STR("sender@client.example"));
	r->envelope.received = 1700000000;
	envelope_add_rcpt(&r->envelope, "taken@one.example");
	envelope_add_rcpt(&r->envelope, "refused@two.example");
	envelope_add_rcpt(&r->envelope, "\"odd \x01\r\nname\"@three.example");
}

static const struct bounce_rcpt failures[] = {
	{ 1, 550, "5.1.1", "no such user", "mx.two.example [192.0.2.2]" },
	{ 2, 0, "5.4.7", "given up after 120 hours; last: no answer", "" },
};

static const struct bounce_source source = {
	.host = "relay.example", .now = 1700000600, .way = BOUNCE_SEND
};

START_TEST(rendered)
{
	struct record r;
	struct bounce_source s = source;
	struct buf out;
	char ref[8192];
	bool eight_bit;

	sample(&r);
	s.record = &r;
	buf_init(&out, 1 << 20);
	ck_assert_int_eq(bounce_render(&out, &s,
			     STR("Subject: hello\r\nFrom: <sender@client.example>\r\n"),
			     failures, 2, "0BOUNCE", &eight_bit),
	    0);
	ck_assert(!eight_bit);
	if (getenv("UPDATE") != NULL) {
		FILE *w = fopen(REF, "w");

		ck_assert_ptr_nonnull(w);
		fwrite(out.p, 1, out.len, w);
		fclose(w);
	}
	FILE *f = fopen(REF, "r");
	ck_assert_ptr_nonnull(f);
	size_t n = fread(ref, 1, sizeof(ref), f);
	fclose(f);
	ck_assert_msg(n == out.len && memcmp(ref, out.p, n) == 0,
	    "differs from %s:\n%s", REF, buf_cstr(&out));
	buf_clear(&out);
	record_clear(&r);
}
END_TEST

/* Every line ends in CRLF, no control octet, none over 998: fit for any next hop. */
START_TEST(lines_are_legal)
{
	struct record r;
	struct bounce_source s = source;
	struct bounce_rcpt f = failures[0];
	struct buf out;
	bool eight_bit;
	size_t line = 0;

	sample(&r);
	s.record = &r;
	memset(f.text, '\x07', sizeof(f.text) - 1);
	memset(f.remote, '\n', sizeof(f.remote) - 1);
	buf_init(&out, 1 << 20);
	ck_assert_int_eq(
	    bounce_render(&out, &s, STR("X: \303\244\r\n"), &f, 1, "0B", &eight_bit),
	    0);
	ck_assert(eight_bit);
	for (size_t i = 0; i < out.len; i++) {
		unsigned char c = (unsigned char)out.p[i];

		ck_assert(c >= ' ' || c == '\r' || c == '\n' || c == '\t');
		ck_assert_int_eq(c == '\n', i > 0 && out.p[i - 1] == '\r');
		line = c == '\n' ? 0 : line + 1;
		ck_assert_uint_le(line, 999);
	}
	buf_clear(&out);
	record_clear(&r);
}
END_TEST

static const struct way_row {
	const char *name, *sender;
	bool no_bounce, configured;
	enum bounce_way way;
} ways[] = {
	{ "plain", "a@b.example", false, false, BOUNCE_SEND },
	{ "null sender", "", false, false, BOUNCE_QUARANTINE },
	{ "after handoff", "a@b.example", true, false, BOUNCE_QUARANTINE },
	{ "configured", "a@b.example", false, true, BOUNCE_QUARANTINE },
};

START_TEST(way)
{
	const struct way_row *w = &ways[_i];
	struct envelope e;

	envelope_init(&e);
	envelope_set(&e.sender, str_of(w->sender));
	e.no_bounce = w->no_bounce;
	ck_assert_msg(bounce_way(&e, w->configured) == w->way, "%s", w->name);
	envelope_clear(&e);
}
END_TEST

/* Only the header section goes back, whatever the message looks like. */
static const struct part_row {
	const char *name, *message, *in, *not_in;
} parts[] = {
	{ "plain", "Subject: s\r\n\r\nsecret body\r\n", "Subject: s\r\n", "secret" },
	{ "no header", "\r\nsecret body\r\n", "text/rfc822-headers", "secret" },
	{ "no body", "Subject: s\r\n", "Subject: s\r\n", "secret" },
	{ "cut in a line", "Subject: s\r\nsecret", "Subject: s\r\n", "secret" },
};

START_TEST(only_the_header_goes_back)
{
	const struct part_row *p = &parts[_i];
	struct record r, out;
	struct bounce_source s = source;
	struct err err = { .text = "" };
	char id[MESSAGE_ID_MAX], text[8192] = "";
	int fd = memfd_create("message", MFD_CLOEXEC);

	sample(&r);
	ck_assert_int_eq(
	    write(fd, p->message, strlen(p->message)), (ssize_t)strlen(p->message));
	r.message_len = strlen(p->message);
	s.record = &r;
	s.q = &qio_real;
	s.fd = fd;
	int record = bounce_record(&s, failures, 1, id, &err);
	ck_assert_msg(record >= 0, "%s", err.text);
	ck_assert_int_eq(record_read(record, true, &out, &err), 0);
	ck_assert_str_eq(out.envelope.sender, "");
	ck_assert_uint_eq(out.envelope.n_rcpts, 1);
	ck_assert_str_eq(out.envelope.rcpts[0].address, "sender@client.example");
	ck_assert_str_eq(out.envelope.id, id);
	ck_assert_uint_lt(out.message_len, sizeof(text));
	ck_assert_int_eq(
	    pread(record, text, out.message_len, (off_t)out.message_offset),
	    (ssize_t)out.message_len);
	ck_assert_msg(strstr(text, p->in) != NULL, "%s: %s", p->name, text);
	ck_assert_msg(strstr(text, p->not_in) == NULL, "%s: %s", p->name, text);
	record_clear(&out);
	record_clear(&r);
	close(record);
	close(fd);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("bounce");
	TCase *t = tcase_create("bounce");

	tcase_add_test(t, rendered);
	tcase_add_test(t, lines_are_legal);
	tcase_add_loop_test(t, way, 0, COUNT(ways));
	tcase_add_loop_test(t, only_the_header_goes_back, 0, COUNT(parts));
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
