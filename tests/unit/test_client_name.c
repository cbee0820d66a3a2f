/* SPDX-License-Identifier: BSD-2-Clause */
/* Names as providers give them to their customers, and as senders give them to their
 * servers: which look generated from the address.  The patterns are those that are met in
 * mail logs; how many of each kind are judged wrongly is printed. */
#include "policy/client_name.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "common/net/suffix.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))

static const struct row {
	const char *ip, *name;
	bool generated;
} rows[] = {
	/* the whole address, in order */
	{ "81.2.69.142", "81-2-69-142.isp.example", true },
	{ "81.2.69.142", "81.2.69.142.isp.example", true },
	{ "81.2.69.142", "81_2_69_142.isp.example", true },
	{ "81.2.69.142", "host-81-2-69-142.isp.example", true },
	{ "81.2.69.142", "host81-2-69-142.range81-2.isp.example", true },
	{ "81.2.69.142", "dsl-081-002-069-142.arcor-ip.example", true },
	{ "81.2.69.142", "static-81-2-69-142.isp.example", true },
	{ "81.2.69.142", "ip-81-2-69-142.eu-west.compute.example", true },
	{ "81.2.69.142", "pool-81-2-69-142.nycmny.fios.example", true },
	{ "81.2.69.142", "c-81-2-69-142.hsd1.ca.cable.example", true },
	{ "81.2.69.142", "cpe-81-2-69-142.socal.res.example", true },
	{ "81.2.69.142", "ec2-81-2-69-142.compute-1.cloud.example", true },
	{ "81.2.69.142", "81x2x69x142.static-business.isp.example", true },
	{ "81.2.69.142", "user-81-2-69-142.play-internet.example", true },
	{ "81.2.69.142", "81-2-69-142.dynamic.isp.example", true },
	{ "81.2.69.142", "lfbn-idf1-1-81-2-69-142.w81-2.abo.isp.example", true },
	{ "81.2.69.142", "host-81.2.69.142.c3.net.isp.example", true },
	{ "81.2.69.142", "81.2.69.142.dyn.isp.co.uk", true },
	{ "81.2.69.142", "bb81-2-69-142.broadband.isp.example", true },
	{ "81.2.69.142", "n81-2-69-142.isp.example", true },
	{ "81.2.69.142", "customer-81-2-69-142.isp.example", true },
	{ "81.2.69.142", "vps-81-2-69-142.hoster.example", true },
	{ "5.9.0.1", "static.5.9.0.1.clients.hoster.example", true },
	{ "10.1.2.3", "ip-10-1-2-3.internal.example", true },
	{ "1.2.3.4", "1-2-3-4.isp.example", true },
	{ "1.2.3.4", "h1-2-3-4.dyn.isp.example", true },
	/* against the order, mixed */
	{ "81.2.69.142", "142-69-2-81.isp.example", true },
	{ "81.2.69.142", "142.69.2.81.isp.example", true },
	{ "81.2.69.142", "static.142.69.2.81.clients.hoster.example", true },
	{ "81.2.69.142", "host142-69-dynamic.2-81-r.retail.isp.example", true },
	{ "81.2.69.142", "142.69.2.81.bc.cloud.example", true },
	{ "81.2.69.142", "adsl-142.69.2.81.isp.example", true },
	{ "81.2.69.142", "69-142.net81-2.isp.example", true },
	{ "81.2.69.142", "p142-ip69.81-2.isp.example", true },
	{ "1.2.3.4", "4.3.2.1.rev.isp.example", true },
	/* without separators, other bases */
	{ "81.2.69.142", "host081002069142.isp.example", true },
	{ "81.2.69.142", "142069002081.user.isp.example", true },
	{ "81.2.69.142", "81269142.isp.example", true },
	{ "81.2.69.142", "p5102458e.dip0.isp.example", true },
	{ "81.2.69.142", "P5102458E.dip0.isp.example", true },
	{ "81.2.69.142", "ip5102458e.dynamic.isp.example", true },
	{ "81.2.69.142", "ool-5102458e.dyn.isp.example", true },
	{ "81.2.69.142", "51-02-45-8e.isp.example", true },
	{ "81.2.69.142", "51.2.45.8e.isp.example", true },
	{ "81.2.69.142", "8e450251.isp.example", true },
	{ "81.2.69.142", "1359103374.isp.example", true },
	{ "81.2.69.142", "x590ea.5102458e.isp.example", true },
	{ "81.2.69.142", "0x5102458e.isp.example", true },
	{ "81.2.69.142", "081-002-069-142.isp.example", true },
	{ "81.2.69.142", "d51-02-458e.cpe.isp.example", true },
	/* part of it */
	{ "81.2.69.142", "host-69-142.isp.example", true },
	{ "81.2.69.142", "69-142.isp.example", true },
	{ "81.2.69.142", "142.69.adsl.isp.example", true },
	{ "81.2.69.142", "dyn-69-142.isp.example", true },
	{ "81.2.69.142", "ip-2-69-142.isp.example", true },
	{ "81.2.69.142", "2-69-142.static.isp.example", true },
	{ "81.2.69.142", "069142.isp.example", true },
	{ "81.2.69.142", "h69142.isp.example", true },
	{ "81.2.69.142", "cust-02458e.isp.example", true },
	{ "81.2.69.142", "ip-81-2-69.eu", true },
	{ "81.2.69.142", "ns3012345.ip-81-2-69.example", true },
	{ "81.2.69.142", "li69-142.members.hoster.example", true },
	{ "81.2.69.142", "host-81-2-69-0.isp.example", true },
	{ "10.20.8.60", "a8-60.isp.example", true },
	{ "81.2.69.142", "h458e.isp.example", true },
	{ "81.2.69.142", "host142.net69.isp.example", true },
	{ "82.253.208.248", "lns-bzn-46-82-253-208-248.adsl.isp.example", true },
	{ "122.99.82.10", "static-82-10.isp.example", true },
	{ "71.77.14.91", "cpe-071-077-014-091.nc.res.isp.example", true },
	{ "210.65.1.144", "210-65-1-144.ISP-IP.isp.example", true },
	{ "83.86.89.107", "83-86-89-107.cable.dynamic.v4.isp.example", true },
	{ "217.172.187.230", "static-ip-217-172-187-230.inaddr.isp.example", true },
	/* words only */
	{ "83.9.31.150", "abyl150.neoplus.adsl.isp.example", true },
	{ "82.37.23.78", "aztw-30-b2-v4wan-166917-cust845.vm26.cable.isp.example",
	    true },
	{ "210.141.244.193", "ne2965lan1.rev.isp.example", true },
	{ "81.2.69.142", "cpe-00-11-22-aa-bb-cc.dhcp.isp.example", true },
	{ "81.2.69.142", "dhcp-077.isp.example", true },
	{ "81.2.69.142", "ppp-42.dialup.isp.example", true },
	{ "81.2.69.142", "cpc77681-sgyl36-2-0-cust201.18-2.cable.isp.example", true },
	{ "81.2.69.142", "adsl217.isp.example", true },
	{ "81.2.69.142", "dynamic-17.isp.example", true },
	{ "81.2.69.142", "dyn-xkqz.isp.example", true },
	{ "81.2.69.142", "cable-beef.isp.example", true },
	{ "81.2.69.142", "dyndsl7731.isp.example", true },
	{ "81.2.69.142", "xdsl-4711.isp.example", true },
	{ "81.2.69.142", "ftth-1199.isp.example", true },
	{ "81.2.69.142", "broadband-2.isp.example", true },
	{ "81.2.69.142", "gprs7.mobile.isp.example", true },
	{ "81.2.69.142", "a17b.customers.isp.example", true },
	{ "81.2.69.142", "x4711.static.isp.example", true },
	{ "81.2.69.142", "vm3021.vps.hoster.example", true },
	{ "81.2.69.142", "catv77.isp.example", true },
	{ "81.2.69.142", "vmi1234567.hoster.example", true },
	{ "81.2.69.142", "vps-0a1b2c3d.hoster.example", true },
	{ "81.2.69.142", "pppoe-123.isp.example", true },
	{ "81.2.69.142", "001122aabbcc.isp.example", true },
	{ "81.2.69.142", "wimax-99.isp.example", true },
	/* mail words do not help a customer's name */
	{ "81.2.69.142", "mail-81-2-69-142.isp.example", true },
	{ "81.2.69.142", "mail.81-2-69-142.isp.example", true },
	{ "81.2.69.142", "mail-81-2-69-142.dyn.isp.example", true },
	{ "81.2.69.142", "smtp.69-142.dsl.isp.example", true },
	{ "81.2.69.142", "81-2-69-142.mail.static.isp.example", true },
	/* public suffixes: the address stands in the organisation's own label */
	{ "81.2.69.142", "81-2-69-142.github.io", true },
	{ "81.2.69.142", "81-2-69-142.co.uk", true },
	/* IPv6 */
	{ "2001:db8:1234:5678:9abc:def0:1234:5678",
	    "2001-db8-1234-5678-9abc-def0-1234-5678.isp.example", true },
	{ "2001:db8:1234:5678:9abc:def0:1234:5678",
	    "p20010db8123456789abcdef012345678.dip0.isp.example", true },
	{ "2001:db8:1234:5678:9abc:def0:1234:5678",
	    "8.7.6.5.4.3.2.1.0.f.e.d.c.b.a.9.8.7.6.5.4.3.2.1.8.b.d.0.1.0.0.2.ip6."
	    "isp.example",
	    true },
	{ "2001:db8:1234:5678::77", "2001-db8-1234-5678--77.isp.example", true },
	{ "2001:db8:1234:5678::77", "2001-db8-1234-5678-0-0-0-77.isp.example", true },
	{ "2001:db8:1234:5678:21a:2bff:fe3c:4d5e",
	    "cpe-21a-2bff-fe3c-4d5e.isp.example", true },
	{ "2001:db8:1234:5678:21a:2bff:fe3c:4d5e",
	    "node-021a2bfffe3c4d5e.ipv6.isp.example", true },
	{ "2001:db8:1234:5678::77", "dynamic-77.isp.example", true },
	{ "2001:db8:0:0:1234:5678::", "1234-5678.isp.example", true },

	/* ---- servers ---- */
	{ "209.85.167.169", "mail-oi1-f169.google.example", false },
	{ "209.85.128.51", "mail-wm1-f51.google.example", false },
	{ "40.107.2.69", "mail-eopbgr20069.outbound.protection.example", false },
	{ "40.107.22.69", "mail-am6eur05on2069.outbound.protection.example", false },
	{ "54.240.8.60", "a8-60.smtp-out.ses.example", false },
	{ "69.169.224.12", "b224-12.smtp-out.eu-central-1.ses.example", false },
	{ "168.245.12.34", "o12.ptr1234.sendgrid.example", false },
	{ "149.72.12.34", "wrqvtbkv.outbound-mail.sendgrid.example", false },
	{ "52.10.10.1", "mta-10-1.sparkpostmail.example", false },
	{ "156.70.15.141", "mta-70-15-141.sparkpostmail.example", false },
	{ "115.124.30.111", "out30-111.freemail.mail.example", false },
	{ "203.205.221.149", "out203-205-221-149.mail.example.com", false },
	{ "69.171.232.143", "69-171-232-143.mail-mail.social.example", false },
	{ "66.220.155.151", "66-220-155-151.outmail.social.example", false },
	{ "198.37.159.89", "o19837159x89.outbound-mail.bulk.example", false },
	{ "189.126.112.53", "hm1831-33.hoster.example", false },
	{ "52.101.66.27", "mail-azon11012027.outbound.protection.example", false },
	{ "130.226.133.98", "adm12-98.university.example", false },
	{ "103.27.32.42", "s02bd.syd2.platform.example", false },
	{ "5.252.227.236", "ns2.wdyn.example", false },
	{ "198.2.133.20", "mail133-20.atl131.mandrillapp.example", false },
	{ "198.61.254.71", "m71-254.mailgun.example", false },
	{ "74.6.132.42", "sonic306-20.consmr.mail.bf2.portal.example", false },
	{ "17.58.6.53", "st43p00im-ztdg10061801.me.example", false },
	{ "66.111.4.25", "out1-smtp.messagingengine.example", false },
	{ "192.30.252.207", "out-24.smtp.forge.example", false },
	{ "66.135.202.23", "mxphxpool2023.auction.example", false },
	{ "66.135.202.23", "pool23.auction.example", false },
	{ "207.211.30.151", "us-smtp-delivery-151.mimecast.example", false },
	{ "148.163.129.50", "mx0a-00123456.pphosted.example", false },
	{ "195.245.230.83", "mail6.bemta24.messagelabs.example", false },
	{ "64.235.154.24", "outbound-ip24b.ess.filter.example", false },
	{ "136.143.188.12", "sender4-op-o12.zoho.example", false },
	{ "178.33.110.20", "20.mo583.mail-out.host.example", false },
	{ "80.12.242.8", "smtp-08.smtpout.telco.example", false },
	{ "212.27.42.4", "smtp4-g21.free.example", false },
	{ "194.25.134.80", "mailout08.t-online.example", false },
	{ "217.69.129.123", "f123.i.mail.example", false },
	{ "178.154.239.209", "forward209a.mail.search.example", false },
	{ "96.114.154.165", "resqmta-ch2-06v.sys.cable.example", false },
	{ "107.14.166.225", "cdptpa-omtalb.mail.rr.example", false },
	{ "212.227.126.131", "mout.kundenserver.example", false },
	{ "212.227.17.10", "mout-xforward.web.example", false },
	{ "13.111.5.77", "mta77.email.shop.example", false },
	{ "208.75.123.170", "ccm170.contact.example", false },
	{ "50.31.156.118", "mta74a-ord.mtasv.example", false },
	{ "103.28.42.5", "mx72.a.outbound.createsend.example", false },
	{ "199.16.156.140", "spring-chicken-am.short.example", false },
	{ "108.174.3.197", "mailb-bd.network.example", false },
	{ "192.0.2.25", "mx1.company.example", false },
	{ "192.0.2.25", "mail.company.example", false },
	{ "192.0.2.25", "company.example", false },
	{ "192.0.2.25", "mail25.company.example", false },
	{ "192.0.2.25", "srv25.company.example", false },
	{ "192.0.2.25", "gw-02.company.example", false },
	{ "192.0.2.25", "web2.dc25.company.example", false },
	{ "192.0.2.25", "lists.university.edu", false },
	{ "192.0.2.25", "smtp.dsl.isp.example", false },
	{ "192.0.2.25", "relay01.customers.isp.example", false },
	{ "192.0.2.25", "dynamics-crm7.company.example", false },
	{ "192.0.2.25", "landslide3.company.example", false },
	{ "192.0.2.25", "hydra.company.example", false },
	{ "192.0.2.25", "dynamite.company.example", false },
	{ "192.0.2.25", "mta-17.pool.bulk.example", false },
	{ "192.0.2.25", "node17.pool.bulk.example", false },
	{ "192.0.2.25", "bulk25.pool.bulk.example", false },
	{ "192.0.2.25", "newsletter-77.shop.example", false },
	{ "192.0.2.25", "e25.shop.example", false },
	{ "192.0.2.25", "c25.r02.dc2.shop.example", false },
	{ "192.0.2.25", "send-192-0.bulk.example", false },
	{ "81.2.69.142", "mail-m069142.qiye.portal.example", false },
	{ "81.2.69.142", "smtp69-142.isp.example", false },
	{ "81.2.69.142", "mx142-69.isp.example", false },
	{ "81.2.69.142", "142.company.example", false },
	{ "81.2.69.142", "host-142.company.example", false },
	{ "81.2.69.142", "server-81.company.example", false },
	{ "81.2.69.142", "db8.company.example", false },
	{ "2001:db8::25", "mail25.company.example", false },
	{ "2001:db8::25", "mx1.db8.example", false },
	{ "2001:db8:1234:5678::77", "mail-wm1-x334.google.example", false },
	{ "2001:db8:1234:5678::77", "mx77.company.example", false },
	{ "2001:db8:1234:5678::77", "srv1234.company.example", false },
	{ "2001:db8:1234::2", "smtp-1234-2.company.example", false },
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
}

