/* SPDX-License-Identifier: BSD-2-Clause */
/* Organisational domains by the public suffix list: the names are real ones, for the list
 * knows no others. */
#include "common/net/suffix.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

#include "common/base/xalloc.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))

static const struct row {
	const char *name, *organisation; /* NULL: none */
} rows[] = {
	{ "example.org", "example.org" },
	{ "mx1.example.org", "example.org" },
	{ "a.b.c.d.e.f.example.org", "example.org" },
	{ "MX1.Example.ORG", "Example.ORG" },
	{ "mx1.example.org.", "example.org" },
	{ "example.co.uk", "example.co.uk" },
	{ "mx.example.co.uk", "example.co.uk" },
	{ "mail.provider.example", "provider.example" }, /* no rule: one label */
	{ "mx.provider.test", "provider.test" },
	{ "a_b.example.org", "example.org" },
	{ "mx.xn--bcher-kva.example", "xn--bcher-kva.example" },
	{ "mx.example.xn--p1ai", "example.xn--p1ai" },
	{ "user.github.io", "user.github.io" },
	{ "www.user.github.io", "user.github.io" },
	{ "host.example.kawasaki.jp", "host.example.kawasaki.jp" }, /* wildcard */
	{ "www.city.kawasaki.jp", "city.kawasaki.jp" }, /* and its exception */
	{ "org", NULL },
	{ "co.uk", NULL },
	{ "github.io", NULL },
	{ "ec2-81-2-69-142.compute-1.amazonaws.com", NULL },
	{ "example.kawasaki.jp", NULL },
	{ "", NULL },
	{ ".", NULL },
	{ "localhost", NULL },
	{ ".example.org", NULL },
	{ "a..example.org", NULL },
	{ "a.example.org..", NULL },
	{ "192.0.2.1", NULL },
	{ "[192.0.2.1]", NULL },
	{ "a b.example.org", NULL },
	{ "b\xc3\xbc" "cher.example", NULL },
	{ "x123456789012345678901234567890123456789012345678901234567890123.example",
	    NULL },
};

static struct suffixes *list;

static void
open_list(void)
{
	struct err err;

	list = suffixes_open("", &err);
	ck_assert_msg(list != NULL, "%s", err.text);
}

static void
close_list(void)
{
	suffixes_close(list);
	list = NULL;
}

START_TEST(organisation)
{
	const struct row *r = &rows[_i];
	struct str out, name = str_of(r->name);

	bool found = suffixes_organisation(list, name, &out);
	ck_assert_msg(found == (r->organisation != NULL), "%s", r->name);
	if (!found)
		return;
	ck_assert_msg(str_is(out, r->organisation), "%s: %.*s", r->name, STR_ARG(out));
	ck_assert(out.p >= name.p && out.p + out.len <= name.p + name.len);
}
END_TEST

START_TEST(hostile)
{
	struct str out;
	char text[300];

	for (size_t len = 0; len <= sizeof(text); len++) {
		memset(text, 'a', sizeof(text));
		for (size_t i = 1; i < sizeof(text); i += 2)
			text[i] = '.';
		bool found = suffixes_organisation(list, (struct str){ text, len }, &out);
		ck_assert(!found || len <= 254);
	}
	ck_assert(!suffixes_organisation(
	    list, (struct str){ "a\0b.example.org", 15 }, &out));
}
END_TEST

static char *
temp_file(const char *text)
{
	const char *tmp = getenv("TMPDIR");
	char *name = xasprintf("%s/postern-suffix-XXXXXX", tmp != NULL ? tmp : "/tmp");
	int fd = mkstemp(name);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return name;
}

START_TEST(own_file)
{
	char *path = temp_file("// ===BEGIN ICANN DOMAINS===\nuk\nco.uk\norg\n"
			       "// ===END ICANN DOMAINS===\n"
			       "// ===BEGIN PRIVATE DOMAINS===\nprovider.example\n"
			       "// ===END PRIVATE DOMAINS===\n");
	struct err err;
	struct str out;
	struct suffixes *own = suffixes_open(path, &err);

	ck_assert_msg(own != NULL, "%s", err.text);
	ck_assert(suffixes_organisation(own, STR("mx.a.provider.example"), &out));
	ck_assert(str_is(out, "a.provider.example"));
	ck_assert(!suffixes_organisation(own, STR("provider.example"), &out));
	suffixes_close(own);
	unlink(path);
	free(path);
}
END_TEST

START_TEST(bad_file)
{
	const char *const texts[] = { "", "// nothing\n", "no list at all\n" };
	struct err err;

	for (int i = 0; i < N(texts); i++) {
		char *path = temp_file(texts[i]);

		ck_assert_ptr_null(suffixes_open(path, &err));
		ck_assert_ptr_nonnull(strstr(err.text, path));
		ck_assert_ptr_nonnull(strstr(err.text, "public suffix list"));
		unlink(path);
		free(path);
	}
	ck_assert_ptr_null(suffixes_open("/no/such/file", &err));
	suffixes_close(NULL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("suffix");
	TCase *tc = tcase_create("suffix");

	tcase_add_unchecked_fixture(tc, open_list, close_list);
	tcase_add_loop_test(tc, organisation, 0, N(rows));
	tcase_add_test(tc, hostile);
	tcase_add_test(tc, own_file);
	tcase_add_test(tc, bad_file);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == N(rows) + 3 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
