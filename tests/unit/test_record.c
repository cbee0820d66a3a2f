/* SPDX-License-Identifier: BSD-2-Clause */
/* Records: what is written comes back; each damaged octet is noticed; slots and retry
 * fields change in place without spoiling the checksum. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/xalloc.h"
#include "contrib/relay/crc32c.h"
#include "contrib/relay/record.h"

#define BODY "\r\nline one\r\n.line two\r\n"

static int
memfd_of(const void *p, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, p, len), (ssize_t)len);
	return fd;
}

static void
sample(struct envelope *e)
{
	envelope_init(e);
	snprintf(e->id, sizeof(e->id), "0123456789BCDFGHJKLM");
	envelope_set(&e->sender, STR("a@client.example"));
	envelope_set(&e->helo, STR("mail.client.example"));
	envelope_set(&e->client_name, STR("[192.0.2.1]"));
	envelope_set(&e->proto, STR("ESMTP"));
	envelope_set(&e->hold, STR("because"));
	ck_assert(ip_parse(STR("192.0.2.1"), &e->client));
	e->client_port = 40000;
	e->received = 1700000000;
	e->body_8bit = true;
	envelope_add_rcpt(e, "x@one.example");
	envelope_add_rcpt(e, "\"y z\"@two.example");
	envelope_add_rcpt(e, "postmaster");
}

/* A sample record in a memfd. */
static int
write_sample(void)
{
	struct envelope e;
	struct err err;
	int message = memfd_of("xx" BODY, 2 + strlen(BODY));
	int fd = memfd_create("record", MFD_CLOEXEC);

	sample(&e);
	ck_assert_int_eq(
	    record_write(fd, &e, STR("Subject: s\r\n"), message, 2, strlen(BODY), &err),
	    0);
	envelope_clear(&e);
	close(message);
	return fd;
}

START_TEST(round_trip)
{
	struct record r;
	struct err err;
	char text[64] = "";
	int fd = write_sample();

	ck_assert_int_eq(record_read(fd, true, &r, &err), 0);
	const struct envelope *e = &r.envelope;
	ck_assert_str_eq(e->id, "0123456789BCDFGHJKLM");
	ck_assert_str_eq(e->sender, "a@client.example");
	ck_assert_str_eq(e->helo, "mail.client.example");
	ck_assert_str_eq(e->client_name, "[192.0.2.1]");
	ck_assert_str_eq(e->proto, "ESMTP");
	ck_assert_str_eq(e->auth, "");
	ck_assert_str_eq(e->hold, "because");
	ck_assert_int_eq(e->client.family, AF_INET);
	ck_assert_int_eq(e->client_port, 40000);
	ck_assert_int_eq(e->received, 1700000000);
	ck_assert(e->body_8bit && !e->no_bounce);
	ck_assert_uint_eq(e->n_rcpts, 3);
	ck_assert_str_eq(e->rcpts[1].address, "\"y z\"@two.example");
	ck_assert_uint_eq(record_open(&r), 3);
	ck_assert_uint_eq(r.message_len, strlen("Subject: s\r\n" BODY));
	ck_assert_uint_eq(e->size, r.message_len);
	ck_assert_int_eq(pread(fd, text, r.message_len, (off_t)r.message_offset),
	    (ssize_t)r.message_len);
	ck_assert_str_eq(text, "Subject: s\r\n" BODY);
	record_clear(&r);
	close(fd);
}
END_TEST

START_TEST(changes_in_place)
{
	struct record r, again;
	struct err err;
	int fd = write_sample();

	ck_assert_int_eq(record_read(fd, true, &r, &err), 0);
	ck_assert_int_eq(
	    record_set_slot(&qio_real, fd, &r, 1, SLOT_DELIVERED, &err), 0);
	ck_assert_int_eq(record_set_slot(&qio_real, fd, &r, 2, SLOT_FAILED, &err), 0);
	ck_assert_int_eq(
	    record_set_retry(&qio_real, fd, &r, 1234567890123, 7, &err), 0);
	ck_assert_int_eq(record_read(fd, true, &again, &err), 0);
	ck_assert_int_eq(memcmp(again.slots, "oDF", 3), 0);
	ck_assert_uint_eq(record_open(&again), 1);
	ck_assert_int_eq(again.next_try, 1234567890123);
	ck_assert_uint_eq(again.tries, 7);
	record_clear(&r);
	record_clear(&again);
	close(fd);
}
END_TEST

/* Every octet changed, every length cut: never taken for a whole record, but for the
 * fields that may change in place. */
START_TEST(damage_is_noticed)
{
	struct record r;
	struct err err;
	char octets[1024];
	int fd = write_sample();
	ssize_t len = pread(fd, octets, sizeof(octets), 0);

	ck_assert_int_gt(len, RECORD_HEAD);
	ck_assert_int_lt(len, (ssize_t)sizeof(octets));
	for (ssize_t i = 0; i < len; i++) {
		char changed = (char)(octets[i] ^ 0x41);
		bool slot = i >= len - RECORD_TAIL - 3 && i < len - RECORD_TAIL;
		bool retry = i >= 32 && i < RECORD_HEAD;

		ck_assert_int_eq(pwrite(fd, &changed, 1, i), 1);
		errno = 0;
		int rc = record_read(fd, true, &r, &err);
		ck_assert_msg(rc == (retry ? 0 : -1), "octet %zd: %d", i, rc);
		if (rc == 0)
			record_clear(&r);
		else
			ck_assert_msg(
			    errno == EBADMSG || slot, "octet %zd: errno %d", i, errno);
		ck_assert_int_eq(pwrite(fd, &octets[i], 1, i), 1);
	}
	for (ssize_t i = 0; i < len; i++) {
		int cut = memfd_of(octets, (size_t)i);

		errno = 0;
		ck_assert_int_eq(record_read(cut, true, &r, &err), -1);
		ck_assert_int_eq(errno, EBADMSG);
		close(cut);
	}
	close(fd);
}
END_TEST

