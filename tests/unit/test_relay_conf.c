/* SPDX-License-Identifier: BSD-2-Clause */
/* The relay's block of postern.conf: defaults, ranges, faults with their place, and
 * that the manual knows every setting. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contrib/relay/received.h"
#include "contrib/relay/relay_conf.h"

#define MINIMAL "listen 127.0.0.1:2525; spool \"/var/spool/x\";"

static struct relay_conf *
read_text(const char *inside, struct errs *errs)
{
	char *text;
	struct relay_conf *c;

	ck_assert_int_gt(
	    asprintf(&text, "host gate.example;\nrelay \"in\" {\n%s\n}\n", inside), 0);
	c = relay_conf_from_text(str_of(text), "test.conf", "in", errs);
	free(text);
	return c;
}

START_TEST(defaults)
{
	struct errs errs = { 0 };
	struct relay_conf *c = read_text(MINIMAL, &errs);

	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(c->name, "in");
	ck_assert_str_eq(c->host, "gate.example");
	ck_assert_int_eq(c->handoff, HANDOFF_QUEUE);
	ck_assert_int_eq(c->failed, RELAY_FAILED_BOUNCE);
	ck_assert_uint_eq(c->message_size, 50u << 20);
	ck_assert_int_eq(c->max_rcpts, 1000);
	ck_assert_int_eq(c->lifetime, 5 * 86400);
	ck_assert_int_eq(c->retry_min, 300);
	ck_assert_str_eq(c->smarthost, "");
	ck_assert_str_eq(c->mailertable, "");
	ck_assert_uint_eq(c->milters.n, 0);
	ck_assert_uint_eq(c->relay_clients.n, 0);
	ck_assert(c->client_names);
	relay_conf_free(c);
}
END_TEST

START_TEST(everything)
{
	struct errs errs = { 0 };
	struct relay_conf *c = read_text(
	    "host mx.example; listen 127.0.0.1:25 [::1]:25; listen *:2525; spool /s;\n"
	    "handoff session; failed quarantine; relay-domains a.example .b.example;\n"
	    "relay-domains-file /d; relay-clients 10.0.0.0/8 ::1; xclient 127.0.0.1;\n"
	    "mailertable /m; smarthost \"[192.0.2.1]:26\"; postmaster pm@a.example;\n"
	    "client-names off; message-size 1M; in-flight 2M; max-rcpts 200;\n"
	    "max-sessions 5; max-sessions-per-client 2; command-timeout 10s;\n"
	    "data-timeout 1m; error-delay 20ms; handoff-timeout 2m; retry-min 1s;\n"
	    "retry-max 2s; lifetime 1d; listeners 1; deliveries 3;\n"
	    "deliveries-per-host 2; min-free 0; dir-sync always;\n"
	    "milter \"a\" { socket unix:/a; on-failure accept; connect-timeout 1s;\n"
	    "  command-timeout 500ms; content-timeout 2m }\n"
	    "milter \"b\" { socket inet:99@127.0.0.1 }",
	    &errs);
	char text[700];

	ck_assert_msg(c != NULL, "%s",
	    errs.n > 0 ? err_str(&errs.list[0], text, sizeof(text)) : "no error");
	ck_assert_str_eq(c->host, "mx.example");
	ck_assert_uint_eq(c->listen.n, 3);
	ck_assert_int_eq(c->handoff, HANDOFF_SESSION);
	ck_assert_int_eq(c->failed, RELAY_FAILED_QUARANTINE);
	ck_assert_uint_eq(c->relay_domains.n, 2);
	ck_assert_uint_eq(c->relay_clients.n, 2);
	ck_assert_uint_eq(c->xclient.n, 1);
	ck_assert(!c->client_names);
	ck_assert_int_eq(c->error_delay_ms, 20);
	ck_assert_int_eq(c->dir_sync, 1);
	ck_assert_uint_eq(c->milters.n, 2);
	ck_assert_str_eq(c->milters.list[0].name, "a");
	ck_assert_str_eq(c->milters.list[0].address, "unix:/a");
	ck_assert_int_eq(c->milters.list[0].on_failure, MILTER_ON_FAILURE_ACCEPT);
	ck_assert_int_eq(c->milters.list[0].command_ms, 500);
	ck_assert_int_eq(c->milters.list[1].on_failure, MILTER_ON_FAILURE_TEMPFAIL);
	ck_assert_int_eq(c->milters.list[1].content_ms, 300000);
	relay_conf_free(c);
}
END_TEST

static const struct bad {
	const char *in;
	int line; /* of the first error; the block begins in line 2 */
	const char *text; /* part of it */
} bads[] = {
	{ "", 2, "no listen" },
	{ "listen 127.0.0.1:1;", 2, "no spool" },
	{ "spool /s;", 2, "no listen" },
	{ MINIMAL "\nlisten 127.0.0.1;", 4, "port" },
	{ MINIMAL "\nlisten 127.0.0.1:0;", 4, "port" },
	{ MINIMAL "\nlisten 127.0.0.1:65536;", 4, "port" },
	{ MINIMAL "\nlisten ::1:25;", 4, "port" },
	{ MINIMAL "\nlisten localhost:25;", 4, "port" },
	{ MINIMAL "\nspool /again;", 4, "again" },
	{ "listen *:25; spool relative;", 3, "absolute" },
	{ MINIMAL "\nhandof session;", 4, "handoff" },
	{ MINIMAL "\nhandoff never;", 4, "session" },
	{ MINIMAL "\nhost \"a b\";", 4, "host name" },
	{ MINIMAL "\nrelay-domains \"a b\";", 4, "domain" },
	{ MINIMAL "\nrelay-clients 10.0.0.1/8;", 4, "10.0.0.1/8" },
	{ MINIMAL "\nsmarthost \"[192.0.2.1\";", 4, "host" },
	{ MINIMAL "\npostmaster pm;", 4, "domain" },
	{ MINIMAL "\nmax-rcpts 99;", 4, "100" },
	{ MINIMAL "\nmax-rcpts 1001;", 4, "1000" },
	{ MINIMAL "\nmessage-size 1k;", 4, "message-size" },
	{ MINIMAL "\nhandoff-timeout 10m;", 4, "handoff-timeout" },
	{ MINIMAL "\nlisteners 0;", 4, "listeners" },
	{ MINIMAL "\nretry-min 2h; retry-max 1h;", 2, "retry-min" },
	{ MINIMAL "\nin-flight 1M;", 2, "in-flight" },
	{ MINIMAL "\nmilter \"a\" { }", 4, "no socket" },
	{ MINIMAL "\nmilter { socket unix:/a }", 4, "name" },
	{ MINIMAL "\nmilter \"a\" { socket nowhere }", 4, "unix:/path" },
	{ MINIMAL "\nmilter \"a\" { socket unix:relative }", 4, "absolute" },
	{ MINIMAL "\nmilter \"a\" { socket inet:0@127.0.0.1 }", 4, "unix:/path" },
	{ MINIMAL "\nmilter \"a\" { socket unix:/a; on-failure pass }", 4, "tempfail" },
	{ MINIMAL "\nmilter \"a\";", 4, "block" },
};

