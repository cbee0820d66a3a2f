/* SPDX-License-Identifier: BSD-2-Clause */
/* Which envelope senders become the same: every rule, its borders, and people who must stay
 * apart. */
#include "policy/greylist_sender.h"

#include <stdlib.h>

#include <check.h>

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))

static const struct row {
	const char *in, *out;
} rows[] = {
	/* people, and what must stay */
	{ "<anna@b.example>", "anna@b.example" },
	{ "anna@b.example", "anna@b.example" },
	{ "<Anna@B.Example>", "anna@b.example" },
	{ "<user1@b.example>", "user1@b.example" },
	{ "<user2@b.example>", "user2@b.example" },
	{ "<anna1984@b.example>", "anna1984@b.example" },
	{ "<anna-1984@b.example>", "anna-1984@b.example" },
	{ "<anna.19840312@b.example>", "anna.19840312@b.example" },
	{ "<19840312.anna@b.example>", "19840312.anna@b.example" },
	{ "<s1234567@university.example>", "s1234567@university.example" },
	{ "<12345678@b.example>", "12345678@b.example" },
	{ "<491701234567@b.example>", "491701234567@b.example" },
	{ "<mary-ann@b.example>", "mary-ann@b.example" },
	{ "<o'neil@b.example>", "o'neil@b.example" },
	{ "<newsom@b.example>", "newsom@b.example" },
	{ "<j.1984@b.example>", "j.1984@b.example" },
	{ "<anna1984@email.example>", "anna1984@email.example" },
	{ "<weekly-48213@lists.example>", "weekly-#@lists.example" },
	{ "<weekly-48213@shop.example>", "weekly-48213@shop.example" },
	{ "<weekly-482139@shop.example>", "weekly-#@shop.example" },
	{ "<x-1a2b3c4d5e6f@shop.example>", "x-#@shop.example" },
	{ "<+491701234567@b.example>", "+491701234567@b.example" },
	{ "<alice=example.org@forward.example>", "alice=example.org@forward.example" },
	{ "<bob=example.org@forward.example>", "bob=example.org@forward.example" },
	{ "<cafe@b.example>", "cafe@b.example" },
	{ "<deadbeefcafe@b.example>", "deadbeefcafe@b.example" },
	{ "<\"a b\"@b.example>", "\"a b\"@b.example" },
	{ "<\"a+b 123456789\"@b.example>", "\"a+b 123456789\"@b.example" },
	{ "<a@[192.0.2.1]>", "a@[192.0.2.1]" },
	{ "<postmaster>", "postmaster" },
	{ "<@r.example:a@b.example>", "a@b.example" },
	/* nobody */
	{ "<>", "" },
	{ "", "" },
	{ " <> ", "" },
	/* no address */
	{ "<a b", "<a b" },
	{ "<a@b@c@>", "<a@b@c@>" },
	/* BATV */
	{ "<prvs=123456abcd=anna@b.example>", "anna@b.example" },
	{ "<prvs=3154D32F7A=Anna@b.example>", "anna@b.example" },
	{ "<PRVS=3154d32f7a=user1@b.example>", "user1@b.example" },
	{ "<prvs=0123abcxyz=user1234@b.example>", "user1234@b.example" },
	{ "<prvs=anna=0732abcdef@b.example>", "anna@b.example" },
	{ "<prvs=anna/0732abcdef@b.example>", "anna@b.example" },
	{ "<btv1==014ea1f4b1c==anna@b.example>", "anna@b.example" },
	{ "<msprvs1=18734kfj2hs9=bounces-1234@b.example>", "bounces-#@b.example" },
	{ "<msprvs1=20570G1NGbo_G=bounces-274689-4@bounce.b.example>",
	    "bounces-#-#@bounce.b.example" },
	{ "<msprvs1=12345=bounces-12345@b.example>", "bounces-#@b.example" },
	{ "<msprvs1==bounces@b.example>", "msprvs#==bounces@b.example" },
	{ "<prvs=208d19533=anna.b@b.example>", "anna.b@b.example" },
	{ "<prvs=anna@b.example>", "prvs=anna@b.example" },
	{ "<prvs==@b.example>", "prvs==@b.example" },
	{ "<prvs=123456abcd=>", "prvs=123456abcd=" },
	{ "<prvs=abcd123456=user1@b.example>", "user1@b.example" },
	{ "<btv1==anna@b.example>", "btv1==anna@b.example" },
	{ "<prvs=123456abcd=prvs=223456abcd=anna@b.example>", "anna@b.example" },
	/* SRS */
	{ "<SRS0=HHH=TT=orig.example=anna@fwd.example>", "anna@orig.example" },
	{ "<SRS0+aB3x=7Q=orig.example=Anna@fwd.example>", "anna@orig.example" },
	{ "<srs0-HHHH=TT=orig.example=anna@fwd.example>", "anna@orig.example" },
	{ "<SRS1=GGG=first.example==HHH=TT=orig.example=anna@second.example>",
	    "anna@orig.example" },
	{ "<SRS1+GGG=first.example=+HHH=TT=orig.example=anna@second.example>",
	    "anna@orig.example" },
	{ "<SRS0=HHH=TT=orig.example=prvs=123456abcd=anna@fwd.example>",
	    "anna@orig.example" },
	{ "<SRS0=HHH=TT=orig.example=bounce-77-x=y.example@fwd.example>",
	    "bounce-#-=@orig.example" },
	{ "<SRS0=x+mH=EJ=orig.example=prvs=593bb07b7=Anna.B3@srs-se1.fwd.example>",
	    "anna.b3@orig.example" },
	{ "<bounce-nbd=lists+nbd=dom.example@other.b.example>",
	    "bounce-nbd=lists@other.b.example" },
	{ "<bounce+64575+163154+4520527+8129362@lists.b.example>",
	    "bounce@lists.b.example" },
	{ "<bounce-330458969-1B@updates2.b.example>", "bounce-#-#b@updates2.b.example" },
	{ "<SRS0=HHH=TT=orig.example=anna+list@fwd.example>", "anna@orig.example" },
	{ "<SRS0=HHH=TT=nodomain=anna@fwd.example>",
	    "srs0=hhh=tt=nodomain=anna@fwd.example" },
	{ "<SRS0=HHH=TT=orig.example=@fwd.example>",
	    "srs0=hhh=tt=orig.example=@fwd.example" },
	{ "<bounces+SRS=44ldt=IX@tenant.example>", "bounces@tenant.example" },
	/* +detail */
	{ "<anna+shop@b.example>", "anna@b.example" },
	{ "<anna+a+b@b.example>", "anna@b.example" },
	{ "<+anna@b.example>", "+anna@b.example" },
	{ "<reply+AAB3c4d5e6f7@notify.forge.example>", "reply@notify.forge.example" },
	{ "<bounces+12345-ab3d-rcpt=dom.example@em77.shop.example>",
	    "bounces@em77.shop.example" },
	{ "<list-bounces+rcpt=dom.example@lists.b.example>",
	    "list-bounces@lists.b.example" },
	/* VERP and list bounces */
	{ "<bounce-12345-rcpt=dom.example@b.example>", "bounce-#-=@b.example" },
	{ "<bounce-99-john.doe=dom.example@b.example>", "bounce-#-=@b.example" },
	{ "<list-return-4711-rcpt=dom.example@b.example>", "list-return-#-=@b.example" },
	{ "<sentto-1234-5678-901-rcpt=dom.example@returns.groups.example>",
	    "sentto-#-#-#-=@returns.groups.example" },
	{ "<owner-list-77@b.example>", "owner-list-#@b.example" },
	{ "<news-2026-11-20@b.example>", "news-#-#-#@b.example" },
	{ "<newsletter42@b.example>", "newsletter#@b.example" },
	{ "<b-4711-0815@b.example>", "b-#-#@b.example" },
	{ "<no-reply-0815@b.example>", "no-reply-#@b.example" },
	{ "<noreply-a1b2c3d4e5f6@b.example>", "noreply-#@b.example" },
	{ "<bounce-mc.us14_1234567.890-c0ffee1234@mail77.b.example>",
	    "bounce-mc.us#_#.#-#@mail77.b.example" },
	{ "<bounce-HxQzPtLmRs@b.example>", "bounce-#@b.example" },
	{ "<bounce-x7k2m9q4@b.example>", "bounce-#@b.example" },
	{ "<anna-77@bounces.b.example>", "anna-#@bounces.b.example" },
	{ "<rcpt=dom.example@bounces.b.example>", "=@bounces.b.example" },
	/* tokens that nobody has */
	{ "<0100018c2b3a4d5e-1a2b3c4d-5e6f-4a8b-9c0d-1e2f3a4b5c6d-000000@ses.example>",
	    "#-#-#@ses.example" },
	{ "<3f2504e0-4f89-11d3-9a0c-0305e82c3301@b.example>", "#@b.example" },
	{ "<x.3f2504e0-4f89-11d3-9a0c-0305e82c3301@b.example>",
	    "x.#@b.example" },
	{ "<3f2504e0-4f89-11d3-9a0c-0305e82c330@b.example>",
	    "3f2504e0-4f89-11d3-9a0c-0305e82c330@b.example" },
	{ "<d41d8cd98f00b204e9800998ecf8427e@b.example>", "#@b.example" },
	{ "<shop-20261120@b.example>", "shop-#@b.example" },
	{ "<shop_123456789_info@b.example>", "shop_#_info@b.example" },
	{ "<shop-20261@b.example>", "shop-20261@b.example" },
};

