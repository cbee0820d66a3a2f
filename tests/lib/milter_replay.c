/* SPDX-License-Identifier: BSD-2-Clause */
/* Replaying recordings.  The nth packet of a kind gets what the recorded filter said to
 * the nth of that kind; a second of the recording lasts a tenth here. */
#include "tests/lib/milter_replay.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/ip.h"
#include "common/base/xalloc.h"
#include "tests/lib/chain_rig.h"
#include "tests/lib/sha256.h"

#define SECOND_MS 100

struct player {
	const struct tape *tape;
	struct milter_peer *peer;
	int filter;
	bool *hidden; /* per event: a field that the MTA itself added */
	int counts[128];
	size_t at; /* the next event to act on */
	struct event *timer;
	uint32_t protocol;
};

/* --- the filter's side --- */

static void
perform(struct player *p)
{
	struct buf b;

	buf_init(&b, 8u << 20);
	for (; p->at < p->tape->n; p->at++) {
		const struct tape_event *e = &p->tape->events[p->at];
		struct timeval tv = { .tv_usec = e->seconds * SECOND_MS * 1000 };

		if (e->filter != p->filter || e->kind >= TAPE_CLIENT)
			continue;
		if (e->kind == TAPE_TO_FILTER || e->kind == TAPE_EOF)
			break;
		buf_reset(&b);
		if (e->kind == TAPE_FROM_FILTER)
			milter_peer_send(p->peer, peer_packet(&b, e->cmd, e->payload));
		if (e->kind == TAPE_RAW)
			milter_peer_send(p->peer, e->payload);
		if (e->kind == TAPE_CLOSE)
			milter_peer_hang_up(p->peer);
		if (e->kind == TAPE_SLEEP) {
			p->at++;
			event_add(p->timer, &tv);
			break;
		}
	}
	buf_clear(&b);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	perform(arg);
}

static void
on_packet(void *arg, struct milter_peer *peer, const struct milter_packet *packet)
{
	struct player *p = arg;
	int left = ++p->counts[packet->cmd & 127];
	struct milter_optneg o;

	if (packet->cmd == MILTER_MACRO)
		return;
	for (size_t i = 0; i < p->tape->n; i++) {
		const struct tape_event *e = &p->tape->events[i];

		if (e->filter == p->filter && e->kind == TAPE_FROM_FILTER &&
		    e->cmd == 'O' && milter_optneg_read(e->payload, &o, NULL) == 0)
			p->protocol = o.protocol;
		if (e->filter != p->filter || e->kind != TAPE_TO_FILTER ||
		    e->cmd != packet->cmd || p->hidden[i] || --left > 0)
			continue;
		p->at = i + 1;
		perform(p);
		return;
	}
	/* We say more than the MTA did (a field that Postfix hides, a step after a
	 * verdict that it took otherwise): the filter has no objection. */
	if (milter_step_answered(p->protocol, packet->cmd))
		milter_peer_send(peer, STR("\0\0\0\1c"));
}

/* --- what was said, to compare --- */

static void
add_texts(struct buf *out, struct str payload, bool first_word)
{
	struct str s;

	buf_add_char(out, ' ');
	while (milter_string(&payload, &s) == 0) {
		ptrdiff_t blank = first_word ? str_index(s, ' ') : -1;

		buf_add_str(out, blank < 0 ? s : str_sub(s, 0, (size_t)blank));
		buf_add_char(out, '|');
	}
}

static void
add_connect(struct buf *out, struct str payload)
{
	struct milter_connect c;
	struct ip ip = { 0 };
	char text[IP_TEXT_MAX];

	if (milter_connect_read(payload, &c, NULL) != 0)
		abort();
	ip_parse(c.address, &ip);
	buf_addf(out, " %.*s %c %s", STR_ARG(c.host), c.family, ip_format(&ip, text));
}

static void
add_token(struct buf *out, char cmd, struct str payload, size_t len, const char *sha)
{
	char hex[65];

	if (strchr("DOQ", cmd) != NULL)
		return;
	buf_add_char(out, cmd);
	if (cmd == 'C')
		add_connect(out, payload);
	else if (cmd == 'B' || len > 700) {
		if (sha == NULL || sha[0] == '\0') {
			sha256_hex(payload, hex);
			sha = hex;
		}
		buf_addf(out, " %zu %.16s", len, sha);
	} else
		add_texts(out, payload, cmd == 'U');
	buf_add_char(out, '\n');
}