static const struct bad_row {
	const char *name;
	const char *field; /* which one gets the value */
	struct str value;
} bad_rows[] = {
	{ "LF in the sender", "sender", STR("a@b\nRCPT") },
	{ "CR in the helo", "helo", STR("a\rb") },
	{ "no recipient", "none", STR("") },
	{ "empty recipient", "rcpt", STR("") },
	{ "LF in a recipient", "rcpt", STR("a@b\nX") },
};

START_TEST(bad_envelopes)
{
	const struct bad_row *row = &bad_rows[_i];
	struct envelope e;
	struct err err = { .text = "" };
	char *text = str_dup(row->value);
	int fd = memfd_create("record", MFD_CLOEXEC);

	envelope_init(&e);
	snprintf(e.id, sizeof(e.id), "X");
	if (strcmp(row->field, "sender") == 0)
		envelope_set(&e.sender, row->value);
	if (strcmp(row->field, "helo") == 0)
		envelope_set(&e.helo, row->value);
	if (strcmp(row->field, "none") != 0)
		envelope_add_rcpt(
		    &e, strcmp(row->field, "rcpt") == 0 ? text : "a@b.example");
	ck_assert_int_eq(record_write(fd, &e, STR("A: b\r\n"), -1, 0, 0, &err), -1);
	ck_assert_int_gt((int)strlen(err.text), 10);
	envelope_clear(&e);
	free(text);
	close(fd);
}
END_TEST

START_TEST(many_recipients)
{
	struct envelope e;
	struct record r;
	struct err err;
	int fd = memfd_create("record", MFD_CLOEXEC);

	envelope_init(&e);
	snprintf(e.id, sizeof(e.id), "X");
	for (int i = 0; i < ENVELOPE_RCPTS_MAX; i++) {
		char address[64];

		snprintf(address, sizeof(address), "user%d@example.test", i);
		ck_assert_int_eq(envelope_add_rcpt(&e, address), 0);
	}
	ck_assert_int_eq(envelope_add_rcpt(&e, "one@too.many"), -1);
	ck_assert_int_eq(record_write(fd, &e, STR("A: b\r\n"), -1, 0, 0, &err), 0);
	ck_assert_int_eq(record_read(fd, true, &r, &err), 0);
	ck_assert_uint_eq(r.envelope.n_rcpts, ENVELOPE_RCPTS_MAX);
	ck_assert_str_eq(r.envelope.rcpts[999].address, "user999@example.test");
	record_clear(&r);
	envelope_clear(&e);
	close(fd);
}
END_TEST

START_TEST(delete_recipients)
{
	struct envelope e;

	envelope_init(&e);
	envelope_add_rcpt(&e, "a@One.example");
	envelope_add_rcpt(&e, "A@one.example");
	envelope_add_rcpt(&e, "local");
	ck_assert(!envelope_delete_rcpt(&e, "b@one.example"));
	ck_assert(!envelope_delete_rcpt(&e, "LOCAL"));
	ck_assert(envelope_delete_rcpt(&e, "A@ONE.EXAMPLE"));
	ck_assert_uint_eq(e.n_rcpts, 2);
	ck_assert_str_eq(e.rcpts[0].address, "a@One.example");
	ck_assert(envelope_delete_rcpt(&e, "local"));
	ck_assert(!envelope_delete_rcpt(&e, "local"));
	envelope_clear(&e);
}
END_TEST

/* Values of RFC 3720 B.4, and the same in two parts at each place. */
START_TEST(checksum)
{
	unsigned char zeros[32] = { 0 }, ones[32], up[32];

	memset(ones, 0xff, sizeof(ones));
	for (unsigned i = 0; i < 32; i++)
		up[i] = (unsigned char)i;
	ck_assert_uint_eq(crc32c(0, zeros, 32), 0x8a9136aa);
	ck_assert_uint_eq(crc32c(0, ones, 32), 0x62a8ab43);
	ck_assert_uint_eq(crc32c(0, up, 32), 0x46dd794e);
	for (size_t i = 0; i <= 32; i++)
		ck_assert_uint_eq(crc32c(crc32c(0, up, i), up + i, 32 - i), 0x46dd794e);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("record");
	TCase *t = tcase_create("record");

	tcase_add_test(t, round_trip);
	tcase_add_test(t, changes_in_place);
	tcase_add_test(t, damage_is_noticed);
	tcase_add_loop_test(t, bad_envelopes, 0, COUNT(bad_rows));
	tcase_add_test(t, many_recipients);
	tcase_add_test(t, delete_recipients);
	tcase_add_test(t, checksum);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
