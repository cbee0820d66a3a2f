/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions to DNS lists.  The address, the words (TXT) and the random name are asked
 * together, in this order, so that a refusal costs one round trip; of a list that is near
 * the last two are asked only when it lists somebody, because most clients are listed by
 * few lists.  What an answer means is dnsbl.c's business, whether a list is believed that
 * of dnsbl_health.c. */
#include "milters/access/access_lists.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"

struct question {
	const struct dnsbl *list;
	struct access_list *state;
	struct future *a, *txt, *random;
	int64_t deadline_ms;
	char name[256]; /* with the list's key: not for the log */
	bool cached; /* the answer was there at once: says nothing about health */
	bool settled, timed;
};

struct access_lists {
	int family; /* of the client; 0: a name */
	char subject[256]; /* for the reply */
	uint64_t hash; /* of it */
	int64_t now; /* wall clock, for the day's budget */
	bool judged;
	bool pardons; /* a list could speak for the client by itself */
	size_t n, n_hits;
	struct access_lists_hit *hits;
	struct question questions[];
};

/* A question that no cache between us and the list knows. */
static struct future *
ask_random(const struct access_lists *l, const struct question *q, const char *key)
{
	uint64_t random = (uint64_t)clock_mono_us();
	char name[256];

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random *= UINT64_C(0x9e3779b97f4a7c15);
	if (dnsbl_query_test(
		q->list, key, l->family, DNSBL_TEST_RANDOM, random, name) != 0)
		return NULL;
	return resolver_ask_fresh(access_list_resolver(q->state), str_of(name), DNS_A);
}

static int
name_of(const struct dnsbl *list, const char *key, const struct ip *client,
    struct str domain, char out[256])
{
	if (client == NULL)
		return dnsbl_query_name(list, key, domain, out);
	if (!(client->family == AF_INET ? list->ipv4 : list->ipv6))
		return -1;
	return dnsbl_query_keyed(list, key, client, out);
}

/* A listing that was cached needs neither words of its own round trip nor, as a rule, a
 * new proof. */
static bool
ask_one(struct access_lists *l, struct question *q, const struct ip *client,
    struct str domain, int64_t now)
{
	char key[DNSBL_KEY_MAX + 1], name[256];
	struct resolver *r = access_list_resolver(q->state);
	bool near = access_list_is_near(q->state), txt = dnsbl_wants_txt(q->list);
	unsigned cost = near ? 1 : txt ? 3 : 2;

	access_list_key(q->state, key);
	if (name_of(q->list, key, client, domain, name) != 0 ||
	    !access_list_usable(q->state))
		return false;
	q->a = resolver_known(r, str_of(name), DNS_A);
	q->cached = q->a != NULL;
	snprintf(q->name, sizeof(q->name), "%s", name);
	if (q->cached)
		return true;
	if (!access_list_take(q->state, q->list->budget, cost, now, clock_mono_ms()))
		return false;
	q->a = resolver_ask(r, str_of(name), DNS_A);
	if (near)
		return true;
	if (txt)
		q->txt = resolver_ask(r, str_of(name), DNS_TXT);
	q->random = ask_random(l, q, key);
	return true;
}

struct access_lists *
access_lists_ask(struct access_list_set *set, enum dnsbl_what what,
    const struct ip *client, struct str name, int64_t now)
{
	const struct settings_access *access = &set->settings->access;
	int64_t now_ms = clock_mono_ms();

	if (set->n == 0 ||
	    (what == DNSBL_CLIENT && (client->family == 0 || ip_is_loopback(client))))
		return NULL;
	struct access_lists *l =
	    xcalloc(1, sizeof(*l) + set->n * sizeof(l->questions[0]));
	l->family = what == DNSBL_CLIENT ? client->family : 0;
	if (what == DNSBL_CLIENT)
		ip_format(client, l->subject);
	else
		snprintf(l->subject, sizeof(l->subject), "%.*s", STR_ARG(name));
	l->now = now;
	l->hash = XXH3_64bits(l->subject, strlen(l->subject));
	for (size_t i = 0; i < set->n; i++) {
		const struct dnsbl *list = &access->dnsbl_lists.list[i];
		struct question q = { .list = list,
			.state = set->lists[i],
			.deadline_ms = now_ms +
			    (list->deadline_ms > 0 ? list->deadline_ms
						   : access->dnsbl_deadline_ms) };

		if ((list->what & (int)what) == 0 ||
		    !ask_one(l, &q, what == DNSBL_CLIENT ? client : NULL, name, now))
			continue;
		l->pardons = l->pardons || (list->allow && !list->weight.given);
		l->questions[l->n++] = q;
	}
	if (l->n > 0)
		return l;
	free(l);
	return NULL;
}

void
access_lists_free(struct access_lists *l)
{
	if (l == NULL)
		return;
	for (size_t i = 0; i < l->n; i++) {
		future_unref(l->questions[i].a);
		future_unref(l->questions[i].txt);
		future_unref(l->questions[i].random);
	}
	free(l->hits);
	free(l);
}

/* ---- judging ---- */

struct waiting {
	bool (*wait)(void *arg, struct future *f, int64_t deadline_ms);
	void *arg;
	bool now; /* look only, do not wait */
};

