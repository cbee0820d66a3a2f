/* SPDX-License-Identifier: BSD-2-Clause */
/* Maps beyond makemap's text: networks as keys, "#:" lines, lines that are left out by
 * name, names of maps, and .db files, whole, damaged and half-written. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/xalloc.h"
#include "db/map_private.h"
#include "db/map_spec.h"
#include "milters/access/access_value.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))

static const struct map_rules extended = { .extensions = true };

static struct map_table *
parse(const char *text, const struct map_rules *rules, struct errs *errs)
{
	return map_parse("m", xstrdup(text), strlen(text), rules, errs);
}

/* ---- keys that are networks ---- */

static const struct net_row {
	const char *key;
	int is; /* as map_net_parse */
	const char *tag, *net;
} net_rows[] = {
	{ "connect:192.0.2.0/25", 1, "connect:", "192.0.2.0/25" },
	{ "192.0.2.0/24", 1, "", "192.0.2.0/24" },
	{ "connect:ipv6:2001:db8::/33", 1, "connect:", "2001:db8::/33" },
	{ "connect:2001:db8::/32", 1, "connect:", "2001:db8::/32" },
	{ "ipv6:2001:db8::/32", 1, "", "2001:db8::/32" },
	{ "2001:db8::/32", 1, "", "2001:db8::/32" },
	{ "clientrate:0.0.0.0/0", 1, "clientrate:", "0.0.0.0/0" },
	{ "connect:192.0.2.1/32", 1, "connect:", "192.0.2.1/32" },
	{ "connect:192.0.2.1/24", -1, NULL, "zeros" },
	{ "connect:192.0.2.0/33", -1, NULL, "at most 32" },
	{ "connect:2001:db8::/129", -1, NULL, "at most 128" },
	{ "connect:192.0.2/24", 0, NULL, NULL },
	{ "user/24@d.example", 0, NULL, NULL },
	{ "from:a/b", 0, NULL, NULL },
	{ "/24", 0, NULL, NULL },
	{ "192.0.2.0/", 0, NULL, NULL },
	{ "192.0.2.0/2x", 0, NULL, NULL },
	{ "connect:192.0.2.0/2000", 0, NULL, NULL },
};

START_TEST(net_key)
{
	const struct net_row *r = &net_rows[_i];
	char text[IP_TEXT_MAX + 4];
	struct err err = { .text = "" };
	struct ipnet net;
	struct str tag;

	ck_assert_msg(
	    map_net_parse(str_of(r->key), &tag, &net, &err) == r->is, "%s", r->key);
	if (r->is == 1) {
		ck_assert_msg(str_is(tag, r->tag), "%s: %.*s", r->key, STR_ARG(tag));
		ck_assert_str_eq(ipnet_format(&net, text), r->net);
	}
	if (r->is == -1)
		ck_assert_msg(strstr(err.text, r->net) != NULL, "%s", err.text);
}
END_TEST

static const char nets_text[] = "Connect:192.0.2.0/25 A\n"
				"Connect:192.0.2.0/24 B\n"
				"192.0.0.0/16 C\n"
				"Connect:192.0.2.0/25 twice\n"
				"Connect:IPv6:2001:db8::/33 D\n"
				"Connect:192.0.2.128 E\n";

static const struct {
	const char *ip, *tag;
	unsigned bits;
	const char *value; /* NULL: none */
} net_asks[] = {
	{ "192.0.2.1", "Connect:", 25, "A" },
	{ "192.0.2.129", "Connect:", 25, NULL },
	{ "192.0.2.129", "connect:", 24, "B" },
	{ "192.0.2.1", "Connect:", 16, NULL },
	{ "192.0.2.1", "", 16, "C" },
	{ "192.0.2.1", "", 25, NULL },
	{ "192.0.2.1", "From:", 25, NULL },
	{ "2001:db8:1::1", "Connect:", 33, "D" },
	{ "2001:db8:8000::1", "Connect:", 33, NULL },
	{ "2001:db8::1", "Connect:", 32, NULL },
	{ "192.0.2.1", "Connect:", 99, NULL },
};