static bool
judged(const struct row *r)
{
	struct str domain, name = str_of(r->name);
	struct ip ip;

	ck_assert_msg(ip_parse(str_of(r->ip), &ip), "%s", r->ip);
	ck_assert_msg(suffixes_organisation(list, name, &domain), "%s", r->name);
	return client_name_generated(name, domain, &ip);
}

START_TEST(name)
{
	const struct row *r = &rows[_i];

	ck_assert_msg(judged(r) == r->generated, "%s %s: %s", r->ip, r->name,
	    r->generated ? "should look generated" : "should look like a server");
}
END_TEST

/* The counts that the manual speaks of. */
START_TEST(counts)
{
	int total[2] = { 0 }, wrong[2] = { 0 };

	for (int i = 0; i < N(rows); i++) {
		total[rows[i].generated]++;
		wrong[rows[i].generated] += judged(&rows[i]) != rows[i].generated;
	}
	printf("generated names: %d of %d missed; servers: %d of %d taken for generated\n",
	    wrong[1], total[1], wrong[0], total[0]);
	ck_assert_int_ge(total[0], 60);
	ck_assert_int_ge(total[1], 60);
}
END_TEST

static void
write_name(int pattern, const uint8_t b[4], char out[80])
{
	switch (pattern) {
	case 0:
		snprintf(out, 80, "%u-%u-%u-%u.isp.example", b[0], b[1], b[2], b[3]);
		break;
	case 1:
		snprintf(out, 80, "h%03u%03u%03u%03u.isp.example", b[0], b[1], b[2],
		    b[3]);
		break;
	case 2:
		snprintf(out, 80, "x%02x%02x%02x%02x.isp.example", b[0], b[1], b[2],
		    b[3]);
		break;
	default:
		snprintf(out, 80, "%u.%u.%u.%u.isp.example", b[3], b[2], b[1], b[0]);
	}
}

