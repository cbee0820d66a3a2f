/* SPDX-License-Identifier: BSD-2-Clause */
/* HELO: what is a fault is decided in access_names.c; here is what is ours - the names that
 * we and the MTA have, those of the settings, and the addresses of the host's interfaces. */
#include "milters/access/check_helo.h"

#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"
#include "milters/access/access_names.h"
#include "milters/access/check_outcome.h"

#define IPS_MAX 256
#define NAMES_MAX 100 /* of the settings; more are not looked at */

/* As it was when the daemon started: a new address counts after a restart. */
struct self {
	struct ip ips[IPS_MAX];
	size_t n_ips;
};

static int
start(const struct check_shared *shared, void **self, struct err *err)
{
	struct self *s = xcalloc(1, sizeof(*s));
	struct ifaddrs *list = NULL;

	(void)shared;
	(void)err;
	/* without them only names are known */
	if (getifaddrs(&list) != 0)
		list = NULL;
	for (const struct ifaddrs *i = list; i != NULL && s->n_ips < IPS_MAX;
	     i = i->ifa_next) {
		uint16_t port;

		if (i->ifa_addr != NULL &&
		    ip_from_sockaddr(i->ifa_addr, &s->ips[s->n_ips], &port))
			s->n_ips++;
	}
	if (list != NULL)
		freeifaddrs(list);
	*self = s;
	return 0;
}

static void
stop(void *self)
{
	free(self);
}

static void
judge(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    struct findings *out)
{
	static const struct outcome_reply syntax = { 550, "5.7.1", "helo-syntax",
		"HELO must be a host name or an address in brackets, not %a" };
	static const struct outcome_reply unqualified = { 550, "5.7.1", "helo-unqualified",
		"HELO %a: a fully-qualified host name is needed" };
	static const struct outcome_reply forged = { 550, "5.7.1", "helo-forged",
		"HELO %a is our own name or address, not yours" };
	const struct settings_access *set = &facts->view->access;
	const char *names[NAMES_MAX + 2] = { facts->own_names[0], facts->own_names[1] };
	struct helo_own own = { .names = names, .n_names = 2 };
	const struct self *s = self;

	(void)conn;
	if (phase != CHECK_HELO || facts->helo[0] == '\0')
		return;
	own.ips = s->ips;
	own.n_ips = s->n_ips;
	for (size_t i = 0; i < set->own_names.n && i < NAMES_MAX; i++)
		names[own.n_names++] = set->own_names.list[i];
	switch (access_helo(str_of(facts->helo), &own,
	    facts->resolve == ACCESS_RESOLVE_OK ? facts->name : "")) {
	case HELO_GOOD:
		break;
	case HELO_SYNTAX:
		check_outcome(out, &set->helo_syntax, &syntax, facts->helo);
		break;
	case HELO_UNQUALIFIED:
		check_outcome(out, &set->helo_unqualified, &unqualified, facts->helo);
		break;
	case HELO_FORGED:
		check_outcome(out, &set->helo_forged, &forged, facts->helo);
		break;
	}
}

const struct check_ops check_helo = { .name = "helo",
	.spares = CHECK_SPARE_ALL,
	.start = start,
	.stop = stop,
	.judge = judge };