/* A is said where MAIL, HELO and the end of the connection say the same, and in Postfix
 * many times: only one inside of a transaction that something else follows stays. */
static void
tidy_aborts(struct buf *lines)
{
	struct str rest = buf_str(lines), line;
	struct buf out;
	bool in_mail = false, pending = false;

	buf_init(&out, lines->max);
	while (str_cut(&rest, '\n', &line) && line.len > 0) {
		if (line.p[0] == 'A') {
			pending = pending || in_mail;
			in_mail = false;
			continue;
		}
		if (pending)
			buf_add_cstr(&out, "A\n");
		pending = false;
		if (line.p[0] == 'M')
			in_mail = true;
		if (line.p[0] == 'E')
			in_mail = false;
		buf_add_str(&out, line);
		buf_add_char(&out, '\n');
	}
	buf_clear(lines);
	*lines = out;
}

/* Did the client send this field in any of its messages, or a filter put it in? */
static bool
known_field(const struct tape *t, struct str name)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct tape_event *e = &t->events[i];
		bool edit =
		    e->kind == TAPE_FROM_FILTER && strchr("him", e->cmd) != NULL;
		struct str text = e->payload, line;

		if (edit && memmem(text.p, text.len, name.p, name.len) != NULL)
			return true;
		if (e->kind != TAPE_CLIENT || (!e->message && !e->raw))
			continue;
		while (str_cut(&text, '\n', &line)) {
			if (str_starts_nocase(line, name) && line.len > name.len &&
			    strchr(": ", line.p[name.len]) != NULL)
				return true;
		}
	}
	return false;
}

static void
hide_added_fields(const struct tape *t, bool *hidden)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct tape_event *e = &t->events[i];
		struct str payload = e->payload, name;

		if (e->kind == TAPE_TO_FILTER && e->cmd == MILTER_HEADER &&
		    milter_string(&payload, &name) == 0)
			hidden[i] = !known_field(t, name);
	}
}

static void
note_theirs(struct replay *r, const struct tape *t, const bool *hidden)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct tape_event *e = &t->events[i];

		if (e->kind == TAPE_TO_FILTER && !hidden[i])
			add_token(
			    &r->theirs[e->filter], e->cmd, e->payload, e->len, e->sha);
	}
}

static void
note_ours(struct replay *r, const struct tape *t, int filter, struct str packets)
{
	struct milter_packet packet;
	size_t used;

	while (milter_packet_read(packets, MILTER_PACKET_MAX, &packet, &used, NULL) ==
	    PARSE_DONE) {
		bool hides = t->postfix && packet.cmd == MILTER_HEADER &&
		    (str_starts(packet.payload, STR("Bcc\0")) ||
			str_starts(packet.payload, STR("Return-Path\0")));

		if (!hides)
			add_token(&r->ours[filter], packet.cmd, packet.payload,
			    packet.payload.len, NULL);
		packets = str_sub(packets, used, packets.len);
	}
}

/* --- macros --- */

/* Values that must be the same whoever sends them. */
static const char *const comparable[] = { "_", "j", "{client_addr}", "{client_name}",
	"{client_ptr}", "{client_resolve}", "{tls_version}", "{cipher}",
	"{cipher_bits}", "{auth_type}", "{auth_authen}", "{auth_ssf}", "{mail_addr}",
	"{rcpt_addr}" };

static bool
macro(struct str payload, const char *name, struct str *value)
{
	struct str n;

	payload = str_sub(payload, 1, payload.len);
	while (
	    milter_string(&payload, &n) == 0 && milter_string(&payload, value) == 0) {
		if (str_is(n, name))
			return true;
	}
	return false;
}

