/* SPDX-License-Identifier: BSD-2-Clause */
/* Octets between a socket and the packet codec; what a reply means is the test's
 * business. */
#include "tests/lib/mta.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"

#define PACKET_MAX (4u << 20)
#define STRINGS_MAX 64

int
mta_connect(struct mta *m, const char *spec, struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	const char *path = strncmp(spec, "unix:", 5) == 0 ? spec + 5 : spec;

	memset(m, 0, sizeof(*m));
	buf_init(&m->in, 2 * PACKET_MAX);
	buf_init(&m->out, 2 * PACKET_MAX);
	buf_init(&m->payload, PACKET_MAX);
	for (size_t i = 0; i < MTA_EDITS_MAX; i++)
		buf_init(&m->edits[i].payload, PACKET_MAX);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	m->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (m->fd < 0)
		return err_errno(err, "socket");
	if (connect(m->fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return 0;
	err_errno(err, "%s", path);
	mta_drop(m);
	return -1;
}

void
mta_drop(struct mta *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
	buf_clear(&m->in);
	buf_clear(&m->out);
	buf_clear(&m->payload);
	for (size_t i = 0; i < MTA_EDITS_MAX; i++)
		buf_clear(&m->edits[i].payload);
}

/* Send what stands in m->out. */
static int
flush(struct mta *m, struct err *err)
{
	size_t done = 0;

	if (m->out.failed)
		return err_set(err, "a packet that is too large to send");
	while (done < m->out.len) {
		ssize_t n =
		    send(m->fd, m->out.p + done, m->out.len - done, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(err, "sending to the filter");
		done += (size_t)n;
	}
	buf_reset(&m->out);
	return 0;
}

/* The next packet; its payload stands in m->payload. */
static int
read_packet(struct mta *m, struct err *err)
{
	int64_t deadline = clock_mono_ms() + MTA_TIMEOUT_MS;
	struct milter_packet packet;
	size_t used;

	for (;;) {
		enum parse p = milter_packet_read(
		    buf_str(&m->in), PACKET_MAX, &packet, &used, err);
		if (p == PARSE_ERROR)
			return -1;
		if (p == PARSE_DONE)
			break;
		int64_t left = deadline - clock_mono_ms();
		struct pollfd fd = { .fd = m->fd, .events = POLLIN };
		if (left <= 0 || poll(&fd, 1, (int)left) <= 0)
			return err_set(err, "no answer within %d ms", MTA_TIMEOUT_MS);
		char *room = buf_reserve(&m->in, 65536);
		ssize_t n = room == NULL ? 0 : recv(m->fd, room, 65536, 0);
		if (n <= 0)
			return err_set(err, "the filter closed the link");
		m->in.len += (size_t)n;
	}
	m->cmd = packet.cmd;
	buf_reset(&m->payload);
	buf_add_str(&m->payload, packet.payload);
	buf_consume(&m->in, used);
	return 0;
}

static bool
is_edit(char cmd)
{
	return cmd != '\0' && strchr("+-2behimq", cmd) != NULL;
}

int
mta_read_reply(struct mta *m, char cmd, struct err *err)
{
	m->n_edits = m->n_progress = 0;
	for (;;) {
		if (read_packet(m, err) < 0)
			return -1;
		if (cmd == MILTER_EOM && m->cmd == MILTER_R_PROGRESS) {
			m->n_progress++;
			continue;
		}
		if (!is_edit(m->cmd))
			return 0;
		if (cmd != MILTER_EOM || m->n_edits == MTA_EDITS_MAX)
			return err_set(err, "edit '%c' at step '%c'", m->cmd, cmd);
		struct mta_edit *e = &m->edits[m->n_edits++];
		e->cmd = m->cmd;
		buf_reset(&e->payload);
		buf_add_str(&e->payload, buf_str(&m->payload));
	}
}

int
mta_send(struct mta *m, char cmd, struct str payload, struct err *err)
{
	if (milter_packet_write(&m->out, cmd, payload) < 0)
		return err_set(err, "packet '%c' is too large", cmd);
	return flush(m, err);
}

int
mta_step(struct mta *m, char cmd, struct str payload, struct err *err)
{
	m->cmd = 0;
	if (!milter_step_sent(m->protocol, cmd))
		return 0;
	if (mta_send(m, cmd, payload, err) < 0)
		return -1;
	return milter_step_answered(m->protocol, cmd) ? mta_read_reply(m, cmd, err) : 0;
}

int
mta_negotiate(struct mta *m, uint32_t actions, uint32_t protocol, struct err *err)
{
	struct milter_optneg o = {
		.version = MILTER_VERSION, .actions = actions, .protocol = protocol
	};

	if (milter_optneg_write(&m->out, &o) < 0 || flush(m, err) < 0 ||
	    read_packet(m, err) < 0)
		return -1;
	if (m->cmd != MILTER_OPTNEG)
		return err_set(err, "answer '%c' to the negotiation", m->cmd);
	if (milter_optneg_read(buf_str(&m->payload), &o, err) < 0)
		return -1;
	m->actions = o.actions;
	m->protocol = o.protocol;
	for (size_t i = 0; i < MILTER_STAGES; i++)
		snprintf(m->macros[i], sizeof(m->macros[i]), "%.*s",
		    STR_ARG(o.has_list[i] ? o.macros[i] : STR("")));
	return 0;
}

int
mta_macros(struct mta *m, char cmd, struct err *err, ...)
{
	struct str pairs[STRINGS_MAX];
	const char *text;
	size_t n = 0;
	va_list ap;

	va_start(ap, err);
	while (n < STRINGS_MAX && (text = va_arg(ap, const char *)) != NULL)
		pairs[n++] = str_of(text);
	va_end(ap);
	if (milter_macros_write(&m->out, cmd, pairs, n / 2) < 0)
		return err_set(err, "macros that cannot be sent");
	return flush(m, err);
}

int
mta_strings(struct mta *m, char cmd, struct err *err, size_t n, ...)
{
	struct str list[STRINGS_MAX];
	va_list ap;

	va_start(ap, n);
	for (size_t i = 0; i < n && i < STRINGS_MAX; i++)
		list[i] = str_of(va_arg(ap, const char *));
	va_end(ap);
	m->cmd = 0;
	if (!milter_step_sent(m->protocol, cmd))
		return 0;
	if (milter_strings_write(&m->out, cmd, list, n) < 0)
		return err_set(err, "strings that cannot be sent");
	if (flush(m, err) < 0)
		return -1;
	return milter_step_answered(m->protocol, cmd) ? mta_read_reply(m, cmd, err) : 0;
}

int
mta_client(struct mta *m, const char *host, const char *ip, struct err *err)
{
	struct ip address = { 0 };

	m->cmd = 0;
	if (ip != NULL && !ip_parse(str_of(ip), &address))
		return err_set(err, "no address: %s", ip);
	if (!milter_step_sent(m->protocol, MILTER_CONNECT))
		return 0;
	if (milter_connect_write(&m->out, str_of(host), &address, 2525) < 0 ||
	    flush(m, err) < 0)
		return -1;
	if (!milter_step_answered(m->protocol, MILTER_CONNECT))
		return 0;
	return mta_read_reply(m, MILTER_CONNECT, err);
}

int
mta_helo(struct mta *m, const char *name, struct err *err)
{
	return mta_strings(m, MILTER_HELO, err, 1, name);
}

int
mta_mail(struct mta *m, const char *path, struct err *err)
{
	return mta_strings(m, MILTER_MAIL, err, 1, path);
}

int
mta_rcpt(struct mta *m, const char *path, struct err *err)
{
	return mta_strings(m, MILTER_RCPT, err, 1, path);
}

int
mta_header(struct mta *m, const char *name, const char *value, struct err *err)
{
	return mta_strings(m, MILTER_HEADER, err, 2, name, value);
}

int
mta_eoh(struct mta *m, struct err *err)
{
	return mta_step(m, MILTER_EOH, STR(""), err);
}

int
mta_body(struct mta *m, struct str chunk, struct err *err)
{
	return mta_step(m, MILTER_BODY, chunk, err);
}

int
mta_eom(struct mta *m, struct err *err)
{
	return mta_step(m, MILTER_EOM, STR(""), err);
}

int
mta_abort(struct mta *m, struct err *err)
{
	return mta_send(m, MILTER_ABORT, STR(""), err);
}

void
mta_quit(struct mta *m)
{
	if (m->fd >= 0)
		mta_send(m, MILTER_QUIT, STR(""), NULL);
	mta_drop(m);
}

bool
mta_replied(const struct mta *m, const char *text)
{
	size_t len = strlen(text);

	/* The payload ends with a NUL. */
	return m->cmd == MILTER_R_REPLYCODE && m->payload.len == len + 1 &&
	    memcmp(m->payload.p, text, len + 1) == 0;
}