START_TEST(sender)
{
	const struct row *r = &rows[_i];
	char out[ADDRESS_MAX];
	size_t len = greylist_sender(str_of(r->in), out);

	ck_assert_msg(str_is((struct str){ out, len }, r->out), "%s: %.*s", r->in,
	    (int)len, out);
}
END_TEST

/* What came out is a sender like others: judged again it stays. */
START_TEST(stable)
{
	char once[ADDRESS_MAX], twice[ADDRESS_MAX];
	size_t len = greylist_sender(str_of(rows[_i].in), once);
	size_t again = greylist_sender((struct str){ once, len }, twice);

	ck_assert_msg(str_eq((struct str){ once, len }, (struct str){ twice, again }),
	    "%s: %.*s, then %.*s", rows[_i].in, (int)len, once, (int)again, twice);
}
END_TEST

static const struct pair {
	const char *a, *b;
	bool same;
} pairs[] = {
	{ "<bounce-1-r=d.example@b.example>", "<bounce-22222-r=d.example@b.example>",
	    true },
	{ "<prvs=123456abcd=u@b.example>", "<u@b.example>", true },
	{ "<prvs=123456abcd=u@b.example>", "<prvs=987654dcba=u@b.example>", true },
	{ "<SRS0=AAAA=BB=o.example=u@f.example>", "<SRS0=CCCC=DD=o.example=u@g.example>",
	    true },
	{ "<SRS0=AAAA=BB=o.example=u@f.example>", "<SRS0=AAAA=BB=p.example=u@f.example>",
	    false },
	{ "<user1@b.example>", "<user2@b.example>", false },
	{ "<user1@b.example>", "<user1@c.example>", false },
	{ "<list1-bounces@b.example>", "<other-bounces@b.example>", false },
	{ "<a@b.example>", "<>", false },
	{ "<news-123@b.example>", "<news-456@b.example>", true },
	{ "<news-123@b.example>", "<shop-123@b.example>", false },
};

