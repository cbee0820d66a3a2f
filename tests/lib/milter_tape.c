/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the recordings.  They are our own files: what cannot be read is a mistake that
 * must be seen, so every surprise ends the program with its line. */
#include "tests/lib/milter_tape.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"
#include "tests/lib/sha256.h"

#define MAX (4u << 20)

static void
die(const char *what, struct str line)
{
	fprintf(stderr, "milter tape: %s: %.*s\n", what,
	    line.len < 200 ? (int)line.len : 200, line.p);
	abort();
}

/* The tape keeps the memory. */
static struct str
keep(struct tape *t, struct buf *b)
{
	struct str s = { NULL, b->len };

	if (t->n_memory == sizeof(t->memory) / sizeof(t->memory[0]))
		die("too many payloads", STR(""));
	s.p = t->memory[t->n_memory++] = buf_take(b);
	return s;
}

static int
hex_digit(char c)
{
	return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void
add_hex(struct buf *b, struct str hex)
{
	for (size_t i = 0; i + 1 < hex.len; i += 2) {
		int high = hex_digit(hex.p[i]), low = hex_digit(hex.p[i + 1]);

		if (high < 0 || low < 0)
			die("bad hex", hex);
		buf_add_char(b, (char)(high << 4 | low));
	}
}

/* \0 \r \n \t \\ \xNN */
static void
add_unescaped(struct buf *b, struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] != '\\' || i + 1 == s.len) {
			buf_add_char(b, s.p[i]);
			continue;
		}
		char c = s.p[++i];

		if (c == 'x') {
			add_hex(b, str_sub(s, i + 1, i + 3));
			i += 2;
		} else
			buf_add_char(b,
			    c == '0'       ? '\0'
				: c == 'r' ? '\r'
				: c == 'n' ? '\n'
				: c == 't' ? '\t'
					   : c);
	}
}

static void
add_lines(struct buf *b, size_t size)
{
	size_t begin = b->len;

	for (unsigned i = 0; b->len - begin < size; i++)
		buf_addf(b,
		    "%08u this is a deterministic body line for fixtures, "
		    "padded to seventy-two\r\n",
		    i);
}

static void
add_run(struct buf *b, char c, size_t n)
{
	while (n-- > 0)
		buf_add_char(b, c);
}

static bool
is(const struct buf *b, size_t len, const char *sha, size_t sha_len)
{
	char hex[65];

	if (b->len != len)
		return false;
	sha256_hex(buf_str(b), hex);
	return memcmp(hex, sha, sha_len) == 0;
}

/* The messages that the recordings show only by length and hash. */
static bool
rebuild_message(struct buf *b, size_t len, const char *sha)
{
	static const char big[] =
	    "From: Alice <alice@ok.example>\r\nTo: a@ok.example\r\n"
	    "Subject: big\r\n\r\n";

	for (int kind = 0; kind < 5; kind++) {
		buf_reset(b);
		if (kind < 3)
			buf_add_cstr(b, big);
		if (kind < 2)
			add_lines(b, kind == 0 ? 300000 : 140000);
		if (kind == 2) {
			add_run(b, 'x', 65533);
			buf_add_cstr(b, "\r\n");
		}
		if (kind > 2) {
			buf_add_cstr(b, "Subject: x\r\nX-Long: ");
			for (int i = 0; i < (kind == 3 ? 20 : 80); i++) {
				buf_add_cstr(b, i == 0 ? "" : "\r\n ");
				add_run(b, 'y', 900);
			}
			buf_add_cstr(b, "\r\n\r\nbody\r\n");
		}
		if (is(b, len, sha, strlen(sha)))
			return true;
	}
	return false;
}

/* A payload of which only both ends are shown: a chunk of the big body, or a
 * negotiation answer whose lists the decoded text gives. */
static bool
rebuild_payload(
    struct buf *b, struct str hex, struct str decoded, size_t len, const char *sha)
{
	struct buf lines;
	struct str lists;
	const char *mark = memmem(decoded.p, decoded.len, "symlist=", 8);
	bool found = false;

	buf_init(&lines, MAX);
	add_lines(&lines, 300000);
	for (size_t at = 0; at < lines.len && !found; at += 65535) {
		buf_reset(b);
		buf_add_str(b, str_sub(buf_str(&lines), at, at + len));
		found = is(b, len, sha, 64);
	}
	buf_clear(&lines);
	if (!found && mark != NULL) {
		buf_reset(b);
		add_hex(b, str_sub(hex, 0, 24));
		lists.p = mark + 8;
		lists.len = (size_t)(decoded.p + decoded.len - lists.p);
		add_unescaped(b, lists);
		found = is(b, len, sha, 64);
	}
	return found;
}