START_TEST(net_lookup)
{
	struct errs errs = { 0 };
	struct map_table *t = parse(nets_text, &extended, &errs);
	struct ip ip;
	int line;

	ck_assert(t != NULL);
	ck_assert_uint_eq(map_count(t), 5);
	ck_assert_uint_eq(map_duplicates(t, &line), 1);
	ck_assert_int_eq(line, 4);
	ck_assert(ip_parse(str_of(net_asks[_i].ip), &ip));
	const struct map_entry *e =
	    map_get_net(t, str_of(net_asks[_i].tag), &ip, net_asks[_i].bits);
	ck_assert_int_eq(e != NULL, net_asks[_i].value != NULL);
	if (e != NULL)
		ck_assert(str_is(e->value, net_asks[_i].value));
	map_table_unref(t);
}
END_TEST

START_TEST(nets_only_where_asked_for)
{
	struct errs errs = { 0 };
	struct map_table *t = parse(
	    "Connect:192.0.2.1/24 A\n#: expires never\nb B\n", NULL, &errs);
	const struct map_entry *e;

	ck_assert(t != NULL); /* sendmail's file, sendmail's meaning */
	ck_assert((e = map_get(t, STR("connect:192.0.2.1/24"))) != NULL);
	ck_assert((e = map_get(t, STR("b"))) != NULL && e->expires == 0);
	map_table_unref(t);
	ck_assert(parse("Connect:192.0.2.1/24 A\n", &extended, &errs) == NULL);
	ck_assert_int_eq(errs.list[0].line, 1);
	ck_assert(strstr(errs.list[0].text, "zeros") != NULL);
	errs_clear(&errs);
}
END_TEST

/* ---- "#:" lines ---- */

static const struct note_row {
	const char *text;
	bool good;
	int64_t expires;
	const char *note;
} note_rows[] = {
	{ " expires 2026-12-31 ticket 4711", true, 1798761600, "ticket 4711" },
	{ "expires 1970-01-01", true, 86400, "" },
	{ " EXPIRES 2026-12-31T18:00Z", true, 1798740000, "" },
	{ " expires 2024-02-29 leap", true, 1709251200, "leap" },
	{ " asked for by Ada", true, 0, "asked for by Ada" },
	{ "", true, 0, "" },
	{ " expires", false, 0, NULL },
	{ " expires soon", false, 0, NULL },
	{ " expires 2026-02-29", false, 0, NULL },
	{ " expires 2026-13-01", false, 0, NULL },
	{ " expires 2026-12-31T24:00Z", false, 0, NULL },
	{ " expires 2026-12-31T18:00", false, 0, NULL },
	{ " expires 26-12-31", false, 0, NULL },
	{ " expires 2026/12/31", false, 0, NULL },
};

START_TEST(note)
{
	const struct note_row *r = &note_rows[_i];
	struct err err = { .text = "" };
	int64_t expires;
	struct str text;

	ck_assert_msg(map_note_parse(str_of(r->text), &expires, &text, &err) == r->good,
	    "%s", r->text);
	if (!r->good) {
		ck_assert(strstr(err.text, "expected a day") != NULL);
		return;
	}
	ck_assert_int_eq(expires, r->expires);
	ck_assert(str_is(text, r->note));
}
END_TEST

START_TEST(notes_speak_of_the_next_entry)
{
	struct errs errs = { 0 };
	struct map_table *t = parse("a A\n#: expires 2026-12-31 why\n# plain\n\nb B\nc C\n"
				    "#: net\n192.0.2.0/24 D\n",
	    &extended, &errs);
	const struct map_entry *e;
	struct ip ip;

	ck_assert(t != NULL);
	e = map_get(t, STR("a"));
	ck_assert(e->expires == 0 && e->note.len == 0);
	e = map_get(t, STR("b"));
	ck_assert(e->expires == 1798761600 && str_is(e->note, "why"));
	e = map_get(t, STR("c"));
	ck_assert(e->expires == 0 && e->note.len == 0);
	ck_assert(ip_parse(STR("192.0.2.7"), &ip));
	ck_assert(str_is(map_get_net(t, STR(""), &ip, 24)->note, "net"));
	map_table_unref(t);
	ck_assert(parse("#: one\n#: two\na A\n", &extended, &errs) == NULL);
	ck_assert_int_eq(errs.list[0].line, 2);
	ck_assert(parse("a A\n#: expires soon\nb B\n", &extended, &errs) == NULL);
	ck_assert_int_eq(errs.list[1].line, 2);
	errs_clear(&errs);
}
END_TEST

