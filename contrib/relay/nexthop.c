/* SPDX-License-Identifier: BSD-2-Clause */
/* Next hops: MX first (when the route says so), then addresses, all asked at once.  The
 * resolver's thread only rings a bell; everything else happens in the caller's loop. */
#include "contrib/relay/nexthop.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/xalloc.h"

enum { HOSTS_MAX = 8, QUESTIONS_MAX = 2 * HOSTS_MAX };

/* Rung by the resolver's thread, perhaps after the nexthop itself has gone. */
struct bell {
	pthread_mutex_t lock;
	int fd;
	unsigned refs;
};

struct nexthop {
	struct resolver *resolver;
	struct route route;
	char own[256];
	void (*done)(void *arg, const struct nexthop_result *result);
	void *arg;
	struct event *rung;
	struct bell *bell;
	bool mx_stage;
	uint32_t seed;
	struct future *asked[QUESTIONS_MAX];
	size_t n_asked;
	struct nexthop_result result;
	struct smtp_target targets[NEXTHOP_TARGETS_MAX];
	size_t n_targets;
};

/* --- the bell ------------------------------------------------------------------------
 */

static void
bell_unref(struct bell *b)
{
	pthread_mutex_lock(&b->lock);
	unsigned left = --b->refs;
	pthread_mutex_unlock(&b->lock);
	if (left > 0)
		return;
	close(b->fd);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

/* In the resolver's thread, or at once from future_notify(). */
static void
ring(void *arg)
{
	struct bell *b = arg;
	uint64_t one = 1;

	while (write(b->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	bell_unref(b);
}

static void
ask(struct nexthop *h, struct str name, enum dns_type type)
{
	struct future *f = resolver_ask(h->resolver, name, type);

	h->asked[h->n_asked++] = f;
	pthread_mutex_lock(&h->bell->lock);
	h->bell->refs++;
	pthread_mutex_unlock(&h->bell->lock);
	future_notify(f, ring, h->bell);
}

static const struct dns_answer *
answer_at(const struct nexthop *h, size_t i)
{
	return future_value(h->asked[i]);
}

static void
forget_answers(struct nexthop *h)
{
	while (h->n_asked > 0)
		future_unref(h->asked[--h->n_asked]);
}

/* --- the end -------------------------------------------------------------------------
 */

void
nexthop_cancel(struct nexthop *h)
{
	if (h == NULL)
		return;
	forget_answers(h);
	event_free(h->rung);
	bell_unref(h->bell);
	free(h);
}

static void
ends(struct nexthop *h, enum nexthop_end end, int code, const char *enhanced,
    const char *text)
{
	struct nexthop_result *r = &h->result;

	r->end = end;
	r->code = code;
	snprintf(r->enhanced, sizeof(r->enhanced), "%s", enhanced);
	snprintf(r->text, sizeof(r->text), "%.150s: %s", h->route.host, text);
	r->targets = h->targets;
	r->n_targets = h->n_targets;
	h->done(h->arg, r);
	nexthop_cancel(h);
}

/* --- MX ------------------------------------------------------------------------------
 */

static uint32_t
next_random(uint32_t *seed)
{
	*seed ^= *seed << 13; /* xorshift: an order, not a secret */
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static bool
same_name(const char *a, const char *b)
{
	return str_eq_nocase(str_of(a), str_of(b));
}

size_t
nexthop_order(const struct dns_record *mx, size_t n, const char *own, uint32_t seed,
    size_t *out, bool *loops)
{
	uint32_t limit = UINT32_MAX, state = seed | 1;
	size_t kept = 0;

	*loops = false;
	for (size_t i = 0; i < n; i++)
		if (same_name(mx[i].name, own) && mx[i].preference < limit)
			limit = mx[i].preference;
	for (size_t i = 0; i < n; i++) {
		/* RFC 5321 5.1: those that are not better than ourselves would loop. */
		if (mx[i].preference >= limit)
			continue;
		size_t at = kept++;

		/* Insert by preference; within one at a random place. */
		while (at > 0 &&
		    (mx[out[at - 1]].preference > mx[i].preference ||
			(mx[out[at - 1]].preference == mx[i].preference &&
			    (next_random(&state) & 1) != 0))) {
			out[at] = out[at - 1];
			at--;
		}
		out[at] = i;
	}
	*loops = kept == 0 && n > 0 && limit != UINT32_MAX;
	return kept;
}

static void
ask_addresses(struct nexthop *h, const char *const *hosts, size_t n)
{
	h->mx_stage = false;
	for (size_t i = 0; i < n && i < HOSTS_MAX; i++) {
		ask(h, str_of(hosts[i]), DNS_A);
		ask(h, str_of(hosts[i]), DNS_AAAA);
	}
}

static void
on_mx_records(struct nexthop *h, const struct dns_answer *a)
{
	const char *hosts[HOSTS_MAX] = { NULL };
	size_t order[DNS_RECORDS_MAX];
	bool loops;

	/* RFC 7505: one MX that names the root says "no mail here". */
	if (a->n == 1 && a->records[0].name[0] == '\0') {
		ends(h, NEXTHOP_NEVER, 556, "5.1.10",
		    "the domain takes no mail (null MX)");
		return;
	}
	size_t n = nexthop_order(a->records, a->n, h->own, h->seed, order, &loops);
	if (loops) {
		ends(h, NEXTHOP_NEVER, 554, "5.4.6",
		    "mail for the domain loops back to us");
		return;
	}
	if (n > HOSTS_MAX)
		n = HOSTS_MAX;
	char *names[HOSTS_MAX];
	for (size_t i = 0; i < n; i++)
		hosts[i] = names[i] = xstrdup(a->records[order[i]].name);
	forget_answers(h); /* and with them the records */
	ask_addresses(h, hosts, n);
	for (size_t i = 0; i < n; i++)
		free(names[i]);
}

static void
on_mx(struct nexthop *h)
{
	const struct dns_answer *a = answer_at(h, 0);
	const char *itself = h->route.host;

	switch (a->status) {
	case DNS_OK:
		on_mx_records(h, a);
		return;
	case DNS_NODATA:
		/* RFC 5321 5.1: the domain itself is its own mail exchanger. */
		forget_answers(h);
		ask_addresses(h, &itself, 1);
		return;
	case DNS_NXDOMAIN:
	case DNS_BADNAME:
		ends(h, NEXTHOP_NEVER, 550, "5.1.2", "the domain does not exist");
		return;
	case DNS_FAIL:
	case DNS_TIMEOUT:
		ends(h, NEXTHOP_LATER, 451, "4.4.3", "the DNS does not answer");
		return;
	}
}

/* --- addresses -----------------------------------------------------------------------
 */

static void
on_addresses(struct nexthop *h)
{
	bool unknown = false;

	for (size_t i = 0; i < h->n_asked; i++) {
		const struct dns_answer *a = answer_at(h, i);

		unknown |= a->status == DNS_FAIL || a->status == DNS_TIMEOUT;
		for (size_t j = 0; a->status == DNS_OK && j < a->n; j++)
			if (h->n_targets < NEXTHOP_TARGETS_MAX)
				h->targets[h->n_targets++] =
				    (struct smtp_target){ a->records[j].ip,
					    h->route.port };
	}
	if (h->n_targets > 0)
		ends(h, NEXTHOP_FOUND, 0, "", "found");
	else if (unknown)
		ends(h, NEXTHOP_LATER, 451, "4.4.3", "the DNS does not answer");
	else if (h->route.kind == ROUTE_HOST)
		/* Somebody here wrote that name: a mistake that mail should survive. */
		ends(h, NEXTHOP_LATER, 451, "4.4.4",
		    "the configured next hop has no address");
	else
		ends(h, NEXTHOP_NEVER, 550, "5.4.4",
		    "no host of the domain has an address");
}

static void
on_rung(evutil_socket_t fd, short what, void *arg)
{
	struct nexthop *h = arg;
	uint64_t count;

	(void)what;
	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	for (size_t i = 0; i < h->n_asked; i++)
		if (!future_done(h->asked[i]))
			return;
	if (h->n_targets > 0)
		ends(h, NEXTHOP_FOUND, 0, "", "found");
	else if (h->n_asked == 0)
		ends(h, NEXTHOP_LATER, 451, "4.4.4", "no name can be looked up");
	else if (h->mx_stage)
		on_mx(h);
	else
		on_addresses(h);
}

struct nexthop *
nexthop_start(struct event_base *base, struct resolver *resolver,
    const struct route *route, const char *own,
    void (*done)(void *arg, const struct nexthop_result *result), void *arg)
{
	struct nexthop *h = xcalloc(1, sizeof(*h));
	const char *itself = h->route.host;
	struct ip ip;

	h->resolver = resolver;
	h->route = *route;
	h->done = done;
	h->arg = arg;
	snprintf(h->own, sizeof(h->own), "%s", own);
	h->bell = xcalloc(1, sizeof(*h->bell));
	pthread_mutex_init(&h->bell->lock, NULL);
	h->bell->refs = 1;
	h->bell->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->rung = h->bell->fd < 0
	    ? NULL
	    : event_new(base, h->bell->fd, EV_READ | EV_PERSIST, on_rung, h);
	if (h->rung == NULL)
		abort(); /* out of memory or descriptors: the supervisor starts us anew
			  */
	event_add(h->rung, NULL);
	h->seed = (uint32_t)random();
	if (ip_parse(str_of(route->host), &ip)) {
		h->targets[h->n_targets++] = (struct smtp_target){ ip, route->port };
		event_active(h->rung, EV_READ, 0);
	} else if (resolver == NULL) {
		event_active(h->rung, EV_READ, 0);
	} else if (route->kind == ROUTE_MX) {
		h->mx_stage = true;
		ask(h, str_of(itself), DNS_MX);
	} else {
		ask_addresses(h, &itself, 1);
	}
	return h;
}