static struct tape_event *
add_event(struct tape *t, enum tape_kind kind)
{
	if ((t->n & (t->n - 1)) == 0)
		t->events = xreallocarray(
		    t->events, t->n > 0 ? t->n * 2 : 1, sizeof(*t->events));
	t->events[t->n] = (struct tape_event){ .kind = kind };
	return &t->events[t->n++];
}

/* "X n hex[..hex sha256=h] ; decoded" */
static void
read_packet(struct tape *t, struct str line, int filter, bool to_filter)
{
	struct tape_event *e =
	    add_event(t, to_filter ? TAPE_TO_FILTER : TAPE_FROM_FILTER);
	struct str head, number, hex, rest = line;
	uint64_t len = 0;
	struct buf b;

	buf_init(&b, MAX);
	e->filter = filter;
	e->cmd = line.p[0];
	rest = str_sub(rest, 2, rest.len);
	if (!str_cut(&rest, ' ', &number) || !str_to_uint(number, 0, MAX, &len) ||
	    !str_cut(&rest, ' ', &hex))
		die("packet", line);
	e->len = len;
	const char *dots = memmem(hex.p, hex.len, "..", 2);

	if (dots == NULL) {
		if (!str_eq(hex, STR("-")))
			add_hex(&b, hex);
		if (b.len != len)
			die("packet length", line);
		e->payload = keep(t, &b);
		return;
	}
	if (!str_cut(&rest, ' ', &head) || head.len != 7 + 64)
		die("packet hash", line);
	memcpy(e->sha, head.p + 7, 64);
	e->abridged = !rebuild_payload(&b, hex, rest, len, e->sha);
	if (e->abridged && !to_filter)
		die("cannot rebuild what the filter sent", line);
	e->payload = keep(t, &b);
}

/* "> X ...", "< X ...", "= text" behind the letter of the filter. */
static void
read_filter_line(struct tape *t, struct str line, int filter)
{
	static const struct str raw = { "filter sends raw ", 17 };
	static const struct str sleep = { "filter sleeps ", 14 };
	char direction = line.p[0];
	struct str what = str_sub(line, 2, line.len);
	struct buf b;
	uint64_t n;

	buf_init(&b, 100);
	if (direction != '=') {
		if (str_eq(what, STR("EOF")))
			add_event(t, TAPE_EOF)->filter = filter;
		else
			read_packet(t, what, filter, direction == '>');
	} else if (str_eq(what, STR("open"))) {
		add_event(t, TAPE_OPEN)->filter = filter;
	} else if (str_eq(what, STR("filter closes"))) {
		add_event(t, TAPE_CLOSE)->filter = filter;
	} else if (str_starts(what, raw)) {
		struct tape_event *e = add_event(t, TAPE_RAW);

		e->filter = filter;
		add_hex(&b, str_sub(what, raw.len, what.len));
		e->payload = keep(t, &b);
	} else if (str_starts(what, sleep) &&
	    str_to_uint(str_sub(what, sleep.len, what.len), 1, 100, &n)) {
		struct tape_event *e = add_event(t, TAPE_SLEEP);

		e->filter = filter;
		e->seconds = (int)n;
	} else
		die("filter line", line);
}

static void
read_client_line(struct tape *t, struct str line)
{
	static const struct str message = { "<message> ", 10 }, raw = { "<raw> ", 6 };
	struct tape_event *e = add_event(t, TAPE_CLIENT);
	unsigned long len = 0;
	char sha[17];
	struct buf b;

	buf_init(&b, MAX);
	if (str_starts(line, STR("<TLS "))) {
		e->kind = TAPE_TLS;
	} else if (str_starts(line, STR("<drops"))) {
		e->kind = TAPE_DROP;
	} else if (str_starts(line, STR("<message ")) && line.p[8] == ' ') {
		e->message = true;
		if (sscanf(line.p, "<message %lu bytes sha256=%16[0-9a-f]>", &len,
			sha) != 2 ||
		    !rebuild_message(&b, len, sha))
			die("message", line);
	} else if (str_starts(line, message)) {
		e->message = true;
		add_unescaped(&b, str_sub(line, message.len, line.len));
	} else if (str_starts(line, raw)) {
		e->raw = true;
		add_unescaped(&b, str_sub(line, raw.len, line.len));
	} else
		add_unescaped(&b, line);
	e->payload = keep(t, &b);
	e->text = str_dup(e->payload);
}

