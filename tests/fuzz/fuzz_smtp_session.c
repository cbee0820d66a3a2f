/* SPDX-License-Identifier: BSD-2-Clause */
/* A whole SMTP session with a clock of its own.  Octet 0 of the input: trusted client,
 * answers later, pipelining guard; octet 1: how many octets come at once; octet 2: how
 * the clock goes.  What must hold beside what session_play checks itself: the codes of
 * the replies are whole and in order, at most one for each command line and message, a
 * session that is fed in pieces asks the same as one that is fed whole when it is not
 * closed for octets sent blind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/session_play.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "fuzz_smtp_session: %s\n", what);
	abort();
}

static size_t
count(struct str s, const char *what)
{
	size_t n = 0, len = strlen(what);

	for (size_t i = 0; i + len <= s.len; i++)
		n += memcmp(s.p + i, what, len) == 0;
	return n;
}

/* Returns the number of messages. */
static void
play(struct str in, const struct session_conf *conf, bool trusted, bool later,
    size_t step, int64_t tick, struct buf *trace)
{
	struct play p;
	struct buf codes;
	size_t replies;

	play_init(&p, conf, trusted, later);
	play_start(&p);
	play_go(&p);
	for (size_t at = 0; at < in.len; at += step) {
		play_feed(&p, str_sub(in, at, at + step), 0);
		p.now += tick;
		session_tick(p.session, p.now);
		play_go(&p);
	}
	buf_init(&codes, 8u << 20);
	play_codes(&p, &codes);
	replies = codes.len == 0 ? 0 : count(buf_str(&codes), " ") + 1;
	must(replies >= p.answers || session_state(p.session) == SESSION_CLOSED,
	    "an answer was lost");
	/* greeting; one for each line; a 421 or 554 at the end */
	must(replies <= count(in, "\n") + 2 + in.len / 2048,
	    "more replies than commands");
	must(p.messages <= count(in, ".\r\n"), "a message without its end");
	must(p.questions == p.answers, "a question stayed open");
	if (trace != NULL)
		(void)buf_add_str(trace, buf_str(&p.trace));
	buf_clear(&codes);
	play_clear(&p);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct session_conf conf = session_conf_default;
	struct buf whole, pieces;
	struct str in;
	bool trusted, later;

	if (size < 3 || size > 65536)
		return 0;
	in = (struct str){ (const char *)data + 3, size - 3 };
	trusted = (data[0] & 1) != 0;
	later = (data[0] & 2) != 0;
	conf.host = "fuzz.example";
	conf.message_size = 20000;
	conf.pipelining_guard = (data[0] & 4) == 0;
	conf.error_delay_ms = 0;
	play(in, &conf, trusted, later, (size_t)data[1] + 1, data[2] * 100, NULL);
	/* Without the guard, pieces must not matter. */
	conf.pipelining_guard = false;
	buf_init(&whole, 8u << 20);
	buf_init(&pieces, 8u << 20);
	play(in, &conf, trusted, later, size, 0, &whole);
	play(in, &conf, trusted, !later, (size_t)data[1] % 7 + 1, 0, &pieces);
	must(str_eq(buf_str(&whole), buf_str(&pieces)), "pieces matter");
	buf_clear(&whole);
	buf_clear(&pieces);
	return 0;
}
