/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS lists as a check: asked when the client connects, judged when the verdict is due.
 * A list refuses by itself, as FEATURE(dnsbl) of sendmail does. */
#include "milters/access/check_dnsbl.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "milters/access/access_lists.h"

struct self {
	struct resolver *resolver;
};

struct conn {
	struct access_lists *lists;
};

static int
start(const struct check_shared *shared, void **self, struct err *err)
{
	struct self *s = xcalloc(1, sizeof(*s));

	(void)err;
	s->resolver = shared->resolver;
	*self = s;
	return 0;
}

static void
stop(void *self)
{
	free(self);
}

static void *
conn_new(void *self)
{
	(void)self;
	return xcalloc(1, sizeof(struct conn));
}

static void
conn_free(void *self, void *conn)
{
	struct conn *c = conn;

	(void)self;
	access_lists_free(c->lists);
	free(c);
}

static void
ask(void *self, void *conn, enum check_phase phase, const struct check_facts *facts)
{
	const struct settings_access *set = &facts->view->access;
	struct self *s = self;
	struct conn *c = conn;

	if (phase != CHECK_CONNECT || !set->dnsbl || c->lists != NULL)
		return;
	c->lists = access_lists_ask(s->resolver, set->dnsbl_lists.list,
	    set->dnsbl_lists.n, &facts->ip, clock_mono_ms() + set->dnsbl_deadline_ms);
}

static bool
wait_for(void *arg, struct future *f, int64_t deadline_ms)
{
	return check_wait(arg, f, deadline_ms);
}

static void
judge(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    struct findings *out)
{
	struct check_facts copy = *facts; /* the wait wants an argument to write to */
	struct conn *c = conn;
	struct access_dnsbl result;

	(void)self;
	if (phase != CHECK_CONNECT || c->lists == NULL || !facts->view->access.dnsbl)
		return;
	access_lists_judge(c->lists, wait_for, &copy, &result);
	if (result.kind == ACCESS_NONE)
		return;
	struct finding *f = findings_add(out);
	f->refuses = true;
	f->verdict = result.verdict;
	snprintf(f->detail, sizeof(f->detail), "%s", access_lists_zone(c->lists));
}

const struct check_ops check_dnsbl = { .name = "dnsbl",
	.spares = CHECK_SPARE_ALL,
	.start = start,
	.stop = stop,
	.conn_new = conn_new,
	.conn_free = conn_free,
	.ask = ask,
	.judge = judge };
