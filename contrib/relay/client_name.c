/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of clients.  A settled future wakes the loop through one eventfd for all; which
 * of the open lookups it was is found by looking, so that a lookup can be dropped at
 * any moment without telling the resolver. */
#include "contrib/relay/client_name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/xalloc.h"

#define CANDIDATES_MAX 5 /* PTR names that are followed up */

struct client_name {
	struct client_names *names;
	struct client_name *next, **at;
	struct ip ip;
	struct future *ptr;
	struct future *forward[CANDIDATES_MAX]; /* in the order of the names */
	size_t n_forward;
	void (*done)(void *arg, const char *name, const char *resolve);
	void *arg;
};

struct client_names {
	int fd;
	struct event *event;
	struct resolver *resolver;
	struct client_name *open;
};

/* From the resolver's thread. */
static void
wake(void *arg)
{
	struct client_names *n = arg;
	uint64_t one = 1;

	while (write(n->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static const struct dns_answer *
answer_of(struct future *f)
{
	return future_value(f);
}

static void
finish(struct client_name *l, const char *name, const char *resolve)
{
	void (*done)(void *, const char *, const char *) = l->done;
	void *arg = l->arg;
	char *copy = xstrdup(name); /* the answer that holds it goes away */

	client_name_cancel(l);
	done(arg, copy, resolve);
	free(copy);
}

/* All names are answered: which of them leads back? */
static void
judge(struct client_name *l)
{
	const struct dns_answer *ptr = answer_of(l->ptr);
	bool trouble = false;

	for (size_t i = 0; i < l->n_forward; i++) {
		const struct dns_answer *a = answer_of(l->forward[i]);

		trouble = trouble || a->status == DNS_FAIL || a->status == DNS_TIMEOUT;
		for (size_t j = 0; a->status == DNS_OK && j < a->n; j++) {
			if (ip_eq(&a->records[j].ip, &l->ip)) {
				finish(l, ptr->records[i].name, "OK");
				return;
			}
		}
	}
	finish(l, "", trouble ? "TEMP" : "FORGED");
}

static void
ask(struct client_name *l, struct future **slot, struct str name, enum dns_type type)
{
	*slot = resolver_ask(l->names->resolver, name, type);
	future_notify(*slot, wake, l->names);
}

/* All that was asked is answered. */
static void
advance(struct client_name *l)
{
	const struct dns_answer *ptr;

	ptr = answer_of(l->ptr);
	if (ptr->status != DNS_OK || ptr->n == 0) {
		finish(l, "",
		    ptr->status == DNS_FAIL || ptr->status == DNS_TIMEOUT ? "TEMP"
									  : "FAIL");
		return;
	}
	if (l->n_forward == 0) {
		l->n_forward = ptr->n < CANDIDATES_MAX ? ptr->n : CANDIDATES_MAX;
		for (size_t i = 0; i < l->n_forward; i++)
			ask(l, &l->forward[i], str_of(ptr->records[i].name),
			    l->ip.family == AF_INET ? DNS_A : DNS_AAAA);
		return;
	}
	judge(l);
}

/* A lookup all of whose open questions are answered. */
static struct client_name *
next_ready(const struct client_names *n)
{
	for (struct client_name *l = n->open; l != NULL; l = l->next) {
		size_t i = 0;

		while (i < l->n_forward && future_done(l->forward[i]))
			i++;
		if (future_done(l->ptr) && i == l->n_forward)
			return l;
	}
	return NULL;
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct client_names *n = arg;
	struct client_name *l;
	uint64_t count;

	(void)what;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	/* A callback may start or cancel any of them: begin anew behind each. */
	while ((l = next_ready(n)) != NULL)
		advance(l);
}

struct client_names *
client_names_new(struct event_base *base, struct resolver *resolver, struct err *err)
{
	struct client_names *n = xcalloc(1, sizeof(*n));

	n->resolver = resolver;
	n->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (n->fd < 0) {
		err_errno(err, "eventfd");
		free(n);
		return NULL;
	}
	n->event = event_new(base, n->fd, EV_READ | EV_PERSIST, on_wake, n);
	if (n->event == NULL || event_add(n->event, NULL) < 0) {
		err_set(err, "cannot watch the eventfd");
		client_names_free(n);
		return NULL;
	}
	return n;
}

void
client_names_free(struct client_names *n)
{
	if (n == NULL)
		return;
	if (n->event != NULL)
		event_free(n->event);
	close(n->fd);
	free(n);
}

struct client_name *
client_name_start(struct client_names *names, const struct ip *ip,
    void (*done)(void *arg, const char *name, const char *resolve), void *arg)
{
	struct client_name *l = xcalloc(1, sizeof(*l));
	char reverse[64], question[96];

	l->names = names;
	l->ip = *ip;
	l->done = done;
	l->arg = arg;
	l->next = names->open;
	l->at = &names->open;
	if (l->next != NULL)
		l->next->at = &l->next;
	names->open = l;
	(void)snprintf(question, sizeof(question), "%s.%s", ip_reverse(ip, reverse),
	    ip->family == AF_INET ? "in-addr.arpa" : "ip6.arpa");
	ask(l, &l->ptr, str_of(question), DNS_PTR);
	return l;
}

void
client_name_cancel(struct client_name *l)
{
	if (l == NULL)
		return;
	*l->at = l->next;
	if (l->next != NULL)
		l->next->at = l->at;
	future_unref(l->ptr);
	for (size_t i = 0; i < l->n_forward; i++)
		future_unref(l->forward[i]);
	free(l);
}