/* The nth D of our packets for this stage. */
static bool
our_macros(struct str packets, char stage, int nth, struct str *payload)
{
	struct milter_packet packet;
	size_t used;

	while (milter_packet_read(packets, MILTER_PACKET_MAX, &packet, &used, NULL) ==
	    PARSE_DONE) {
		packets = str_sub(packets, used, packets.len);
		if (packet.cmd == MILTER_MACRO && packet.payload.p[0] == stage &&
		    --nth == 0) {
			*payload = packet.payload;
			return true;
		}
	}
	return false;
}

static void
compare_macros(struct replay *r, const struct tape *t, int filter, struct str packets)
{
	int counts[128] = { 0 };
	struct str ours, a, b;

	for (size_t i = 0; i < t->n; i++) {
		const struct tape_event *e = &t->events[i];

		if (e->kind != TAPE_TO_FILTER || e->filter != filter ||
		    e->cmd != MILTER_MACRO || e->payload.len == 0)
			continue;
		char stage = e->payload.p[0];

		if (!our_macros(packets, stage, ++counts[stage & 127], &ours))
			continue;
		for (size_t k = 0; k < sizeof(comparable) / sizeof(comparable[0]);
		     k++) {
			if (!macro(e->payload, comparable[k], &a) ||
			    !macro(ours, comparable[k], &b))
				continue;
			r->n_macros++;
			if (!str_eq(a, b))
				buf_addf(&r->macros, "%c %s: ours %.*s, theirs %.*s\n",
				    stage, comparable[k], STR_ARG(b), STR_ARG(a));
		}
	}
}

/* --- what was delivered --- */

static int
by_text(const void *a, const void *b)
{
	return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* "TO" and the mailboxes in lower case, without quotes and route, in order, once each.
 */
static void
add_rcpts(struct buf *out, struct str rcpts)
{
	struct str list[20], rcpt;
	size_t n = 0;
	char *lower = str_dup_lower(rcpts);

	for (size_t i = 0; i < rcpts.len; i++) {
		if (lower[i] == '"')
			memmove(lower + i, lower + i + 1, strlen(lower + i));
	}
	rcpts = str_of(lower);
	while (n < 20 && str_word(&rcpts, &rcpt)) {
		ptrdiff_t colon = str_index(rcpt, ':');

		list[n++] = str_sub(rcpt, (size_t)(colon + 1), rcpt.len);
	}
	qsort(list, n, sizeof(list[0]), by_text);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || !str_eq(list[i], list[i - 1]))
			buf_addf(out, "TO %.*s\n", STR_ARG(list[i]));
	}
	free(lower);
}

/* text: LF or CRLF line ends.  added: fields of the MTA's own are left out. */
static void
add_text(struct buf *out, const struct tape *t, struct str text)
{
	struct header *h = header_new();
	size_t body;
	bool received = false;

	if (str_starts(text, STR("From "))) {
		struct str line;

		str_cut(&text, '\n', &line);
	}
	if (header_parse(h, text, &body, NULL) != 0)
		abort();
	for (size_t i = 0; i < header_count(h); i++) {
		const struct header_field *f = header_at(h, i);
		bool ours = !received && str_is_nocase(f->name, "Received");

		received = received || ours;
		if (ours)
			buf_add_cstr(out, "Received: ours\r\n");
		else if (known_field(t, f->name) && !str_is_nocase(f->name, "Bcc") &&
		    !str_is_nocase(f->name, "Return-Path"))
			buf_add_str(out, f->raw);
	}
	buf_add_char(out, '\n');
	for (size_t i = body; i < text.len; i++) {
		if (text.p[i] != '\r')
			buf_add_char(out, text.p[i]);
	}
	header_free(h);
}

/* One delivery.  abridged: the text cannot be compared. */
static void
add_mail(struct buf *out, const struct tape *t, struct str sender, struct str rcpts,
    struct str text, bool abridged)
{
	/* how Postfix writes the null sender to its delivery agents */
	if (str_eq(sender, STR("MAILER-DAEMON")))
		sender.len = 0;
	buf_addf(out, "FROM %.*s\n", STR_ARG(sender));
	add_rcpts(out, rcpts);
	if (!abridged)
		add_text(out, t, text);
	buf_add_char(out, '\f');
}

