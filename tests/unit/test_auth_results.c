/* SPDX-License-Identifier: BSD-2-Clause */
/* Authentication-Results and Received-SPF: read, claimed, written. */
#include <check.h>
#include <stdlib.h>

#include "common/auth/auth_results.h"
#include "common/auth/spf_header.h"

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))
#define ME "mx.example.org"

/* ---- read ---- */

static const struct {
	const char *value;
	const char *read; /* id/version, then results, as show() writes them */
} fields[] = {
	{ "mx.example.org; none", "mx.example.org/1" },
	{ "mx.example.org 1; none;", "mx.example.org/1" },
	{ "mx.example.org", "mx.example.org/1" },
	{ "mx.example.org;", "mx.example.org/1" },
	{ "mx.example.org; NONE (really)", "mx.example.org/1" },
	{ "mx.example.org 2; spf=pass smtp.mailfrom=a.example",
	    "mx.example.org/2 spf/1=pass smtp.mailfrom=[a.example]" },
	{ "mx.example.org;\r\n\tspf=fail (no; \"way)\r\n\tsmtp.mailfrom=\"joe "
	  "x\"@a.example;"
	  " DKIM/1 = Pass header.d=a.example header.b=\"Ab/+=\"",
	    "mx.example.org/1 spf/1=fail smtp.mailfrom=[joe x@a.example] dkim/1=pass "
	    "header.d=[a.example] header.b=[Ab/+=]" },
	{ "(a(b)c)\"mx.example.org\" (v) 1 (w) ; (x) auth (y) / (z) 3 (1) = (2) pass "
	  "(3) "
	  "smtp (4) . (5) auth (6) = (7) joe (8)",
	    "mx.example.org/1 auth/3=pass smtp.auth=[joe]" },
	{ "a.example; spf=permerror reason=\"two \\\"records\\\"\" smtp.helo=b.example",
	    "a.example/1 spf/1=permerror{two \"records\"} smtp.helo=[b.example]" },
	{ "a.example; iprev=pass policy.iprev=2001:db8::1;\n x=y;",
	    "a.example/1 iprev/1=pass policy.iprev=[2001:db8::1] x/1=y" },
	{ "a.example; header=none", "a.example/1 header/1=none" },
	{ "\"a b;c\"; none", "a b;c/1" },
};

static void
show(const struct auth_results *r, struct buf *out)
{
	buf_addf(out, "%s/%u", r->id, r->version);
	for (size_t i = 0; i < r->n; i++) {
		const struct auth_result *one = &r->list[i];

		buf_addf(out, " %s/%u=%s", one->method, one->version, one->result);
		if (one->reason != NULL)
			buf_addf(out, "{%s}", one->reason);
		for (size_t k = 0; k < one->n; k++)
			buf_addf(out, " %s.%s=[%s]", one->properties[k].type,
			    one->properties[k].name, one->properties[k].value);
	}
}

START_TEST(field_row)
{
	struct auth_results r;
	struct err err = { 0 };
	struct buf out;

	buf_init(&out, 4096);
	ck_assert_msg(auth_results_parse(str_of(fields[_i].value), &r, &err) == 0,
	    "%s: %s", fields[_i].value, err.text);
	show(&r, &out);
	ck_assert_str_eq(buf_cstr(&out), fields[_i].read);
	auth_results_clear(&r);
	buf_clear(&out);
}
END_TEST

static const char *const bad_fields[] = {
	"",
	"   ",
	"(only a comment)",
	"; spf=pass",
	"(open mx.example.org; none",
	"\"mx.example.org; none",
	"mx.example.org x; none",
	"mx.example.org 1 2; none",
	"mx.example.org; spf",
	"mx.example.org; spf=",
	"mx.example.org; =pass",
	"mx.example.org; spf=pass smtp=x",
	"mx.example.org; spf=pass smtp.=x",
	"mx.example.org; spf=pass smtp.mailfrom",
	"mx.example.org; spf=pass smtp.mailfrom=",
	"mx.example.org; spf/x=pass",
	"mx.example.org; spf=pass (open",
	"mx.example.org; spf=pass smtp.mailfrom=\"open",
	"mx.example.org; ((((((((((((((((((((deep))))))))))))))))))))x=y",
};

START_TEST(bad_field_row)
{
	struct auth_results r;
	struct err err = { 0 };

	ck_assert_msg(auth_results_parse(str_of(bad_fields[_i]), &r, &err) == -1, "%s",
	    bad_fields[_i]);
	ck_assert(err.text[0] != '\0');
	auth_results_clear(&r);
}
END_TEST

START_TEST(property_lookup)
{
	struct auth_results r;

	ck_assert_int_eq(
	    auth_results_parse(
		STR("a.example; spf=pass smtp.helo=b smtp.mailfrom=c"), &r, NULL),
	    0);
	ck_assert_str_eq(auth_result_property(&r.list[0], "smtp", "mailfrom"), "c");
	ck_assert_ptr_null(auth_result_property(&r.list[0], "smtp", "auth"));
	auth_results_clear(&r);
}
END_TEST