START_TEST(bad)
{
	const struct bad *t = &bads[_i];
	struct errs errs = { 0 };

	ck_assert_ptr_null(read_text(t->in, &errs));
	ck_assert_uint_ge(errs.n, 1);
	ck_assert_str_eq(errs.list[0].file, "test.conf");
	ck_assert_msg(errs.list[0].line == t->line, "line %d, not %d: %s",
	    errs.list[0].line, t->line, errs.list[0].text);
	ck_assert_msg(strstr(errs.list[0].text, t->text) != NULL,
	    "\"%s\" without \"%s\"", errs.list[0].text, t->text);
	errs_clear(&errs);
}
END_TEST

START_TEST(all_errors_at_once)
{
	struct errs errs = { 0 };

	ck_assert_ptr_null(
	    read_text("listen x;\nspool y;\nlisteners 0;\nnonsense 1;", &errs));
	ck_assert_uint_ge(errs.n, 4);
	errs_clear(&errs);
}
END_TEST

START_TEST(which_block)
{
	struct errs errs = { 0 };
	struct relay_conf *c;
	const char *two = "relay \"a\" { listen *:1; spool /a }\n"
			  "relay \"b\" { listen *:2; spool /b }\n";
	const char *twice = "relay \"a\" { listen *:1; spool /a }\n"
			    "relay \"a\" { listen *:2; spool /b }\n";

	c = relay_conf_from_text(str_of(two), "f", "b", &errs);
	ck_assert_ptr_nonnull(c);
	ck_assert_str_eq(c->spool, "/b");
	ck_assert_str_ne(c->host, "");
	relay_conf_free(c);
	ck_assert_ptr_null(relay_conf_from_text(str_of(two), "f", "c", &errs));
	ck_assert_uint_eq(errs.n, 1);
	ck_assert_ptr_nonnull(strstr(errs.list[0].text, "\"c\""));
	errs_clear(&errs);
	ck_assert_ptr_null(relay_conf_from_text(str_of(twice), "f", "a", &errs));
	ck_assert_int_eq(errs.list[0].line, 2);
	errs_clear(&errs);
}
END_TEST