/* Deliveries come in any order. */
static void
sort_mails(struct buf *mails)
{
	struct str list[TAPE_MAILS_MAX], rest = buf_str(mails);
	struct buf out;
	size_t n = 0;

	buf_init(&out, mails->max);
	while (n < TAPE_MAILS_MAX && str_cut(&rest, '\f', &list[n]) && list[n].len > 0)
		n++;
	qsort(list, n, sizeof(list[0]), by_text);
	for (size_t i = 0; i < n; i++)
		buf_add_str(&out, list[i]);
	buf_clear(mails);
	*mails = out;
}

static void
note_delivered(struct replay *r, const struct tape *t)
{
	for (size_t i = 0; i < t->n_mails; i++) {
		const struct tape_mail *m = &t->mails[i];
		struct str text = buf_str(&m->text);

		if (memmem(text.p, text.len, "multipart/report", 16) != NULL)
			continue; /* the MTA's own */
		/* every line of the recording has its LF, the empty rest of the last
		 * too */
		add_mail(&r->their_mail, t, buf_str(&m->sender), buf_str(&m->rcpts),
		    str_sub(text, 0, text.len - 1), m->abridged);
	}
}

/* What the recording abridges is left out here as well. */
static void
note_sent(struct replay *r, struct chain_driver *d, const struct tape *t)
{
	bool abridged = false;

	for (size_t i = 0; i < t->n_mails; i++)
		abridged = abridged || t->mails[i].abridged;
	if (d->fate == DRIVER_SENT)
		add_mail(&r->our_mail, t, str_of(d->out_sender), buf_str(&d->out_rcpts),
		    buf_str(&d->out), abridged);
}

/* --- the client's side --- */

/* Refused by the MTAs' own configuration in the recordings. */
static const char *const refused_here[] = { "<nosuch@ok.example>", "<x@relay.invalid>",
	"<bad@ok.example>", "<x@parsebad.example>", "<nosuchuser@local.example>" };

static const char *
refuses(const char *path)
{
	for (size_t i = 0; i < sizeof(refused_here) / sizeof(refused_here[0]); i++) {
		if (strcmp(path, refused_here[i]) == 0)
			return "550 5.1.1 User unknown";
	}
	return NULL;
}

/* Between this client event and the next: did the MTA send this packet? */
static bool
in_window(const struct tape *t, size_t at, char cmd)
{
	for (size_t i = at + 1; i < t->n && t->events[i].kind != TAPE_CLIENT; i++) {
		if (t->events[i].kind == TAPE_TO_FILTER && t->events[i].cmd == cmd)
			return true;
	}
	return false;
}

/* Class of the first reply behind event at, '-' for none. */
static char
their_code(const struct tape *t, size_t at, int nth)
{
	for (size_t i = at; i < t->n; i++) {
		if (i > at && t->events[i].kind == TAPE_CLIENT)
			break;
		if (t->events[i].kind == TAPE_SERVER && --nth == 0)
			return (char)('0' + t->events[i].code / 100);
	}
	return '-';
}

static void
note_codes(struct replay *r, int ours, char theirs)
{
	buf_addf(&r->our_codes, "%c", ours > 0 ? '0' + ours / 100 : '-');
	buf_add_char(&r->their_codes, theirs);
}

/* TLS and AUTH are the session's: the chain learns of them by macros, taken from what
 * the MTA told the filter next. */
static void
learn_macros(struct chain_driver *d, const struct tape *t, size_t at, char stage,
    const char *const *names)
{
	struct str value;

	for (size_t i = at; i < t->n; i++) {
		const struct tape_event *e = &t->events[i];
		char braced[40];

		if (e->kind != TAPE_TO_FILTER || e->cmd != MILTER_MACRO ||
		    e->payload.p[0] != stage)
			continue;
		for (; *names != NULL; names++) {
			snprintf(braced, sizeof(braced), "{%s}", *names);
			if (!macro(e->payload, braced, &value))
				continue;
			char *copy = str_dup(value);

			milter_chain_macro(d->chain, *names, copy);
			free(copy);
		}
		return;
	}
}