static void
read_server_line(struct tape *t, struct str line)
{
	uint64_t code;

	/* "<EOF>" and the like, or a line that is not the last */
	if (!str_to_uint(str_sub(line, 0, 3), 200, 599, &code) ||
	    (line.len > 3 && line.p[3] == '-'))
		return;
	add_event(t, TAPE_SERVER)->code = (int)code;
}

/* "<a@b>" */
static struct str
unbracket(struct str s)
{
	return str_sub(s, 1, s.len - 1);
}

/* What stands behind "OUT ". */
static void
read_delivered(struct tape *t, struct str line)
{
	static const struct str from = { "ENVELOPE from=", 14 },
				rcpt = { "ENVELOPE rcpt=", 14 };
	struct tape_mail *m = t->n_mails == 0 ? NULL : &t->mails[t->n_mails - 1];

	if (str_starts(line, from)) {
		if (t->n_mails == TAPE_MAILS_MAX)
			die("too many deliveries", line);
		m = &t->mails[t->n_mails++];
		buf_init(&m->sender, 1000);
		buf_init(&m->rcpts, 10000);
		buf_init(&m->text, MAX);
		buf_add_str(&m->sender, unbracket(str_sub(line, from.len, line.len)));
		return;
	}
	if (m == NULL)
		die("delivery without envelope", line);
	if (str_starts(line, rcpt)) {
		buf_add_cstr(&m->rcpts, m->rcpts.len > 0 ? " " : "");
		buf_add_str(&m->rcpts, unbracket(str_sub(line, rcpt.len, line.len)));
	} else if (!str_eq(line, STR("----"))) {
		m->abridged = m->abridged || str_starts(line, STR("[... "));
		add_unescaped(&m->text, line);
		buf_add_char(&m->text, '\n');
	}
}

static void
read_line(struct tape *t, struct buf *notes, struct str line)
{
	struct str time, who;

	if (str_starts(line, STR("OUT ")))
		read_delivered(t, str_sub(line, 4, line.len));
	if (str_starts(line, STR("# scenario: "))) {
		t->scenario = str_dup(str_sub(line, 12, line.len));
	} else if (str_starts(line, STR("# mta: "))) {
		t->postfix = str_starts(str_sub(line, 7, line.len), STR("Postfix"));
	} else if (str_starts(line, STR("# ")) && t->n == 0) {
		buf_add_str(notes, str_sub(line, 2, line.len));
		buf_add_char(notes, '\n');
	}
	if (line.len == 0 || line.p[0] != '+')
		return;
	str_cut(&line, ' ', &time);
	if (line.len < 2)
		die("line", time);
	who = str_sub(line, 0, 2);
	if (who.p[0] == 'A' || who.p[0] == 'B')
		read_filter_line(t, str_sub(line, 1, line.len), who.p[0] == 'B');
	else if (str_eq(who, STR("C ")))
		read_client_line(t, str_sub(line, 2, line.len));
	else if (str_eq(who, STR("S ")))
		read_server_line(t, str_sub(line, 2, line.len));
	else
		die("line", line);
}

void
tape_read(struct tape *t, const char *path)
{
	FILE *f = fopen(path, "rb");
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	struct buf notes;

	*t = (struct tape){ 0 };
	if (f == NULL)
		die("cannot open", str_of(path));
	buf_init(&notes, 100000);
	while ((len = getline(&line, &size, f)) > 0) {
		if (line[len - 1] == '\n')
			len--;
		line[len] = '\0';
		read_line(t, &notes, (struct str){ line, (size_t)len });
	}
	t->notes = buf_take(&notes);
	free(line);
	fclose(f);
	if (t->scenario == NULL || t->n == 0)
		die("no recording", str_of(path));
}

void
tape_clear(struct tape *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->events[i].text);
	for (size_t i = 0; i < t->n_memory; i++)
		free(t->memory[i]);
	for (size_t i = 0; i < t->n_mails; i++) {
		buf_clear(&t->mails[i].sender);
		buf_clear(&t->mails[i].rcpts);
		buf_clear(&t->mails[i].text);
	}
	free(t->events);
	free(t->scenario);
	free(t->notes);
}
