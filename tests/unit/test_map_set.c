/* SPDX-License-Identifier: BSD-2-Clause */
/* Several maps in order; a shared map over a real store; the filter of a directory, and a
 * directory that is out; the engine over networks and over maps that cannot be asked. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/map_set.h"
#include "db/map_shared.h"
#include "milters/access/access_case.h"
#include "milters/access/access_control.h"
#include "milters/access/access_maps.h"
#include "policy/settings.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))

static char *dir;

static void
in_directory(void)
{
	const char *tmp = getenv("TMPDIR");

	dir = xasprintf("%s/postern-set-XXXXXX", tmp != NULL ? tmp : "/tmp");
	ck_assert(mkdtemp(dir) != NULL);
}

static void
leave_directory(void)
{
	char *rest = xasprintf("rm -rf '%s'", dir);

	ck_assert_int_eq(system(rest), 0);
	free(rest);
	free(dir);
}

static char *
put(const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "we");

	ck_assert(f != NULL);
	fputs(text, f);
	fclose(f);
	return path;
}

/* ---- the filter ---- */

static const struct {
	const char *cluster, *host, *key, *filter;
} filters[] = {
	{ "mail", "gate", "from:a.example",
	    "(&(objectClass=sendmailMTAMapObject)(|(sendmailMTACluster=mail)"
	    "(sendmailMTAHost=gate))(sendmailMTAMapName=access)"
	    "(sendmailMTAKey=from:a.example))" },
	{ "", "gate", "x",
	    "(&(objectClass=sendmailMTAMapObject)(|(sendmailMTAHost=gate))"
	    "(sendmailMTAMapName=access)(sendmailMTAKey=x))" },
	{ "", "", "*)(uid=*",
	    "(&(objectClass=sendmailMTAMapObject)(sendmailMTAMapName=access)"
	    "(sendmailMTAKey=\\2a\\29\\28uid=\\2a))" },
	{ "", "", "a\\b\xc3",
	    "(&(objectClass=sendmailMTAMapObject)(sendmailMTAMapName=access)"
	    "(sendmailMTAKey=a\\5cb\\c3))" },
};

static struct map_ldap_conf
ldap_conf(const char *cluster, const char *host)
{
	static char uri[] = "ldap://127.0.0.1:1", base[] = "dc=x", none[] = "",
		    name[] = "site", map[] = "access";
	static char cluster_of[20], host_of[20];

	snprintf(cluster_of, sizeof(cluster_of), "%s", cluster);
	snprintf(host_of, sizeof(host_of), "%s", host);
	return (struct map_ldap_conf){ .name = name,
		.uri = uri,
		.base = base,
		.bind_dn = none,
		.password_file = none,
		.cluster = cluster_of,
		.host = host_of,
		.map_name = map,
		.timeout_ms = 2000,
		.keep = 60,
		.keep_none = 60,
		.cache_entries = 100,
		.connections = 2 };
}

START_TEST(filter)
{
	const struct map_ldap_conf conf = ldap_conf(filters[_i].cluster, filters[_i].host);
	struct str key = str_of(filters[_i].key);
	char *text = map_ldap_filter(&conf, &key, 1);

	ck_assert_str_eq(text, filters[_i].filter);
	free(text);
}
END_TEST

START_TEST(filter_of_many)
{
	const struct map_ldap_conf conf = ldap_conf("", "");
	const struct str keys[] = { STR("a"), STR("b") };
	char *text = map_ldap_filter(&conf, keys, 2);

	ck_assert_str_eq(text,
	    "(&(objectClass=sendmailMTAMapObject)(sendmailMTAMapName=access)"
	    "(|(sendmailMTAKey=a)(sendmailMTAKey=b)))");
	free(text);
}
END_TEST

/* ---- maps in order ---- */

static bool
wait_here(void *arg, struct future *f, int64_t deadline_ms)
{
	(void)arg;
	return future_wait(f, deadline_ms);
}

static struct map_set *
open_set(const char *const *specs, size_t n, const struct map_ldap_conf *ldap,
    struct store *(*store)(void *), void *arg)
{
	struct errs errs = { 0 };
	const struct map_set_conf conf = { .specs = specs,
		.n = n,
		.rules = { .extensions = true },
		.shared_rules = { .extensions = true },
		.ldaps = ldap,
		.n_ldaps = ldap != NULL,
		.store = store,
		.store_arg = arg };
	struct map_set *set = map_set_open(&conf, &errs);