START_TEST(what_a_reload_does)
{
	struct errs errs = { 0 };
	struct relay_conf *a = read_text(MINIMAL, &errs);
	struct relay_conf *b =
	    read_text(MINIMAL "handoff session; message-size 1M;", &errs);
	struct relay_conf *c =
	    read_text("listen *:1; spool /other; retry-min 1s;", &errs);

	relay_conf_restart_needed(a, b, &errs);
	ck_assert_uint_eq(errs.n, 0);
	ck_assert(!relay_conf_queue_differs(a, b));
	relay_conf_restart_needed(a, c, &errs);
	ck_assert_uint_eq(errs.n, 2); /* listen, spool */
	ck_assert(relay_conf_queue_differs(a, c));
	errs_clear(&errs);
	relay_conf_free(a);
	relay_conf_free(b);
	relay_conf_free(c);
}
END_TEST

START_TEST(the_manual_knows_all)
{
	static const struct conf_table *(*const tables[])(
	    void) = { relay_conf_table, relay_milter_table };
	static char manual[100000];
	FILE *f = fopen("contrib/relay/postern-relay.8", "r");
	char key[80];

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_gt(fread(manual, 1, sizeof(manual) - 1, f), 1000);
	fclose(f);
	for (size_t t = 0; t < 2; t++) {
		const struct conf_table *table = tables[t]();

		for (size_t i = 0; i < table->n; i++) {
			const struct conf_setting *s = &table->settings[i];

			(void)snprintf(key, sizeof(key), "Ic %s ", s->name);
			ck_assert_msg(strstr(manual, key) != NULL,
			    "\"%s\" is not in postern-relay.8", s->name);
			ck_assert_ptr_nonnull(s->help);
		}
	}
}
END_TEST

/* --- trace lines --- */

static const struct trace {
	struct received in;
	const char *out;
} traces[] = {
	{ { .helo = "mx.example",
	      .name = "mx.example",
	      .host = "gate.example",
	      .proto = "ESMTP",
	      .id = "1abc",
	      .rcpt = "a@b.example",
	      .now = 1700000000,
	      .client = { AF_INET, { 192, 0, 2, 1 } } },
	    "from mx.example (mx.example [192.0.2.1])\r\n\tby gate.example (Postern) "
	    "with "
	    "ESMTP id 1abc\r\n\tfor <a@b.example>;\r\n\tTue, 14 Nov 2023 22:13:20 "
	    "+0000" },
	{ { .helo = "x)\r\nX-Bad: (\\y",
	      .name = "[192.0.2.1]",
	      .host = "gate.example",
	      .proto = "SMTP",
	      .id = "1",
	      .rcpt = NULL,
	      .now = 0 },
	    "from x???X-Bad:???y (unknown)\r\n\tby gate.example (Postern) with SMTP "
	    "id 1;"
	    "\r\n\tThu, 1 Jan 1970 00:00:00 +0000" },
	{ { .helo = "",
	      .name = "",
	      .host = "g",
	      .proto = "ESMTP",
	      .id = "1",
	      .rcpt = "\"a b\\\"@x>\"@c.example",
	      .now = 951782400,
	      .client = { AF_INET6, { 0x20, 1, 0xd, 0xb8, [15] = 1 } } },
	    "from unknown (unknown [IPv6:2001:db8::1])\r\n\tby g (Postern) with ESMTP "
	    "id 1"
	    "\r\n\tfor <?a?b??@x??@c.example>;\r\n\tTue, 29 Feb 2000 00:00:00 +0000" },
};

START_TEST(trace)
{
	struct buf out;

	buf_init(&out, 2000);
	ck_assert_int_eq(received_write(&out, &traces[_i].in), 0);
	ck_assert_str_eq(buf_cstr(&out), traces[_i].out);
	buf_clear(&out);
	buf_init(&out, 20);
	ck_assert_int_eq(received_write(&out, &traces[_i].in), -1);
	buf_clear(&out);
}
END_TEST

#define LOOP(tc, test, table)                                                          \
	tcase_add_loop_test(tc, test, 0, (int)(sizeof(table) / sizeof(table[0])))

int
main(void)
{
	Suite *s = suite_create("relay_conf");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_test(tc, defaults);
	tcase_add_test(tc, everything);
	LOOP(tc, bad, bads);
	tcase_add_test(tc, all_errors_at_once);
	tcase_add_test(tc, which_block);
	tcase_add_test(tc, what_a_reload_does);
	tcase_add_test(tc, the_manual_knows_all);
	LOOP(tc, trace, traces);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? 0 : 1;
}
