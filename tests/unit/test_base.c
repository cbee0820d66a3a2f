/* SPDX-License-Identifier: BSD-2-Clause */
/* common/base: octets, numbers, buffers, addresses, futures, verdicts, metrics. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/future.h"
#include "common/base/ip.h"
#include "common/base/metrics.h"
#include "common/base/str.h"
#include "common/base/verdict.h"
#include "common/base/xalloc.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

static const struct {
	const char *text;
	bool ok;
	int64_t ms;
} durations[] = {
	{ "90", true, 90000 },
	{ "90s", true, 90000 },
	{ "5m", true, 300000 },
	{ "1h30m", true, 5400000 },
	{ "2d", true, 172800000 },
	{ "5w", true, 3024000000 },
	{ "0", true, 0 },
	{ "1000ms", true, 1000 },
	{ "250ms", false, 0 }, /* not whole seconds */
	{ "", false, 0 },
	{ "m", false, 0 },
	{ "5 m", false, 0 },
	{ "-5m", false, 0 },
	{ "5x", false, 0 },
	{ "1.5h", false, 0 },
	{ "99999999999999999999", false, 0 },
	{ "9223372036854775807w", false, 0 },
};

START_TEST(duration)
{
	int64_t s = -1;
	bool ok = str_to_duration(str_of(durations[_i].text), &s);

	ck_assert_msg(ok == durations[_i].ok, "%s", durations[_i].text);
	if (ok)
		ck_assert_int_eq(s * 1000, durations[_i].ms);
}
END_TEST

static const struct {
	const char *text;
	bool ok;
	uint64_t bytes;
} sizes[] = {
	{ "0", true, 0 },
	{ "1000", true, 1000 },
	{ "64k", true, 65536 },
	{ "10M", true, 10485760 },
	{ "2G", true, 2147483648 },
	{ "1t", true, 1099511627776 },
	{ "", false, 0 },
	{ "k", false, 0 },
	{ "1kb", false, 0 },
	{ "1x", false, 0 },
	{ "-1", false, 0 },
	{ "99999999999T", false, 0 },
};

START_TEST(size)
{
	uint64_t bytes = 1;
	bool ok = str_to_size(str_of(sizes[_i].text), &bytes);

	ck_assert_msg(ok == sizes[_i].ok, "%s", sizes[_i].text);
	if (ok)
		ck_assert_uint_eq(bytes, sizes[_i].bytes);
}
END_TEST

static const struct {
	const char *text;
	bool ok;
	const char *canonical;
} addresses[] = {
	{ "192.0.2.1", true, "192.0.2.1" },
	{ "[192.0.2.1]", true, "192.0.2.1" },
	{ "2001:DB8:0:0::1", true, "2001:db8::1" },
	{ "IPv6:2001:db8::1", true, "2001:db8::1" },
	{ "[IPv6:0:0:0:0:0:0:0:1]", true, "::1" },
	{ "::ffff:192.0.2.7", true, "192.0.2.7" },
	{ "192.0.2", false, "" },
	{ "192.0.2.256", false, "" },
	{ "192.0.2.1 ", false, "" },
	{ "[192.0.2.1", false, "" },
	{ "", false, "" },
	{ "1111:2222:3333:4444:5555:6666:7777:8888:9999", false, "" },
};

START_TEST(address)
{
	struct ip ip;
	char text[IP_TEXT_MAX];
	bool ok = ip_parse(str_of(addresses[_i].text), &ip);

	ck_assert_msg(ok == addresses[_i].ok, "%s", addresses[_i].text);
	if (ok)
		ck_assert_str_eq(ip_format(&ip, text), addresses[_i].canonical);
}
END_TEST

