/* SPDX-License-Identifier: BSD-2-Clause */
/* A server's replies: read whole and octet by octet with the same result; what is
 * written from their text is a reply again. */
#include <stdlib.h>

#include "common/mail/smtp_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool ok)
{
	if (!ok)
		abort();
}

/* The end of the first reply when octets come step by step. */
static enum parse
read_reply(struct str in, size_t step, struct smtp_reply *r, size_t *eaten)
{
	size_t have = 0, used;
	enum parse p;

	*eaten = 0;
	for (;;) {
		p = smtp_reply_feed(r, str_sub(in, *eaten, have), &used, NULL);
		*eaten += used;
		if (p != PARSE_MORE || have == in.len)
			return p;
		have = in.len - have < step ? in.len : have + step;
	}
}

static void
write_again(const struct smtp_reply *r)
{
	struct smtp_reply again;
	struct str code, rest;
	struct buf out;
	size_t used;

	(void)smtp_reply_enhanced(r->code, buf_str(&r->text), &code, &rest);
	buf_init(&out, 1 << 20);
	smtp_reply_write(&out, r->code, "", buf_str(&r->text));
	smtp_reply_init(&again);
	must(smtp_reply_feed(&again, buf_str(&out), &used, NULL) == PARSE_DONE);
	must(used == out.len && again.code == r->code);
	smtp_reply_clear(&again);
	buf_clear(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size };
	struct smtp_reply whole, slow;
	size_t eaten_whole, eaten_slow;

	smtp_reply_init(&whole);
	smtp_reply_init(&slow);
	enum parse a = read_reply(in, size, &whole, &eaten_whole);
	enum parse b = read_reply(in, 1, &slow, &eaten_slow);

	must(a == b && whole.code == slow.code && whole.n_lines == slow.n_lines);
	must(str_eq(buf_str(&whole.text), buf_str(&slow.text)));
	if (a == PARSE_DONE) {
		must(eaten_whole == eaten_slow);
		write_again(&whole);
	}
	smtp_reply_clear(&whole);
	smtp_reply_clear(&slow);
	return 0;
}
