/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of hosts and senders that must not be greylisted: what their lines mean, which are
 * wrong, who is in; the list that is shipped. */
#include "policy/greylist_exempt.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

#include "common/base/xalloc.h"
#include "policy/member.h"
#include "policy/policy.h"
#include "policy/settings.h"
#include "tests/lib/errors.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define SHIPPED "policy/greylist-exempt.list"

static char *
temp_file(const char *text)
{
	const char *tmp = getenv("TMPDIR");
	char *name = xasprintf("%s/postern-exempt-XXXXXX", tmp != NULL ? tmp : "/tmp");
	int fd = mkstemp(name);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return name;
}

static void
read_list(const char *path, struct greylist_exempt *e, struct errs *errs)
{
	const struct conf_word by = { .text = str_of(path), .file = "conf", .line = 7 };

	*e = (struct greylist_exempt){ 0 };
	greylist_exempt_add(e, &by, errs);
}

#define LIST                                                                           \
	"# comment\n\nclient 192.0.2.0/24\n client\t2001:db8::/32 # more\n"             \
	"client 198.51.100.7\nclient mx.host.example\r\nclient .farm.example\n"         \
	"sender late.example\nsender .bulk.example\nsender alerts@Bank.example"

static const struct row {
	const char *client, *name, *sender;
	bool exempt;
} rows[] = {
	{ .client = "192.0.2.77", .exempt = true },
	{ .client = "192.0.3.77" },
	{ .client = "198.51.100.7", .exempt = true },
	{ .client = "198.51.100.8" },
	{ .client = "2001:db8:1::1", .exempt = true },
	{ .client = "2001:db9::1" },
	{ .name = "mx.host.example", .exempt = true },
	{ .name = "MX.Host.Example", .exempt = true },
	{ .name = "mx2.host.example" },
	{ .name = "a.mx.host.example" },
	{ .name = "x.farm.example", .exempt = true },
	{ .name = "x.y.farm.example", .exempt = true },
	{ .name = "farm.example" },
	{ .name = "xfarm.example" },
	{ .name = "" },
	{ .name = "a@x.farm.example" },
	{ .name = "late.example" }, /* a sender, no client */
	{ .sender = "a@late.example", .exempt = true },
	{ .sender = "A@LATE.example", .exempt = true },
	{ .sender = "a@x.late.example" },
	{ .sender = "a@x.bulk.example", .exempt = true },
	{ .sender = "a@bulk.example" },
	{ .sender = "alerts@bank.example", .exempt = true },
	{ .sender = "other@bank.example" },
	{ .sender = "a@mx.host.example" }, /* a client, no sender */
	{ .sender = "" },
};

START_TEST(member)
{
	const struct row *r = &rows[_i];
	char *path = temp_file(LIST);
	struct greylist_exempt e;
	struct errs errs = { 0 };
	struct ip ip = { .family = 0 };

	read_list(path, &e, &errs);
	check_errors(&errs, "");
	ck_assert(r->client == NULL || ip_parse(str_of(r->client), &ip));
	bool in = r->sender != NULL
	    ? greylist_exempt_sender(&e, str_of(r->sender))
	    : greylist_exempt_client(&e, &ip, str_of(r->name));
	ck_assert_msg(in == r->exempt, "%s%s%s", r->client ? r->client : "",
	    r->name ? r->name : "", r->sender ? r->sender : "");
	greylist_exempt_clear(&e);
	/* nobody is in no list */
	ck_assert(!greylist_exempt_client(&e, &ip, STR("mx.host.example")));
	ck_assert(!greylist_exempt_sender(&e, STR("a@late.example")));
	unlink(path);
	free(path);
}
END_TEST

static const char *const wrong[] = { "host 192.0.2.1", "client", "sender", "client 192.0.2",
	"client 192.0.2.1/24", "client a..b", "client 2001:db8::/999", "sender a@b@",
	"sender a..b", "client a.example b.example", "192.0.2.1", "sender 192.0.2.0/24",
	"client b\xc3\xa4.example", "client a@b.example" };

START_TEST(wrong_line)
{
	char *text = xasprintf("# one\nclient 192.0.2.1\n%s\n", wrong[_i]);
	char *path = temp_file(text);
	struct greylist_exempt e;
	struct errs errs = { 0 };

	read_list(path, &e, &errs);
	ck_assert_msg(errs.n == 1, "%s: %zu errors", wrong[_i], errs.n);
	ck_assert_str_eq(errs.list[0].file, path);
	ck_assert_int_eq(errs.list[0].line, 3);
	ck_assert_ptr_nonnull(strstr(errs.list[0].text, "expected"));
	errs_clear(&errs);
	greylist_exempt_clear(&e);
	unlink(path);
	free(path);
	free(text);
}
END_TEST

START_TEST(no_file)
{
	struct greylist_exempt e;
	struct errs errs = { 0 };

	read_list("/no/such/file", &e, &errs);
	ck_assert_uint_eq(errs.n, 1);
	ck_assert_str_eq(errs.list[0].file, "conf");
	ck_assert_int_eq(errs.list[0].line, 7);
	errs_clear(&errs);
	greylist_exempt_clear(&e);
}
END_TEST

START_TEST(shipped)
{
	struct greylist_exempt e;
	struct errs errs = { 0 };
	const struct conf_word by = { .text = STR(SHIPPED), .file = "conf" };

	e = (struct greylist_exempt){ 0 };
	greylist_exempt_add(&e, &by, &errs);
	check_errors(&errs, "");
	ck_assert_uint_ge(member_names(e.clients), 15);
	ck_assert_uint_eq(member_networks(e.clients), 0); /* addresses change hands */
	greylist_exempt_clear(&e);
}
END_TEST

/* Several files add up; none reads none; a policy has its own. */
START_TEST(settings)
{
	char *a = temp_file("client 192.0.2.1\n"), *b = temp_file("client 192.0.2.2\n");
	char *text = xasprintf("greylist { exempt %s %s; }\n"
			       "policy \"p\" { recipient a@b.example; greylist.exempt "
			       "none; }\n",
	    a, b);
	struct errs errs = { 0 };
	struct settings *s = settings_from_text(str_of(text), "t", &errs);
	struct ip one, two;

	check_errors(&errs, "");
	ck_assert_ptr_nonnull(s);
	ck_assert(ip_parse(STR("192.0.2.1"), &one) && ip_parse(STR("192.0.2.2"), &two));
	ck_assert(greylist_exempt_client(&s->greylist.exempt, &one, STR("")));
	ck_assert(greylist_exempt_client(&s->greylist.exempt, &two, STR("")));
	ck_assert_uint_eq(s->greylist.exempt.n_paths, 2);
	struct policy_facts facts = { .stage = STAGE_RCPT,
		.client = one,
		.recipient = STR("a@b.example") };
	struct policy_view view;
	policy_resolve(s, &facts, &view);
	ck_assert(!greylist_exempt_client(&view.greylist.exempt, &one, STR("")));
	facts.recipient = STR("c@b.example");
	policy_resolve(s, &facts, &view);
	ck_assert(greylist_exempt_client(&view.greylist.exempt, &one, STR("")));
	settings_unref(s);
	unlink(a);
	unlink(b);
	free(a);
	free(b);
	free(text);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("greylist_exempt");
	TCase *tc = tcase_create("lists");

	tcase_add_loop_test(tc, member, 0, N(rows));
	tcase_add_loop_test(tc, wrong_line, 0, N(wrong));
	tcase_add_test(tc, no_file);
	tcase_add_test(tc, shipped);
	tcase_add_test(tc, settings);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == N(rows) + N(wrong) + 3 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