static const struct {
	const char *net, *ip;
	bool parses, contains;
} nets[] = {
	{ "192.0.2.0/24", "192.0.2.200", true, true },
	{ "192.0.2.0/24", "192.0.3.1", true, false },
	{ "192.0.2.1", "192.0.2.1", true, true },
	{ "192.0.2.1", "192.0.2.2", true, false },
	{ "0.0.0.0/0", "203.0.113.9", true, true },
	{ "0.0.0.0/0", "2001:db8::1", true, false },
	{ "2001:db8::/33", "2001:db8:7fff::1", true, true },
	{ "2001:db8::/33", "2001:db8:8000::1", true, false },
	{ "10.0.0.0/8", "::ffff:10.9.8.7", true, true },
	{ "192.0.2.1/24", "192.0.2.1", false, false }, /* host bits */
	{ "192.0.2.0/33", "192.0.2.1", false, false },
	{ "192.0.2.0/", "192.0.2.1", false, false },
};

START_TEST(network)
{
	struct ipnet net;
	struct ip ip;

	ck_assert(ip_parse(str_of(nets[_i].ip), &ip));
	bool ok = ipnet_parse(str_of(nets[_i].net), &net);
	ck_assert_msg(ok == nets[_i].parses, "%s", nets[_i].net);
	if (ok)
		ck_assert(ipnet_contains(&net, &ip) == nets[_i].contains);
}
END_TEST

START_TEST(reverse)
{
	struct ip ip;
	char text[64];

	ck_assert(ip_parse(STR("192.0.2.1"), &ip));
	ck_assert_str_eq(ip_reverse(&ip, text), "1.2.0.192");
	ck_assert(ip_parse(STR("2001:db8::567:89ab"), &ip));
	ck_assert_str_eq(ip_reverse(&ip, text),
	    "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2");
}
END_TEST

START_TEST(buffer_limit)
{
	struct buf b;

	buf_init(&b, 10);
	ck_assert_int_eq(buf_add_cstr(&b, "12345678"), 0);
	ck_assert_int_eq(buf_add_cstr(&b, "abc"), -1);
	ck_assert(b.failed);
	ck_assert_str_eq(buf_cstr(&b), "12345678");
	buf_consume(&b, 6);
	ck_assert_int_eq(buf_addf(&b, "%s-%d", "x", 123), 0);
	ck_assert_str_eq(buf_cstr(&b), "78x-123");
	ck_assert_int_eq(buf_addf(&b, "%s", "12345"), -1);
	char *p = buf_take(&b);
	ck_assert_str_eq(p, "78x-123");
	free(p);
	ck_assert_str_eq(buf_cstr(&b), "");
	ck_assert_int_eq(buf_add_u32(&b, 0x01020304), 0);
	ck_assert_mem_eq(b.p, "\1\2\3\4", 4);
	ck_assert_ptr_null(buf_reserve(&b, SIZE_MAX));
	buf_clear(&b);
}
END_TEST

START_TEST(words_and_cuts)
{
	struct str s = STR("  one\ttwo \r\n three"), word, head;

	ck_assert(str_word(&s, &word) && str_is(word, "one"));
	ck_assert(str_word(&s, &word) && str_is(word, "two"));
	ck_assert(str_word(&s, &word) && str_is(word, "three"));
	ck_assert(!str_word(&s, &word));
	s = STR("a::b");
	ck_assert(str_cut(&s, ':', &head) && str_is(head, "a"));
	ck_assert(str_cut(&s, ':', &head) && str_is(head, ""));
	ck_assert(str_cut(&s, ':', &head) && str_is(head, "b"));
	ck_assert(!str_cut(&s, ':', &head));
	ck_assert(str_ends_nocase(STR("mail.EXAMPLE"), STR(".example")));
	ck_assert(!str_ends_nocase(STR("e"), STR(".example")));
	ck_assert(str_is(str_trim(STR(" \t x y\r\n")), "x y"));
	ck_assert_int_lt(str_cmp(STR("a"), STR("ab")), 0);
	ck_assert_int_gt(str_cmp(STR("\xff"), STR("a")), 0);
	ck_assert_int_eq(str_index(STR("a\0b"), 'b'), 2);
}
END_TEST

static void *
settle(void *arg)
{
	future_set(arg, xstrdup("answer"));
	future_unref(arg);
	return NULL;
}

static void
count_up(void *arg)
{
	__atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST);
}