/* One SMTP line; its code, 0 when the chain has nothing to do with it. */
static int
give_line(struct chain_driver *d, const struct tape *t, size_t at, const char *line)
{
	static const char *const verbs[] = { "EHLO ", "HELO ", "MAIL ", "RCPT ", "DATA",
		"RSET", "QUIT" };
	static const char *const auth[] = { "auth_type", "auth_authen", "auth_ssf",
		"auth_author", NULL };

	if (str_starts(str_of(line), STR("AUTH ")))
		learn_macros(d, t, at, 'M', auth);
	/* the session refuses these before the filters hear of them */
	if (strstr(line, "badsender@") != NULL || strstr(line, "<a b c>") != NULL)
		return 550;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (str_starts_nocase(str_of(line), str_of(verbs[i])))
			return driver_command(d, line);
	}
	return in_window(t, at, MILTER_UNKNOWN) ? driver_command(d, line) : 0;
}

/* BDAT with its chunk: DATA and message, or lines that the MTA does not know. */
static void
give_bdat(struct replay *r, struct chain_driver *d, const struct tape *t, size_t at)
{
	struct str text = t->events[at].payload, line;

	if (in_window(t, at, MILTER_DATA)) {
		str_cut(&text, '\n', &line);
		int code = driver_command(d, "DATA");

		if (code == 354) {
			code = driver_message(d, text);
			note_sent(r, d, t);
		}
		note_codes(r, code, their_code(t, at, 1));
		return;
	}
	for (int nth = 1; str_cut(&text, '\n', &line) && line.p != NULL; nth++) {
		if (line.len == 0 && text.p == NULL)
			break;
		char *copy = str_dup(str_trim(line));

		note_codes(r, driver_command(d, copy), their_code(t, at, nth));
		free(copy);
	}
}

static void
give(struct replay *r, struct chain_driver *d, const struct tape *t, size_t at)
{
	const struct tape_event *e = &t->events[at];
	struct str text = e->payload, line;
	int nth = 1;

	if (e->message) {
		int code = d->in_data ? driver_message(d, text) : 0;

		note_codes(r, code, their_code(t, at, 1));
		if (code != 0)
			note_sent(r, d, t);
	} else if (e->raw && str_starts(text, STR("BDAT"))) {
		give_bdat(r, d, t, at);
	} else if (!e->raw) {
		char *copy = str_dup(text);
		int code = give_line(d, t, at, copy);

		if (code != 0)
			note_codes(r, code, their_code(t, at, 1));
		free(copy);
	} else if (str_starts(text, STR("MAIL "))) {
		for (; str_cut(&text, '\n', &line) && line.len > 0; nth++) {
			char *copy = str_dup(str_trim(line));

			note_codes(r, driver_command(d, copy), their_code(t, at, nth));
			free(copy);
		}
	} /* else the beginning of a message that never ends */
}

static void
play(struct replay *r, struct chain_driver *d, const struct tape *t)
{
	static const char *const tls[] = { "tls_version", "cipher", "cipher_bits",
		"cert_subject", "cert_issuer", NULL };

	note_codes(r, driver_connect(d), their_code(t, 0, 1));
	for (size_t i = 0; i < t->n && !d->closed; i++) {
		driver_settle(d);
		if (t->events[i].kind == TAPE_TLS)
			learn_macros(d, t, i, 'H', tls);
		if (t->events[i].kind == TAPE_DROP)
			driver_command(d, "QUIT");
		if (t->events[i].kind == TAPE_CLIENT)
			give(r, d, t, i);
	}
	driver_settle(d);
}

/* --- all of it --- */

static int
policy_of(const struct tape *t)
{
	static const struct {
		const char *suffix, *note;
		enum milter_policy policy;
	} rows[] = { { "-accept", "policy accept", MILTER_ON_FAILURE_ACCEPT },
		{ "-reject", "policy reject", MILTER_ON_FAILURE_REJECT },
		{ "-quarantine", "policy quarantine", MILTER_ON_FAILURE_QUARANTINE },
		{ "-fourtwentyone", "policy fourtwentyone",
		    MILTER_ON_FAILURE_SHUTDOWN } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strstr(t->notes, rows[i].note) != NULL ||
		    str_ends_nocase(str_of(t->scenario), str_of(rows[i].suffix)))
			return (int)rows[i].policy;
	}
	return MILTER_ON_FAILURE_TEMPFAIL;
}

