/* SPDX-License-Identifier: BSD-2-Clause */
/* A hostile filter against the whole chain over a socket.  Input: blobs with a u16
 * length in front, one for each packet that wants a reply; an empty blob is 'c', and so
 * is all that is missing.  A filter that falls silent is hung up on.  Whatever it says:
 * every step ends, a message that was refused is untouched, and one that goes on is
 * clean. */
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/mail/address.h"
#include "contrib/relay/milter_breaker.h"
#include "tests/lib/chain_rig.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct hostile {
	struct str data;
	struct milter_peer *peer;
	size_t last; /* packets seen at the last tick */
	struct event *tick;
};

static void
must(bool ok)
{
	if (!ok)
		abort();
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return log_open("fuzz", "stderr", LOG_LEVEL_ERR, NULL) == 0 ? 0 : -1;
}

static struct str
next_blob(struct hostile *h)
{
	if (h->data.len < 2)
		return STR("");
	size_t len =
	    (size_t)(unsigned char)h->data.p[0] << 8 | (unsigned char)h->data.p[1];
	struct str blob = str_sub(h->data, 2, 2 + len);

	h->data = str_sub(h->data, 2 + len, h->data.len);
	return blob;
}

static void
on_packet(void *arg, struct milter_peer *peer, const struct milter_packet *packet)
{
	struct hostile *h = arg;
	struct buf b;

	if (!milter_step_answered(0, packet->cmd))
		return;
	struct str blob = next_blob(h);

	if (blob.len > 0) {
		milter_peer_send(peer, blob);
		return;
	}
	buf_init(&b, 100);
	if (packet->cmd == MILTER_OPTNEG)
		milter_optneg_write(&b, &peer->answer);
	else
		milter_packet_write(&b, MILTER_R_CONTINUE, STR(""));
	milter_peer_send(peer, buf_str(&b));
	buf_clear(&b);
}

/* Nothing came since the last time: it waits for more than it will get. */
static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct hostile *h = arg;

	(void)fd;
	(void)what;
	if (h->peer->seen.len == h->last)
		milter_peer_hang_up(h->peer);
	h->last = h->peer->seen.len;
}

static bool
clean(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '\0' ||
		    (s.p[i] == '\r' && (i + 1 == s.len || s.p[i + 1] != '\n')) ||
		    (s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r')))
			return false;
	}
	return s.len == 0 || s.p[s.len - 1] == '\n';
}

static void
check_message(struct chain_driver *d)
{
	struct str out = buf_str(&d->out), rcpts = buf_str(&d->out_rcpts), rcpt;
	struct address a;
	struct header *h = header_new();
	size_t body;

	must(header_parse(h, out, &body, NULL) == 0);
	must(header_find(h, STR("Received"), 1) >= 0); /* ours is never lost */
	must(clean(out));
	if (d->fate == DRIVER_NOTHING || d->fate == DRIVER_GONE)
		must(d->fate == DRIVER_GONE ||
		    str_eq(out, STR(RIG_RECEIVED RIG_MESSAGE)));
	else
		must(rcpts.len > 0);
	if (str_has(rcpts, '"'))
		rcpts.len = 0; /* a quoted blank is no divider */
	while (rcpts.len > 0 && str_cut(&rcpts, ' ', &rcpt))
		must(address_parse(rcpt, &a, NULL) == 0);
	must(d->out_sender[0] == '\0' ||
	    address_parse(str_of(d->out_sender), &a, NULL) == 0);
	header_free(h);
}

static void
check_reply(const struct chain_driver *d)
{
	bool refused = d->reply.action == CHAIN_REJECT ||
	    d->reply.action == CHAIN_TEMPFAIL || d->reply.action == CHAIN_CLOSE;

	must(!d->at_once);
	must(memchr(d->reply.text, '\0', sizeof(d->reply.text)) != NULL);
	must(memchr(d->reply.reason, '\0', sizeof(d->reply.reason)) != NULL);
	if (refused)
		must(d->reply.code >= 400 && d->reply.code <= 599 &&
		    (d->reply.enhanced[0] == '\0' ||
			d->reply.enhanced[0] - '0' == d->reply.code / 100));
}

static void
dialogue(struct chain_driver *d)
{
	static const char *const lines[] = { "EHLO x.example",
		"MAIL FROM:<alice@ok.example>", "RCPT TO:<a@ok.example>",
		"RCPT TO:<c@ok.example>", "DATA", "", "RSET",
		"MAIL FROM:<bob@ok.example> SIZE=1", "RCPT TO:<a@ok.example>", "DATA",
		"", "FROB", "QUIT" };

	driver_connect(d);
	check_reply(d);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) && !d->closed; i++) {
		if (lines[i][0] != '\0') {
			driver_command(d, lines[i]);
		} else if (d->in_data) {
			driver_message(d, STR(RIG_MESSAGE));
			check_message(d);
		}
		check_reply(d);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct timeval tv = { .tv_usec = 2000 };
	struct hostile h = { .data = { (const char *)data, size } };
	struct chain_rig r;

	if (size == 0)
		return 0;
	rig_init(&r, 1);
	r.confs[0].on_failure = data[0] % 5;
	h.data = str_sub(h.data, 1, h.data.len);
	h.peer = &r.peers[0];
	r.peers[0].handler = on_packet;
	r.peers[0].arg = &h;
	h.tick = event_new(r.base, -1, EV_PERSIST, on_tick, &h);
	event_add(h.tick, &tv);
	rig_start(&r);
	r.d.body_max = 1000;
	dialogue(&r.d);
	event_free(h.tick);
	milter_breaker_report(r.peers[0].address, true);
	rig_clear(&r);
	return 0;
}