	ck_assert_msg(set != NULL, "%s", errs.n > 0 ? errs.list[0].text : "");
	return set;
}

static const struct {
	const char *key;
	int64_t now;
	const char *value; /* NULL: none */
} in_order[] = {
	{ "one", 0, "A" },
	{ "two", 0, "B" },
	{ "both", 0, "A" },
	{ "none", 0, NULL },
	{ "dated", 1798761599, "A" },
	{ "dated", 1798761600, "B" }, /* expired in the first, so the second has it */
};

START_TEST(first_wins)
{
	char *a = put("a", "one A\nboth A\n#: expires 2026-12-31\ndated A\n");
	char *b = put("b", "two B\nboth B\ndated B\n192.0.2.0/24 N\n");
	const char *const specs[] = { a, b };
	struct map_set *set = open_set(specs, 2, NULL, NULL, NULL);
	struct map_view *v = map_view_new(set, wait_here, NULL);
	struct map_hit hit;
	struct ip ip;

	enum map_found found =
	    map_view_get(v, str_of(in_order[_i].key), in_order[_i].now, &hit);
	ck_assert_int_eq(
	    found, in_order[_i].value != NULL ? MAP_FOUND : MAP_NONE);
	if (found == MAP_FOUND)
		ck_assert(str_is(hit.value, in_order[_i].value));
	ck_assert(ip_parse(STR("192.0.2.9"), &ip));
	ck_assert_int_eq(map_view_get_net(v, STR(""), &ip, 24, 0, &hit), MAP_FOUND);
	ck_assert_str_eq(hit.file, b);
	ck_assert_int_eq(map_view_get_net(v, STR(""), &ip, 25, 0, &hit), MAP_NONE);
	map_view_free(v);
	map_set_close(set);
	free(a);
	free(b);
}
END_TEST

/* Nobody listens at the directory's port. */
START_TEST(directory_out)
{
	const struct map_ldap_conf conf = ldap_conf("mail", "");
	char *a = put("a", "one A\n");
	const char *const specs[] = { a, "ldap:site" };
	struct map_set *set = open_set(specs, 2, &conf, NULL, NULL);
	struct map_view *v = map_view_new(set, wait_here, NULL);
	struct map_hit hit;
	int64_t begin = clock_mono_ms();

	ck_assert_int_eq(map_view_get(v, STR("one"), 0, &hit), MAP_FOUND);
	ck_assert_int_eq(map_view_get(v, STR("two"), 0, &hit), MAP_FAILED);
	ck_assert_int_eq(map_view_get(v, STR("three"), 0, &hit), MAP_FAILED);
	ck_assert(map_view_plan_begin(v));
	ck_assert_int_eq(map_view_get(v, STR("four"), 0, &hit), MAP_NONE);
	map_view_plan_end(v);
	ck_assert_int_eq(map_view_get(v, STR("four"), 0, &hit), MAP_FAILED);
	map_view_forget_failures(v);
	ck_assert_int_eq(map_view_get(v, STR("four"), 0, &hit), MAP_FAILED);
	ck_assert_int_lt(clock_mono_ms() - begin, 10000);
	map_view_free(v);
	map_set_close(set);
	free(a);
}
END_TEST

START_TEST(wrong_names)
{
	const char *const specs[] = { "ldap:nowhere" };
	struct errs errs = { 0 };
	struct map_set_conf conf = { .specs = specs, .n = 1 };

	ck_assert(map_set_open(&conf, &errs) == NULL);
	ck_assert(strstr(errs.list[0].text, "expected a block ldap") != NULL);
	conf.specs = (const char *const[]){ "shared:x" };
	ck_assert(map_set_open(&conf, &errs) == NULL);
	ck_assert(strstr(errs.list[1].text, "no store") != NULL);
	errs_clear(&errs);
}
END_TEST

/* ---- a shared map ---- */

static struct store *
store_of(void *arg)
{
	struct store **s = arg;

	return *s;
}

static void
set_entry(struct store *s, const char *key, const char *value)
{
	struct str v = { NULL, 0 };

	if (value != NULL)
		v = str_of(value);
	struct future *f = store_map_set(
	    s, STR("t"), str_of(key), v, STR("ada@gate.example"), store_now(s));
	ck_assert(future_wait(f, clock_mono_ms() + 20000));
	const struct map_answer *a = future_value(f);
	ck_assert_int_eq(a->state, STORE_OK);
	future_unref(f);
}