START_TEST(read_limits)
{
	struct auth_results r;
	struct err err = { 0 };
	struct buf text;

	buf_init(&text, 1 << 20);
	buf_add_cstr(&text, "a.example");
	for (int i = 0; i <= AUTH_RESULTS_MAX; i++)
		buf_add_cstr(&text, "; spf=pass");
	ck_assert_int_eq(auth_results_parse(buf_str(&text), &r, &err), -1);
	ck_assert_uint_eq(r.n, AUTH_RESULTS_MAX);
	auth_results_clear(&r);
	buf_reset(&text);
	buf_add_cstr(&text, "a.example; spf=pass");
	for (int i = 0; i <= AUTH_PROPERTIES_MAX; i++)
		buf_add_cstr(&text, " a.b=c");
	ck_assert_int_eq(auth_results_parse(buf_str(&text), &r, &err), -1);
	auth_results_clear(&r);
	buf_reset(&text);
	for (int i = 0; i < 100000; i++)
		buf_add_char(&text, i % 2 == 0 ? 'x' : '.');
	ck_assert_int_eq(auth_results_parse(buf_str(&text), &r, &err), -1);
	ck_assert(auth_results_claims(buf_str(&text), ME));
	auth_results_clear(&r);
	buf_clear(&text);
}
END_TEST

/* ---- claimed ---- */

static const struct {
	const char *value;
	bool ours;
} claims[] = {
	{ "mx.example.org; spf=pass smtp.mailfrom=a.example", true },
	{ "MX.Example.ORG; spf=pass", true },
	{ "mx.example.org.; spf=pass", true },
	{ " \t mx.example.org;spf=pass", true },
	{ "\r\n\tmx.example.org;\r\n\tspf=pass", true },
	{ "\"mx.example.org\"; spf=pass", true },
	{ "\"mx.\\example.org\"; spf=pass", true },
	{ "(hi) mx.example.org (ho) 1; spf=pass", true },
	{ "((nested) \\) (hi)) mx.example.org; spf=pass", true },
	{ "(mx2.example.org;) mx.example.org; spf=pass", true },
	{ "mx(c).example.org; spf=pass", true },
	{ "mx . example . org; spf=pass", true },
	{ "\"mx\"\".example\".org; spf=pass", true },
	{ "1 mx.example.org; spf=pass", true },
	{ "mx.example.org", true },
	{ "mx.example.org 1", true },
	/* nobody can tell whose these are */
	{ "", true },
	{ ";", true },
	{ "; spf=pass", true },
	{ "(mx.example.org", true },
	{ "\"mx.other.example; spf=pass", true },
	{ "(((((((((((((((((((x)))))))))))))))))))mx.other.example; none", true },
	{ "\"\"; spf=pass", true },
	/* others' */
	{ "mx2.example.org; spf=pass smtp.mailfrom=mx.example.org", false },
	{ "mx.example.org.example; spf=pass", false },
	{ "amx.example.org; spf=pass", false },
	{ "example.org; spf=pass", false },
	{ "(mx.example.org) other.example; spf=pass", false },
	{ "other.example; mx.example.org; spf=pass", false },
	{ "\"other.example; mx.example.org\"; spf=pass", false },
	{ "other.example 1; none", false },
};

START_TEST(claims_row)
{
	ck_assert_msg(
	    auth_results_claims(str_of(claims[_i].value), ME) == claims[_i].ours, "%s",
	    claims[_i].value);
}
END_TEST

static const struct {
	const char *value;
	bool ours;
} received[] = {
	{ "pass (mx.example.org: domain of joe@a.example designates 192.0.2.1 as "
	  "permitted "
	  "sender) client-ip=192.0.2.1",
	    true },
	{ "pass client-ip=192.0.2.1; receiver=mx.example.org; helo=x", true },
	{ "pass client-ip=192.0.2.1;\r\n\tReceiver = \"MX.example.org.\"", true },
	{ "pass (x) (y) receiver=(c)mx.example.org", true },
	{ "( MX.Example.org: x) pass", true },
	{ "pass (open", true },
	{ "pass receiver=\"open", true },
	{ "pass (other.example: domain of joe@mx.example.org) client-ip=192.0.2.1; "
	  "envelope-from=\"x@mx.example.org\"; helo=mx.example.org; "
	  "receiver=other.example",
	    false },
	{ "pass (mx.example.organic: x) receiver=y", false },
	{ "none", false },
	{ "", false },
	{ ";;==;", false },
	{ "pass receiver=; helo=mx.example.org", false },
};

START_TEST(received_row)
{
	ck_assert_msg(
	    received_spf_claims(str_of(received[_i].value), ME) == received[_i].ours,
	    "%s", received[_i].value);
}
END_TEST

/* ---- written ---- */