static bool
opens(const struct tape *t, int filter)
{
	for (size_t i = 0; i < t->n; i++) {
		if (t->events[i].kind == TAPE_OPEN && t->events[i].filter == filter)
			return true;
	}
	return false;
}

/* The client as the recorded C packet shows it. */
static void
client_of(const struct tape *t, struct chain_client *client)
{
	struct milter_connect c;

	*client = (struct chain_client){ .name = "localhost",
		.resolve = "OK",
		.host = "mx.ok.example",
		.daemon = "T1",
		.port = 12345,
		.local_port = 25 };
	ip_parse(STR("127.0.0.1"), &client->ip);
	for (size_t i = 0; i < t->n; i++) {
		const struct tape_event *e = &t->events[i];

		if (e->kind == TAPE_TO_FILTER && e->cmd == MILTER_CONNECT &&
		    milter_connect_read(e->payload, &c, NULL) == 0)
			ip_parse(c.address, &client->ip);
	}
}

static void
set_up(struct chain_rig *g, struct player *players, const struct tape *t, bool *hidden)
{
	bool hangs = str_starts(str_of(t->scenario), STR("hang-")) ||
	    str_starts(str_of(t->scenario), STR("progress-"));
	struct chain_client client;

	rig_init(g, str_starts(str_of(t->scenario), STR("two-filters")) ? 2 : 1);
	for (size_t i = 0; i < g->n; i++) {
		players[i] = (struct player){ .tape = t,
			.peer = &g->peers[i],
			.filter = (int)i,
			.hidden = hidden };
		players[i].timer = evtimer_new(g->base, on_timer, &players[i]);
		g->peers[i].handler = on_packet;
		g->peers[i].arg = &players[i];
		g->peers[i].take_one = true;
		if (!opens(t, (int)i))
			milter_peer_stop_listening(&g->peers[i]);
		g->confs[i].on_failure = policy_of(t);
		g->confs[i].command_ms = hangs ? 3 * SECOND_MS : 15000;
		g->confs[i].content_ms = hangs ? 8 * SECOND_MS : 15000;
	}
	client_of(t, &client);
	driver_init_client(&g->d, g->base, g->confs, g->n, &client);
	g->started = true;
	g->d.refuses = refuses;
}

void
replay_run(struct replay *r, const struct tape *t)
{
	struct player players[2];
	struct chain_rig g;
	bool *hidden = xcalloc(t->n, sizeof(*hidden));

	*r = (struct replay){ 0 };
	for (int f = 0; f < 2; f++) {
		buf_init(&r->ours[f], 1 << 20);
		buf_init(&r->theirs[f], 1 << 20);
	}
	buf_init(&r->our_codes, 1000);
	buf_init(&r->their_codes, 1000);
	buf_init(&r->macros, 1 << 20);
	buf_init(&r->our_mail, 8u << 20);
	buf_init(&r->their_mail, 8u << 20);
	hide_added_fields(t, hidden);
	note_delivered(r, t);
	note_theirs(r, t, hidden);
	set_up(&g, players, t, hidden);
	play(r, &g.d, t);
	sort_mails(&r->our_mail);
	sort_mails(&r->their_mail);
	for (size_t f = 0; f < g.n; f++) {
		note_ours(r, t, (int)f, buf_str(&g.peers[f].packets));
		compare_macros(r, t, (int)f, buf_str(&g.peers[f].packets));
		tidy_aborts(&r->ours[f]);
		tidy_aborts(&r->theirs[f]);
		event_free(players[f].timer);
	}
	rig_clear(&g);
	free(hidden);
}

void
replay_clear(struct replay *r)
{
	for (int f = 0; f < 2; f++) {
		buf_clear(&r->ours[f]);
		buf_clear(&r->theirs[f]);
	}
	buf_clear(&r->our_codes);
	buf_clear(&r->their_codes);
	buf_clear(&r->macros);
	buf_clear(&r->our_mail);
	buf_clear(&r->their_mail);
}