static bool
soon(struct map_set *set, const char *key, enum map_found wanted)
{
	int64_t until = clock_mono_ms() + 20000;
	enum map_found found;

	do {
		struct map_view *v = map_view_new(set, wait_here, NULL);
		struct map_hit hit;

		found = map_view_get(v, str_of(key), 0, &hit);
		map_view_free(v);
		if (found != wanted)
			usleep(5000);
	} while (found != wanted && clock_mono_ms() < until);
	return found == wanted;
}

START_TEST(shared_map)
{
	struct err err = { .text = "" };
	char *path = xasprintf("%s/state", dir);
	struct store_conf conf = { .engine = "embedded",
		.path = path,
		.size_max = 64 << 20,
		.deadline_ms = 1000 };
	struct store *opened = store_open(&conf, &err), *s = NULL;
	const char *const specs[] = { "shared:t" };

	ck_assert_msg(opened != NULL, "%s", err.text);
	set_entry(opened, "early", "OK");
	struct map_set *set = open_set(specs, 1, NULL, store_of, &s);
	ck_assert(soon(set, "early", MAP_FAILED)); /* no store: nothing is known */
	s = opened;
	ck_assert(soon(set, "early", MAP_FOUND));
	ck_assert(soon(set, "late", MAP_NONE));
	set_entry(opened, "late", "#: expires 1970-01-02 gone\nREJECT");
	set_entry(opened, "noted", "#: ticket 4711\nREJECT");
	ck_assert(soon(set, "noted", MAP_FOUND));
	struct map_view *v = map_view_new(set, wait_here, NULL);
	struct map_hit hit;
	ck_assert_int_eq(map_view_get(v, STR("NOTED"), 0, &hit), MAP_FOUND);
	ck_assert(str_is(hit.value, "REJECT") && str_is(hit.note, "ticket 4711"));
	ck_assert_str_eq(hit.file, "shared:t");
	ck_assert_int_eq(map_view_get(v, STR("late"), 86400 * 2, &hit), MAP_NONE);
	ck_assert_int_eq(map_view_get(v, STR("late"), 86400, &hit), MAP_FOUND);
	set_entry(opened, "noted", NULL);
	ck_assert(soon(set, "noted", MAP_NONE));
	ck_assert_int_eq(map_view_get(v, STR("noted"), 0, &hit), MAP_FOUND); /* as it began */
	map_view_free(v);
	map_set_close(set);
	store_close(opened);
	free(path);
}
END_TEST

/* ---- the engine over them ---- */

static const char settings_text[] =
    "run { host gate.example }\n"
    "access { maps \"%s/a\"%s; extensions on; delay-checks %s; blocklist-recipients on;\n"
    " ldap \"site\" { uri \"ldap://127.0.0.1:1\"; timeout 1s } }\n";

static struct access_result
judge(const char *map, const char *more, const char *delay, const char *client,
    const char *from, const char *to)
{
	char *path = put("a", map), *text = xasprintf(settings_text, dir, more, delay);
	struct errs errs = { 0 };
	struct err err = { .text = "" };
	struct settings *s = settings_from_text(str_of(text), "t", &errs);
	struct access_case c = { .name = "[client]",
		.resolve = ACCESS_RESOLVE_FAIL,
		.helo = "",
		.mta = "",
		.mailer = "local",
		.from = from,
		.to = to };
	struct access_judged j;

	ck_assert_msg(s != NULL, "%s", errs.n > 0 ? errs.list[0].text : "");
	ck_assert(ip_parse(str_of(client), &c.ip));
	struct access_maps *maps = access_maps_open(s, NULL, NULL, &err);
	ck_assert_msg(maps != NULL, "%s", err.text);
	struct access_maps_view *v = access_maps_view_new(maps, wait_here, NULL);
	access_case_judge(s, v, &c, &j);
	struct access_result r = j.result;
	r.file = NULL;
	r.note = (struct str){ NULL, 0 };
	policy_view_clear(&j.view);
	access_maps_view_free(v);
	access_maps_close(maps);
	settings_unref(s);
	free(text);
	free(path);
	return r;
}

