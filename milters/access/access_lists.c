/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions to DNS lists.  The address and the words (TXT) are asked together, so that
 * a refusal costs one round trip; the decision takes as long as the slowest list, not
 * the sum.  What an answer means is dnsbl.c's business. */
#include "milters/access/access_lists.h"

#include <stdlib.h>

#include "common/base/xalloc.h"

struct question {
	const struct dnsbl *list;
	struct future *a, *txt;
};

struct access_lists {
	struct ip client;
	int64_t deadline_ms;
	bool judged;
	struct access_dnsbl result;
	const char *zone;
	size_t n;
	struct question questions[];
};

struct access_lists *
access_lists_ask(struct resolver *r, const struct dnsbl *lists, size_t n,
    const struct ip *client, int64_t deadline_ms)
{
	char name[256];

	if (r == NULL || n == 0 || client->family == 0 || ip_is_loopback(client))
		return NULL;
	struct access_lists *l = xcalloc(1, sizeof(*l) + n * sizeof(l->questions[0]));
	l->client = *client;
	l->deadline_ms = deadline_ms;
	for (size_t i = 0; i < n; i++) {
		if (dnsbl_query(&lists[i], client, name) != 0)
			continue;
		l->questions[l->n++] =
		    (struct question){ &lists[i], resolver_ask(r, str_of(name), DNS_A),
			    resolver_ask(r, str_of(name), DNS_TXT) };
	}
	return l;
}

void
access_lists_free(struct access_lists *l)
{
	if (l == NULL)
		return;
	for (size_t i = 0; i < l->n; i++) {
		future_unref(l->questions[i].a);
		future_unref(l->questions[i].txt);
	}
	free(l);
}

static bool
refuses(struct access_lists *l, const struct question *q,
    bool (*wait)(void *arg, struct future *f, int64_t deadline_ms), void *arg)
{
	char text[VERDICT_TEXT_MAX];

	if (!wait(arg, q->a, l->deadline_ms))
		return false;
	struct dnsbl_result r = dnsbl_judge(q->list, future_value(q->a), NULL);
	if (r.state != DNSBL_LISTED)
		return false;
	if (wait(arg, q->txt, l->deadline_ms))
		r = dnsbl_judge(q->list, future_value(q->a), future_value(q->txt));
	dnsbl_text(q->list, &l->client, &r, text, sizeof(text));
	l->result.kind = ACCESS_REFUSED;
	l->result.verdict = verdict_refuse(550, "5.7.1", "dnsbl", "%s", text);
	l->zone = q->list->zone;
	return true;
}

void
access_lists_judge(struct access_lists *l,
    bool (*wait)(void *arg, struct future *f, int64_t deadline_ms), void *arg,
    struct access_dnsbl *out)
{
	*out = (struct access_dnsbl){ .kind = ACCESS_NONE };
	if (l == NULL)
		return;
	if (!l->judged) {
		l->judged = true;
		for (size_t i = 0; i < l->n; i++)
			if (refuses(l, &l->questions[i], wait, arg))
				break;
	}
	*out = l->result;
}

const char *
access_lists_zone(const struct access_lists *l)
{
	return l != NULL ? l->zone : NULL;
}