START_TEST(both)
{
	char a[ADDRESS_MAX], b[ADDRESS_MAX];
	size_t n = greylist_sender(str_of(pairs[_i].a), a);
	size_t m = greylist_sender(str_of(pairs[_i].b), b);

	ck_assert_msg(str_eq((struct str){ a, n }, (struct str){ b, m }) ==
		pairs[_i].same,
	    "%s and %s", pairs[_i].a, pairs[_i].b);
}
END_TEST

/* Of any length, cut anywhere: within its bounds. */
START_TEST(endless)
{
	char text[1200], out[ADDRESS_MAX];
	static const char *const units[] = { "a", "1", "=", "SRS0=", "prvs=123456=", "+",
		"-", "\"", "bounce-1=", "\xc3\xa4" };

	for (int u = 0; u < N(units); u++)
		for (size_t len = 0; len <= sizeof(text); len += len < 600 ? 1 : 97) {
			for (size_t i = 0; i < len; i++)
				text[i] = units[u][i % strlen(units[u])];
			if (len > 12)
				memcpy(text + len - 11, "@b.example>", 11);
			ck_assert_uint_le(
			    greylist_sender((struct str){ text, len }, out),
			    ADDRESS_MAX);
		}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("greylist_sender");
	TCase *tc = tcase_create("sender");

	tcase_add_loop_test(tc, sender, 0, N(rows));
	tcase_add_loop_test(tc, stable, 0, N(rows));
	tcase_add_loop_test(tc, both, 0, N(pairs));
	tcase_add_test(tc, endless);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == 2 * N(rows) + N(pairs) + 1 && failed == 0 ? EXIT_SUCCESS
								: EXIT_FAILURE;
}