/* ---- what access maps leave out ---- */

START_TEST(sifted)
{
	struct map_rules rules = access_map_rules(false);
	struct errs errs = { 0 };
	struct map_table *t = parse("From:a.example REJECT\nTLS_Srv:x.example VERIFY\n"
				    "From:b.example 250 fine\nTry_TLS:y.example NO\n"
				    "tls_srv:z.example VERIFY:256\nAuthInfo:z.example \"U:x\"\n"
				    "To:c.example 354 go on\nFrom:d.example 900 x\n"
				    "From:e.example OK\n",
	    &rules, &errs);

	ck_assert(t != NULL && errs.n == 0);
	ck_assert_uint_eq(map_count(t), 2);
	ck_assert(map_get(t, STR("From:a.example")) != NULL);
	ck_assert(map_get(t, STR("From:e.example")) != NULL);
	const struct errs *refused = map_refused(t), *said = map_said(t);
	ck_assert_uint_eq(refused->n, 3);
	ck_assert_int_eq(refused->list[0].line, 3);
	ck_assert(strstr(refused->list[0].text, "from:b.example: reply code 250") != NULL);
	ck_assert_int_eq(refused->list[2].line, 8);
	ck_assert_uint_eq(said->n, 3); /* each tag once */
	ck_assert_int_eq(said->list[0].line, 2);
	ck_assert_str_eq(said->list[0].text, "TLS_Srv: is left to the MTA");
	ck_assert_str_eq(said->list[1].text, "Try_TLS: is left to the MTA");
	ck_assert_str_eq(said->list[2].text, "AuthInfo: is left to the MTA");
	map_table_unref(t);
	ck_assert(parse("From:a.example OK\nFrom:b.example QUARANTINE:\n", &rules,
		      &errs) == NULL);
	ck_assert_int_eq(errs.list[0].line, 2);
	errs_clear(&errs);
	rules = access_map_rules_shared();
	t = parse("From:a.example OK\nFrom:b.example QUARANTINE:\n", &rules, &errs);
	ck_assert(t != NULL && errs.n == 0 && map_count(t) == 1);
	ck_assert_uint_eq(map_refused(t)->n, 1);
	map_table_unref(t);
}
END_TEST

/* ---- names ---- */

static const struct {
	const char *spec;
	bool good;
	enum map_kind kind;
	const char *name;
} specs[] = {
	{ "/etc/mail/access", true, MAP_KIND_FILE, "/etc/mail/access" },
	{ "text:/etc/mail/access", true, MAP_KIND_FILE, "text:/etc/mail/access" },
	{ "hash:/etc/mail/access.db", true, MAP_KIND_FILE, "hash:/etc/mail/access.db" },
	{ "btree:/x", true, MAP_KIND_FILE, "btree:/x" },
	{ "shared:access", true, MAP_KIND_SHARED, "access" },
	{ "ldap:dir-1", true, MAP_KIND_LDAP, "dir-1" },
	{ "access", false, MAP_KIND_FILE, "access" },
	{ "hash:access", false, MAP_KIND_FILE, "hash:access" },
	{ "dbm:/x", false, MAP_KIND_FILE, "dbm:/x" },
	{ "shared:", false, MAP_KIND_SHARED, "" },
	{ "ldap:a b", false, MAP_KIND_LDAP, "a b" },
};

START_TEST(spec)
{
	struct str name;

	ck_assert_int_eq(
	    map_spec_wrong(str_of(specs[_i].spec)) == NULL, specs[_i].good);
	ck_assert_int_eq(map_spec_kind(str_of(specs[_i].spec), &name), specs[_i].kind);
	ck_assert(str_is(name, specs[_i].name));
}
END_TEST

/* ---- .db files, made by the real makemap (tests/fuzz/seeds/map_db) ---- */

static char *
file_of(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");

	ck_assert_msg(f != NULL, "%s", path);
	char *octets = xmalloc(1 << 20);
	*len = fread(octets, 1, 1 << 20, f);
	fclose(f);
	return octets;
}

static const char *const db_files[] = { "tests/fuzz/seeds/map_db/hash.db",
	"tests/fuzz/seeds/map_db/hash-nul.db", "tests/fuzz/seeds/map_db/btree.db",
	"tests/fuzz/seeds/map_db/btree-nul.db" };