START_TEST(future_settles_once)
{
	struct future *f = future_new(free);
	pthread_t thread;
	int told = 0;

	ck_assert(!future_wait(f, clock_mono_ms() + 1));
	future_notify(f, count_up, &told);
	ck_assert_int_eq(pthread_create(&thread, NULL, settle, future_ref(f)), 0);
	ck_assert(future_wait(f, clock_mono_ms() + 10000));
	pthread_join(thread, NULL);
	ck_assert_str_eq(future_value(f), "answer");
	ck_assert_int_eq(told, 1);
	future_set(f, xstrdup("too late"));
	ck_assert_str_eq(future_value(f), "answer");
	future_notify(f, count_up, &told); /* settled: at once */
	ck_assert_int_eq(told, 2);
	future_unref(f);
}
END_TEST

START_TEST(verdict_text_is_clean)
{
	struct verdict v = verdict_refuse(550, "5.7.1", "test", "a\r\n250 b%s", "\x7f");

	ck_assert_str_eq(v.text, "a  250 b ");
	ck_assert_int_eq(v.action, ACTION_REJECT);
	v = verdict_refuse(451, "4.7.1", "test", "later");
	ck_assert_int_eq(v.action, ACTION_TEMPFAIL);
	ck_assert_str_eq(action_name(v.action), "tempfail");
}
END_TEST

METRIC_COUNTER(passed, "test_total", "verdict=\"pass\"", "Tests.");
METRIC_COUNTER(failed, "test_total", "verdict=\"fail\"", "Tests.");
METRIC_HISTOGRAM(took, "test_seconds", NULL, "Time.");

START_TEST(metrics_text)
{
	struct buf out;

	buf_init(&out, 100000);
	metric_add(&passed, 2);
	metric_observe_us(&took, 150);
	metric_observe_us(&took, 100000000);
	metric_add(&failed, 1);
	metrics_render(&out);
	const char *text = buf_cstr(&out);
	const char *help = strstr(text, "# HELP test_total");
	ck_assert_ptr_nonnull(help);
	ck_assert_ptr_null(strstr(help + 1, "# HELP test_total"));
	ck_assert_ptr_nonnull(strstr(text, "test_total{verdict=\"pass\"} 2\n"));
	ck_assert_ptr_nonnull(strstr(text, "test_total{verdict=\"fail\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(text, "test_seconds_bucket{le=\"0.0001\"} 0\n"));
	ck_assert_ptr_nonnull(strstr(text, "test_seconds_bucket{le=\"0.0002\"} 1\n"));
	ck_assert_ptr_nonnull(strstr(text, "test_seconds_bucket{le=\"+Inf\"} 2\n"));
	ck_assert_ptr_nonnull(strstr(text, "test_seconds_count 2\n"));
	buf_clear(&out);
}
END_TEST

START_TEST(errors_are_collected)
{
	struct errs errs = { 0 };
	char text[640];

	for (int i = 1; i <= ERRS_MAX + 5; i++)
		errs_add(&errs, "f.conf", i, "wrong %d", i);
	ck_assert_uint_eq(errs.n, ERRS_MAX);
	ck_assert_uint_eq(errs.dropped, 5);
	ck_assert_str_eq(
	    err_str(&errs.list[6], text, sizeof(text)), "f.conf:7: wrong 7");
	errs_clear(&errs);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("base");
	TCase *tc = tcase_create("base");

	tcase_add_loop_test(tc, duration, 0, COUNT(durations));
	tcase_add_loop_test(tc, size, 0, COUNT(sizes));
	tcase_add_loop_test(tc, address, 0, COUNT(addresses));
	tcase_add_loop_test(tc, network, 0, COUNT(nets));
	tcase_add_test(tc, reverse);
	tcase_add_test(tc, buffer_limit);
	tcase_add_test(tc, words_and_cuts);
	tcase_add_test(tc, future_settles_once);
	tcase_add_test(tc, verdict_text_is_clean);
	tcase_add_test(tc, metrics_text);
	tcase_add_test(tc, errors_are_collected);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int bad = srunner_ntests_failed(runner);
	srunner_free(runner);
	return bad == 0 ? 0 : 1;
}