static const char nets[] = "Connect:10.1.2.0/25 ERROR:550 n25\n"
			   "Connect:10.1.2.0/24 ERROR:550 n24\n"
			   "10.1.2 ERROR:550 key24\n"
			   "Connect:10.1.0.0/17 SKIP\n"
			   "Connect:10.1 ERROR:550 key16\n"
			   "10.2.0.0/16 ERROR:550 bare16\n"
			   "Connect:10.2.0.0/16 ERROR:550 tag16\n"
			   "Connect:10.2.3.4 OK\n"
			   "Connect:10.2.3.4/32 ERROR:550 n32\n"
			   "Connect:10.2.3.5/32 ERROR:550 %0\n"
			   "Connect:0.0.0.0/0 ERROR:550 all\n"
			   "Connect:IPv6:2001:db8::/33 ERROR:550 v33\n"
			   "Connect:IPv6:2001:db8 ERROR:550 k32\n"
			   "Connect:IPv6:2001:db9:0:8000::/49 ERROR:550 v49\n"
			   "IPv6:2001:db9 ERROR:550 k32b\n"
			   "Connect:::/0 ERROR:550 v0\n";

static const struct {
	const char *client, *reply; /* NULL: nothing */
} net_rows[] = {
	{ "10.1.2.3", "n25" },
	{ "10.1.2.200", "key24" }, /* sendmail's key of the same length goes first */
	{ "10.1.3.1", NULL }, /* SKIP of 17 bits ends the search */
	{ "10.1.200.1", "key16" },
	{ "10.2.9.9", "tag16" },
	{ "10.2.3.4", NULL },
	{ "10.2.3.5", "Connect:10.2.3.5/32" },
	{ "192.0.2.1", "all" },
	{ "2001:db8:1::1", "v33" },
	{ "2001:db8:8000::1", "k32" },
	{ "2001:db9:0:8001::1", "v49" },
	{ "2001:db9:0:1::1", "k32b" },
	{ "2001:dba::1", "v0" },
};

START_TEST(networks)
{
	struct access_result r =
	    judge(nets, "", "off", net_rows[_i].client, "a@b.example", NULL);

	ck_assert_int_eq(r.kind == ACCESS_REFUSED, net_rows[_i].reply != NULL);
	if (net_rows[_i].reply != NULL)
		ck_assert_msg(strcmp(r.verdict.text, net_rows[_i].reply) == 0, "%s: %s",
		    net_rows[_i].client, r.verdict.text);
}
END_TEST

/* A directory that is out: temporary wherever it is needed, in every mode. */
static const struct {
	const char *name, *map, *delay, *to;
	bool failed;
} out_rows[] = {
	{ "off", "x OK\n", "off", NULL, true },
	{ "on", "x OK\n", "on", "u@l.example", true },
	{ "on, before the recipient", "x OK\n", "on", NULL, false },
	{ "friend", "x OK\n", "friend", "u@l.example", true },
	{ "hater: not spared for want of an answer", "To:u@l.example SKIP\n", "hater",
	    "u@l.example", true },
	{ "the recipient decides before", "To:u@l.example REJECT\n", "on", "u@l.example",
	    false },
};

START_TEST(out)
{
	struct access_result r = judge(out_rows[_i].map, " ldap:site", out_rows[_i].delay,
	    "192.0.2.1", "a@b.example", out_rows[_i].to);

	if (out_rows[_i].failed) {
		ck_assert_msg(r.kind == ACCESS_REFUSED, "%s", out_rows[_i].name);
		ck_assert_int_eq(r.verdict.code, 451);
		ck_assert_str_eq(r.verdict.enhanced, "4.3.0");
		ck_assert_str_eq(r.verdict.text,
		    "Temporary system failure. Please try again later.");
	} else {
		ck_assert_msg(r.kind != ACCESS_REFUSED || r.verdict.code != 451, "%s",
		    out_rows[_i].name);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("map_set");
	TCase *tc = tcase_create("all");
	int expected = N(filters) + N(in_order) + N(net_rows) + N(out_rows) + 4;

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, in_directory, leave_directory);
	tcase_add_loop_test(tc, filter, 0, N(filters));
	tcase_add_test(tc, filter_of_many);
	tcase_add_loop_test(tc, first_wins, 0, N(in_order));
	tcase_add_test(tc, directory_out);
	tcase_add_test(tc, wrong_names);
	tcase_add_test(tc, shared_map);
	tcase_add_loop_test(tc, networks, 0, N(net_rows));
	tcase_add_loop_test(tc, out, 0, N(out_rows));
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