/* Every pattern is found for every address: octets of one to three digits, zeros. */
START_TEST(all_addresses)
{
	static const uint8_t octets[] = { 0, 1, 9, 10, 42, 99, 100, 199, 255 };
	struct ip ip = { .family = AF_INET };
	char text[80];

	for (int i = 0; i < 9 * 9 * 9 * 9; i++) {
		const uint8_t b[4] = { octets[i % 9], octets[i / 9 % 9],
			octets[i / 81 % 9], octets[i / 729] };
		memcpy(ip.b, b, 4);
		for (int pattern = 0; pattern < 4; pattern++) {
			write_name(pattern, b, text);
			ck_assert_msg(client_name_generated(
					  str_of(text), STR("isp.example"), &ip),
			    "%s", text);
		}
	}
}
END_TEST

/* A name of whatever length and octets costs little and overruns nothing. */
START_TEST(endless)
{
	char text[400];
	struct ip v4, v6;

	ck_assert(ip_parse(STR("81.2.69.142"), &v4));
	ck_assert(ip_parse(STR("2001:db8::1"), &v6));
	for (int c = 0; c < 256; c += 5)
		for (size_t len = 0; len <= sizeof(text); len += 7) {
			memset(text, c, sizeof(text));
			for (size_t i = 11; i < sizeof(text); i += 11)
				text[i] = '.';
			struct str whole = { text, len };
			for (size_t org = 0; org <= len; org += 29) {
				struct str end = str_sub(whole, len - org, len);

				client_name_generated(whole, end, &v4);
				client_name_generated(whole, end, &v6);
			}
		}
	v4.family = 0;
	ck_assert(!client_name_generated(STR("81-2-69-142.a.example"), STR("a.example"),
	    &v4));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("client_name");
	TCase *tc = tcase_create("names");

	tcase_add_unchecked_fixture(tc, open_list, close_list);
	tcase_add_loop_test(tc, name, 0, N(rows));
	tcase_add_test(tc, counts);
	tcase_add_test(tc, all_addresses);
	tcase_add_test(tc, endless);
	tcase_set_timeout(tc, 30);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == N(rows) + 3 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
