/* SPDX-License-Identifier: BSD-2-Clause */
/* A message: text into a memfd, header section read, filters, our trace line, handoff,
 * and the one log line that tells what became of it.  Its octets leave as they came,
 * but for what filters change and an empty line that separates a header we had to
 * begin. */
#include "contrib/relay/connection_message.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "contrib/relay/connection_mail.h"
#include "contrib/relay/received.h"

void
connection_text_clear(struct connection *c)
{
	/* A filter may have put another file in the place of ours. */
	int fd = c->message != NULL ? c->message->body_fd : c->text_fd;

	if (fd >= 0)
		close(fd);
	c->text_fd = -1;
	c->gate->in_flight -= c->text_len;
	c->text_len = 0;
	header_free(c->header);
	c->header = NULL;
	free(c->message);
	c->message = NULL;
}

static void
log_message(const struct connection *c, const char *verdict, int code, const char *text,
    const char *by, const char *nexthop)
{
	const struct envelope *e = &c->envelope;
	struct logline l;
	char ip[IP_TEXT_MAX];

	logline_init(&l, LOG_LEVEL_INFO, "message");
	logline_cstr(&l, "id", e->id);
	logline_cstr(&l, "client", ip_format(&e->client, ip));
	logline_cstr(&l, "name", e->client_name);
	logline_cstr(&l, "helo", e->helo);
	logline_cstr(&l, "from", e->sender);
	if (e->n_rcpts == 1)
		logline_cstr(&l, "to", e->rcpts[0].address);
	logline_int(&l, "nrcpts", (int64_t)e->n_rcpts);
	logline_int(&l, "size", (int64_t)e->size);
	logline_cstr(&l, "verdict", verdict);
	logline_int(&l, "code", code);
	if (code >= 400)
		logline_cstr(&l, "text", text);
	if (by != NULL)
		logline_cstr(&l, "by", by);
	if (nexthop != NULL && nexthop[0] != '\0')
		logline_cstr(&l, "nexthop", nexthop);
	logline_send(&l);
}

/* The end of the transaction, whatever it was.  The next command may follow at once, so
 * all is forgotten before the answer is given. */
static void
finish(struct connection *c, int code, const char *enhanced, const char *text)
{
	connection_mail_clear(c);
	connection_answer(c, code, enhanced, text);
}

/* --- DATA and text --- */

static void
open_text(struct connection *c)
{
	if (!c->discard) {
		c->text_fd = memfd_create("postern-text", MFD_CLOEXEC);
		if (c->text_fd < 0) {
			milter_chain_abort(c->chain);
			connection_answer(
			    c, 452, "4.3.1", "no room for the message, try later");
			return;
		}
	}
	connection_answer(c, 354, "", "end with CRLF.CRLF");
}

static void
on_chain_data(void *arg, const struct chain_reply *r)
{
	struct connection *c = arg;

	switch (r->action) {
	case CHAIN_REJECT:
	case CHAIN_TEMPFAIL:
	case CHAIN_CLOSE:
		log_message(c, "refused", r->code, r->text, r->filter, NULL);
		connection_answer_chain(c, r);
		return;
	case CHAIN_DISCARD:
		c->discard = true;
		c->discarded_by = xstrdup(r->filter == NULL ? "filter" : r->filter);
		break;
	case CHAIN_HOLD:
		envelope_set(&c->envelope.hold, str_of(r->reason));
		break;
	case CHAIN_CONTINUE:
		break;
	}
	open_text(c);
}

void
connection_on_data(void *arg)
{
	struct connection *c = arg;

	if (c->discard)
		open_text(c);
	else
		milter_chain_data(c->chain, on_chain_data, c);
}