START_TEST(db_whole)
{
	size_t len;
	char *octets = file_of(db_files[_i], &len);
	struct errs errs = { 0 };
	struct map_table *t = map_db_parse("m.db", octets, len, NULL, &errs);
	const struct map_entry *e;

	ck_assert_msg(t != NULL, "%s", errs.n > 0 ? errs.list[0].text : "");
	ck_assert_uint_eq(map_count(t), 43);
	e = map_get(t, STR("From:Bad.Example"));
	ck_assert(e != NULL && str_is(e->value, "REJECT") && e->line == 0);
	e = map_get(t, STR("Connect:host17.example"));
	ck_assert(e != NULL && str_is(e->value, "ERROR:5.7.1:550 Nr 17"));
	e = map_get(t, STR("To:long@d.example"));
	ck_assert(e != NULL && e->value.len == 910);
	map_table_unref(t);
}
END_TEST

/* Every half of a file is refused, or a table; never a crash. */
START_TEST(db_cut)
{
	size_t len;
	char *whole = file_of(db_files[_i], &len);

	for (size_t n = 0; n < len; n += n < 300 ? 1 : n < 512 ? 212 : 512) {
		char *half = xmemdup0(whole, n);
		struct errs errs = { 0 };
		struct map_table *t = map_db_parse("m.db", half, n, NULL, &errs);

		ck_assert(t != NULL || errs.n > 0);
		ck_assert_msg(t == NULL, "%zu", n);
		map_table_unref(t);
		errs_clear(&errs);
	}
	free(whole);
}
END_TEST

static const struct {
	const char *name;
	size_t at;
	unsigned char octet;
	const char *told;
} db_bad[] = {
	{ "magic", 12, 0x77, "no .db file" },
	{ "page size", 20, 0x33, "half a file" },
	{ "encrypted", 24, 1, "encrypted" },
};

START_TEST(db_damaged)
{
	size_t len;
	char *octets = file_of(db_files[0], &len);
	struct errs errs = { 0 };

	octets[db_bad[_i].at] = (char)db_bad[_i].octet;
	ck_assert(map_db_parse("m.db", octets, len, NULL, &errs) == NULL);
	ck_assert_msg(strstr(errs.list[0].text, db_bad[_i].told) != NULL, "%s: %s",
	    db_bad[_i].name, errs.list[0].text);
	errs_clear(&errs);
}
END_TEST

START_TEST(db_values_are_sifted)
{
	struct map_rules rules = access_map_rules(true);
	size_t len;
	char *octets = file_of(db_files[0], &len);
	struct errs errs = { 0 };
	struct map_table *t = map_db_parse("m.db", octets, len, &rules, &errs);
	struct ip ip;

	ck_assert_msg(t != NULL, "%s", errs.n > 0 ? errs.list[0].text : "");
	ck_assert_uint_eq(map_refused(t)->n, 1); /* From:garbled 250 fine */
	ck_assert_uint_eq(map_said(t)->n, 1); /* TLS_Srv: */
	ck_assert_uint_eq(map_count(t), 41);
	ck_assert(ip_parse(STR("203.0.113.200"), &ip));
	ck_assert(map_get_net(t, STR("connect:"), &ip, 25) != NULL);
	map_table_unref(t);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("map_table");
	TCase *tc = tcase_create("all");
	int expected = N(net_rows) + N(net_asks) + N(note_rows) + N(specs) +
	    2 * N(db_files) + N(db_bad) + 4;

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, net_key, 0, N(net_rows));
	tcase_add_loop_test(tc, net_lookup, 0, N(net_asks));
	tcase_add_test(tc, nets_only_where_asked_for);
	tcase_add_loop_test(tc, note, 0, N(note_rows));
	tcase_add_test(tc, notes_speak_of_the_next_entry);
	tcase_add_test(tc, sifted);
	tcase_add_loop_test(tc, spec, 0, N(specs));
	tcase_add_loop_test(tc, db_whole, 0, N(db_files));
	tcase_add_loop_test(tc, db_cut, 0, N(db_files));
	tcase_add_loop_test(tc, db_damaged, 0, N(db_bad));
	tcase_add_test(tc, db_values_are_sifted);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
