/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks at the relays of one file.  What other hosts do is not known here: where score is
 * attached to another mail server, nothing is said. */
#include "contrib/ctl/check_tiers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/conf_tree.h"
#include "common/base/xalloc.h"
#include "contrib/relay/relay_conf.h"
#include "policy/policy.h"

#define RELAYS_MAX 64

struct tier {
	const struct conf_node *block;
	struct relay_conf *conf;
	bool greylist, score; /* asks these milters */
};

struct tiers {
	struct tier list[RELAYS_MAX];
	size_t n;
	const struct tier *culprit; /* hands off by queue, so that no tempfail reaches
				       its client; NULL: none */
	struct errs *errs;
};

static bool
asks(const struct relay_conf *c, const char *socket)
{
	for (size_t i = 0; i < c->milters.n; i++)
		if (strcmp(c->milters.list[i].address, socket) == 0)
			return true;
	return false;
}

static void
read_tiers(struct tiers *t, const struct settings *s)
{
	const struct conf_node *block;
	struct errs ignored = { 0 }; /* told already, when the settings were read */

	for (size_t i = 0; t->n < RELAYS_MAX &&
	     (block = settings_foreign_block(s, i)) != NULL; i++) {
		if (!str_is(block->name.text, "relay"))
			continue;
		struct relay_conf *c = relay_conf_of(block, &ignored);
		t->list[t->n++] = (struct tier){ block, c, asks(c, s->greylist.socket),
			asks(c, s->score.socket) };
	}
	errs_clear(&ignored);
}

static bool
same_address(struct str a, struct str b)
{
	struct ip ip_a, ip_b;
	uint16_t port_a, port_b;

	return relay_listen_parse(a, &ip_a, &port_a) &&
	    relay_listen_parse(b, &ip_b, &port_b) && port_a == port_b &&
	    (ip_a.family == 0 || ip_b.family == 0 || ip_eq(&ip_a, &ip_b));
}

/* Is a's smarthost b?  "[192.0.2.1]:25" is written with brackets there, without them in
 * `listen`. */
static bool
leads_to(const struct tier *a, const struct tier *b)
{
	struct str host = str_of(a->conf->smarthost);
	char text[100];
	ptrdiff_t end = str_rindex(host, ']');

	if (host.len == 0 || host.len >= sizeof(text) || host.p[0] != '[' || end < 1)
		return false;
	bool v6 = str_has(host, '.') == false;
	if (v6)
		snprintf(text, sizeof(text), "%.*s", STR_ARG(host));
	else
		snprintf(text, sizeof(text), "%.*s%.*s", (int)end - 1, host.p + 1,
		    (int)(host.len - (size_t)end - 1), host.p + end + 1);
	for (size_t i = 0; i < b->conf->listen.n; i++)
		if (same_address(str_of(text), str_of(b->conf->listen.list[i])))
			return true;
	return false;
}

/* Whether a's clients would be judged by score only after they were told 250. */
static bool
hides_clients(const struct tiers *t, const struct tier *a)
{
	if (a->conf->handoff != HANDOFF_QUEUE || a->score)
		return false;
	if (a->greylist)
		return true;
	for (size_t i = 0; i < t->n; i++)
		if (t->list[i].score && leads_to(a, &t->list[i]))
			return true;
	return false;
}

static void
tell(const void *values, const char *file, int line, void *arg)
{
	const struct settings_greylist *set = values;
	const struct tiers *t = arg;

	if (set->when == GREYLIST_SUSPICIOUS)
		errs_add(t->errs, file, line,
		    "when suspicious: relay \"%s\" (%s:%d) hands off by queue, so that "
		    "postern-score behind it never faces the client: expected handoff "
		    "session there, or score among its milters",
		    t->culprit->conf->name, t->culprit->block->name.file,
		    t->culprit->block->name.line);
}

void
check_tiers(const struct settings *s, struct errs *errs)
{
	struct tiers *t = xcalloc(1, sizeof(*t));

	t->errs = errs;
	read_tiers(t, s);
	for (size_t i = 0; i < t->n && t->culprit == NULL; i++)
		if (hides_clients(t, &t->list[i]))
			t->culprit = &t->list[i];
	if (t->culprit != NULL)
		policy_each_place(s, STR("greylist.when"), tell, t);
	for (size_t i = 0; i < t->n; i++)
		relay_conf_free(t->list[i].conf);
	free(t);
}