static const struct {
	const char *sender, *helo, *client;
	struct spf_answer answer;
	const char *result, *received, *reply;
} written[] = {
	{ "joe@a.example", "h.example", "192.0.2.1",
	    { .result = SPF_PASS,
		.domain = "a.example",
		.mechanism = "ip4:192.0.2.0/24" },
	    "spf=pass smtp.mailfrom=joe@a.example",
	    "pass (mx.example.org: domain of joe@a.example designates 192.0.2.1 as "
	    "permitted "
	    "sender)\n\tclient-ip=192.0.2.1;\n\tenvelope-from=\"joe@a.example\";\n\t"
	    "helo=h.example;\n\treceiver=mx.example.org;\n\tidentity=mailfrom;\n\t"
	    "mechanism=\"ip4:192.0.2.0/24\";",
	    NULL },
	{ "", "h.example", "2001:db8::1",
	    { .result = SPF_FAIL,
		.helo = true,
		.domain = "h.example",
		.mechanism = "-all" },
	    "spf=fail smtp.helo=h.example",
	    "fail (mx.example.org: domain of h.example does not designate 2001:db8::1 "
	    "as "
	    "permitted sender)\n\tclient-ip=\"2001:db8::1\";\n\tenvelope-from=\"\";\n\t"
	    "helo=h.example;\n\treceiver=mx.example.org;\n\tidentity=helo;\n\t"
	    "mechanism=-all;",
	    "SPF validation failed: 2001:db8::1 may not send mail for h.example; see "
	    "that "
	    "domain's SPF record" },
	{ "a\"b\\c d(x)\r\n\xff@a.example", "", "192.0.2.1",
	    { .result = SPF_SOFTFAIL, .domain = "a.example" },
	    "spf=softfail smtp.mailfrom=\"a\\\"b\\\\c d(x)???@a.example\"",
	    "softfail (mx.example.org: transitioning domain of a\"b?c "
	    "d?x????@a.example does "
	    "not designate 192.0.2.1 as permitted sender)\n\tclient-ip=192.0.2.1;\n\t"
	    "envelope-from=\"a\\\"b\\\\c "
	    "d(x)???@a.example\";\n\treceiver=mx.example.org;\n\t"
	    "identity=mailfrom;",
	    NULL },
	{ "u@a.example", "", "192.0.2.1",
	    { .result = SPF_PERMERROR,
		.domain = "a.example",
		.problem = "two \"records\"" },
	    "spf=permerror\n\treason=\"two "
	    "\\\"records\\\"\"\n\tsmtp.mailfrom=u@a.example",
	    NULL,
	    "SPF validation error, please tell the domain's postmaster: two "
	    "\"records\"" },
	{ "u@a.example", "", "192.0.2.1",
	    { .result = SPF_FAIL,
		.domain = "a.example",
		.explained = true,
		.explanation = "call us" },
	    "spf=fail smtp.mailfrom=u@a.example", NULL, "a.example explains: call us" },
	{ "u@a.example", "", "192.0.2.1", { .result = SPF_NONE, .domain = "a.example" },
	    "spf=none smtp.mailfrom=u@a.example",
	    "none (mx.example.org: no sender policy of the domain of u@a.example)\n\t"
	    "client-ip=192.0.2.1;\n\tenvelope-from=\"u@a.example\";\n\t"
	    "receiver=mx.example.org;\n\tidentity=mailfrom;",
	    NULL },
};

START_TEST(written_row)
{
	struct spf_question q = {
		.sender = written[_i].sender, .helo = written[_i].helo, .receiver = ME
	};
	struct auth_results r;
	struct buf out;
	char text[400];

	ck_assert(ip_parse(str_of(written[_i].client), &q.client));
	buf_init(&out, 8192);
	buf_addf(&out, "%s; ", ME);
	size_t head = out.len;
	spf_header_result(&q, &written[_i].answer, &out);
	ck_assert_str_eq(buf_cstr(&out) + head, written[_i].result);
	/* what is written can be read, and is ours */
	ck_assert_int_eq(auth_results_parse(buf_str(&out), &r, NULL), 0);
	ck_assert_uint_eq(r.n, 1);
	ck_assert_str_eq(r.list[0].method, "spf");
	auth_results_clear(&r);
	ck_assert(auth_results_claims(buf_str(&out), ME));
	buf_reset(&out);
	spf_header_received(ME, &q, &written[_i].answer, &out);
	if (written[_i].received != NULL)
		ck_assert_str_eq(buf_cstr(&out), written[_i].received);
	ck_assert(received_spf_claims(buf_str(&out), ME));
	ck_assert(!received_spf_claims(buf_str(&out), "other.example"));
	spf_reply_text(&q, &written[_i].answer, text, sizeof(text));
	if (written[_i].reply != NULL)
		ck_assert_str_eq(text, written[_i].reply);
	buf_clear(&out);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("auth_results");
	TCase *t = tcase_create("auth_results");

	tcase_add_loop_test(t, field_row, 0, ROWS(fields));
	tcase_add_loop_test(t, bad_field_row, 0, ROWS(bad_fields));
	tcase_add_test(t, property_lookup);
	tcase_add_test(t, read_limits);
	tcase_add_loop_test(t, claims_row, 0, ROWS(claims));
	tcase_add_loop_test(t, received_row, 0, ROWS(received));
	tcase_add_loop_test(t, written_row, 0, ROWS(written));
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