static bool
have(const struct waiting *w, struct future *f, int64_t deadline_ms)
{
	if (f == NULL)
		return false;
	return future_done(f) || (!w->now && w->wait(w->arg, f, deadline_ms));
}

static void
note_random(struct question *q)
{
	const struct dns_answer *a = future_value(q->random);

	access_list_random(q->state, dnsbl_judge_test(q->list, DNSBL_TEST_RANDOM, a),
	    a->asked_us, clock_mono_ms());
}

/* Is the list to be believed about an answer that was asked for by last_us?  Where the name
 * that went along proves nothing (it was lost, or the answer is an old one) another does. */
static enum dnsbl_belief
believe(struct access_lists *l, struct question *q, const struct waiting *w,
    int64_t last_us)
{
	char key[DNSBL_KEY_MAX + 1];

	if (have(w, q->random, q->deadline_ms))
		note_random(q);
	enum dnsbl_belief b = access_list_believe(q->state, last_us);
	if (b != DNSBL_UNPROVEN || (w->now && q->random != NULL))
		return b;
	future_unref(q->random);
	q->random = ask_random(l, q, access_list_key(q->state, key));
	(void)access_list_take(q->state, 0, 1, l->now, clock_mono_ms());
	if (have(w, q->random, q->deadline_ms))
		note_random(q);
	return access_list_believe(q->state, last_us);
}

/* The words of a listing that nobody expected. */
static void
ask_words(const struct access_lists *l, struct question *q)
{
	if (q->txt != NULL || !dnsbl_wants_txt(q->list))
		return;
	q->txt = resolver_known(access_list_resolver(q->state), str_of(q->name), DNS_TXT);
	if (q->txt != NULL)
		return;
	(void)access_list_take(q->state, 0, 1, l->now, clock_mono_ms());
	q->txt = resolver_ask(access_list_resolver(q->state), str_of(q->name), DNS_TXT);
}

static void
add_hit(struct access_lists *l, struct question *q, const struct waiting *w)
{
	struct access_lists_hit *hit = &l->hits[l->n_hits++];
	char key[DNSBL_KEY_MAX + 1];
	bool words = have(w, q->txt, q->deadline_ms);

	hit->list = q->list;
	hit->result = dnsbl_judge(
	    q->list, future_value(q->a), words ? future_value(q->txt) : NULL);
	dnsbl_text(q->list, access_list_key(q->state, key), l->subject, &hit->result,
	    hit->text, sizeof(hit->text));
	explicit_bzero(key, sizeof(key));
}

/* With w->now only what is complete is settled. */
static void
settle(struct access_lists *l, struct question *q, const struct waiting *w)
{
	const struct waiting look = { .now = true };

	if (!have(w, q->a, q->deadline_ms)) {
		if (w->now)
			return;
		q->settled = true;
		if (!q->cached)
			access_list_answered(
			    q->state, DNSBL_UNKNOWN, l->hash, clock_mono_ms());
		return;
	}
	const struct dns_answer *a = future_value(q->a);
	enum dnsbl_state state = dnsbl_judge(q->list, a, NULL).state;
	enum dnsbl_belief b = DNSBL_BELIEVED;
	if (!q->cached && !q->timed)
		access_list_took(q->state, a->answered_us - a->asked_us);
	q->timed = true;
	if (state == DNSBL_LISTED) {
		ask_words(l, q);
		b = believe(l, q, w, a->asked_last_us);
		if (w->now &&
		    (b == DNSBL_UNPROVEN ||
			(q->txt != NULL && !have(&look, q->txt, 0))))
			return;
	}
	q->settled = true;
	if (!q->cached)
		access_list_answered(q->state,
		    b == DNSBL_BELIEVED ? state : DNSBL_UNKNOWN, l->hash,
		    clock_mono_ms());
	if (b != DNSBL_BELIEVED)
		access_list_disbelieved(q->state);
	else if (state == DNSBL_LISTED)
		add_hit(l, q, w);
}

/* Nothing that still comes could change the refusal. */
static bool
is_decided(const struct access_lists *l)
{
	if (l->pardons)
		return false;
	for (size_t i = 0; i < l->n_hits; i++)
		if (l->hits[i].result.refuses && !l->hits[i].list->observe)
			return true;
	return false;
}

static int
by_order(const void *a, const void *b)
{
	const struct access_lists_hit *x = a, *y = b;

	return x->list < y->list ? -1 : x->list > y->list;
}

const struct access_lists_hit *
access_lists_judge(struct access_lists *l,
    bool (*wait)(void *arg, struct future *f, int64_t deadline_ms), void *arg, size_t *n)
{
	*n = 0;
	if (l == NULL)
		return NULL;
	if (!l->judged) {
		struct waiting w = { wait, arg, true };

		l->judged = true;
		l->hits = xcalloc(l->n, sizeof(*l->hits));
		/* first what is there, then what is waited for */
		for (int round = 0; round < 2; round++, w.now = false)
			for (size_t i = 0; i < l->n && !is_decided(l); i++)
				if (!l->questions[i].settled)
					settle(l, &l->questions[i], &w);
		qsort(l->hits, l->n_hits, sizeof(*l->hits), by_order);
	}
	*n = l->n_hits;
	return l->hits;
}
