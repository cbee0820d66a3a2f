/* SPDX-License-Identifier: BSD-2-Clause */
/* The 24 ways in which strangers ask for relaying, and what must pass.  The addresses go
 * through the same readers as in a session. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/mail/address.h"
#include "contrib/relay/relaying.h"

static char *our_domains[] = { (char[]){ "local.test" }, (char[]){ ".sub.test" },
	(char[]){ "[192.0.2.25]" } };
static struct ipnet our_clients[1];

static struct relaying *
ours(void)
{
	struct conf_strings domains = { our_domains, 3 };
	struct conf_nets clients = { our_clients, 1 };
	struct errs errs = { 0 };
	struct relaying *r;

	ck_assert(ipnet_parse(STR("10.1.0.0/16"), &our_clients[0]));
	r = relaying_new(&domains, NULL, &clients, &errs);
	ck_assert_ptr_nonnull(r);
	return r;
}

/* 0: passes; else the code. */
static int
ask(const struct relaying *r, const char *client, const char *path)
{
	struct address a;
	struct err err;
	struct ip ip = { .family = 0 };
	struct verdict v;

	if (client[0] != '\0')
		ck_assert(ip_parse(str_of(client), &ip));
	if (address_parse(str_of(path), &a, &err) < 0)
		return 501; /* as the session says */
	v = relaying_check(r, &ip, str_of(path), &a);
	if (v.action == ACTION_CONTINUE)
		return 0;
	ck_assert_int_eq(v.action, ACTION_REJECT);
	ck_assert_int_ge(v.code, 500);
	ck_assert_str_ne(v.text, "");
	return v.code;
}

/* reliability: rows 1 to 6 and 24 vary the sender, which plays no part here; that it
 * does not is shown over a session in test_smtp_session. */
static const char *const denied[] = {
	"<v@ext.test>",
	"<v%ext.test@local.test>",
	"<v%ext.test@mx.local.test>",
	"<v%ext.test@[127.0.0.1]>",
	"<\"v@ext.test\">",
	"<\"v%ext.test\">",
	"<v@ext.test@local.test>",
	"<\"v@ext.test\"@local.test>",
	"<v@ext.test@[127.0.0.1]>",
	"<@local.test:v@ext.test>",
	"<@[127.0.0.1]:v@ext.test>",
	"<ext.test!v>",
	"<ext.test!v@local.test>",
	"<ext.test!v@[127.0.0.1]>",
	"<@local.test,@mx.local.test:v@ext.test>",
	"<v@local.test.ext.test>",
	"<v@notlocal.test>",
	"<v\\@ext.test@local.test>",
	/* and some more */
	"<@ext.test:v@local.test>",
	"<\"v\\@ext.test\"@local.test>",
	"<\"v%ext.test\"@local.test>",
	"<\"ext.test:v\"@local.test>",
	"<v@sub.test>",
	"<v@.sub.test>",
	"<v@notsub.test>",
	"<u@local.test.>", /* no domain by RFC 5321 4.1.2: our policy is to refuse it */
	"<v>",
	"<postmaster@ext.test>",
	"<v@[192.0.2.26]>",
	"<v@[IPv6:::1]>",
	"<v@local.test%ext.test>",
	"<v@local>",
	"<v@test>",
};

START_TEST(stranger_denied)
{
	struct relaying *r = ours();

	ck_assert_msg(ask(r, "203.0.113.9", denied[_i]) >= 500, "%s", denied[_i]);
	ck_assert_msg(ask(r, "", denied[_i]) >= 500, "no address: %s", denied[_i]);
	relaying_free(r);
}
END_TEST

static const char *const granted[] = { "<u@local.test>", "<u@LOCAL.TEST>",
	"<postmaster>", "<PostMaster>", "<postmaster@local.test>", "<u@a.sub.test>",
	"<u@a.b.Sub.test>", "<u@[192.0.2.25]>", "<\"u u\"@local.test>", "<u+x@local.test>",
	"<u=y@local.test>" };

START_TEST(stranger_granted)
{
	struct relaying *r = ours();

	ck_assert_msg(ask(r, "203.0.113.9", granted[_i]) == 0, "%s", granted[_i]);
	relaying_free(r);
}
END_TEST

START_TEST(client)
{
	struct relaying *r = ours();

	ck_assert_int_eq(ask(r, "10.1.2.3", "<v@ext.test>"), 0);
	ck_assert_int_eq(ask(r, "::ffff:10.1.2.3", "<v@ext.test>"), 0);
	ck_assert_int_eq(ask(r, "10.1.2.3", "<v%ext.test@other.test>"), 0);
	ck_assert_int_ge(ask(r, "10.2.2.3", "<v@ext.test>"), 500);
	ck_assert_int_eq(ask(r, "10.1.2.3", "<v>"), 553);
	relaying_free(r);
}
END_TEST

START_TEST(nothing_configured)
{
	struct errs errs = { 0 };
	struct relaying *r = relaying_new(NULL, NULL, NULL, &errs);

	ck_assert_int_ge(ask(r, "127.0.0.1", "<v@ext.test>"), 500);
	ck_assert_int_eq(ask(r, "127.0.0.1", "<postmaster>"), 0);
	relaying_free(r);
}
END_TEST

static char *
temp_file(const char *text)
{
	const char *dir = getenv("TMPDIR");
	char *path = NULL;
	int fd;

	ck_assert_int_gt(
	    asprintf(&path, "%s/relayXXXXXX", dir == NULL ? "/tmp" : dir), 0);
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return path;
}

START_TEST(file)
{
	char *path = temp_file("# ours\nb.test\n\n .c.test  # below\nD.test");
	struct errs errs = { 0 };
	struct relaying *r = relaying_new(NULL, path, NULL, &errs);

	ck_assert_ptr_nonnull(r);
	ck_assert(relaying_domain(r, STR("B.test")));
	ck_assert(relaying_domain(r, STR("x.c.test")));
	ck_assert(relaying_domain(r, STR("d.test")));
	ck_assert(!relaying_domain(r, STR("c.test")));
	ck_assert(!relaying_domain(r, STR("")));
	ck_assert(!relaying_domain(r, STR("b.test\0x")));
	relaying_free(r);
	unlink(path);
	free(path);
}
END_TEST

START_TEST(bad_file)
{
	char *path = temp_file("good.test\nbad domain\n-\n");
	struct errs errs = { 0 };

	ck_assert_ptr_null(relaying_new(NULL, path, NULL, &errs));
	ck_assert_uint_ge(errs.n, 2);
	ck_assert_str_eq(errs.list[0].file, path);
	ck_assert_int_eq(errs.list[0].line, 2);
	errs_clear(&errs);
	ck_assert_ptr_null(relaying_new(NULL, "/nonexistent/x", NULL, &errs));
	ck_assert_uint_eq(errs.n, 1);
	errs_clear(&errs);
	unlink(path);
	free(path);
}
END_TEST

#define LOOP(tc, test, table)                                                          \
	tcase_add_loop_test(tc, test, 0, (int)(sizeof(table) / sizeof(table[0])))

int
main(void)
{
	Suite *s = suite_create("relaying");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(s);
	int failed;

	LOOP(tc, stranger_denied, denied);
	LOOP(tc, stranger_granted, granted);
	tcase_add_test(tc, client);
	tcase_add_test(tc, nothing_configured);
	tcase_add_test(tc, file);
	tcase_add_test(tc, bad_file);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? 0 : 1;
}