bool
connection_on_text(void *arg, const char *p, size_t len)
{
	struct connection *c = arg;

	if (c->discard)
		return true;
	if (c->gate->in_flight + len > c->gate->handoff.conf->in_flight)
		return false;
	while (len > 0) {
		ssize_t n = write(c->text_fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
		c->text_len += (uint64_t)n;
		c->gate->in_flight += (uint64_t)n;
	}
	return true;
}

/* --- the whole message --- */

static void
refuse(struct connection *c, int code, const char *enhanced, const char *text)
{
	log_message(c, "refused", code, text, "relay", NULL);
	milter_chain_abort(c->chain);
	finish(c, code, enhanced, text);
}

/* Our own line, as field 0.  -1: not possible. */
static int
add_received(struct connection *c, struct err *err)
{
	struct envelope *e = &c->envelope;
	struct received r = {
		.helo = c->client.helo,
		.name = c->client.name,
		.client = c->client.ip,
		.host = c->gate->handoff.conf->host,
		.proto = c->client.proto,
		.id = e->id,
		.rcpt = e->n_rcpts == 1 ? e->rcpts[0].address : NULL,
		.now = e->received,
	};
	struct buf value;
	int rc;

	buf_init(&value, 4096);
	rc = received_write(&value, &r) < 0
	    ? err_set(err, "our trace line is too long")
	    : header_insert(c->header, 0, STR("Received"), buf_str(&value), false, err);
	buf_clear(&value);
	return rc;
}

/* Read the header section; *blank: the empty line was there. */
static int
read_header(struct connection *c, uint64_t *body, bool *blank, struct err *err)
{
	char *map = NULL;
	size_t at = 0, fields = 0;
	int rc;

	if (c->text_len > 0) {
		map = mmap(
		    NULL, (size_t)c->text_len, PROT_READ, MAP_PRIVATE, c->text_fd, 0);
		if (map == MAP_FAILED)
			return err_errno(err, "mmap");
	}
	c->header = header_new();
	rc =
	    header_parse(c->header, (struct str){ map, (size_t)c->text_len }, &at, err);
	for (size_t i = 0; rc == 0 && i < header_count(c->header); i++)
		fields += header_at(c->header, i)->raw.len;
	*body = at;
	*blank = at > fields;
	if (map != NULL)
		(void)munmap(map, (size_t)c->text_len);
	return rc;
}

static void
on_handoff(void *arg, const struct handoff_answer *a)
{
	struct connection *c = arg;

	c->handoff = NULL;
	log_message(c, a->how, a->code, a->text, NULL, a->nexthop);
	finish(c, a->code, a->enhanced, a->text);
}

static void
hand_over(struct connection *c)
{
	struct chain_message *m = c->message;
	struct handoff_message out = { .body_fd = m->body_fd,
		.body_offset = m->body_offset,
		.body_len = m->body_len };

	buf_init(&out.header, 4u * HEADER_SECTION_MAX);
	envelope_copy(&out.envelope, &c->envelope);
	m->body_fd = -1; /* it goes along */
	if (header_render(c->header, &out.header) < 0 ||
	    ((c->separate ||
		 m->body_len > 0) && /* a filter may have put a body there */
		buf_add_cstr(&out.header, "\r\n") < 0)) {
		handoff_message_clear(&out);
		refuse(c, 552, "5.3.4", "the header section is too big");
		return;
	}
	out.envelope.size = out.header.len + out.body_len;
	c->envelope.size = out.envelope.size;
	c->handoff = handoff_start(&c->gate->handoff, &out, on_handoff, c);
	handoff_message_clear(&out);
}

static void
discarded(struct connection *c, const char *by)
{
	char text[80];

	(void)snprintf(text, sizeof(text), "ok: taken as %s", c->envelope.id);
	log_message(c, "discarded", 250, "", by, NULL);
	finish(c, 250, "2.0.0", text);
}

static void
on_chain_message(void *arg, const struct chain_reply *r)
{
	struct connection *c = arg;

	switch (r->action) {
	case CHAIN_CONTINUE:
		hand_over(c);
		break;
	case CHAIN_HOLD:
		envelope_set(&c->envelope.hold,
		    r->reason[0] != '\0' ? str_of(r->reason) : STR("held by a filter"));
		hand_over(c);
		break;
	case CHAIN_DISCARD:
		discarded(c, r->filter);
		break;
	case CHAIN_REJECT:
	case CHAIN_TEMPFAIL:
	case CHAIN_CLOSE:
		log_message(c, "refused", r->code, r->text, r->filter, NULL);
		finish(c, connection_chain_code(c, r), r->enhanced, r->text);
		break;
	}
}

void
connection_on_message(void *arg)
{
	struct connection *c = arg;
	uint64_t body = 0;
	bool blank = false;
	struct err err;

	c->envelope.size = c->text_len;
	if (c->discard) {
		milter_chain_abort(c->chain);
		discarded(c, c->discarded_by);
		return;
	}
	if (read_header(c, &body, &blank, &err) < 0) {
		refuse(c, 552, "5.3.4", err.text);
		return;
	}
	if (received_count(c->header) > RECEIVED_MAX) {
		refuse(c, 554, "5.4.6", "this message goes in circles: too many hops");
		return;
	}
	/* Without the empty line a body would run into our field. */
	c->separate = blank || body < c->text_len;
	if (add_received(c, &err) < 0) {
		refuse(c, 451, "4.3.0", err.text);
		return;
	}
	c->message = xcalloc(1, sizeof(*c->message));
	*c->message = (struct chain_message){ .header = c->header,
		.received_first = true,
		.body_fd = c->text_fd,
		.body_offset = body,
		.body_len = c->text_len - body,
		.body_max = c->gate->handoff.conf->message_size,
		.envelope = &c->envelope };
	milter_chain_message(c->chain, c->message, on_chain_message, c);
}
