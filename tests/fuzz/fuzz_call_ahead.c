/* SPDX-License-Identifier: BSD-2-Clause */
/* A hostile server at the other end of a call-ahead: its octets whole and in pieces end
 * in the same state; nothing of them ever stands in our commands. */
#include <stdlib.h>
#include <string.h>

#include "db/call_ahead_dialog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool ok)
{
	if (!ok)
		abort();
}

/* Our commands are these lines and no others. */
static void
look_at_commands(const struct dialog *d)
{
	static const char *const ours[] = { "EHLO we.example", "HELO we.example",
		"MAIL FROM:<>", "RCPT TO:<a@b.example>", "RSET" };
	struct str rest = buf_str(&d->out), line;

	while (str_cut(&rest, '\n', &line)) {
		bool known = false;

		if (line.len == 0)
			continue;
		for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
			known = known || str_is(str_trim(line), ours[i]);
		must(known);
	}
}

struct end {
	enum dialog_state state;
	unsigned answers;
	struct call_ahead_answer last;
};

static struct end
play(struct str in, size_t step)
{
	struct dialog d;
	struct end end = { .answers = 0 };

	dialog_init(&d, "we.example");
	for (size_t at = 0; at < in.len; at += step) {
		dialog_feed(&d, str_sub(in, at, at + step));
		look_at_commands(&d);
		buf_reset(&d.out);
		if (d.answered) {
			end.answers++;
			end.last = d.answer;
			must(
			    memchr(d.answer.text, '\0', sizeof(d.answer.text)) != NULL);
			d.answered = false;
		}
		if (d.state == DIALOG_READY)
			must(dialog_ask(&d, STR("a@b.example")));
	}
	end.state = d.state;
	dialog_clear(&d);
	return end;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size };
	struct end slow = play(in, 1), again = play(in, 1);

	must(slow.state == again.state && slow.answers == again.answers);
	/* Octets that came before we asked are noise: then the pieces matter. */
	(void)play(in, 7);
	(void)play(in, size == 0 ? 1 : size);
	if (slow.answers > 0)
		must(slow.last.state != CALL_AHEAD_DOWN && slow.last.code >= 200);
	return 0;
}
