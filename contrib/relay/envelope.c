/* SPDX-License-Identifier: BSD-2-Clause */
/* Envelopes as owned text.  Decides nothing about addresses but whether two are the
 * same mailbox (RFC 5321 2.4: local part exact, domain in any case). */
#include "contrib/relay/envelope.h"

#include <stdlib.h>

#include "common/base/xalloc.h"

void
envelope_init(struct envelope *e)
{
	*e = (struct envelope){ .sender = xstrdup(""),
		.client_name = xstrdup(""),
		.helo = xstrdup(""),
		.proto = xstrdup(""),
		.auth = xstrdup(""),
		.hold = xstrdup("") };
}

void
envelope_clear(struct envelope *e)
{
	free(e->sender);
	free(e->client_name);
	free(e->helo);
	free(e->proto);
	free(e->auth);
	free(e->hold);
	for (size_t i = 0; i < e->n_rcpts; i++)
		free(e->rcpts[i].address);
	free(e->rcpts);
	*e = (struct envelope){ 0 };
}

void
envelope_set(char **field, struct str value)
{
	char *copy = str_dup(value);

	free(*field);
	*field = copy;
}

void
envelope_copy(struct envelope *to, const struct envelope *from)
{
	*to = *from;
	to->sender = xstrdup(from->sender);
	to->client_name = xstrdup(from->client_name);
	to->helo = xstrdup(from->helo);
	to->proto = xstrdup(from->proto);
	to->auth = xstrdup(from->auth);
	to->hold = xstrdup(from->hold);
	to->rcpts = NULL;
	to->n_rcpts = 0;
	for (size_t i = 0; i < from->n_rcpts; i++)
		envelope_add_rcpt(to, from->rcpts[i].address);
}

int
envelope_add_rcpt(struct envelope *e, const char *address)
{
	if (e->n_rcpts >= ENVELOPE_RCPTS_MAX)
		return -1;
	/* Doubling at each power of two keeps no capacity field. */
	if ((e->n_rcpts & (e->n_rcpts - 1)) == 0)
		e->rcpts = xreallocarray(
		    e->rcpts, e->n_rcpts > 0 ? e->n_rcpts * 2 : 1, sizeof(*e->rcpts));
	e->rcpts[e->n_rcpts++].address = xstrdup(address);
	return 0;
}

static bool
same_mailbox(struct str a, struct str b)
{
	ptrdiff_t at_a = str_rindex(a, '@'), at_b = str_rindex(b, '@');

	if (at_a != at_b)
		return false;
	if (at_a < 0)
		return str_eq(a, b);
	return str_eq(str_sub(a, 0, (size_t)at_a), str_sub(b, 0, (size_t)at_b)) &&
	    str_eq_nocase(
		str_sub(a, (size_t)at_a, a.len), str_sub(b, (size_t)at_b, b.len));
}

bool
envelope_delete_rcpt(struct envelope *e, const char *address)
{
	for (size_t i = 0; i < e->n_rcpts; i++) {
		if (!same_mailbox(str_of(e->rcpts[i].address), str_of(address)))
			continue;
		free(e->rcpts[i].address);
		memmove(&e->rcpts[i], &e->rcpts[i + 1],
		    (e->n_rcpts - i - 1) * sizeof(*e->rcpts));
		e->n_rcpts--;
		return true;
	}
	return false;
}
