/* SPDX-License-Identifier: BSD-2-Clause */
/* The two questions: milter option negotiation, and SMTP's greeting (RFC 5321 3.1).
 * Both say goodbye, so that no daemon logs a lost connection. */
#include "contrib/ctl/probe.h"

#include <stdio.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/mail/milter_wire.h"
#include "common/mail/smtp_reply.h"
#include "contrib/ctl/dial.h"

/* Offer everything, so that the answer shows all that the filter wants. */
static int
negotiate(int fd, int64_t deadline, struct probe *out)
{
	const struct milter_optneg offer = { .version = MILTER_VERSION,
		.actions = MILTER_F_ALL,
		.protocol = MILTER_P_ALL };
	struct milter_optneg answer;
	struct milter_packet packet;
	struct buf wire;
	size_t used;
	enum parse state = PARSE_MORE;
	int rc = -1;

	buf_init(&wire, MILTER_PACKET_MAX);
	milter_optneg_write(&wire, &offer);
	if (dial_send(fd, buf_str(&wire), deadline, &out->err) != 0)
		goto out;
	buf_reset(&wire);
	while (state == PARSE_MORE) {
		int n = dial_receive(fd, &wire, deadline, &out->err);

		if (n == 0)
			err_set(
			    &out->err, "closed the connection instead of negotiating");
		if (n <= 0)
			goto out;
		state = milter_packet_read(
		    buf_str(&wire), MILTER_PACKET_MAX, &packet, &used, &out->err);
	}
	if (state == PARSE_ERROR)
		goto out;
	if (packet.cmd != MILTER_OPTNEG) {
		err_set(&out->err, "answered '%c' instead of negotiating",
		    packet.cmd > ' ' && packet.cmd < 0x7f ? packet.cmd : '?');
		goto out;
	}
	if (milter_optneg_read(packet.payload, &answer, &out->err) != 0)
		goto out;
	out->version = answer.version;
	out->actions = answer.actions;
	out->protocol = answer.protocol;
	rc = 0;
out:
	buf_clear(&wire);
	return rc;
}

void
probe_milter(const char *spec, int64_t timeout_ms, struct probe *out)
{
	int64_t begin = clock_mono_us(), deadline = clock_mono_ms() + timeout_ms;
	struct buf bye;
	struct err ignored;

	*out = (struct probe){ 0 };
	int fd = dial(spec, deadline, &out->err);
	if (fd < 0)
		return;
	out->up = negotiate(fd, deadline, out) == 0;
	out->us = clock_mono_us() - begin;
	buf_init(&bye, 100);
	milter_packet_write(&bye, MILTER_QUIT, STR(""));
	dial_send(fd, buf_str(&bye), deadline, &ignored);
	buf_clear(&bye);
	close(fd);
}

static int
greeting(int fd, int64_t deadline, struct probe *out)
{
	struct smtp_reply reply;
	struct buf in;
	enum parse state = PARSE_MORE;
	int rc = -1;

	buf_init(&in, 65536);
	smtp_reply_init(&reply);
	while (state == PARSE_MORE) {
		size_t used = 0;
		int n = dial_receive(fd, &in, deadline, &out->err);

		if (n == 0)
			err_set(&out->err, "closed the connection without a greeting");
		if (n <= 0)
			goto out;
		state = smtp_reply_feed(&reply, buf_str(&in), &used, &out->err);
		buf_consume(&in, used);
	}
	if (state == PARSE_ERROR)
		goto out;
	struct str text = buf_str(&reply.text);
	for (size_t i = 0; i < text.len && i + 1 < sizeof(out->greeting); i++) {
		char c = text.p[i];

		out->greeting[i] = c >= ' ' && c < 0x7f ? c : ' ';
	}
	if (reply.code != 220)
		err_set(&out->err, "answered %d %s", reply.code, out->greeting);
	else
		rc = 0;
out:
	smtp_reply_clear(&reply);
	buf_clear(&in);
	return rc;
}

void
probe_smtp(const struct ip *ip, uint16_t port, int64_t timeout_ms, struct probe *out)
{
	int64_t begin = clock_mono_us(), deadline = clock_mono_ms() + timeout_ms;
	struct err ignored;

	*out = (struct probe){ 0 };
	int fd = dial_ip(ip, port, deadline, &out->err);
	if (fd < 0)
		return;
	out->up = greeting(fd, deadline, out) == 0;
	out->us = clock_mono_us() - begin;
	dial_send(fd, STR("QUIT\r\n"), deadline, &ignored);
	close(fd);
}
