/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens the maps that the settings name and looks keys up in them, in order.  What an
 * entry means is decided in access_map.c.  A map that cannot be asked is an entry that
 * says what sendmail says then: come back later. */
#include "milters/access/access_maps.h"

#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "db/map_set.h"
#include "milters/access/access_control.h"
#include "milters/access/access_value.h"

#define FAILED_TEXT                                                                    \
	"ERROR:4.3.0:\"451 Temporary system failure. Please try again later.\""

struct access_maps {
	struct map_set *set;
};

struct access_maps_view {
	struct map_view *view;
};

bool
access_maps_need_store(const struct settings_access *set)
{
	struct str name;

	for (size_t i = 0; i < set->maps.n; i++)
		if (map_spec_kind(str_of(set->maps.list[i]), &name) == MAP_KIND_SHARED)
			return true;
	return false;
}

/* sendmail asks for its own name where no cluster is named. */
static void
ldap_host(struct map_ldap_conf *to, const struct map_ldap_conf *from, char *own)
{
	*to = *from;
	if (to->host[0] == '\0')
		to->host = own;
}

size_t
access_maps_ldaps(const struct settings *s, struct map_ldap_conf out[MAP_LDAPS_MAX])
{
	const struct access_ldaps *ldaps = &s->access.ldaps;

	for (size_t i = 0; i < ldaps->n; i++)
		ldap_host(&out[i], &ldaps->list[i], s->run.host);
	return ldaps->n;
}

struct access_maps *
access_maps_open(const struct settings *s, struct store *(*store)(void *arg), void *arg,
    struct err *err)
{
	const struct settings_access *set = &s->access;
	struct map_ldap_conf ldaps[MAP_LDAPS_MAX];
	struct errs errs = { 0 };
	struct map_set_conf conf = { .specs = (const char *const *)set->maps.list,
		.n = set->maps.n,
		.rules = access_map_rules(set->extensions),
		.shared_rules = access_map_rules_shared(),
		.ldaps = ldaps,
		.n_ldaps = access_maps_ldaps(s, ldaps),
		.store = store,
		.store_arg = arg };

	struct map_set *maps = map_set_open(&conf, &errs);
	if (maps == NULL) {
		*err = errs.list[0];
		for (size_t k = 1; k < errs.n; k++)
			log_err("map", &errs.list[k]);
	}
	errs_clear(&errs);
	if (maps == NULL)
		return NULL;
	struct access_maps *m = xcalloc(1, sizeof(*m));
	m->set = maps;
	return m;
}

void
access_maps_refresh(struct access_maps *m, struct errs *errs)
{
	map_set_refresh(m->set, errs);
}

void
access_maps_close(struct access_maps *m)
{
	if (m == NULL)
		return;
	map_set_close(m->set);
	free(m);
}

struct access_maps_view *
access_maps_view_new(struct access_maps *m,
    bool (*wait)(void *arg, struct future *f, int64_t deadline_ms), void *arg)
{
	struct access_maps_view *v = xcalloc(1, sizeof(*v));

	v->view = map_view_new(m->set, wait, arg);
	return v;
}

void
access_maps_view_free(struct access_maps_view *v)
{
	if (v == NULL)
		return;
	map_view_free(v->view);
	free(v);
}

void
access_maps_view_fresh(struct access_maps_view *v)
{
	map_view_forget_failures(v->view);
}

static bool
found_entry(enum map_found found, const struct map_hit *hit, struct access_entry *out)
{
	switch (found) {
	case MAP_NONE:
		return false;
	case MAP_FOUND:
		*out = (struct access_entry){ .value = hit->value,
			.file = hit->file,
			.line = hit->line,
			.note = hit->note };
		return true;
	case MAP_FAILED:
		break;
	}
	*out = (struct access_entry){ .value = STR(FAILED_TEXT), .failed = true };
	return true;
}

bool
access_maps_lookup(void *arg, struct str key, struct access_entry *out)
{
	const struct access_maps_view *v = arg;
	struct map_hit hit;

	return found_entry(map_view_get(v->view, key, clock_wall(), &hit), &hit, out);
}

bool
access_maps_lookup_net(void *arg, struct str tag, const struct ip *ip, unsigned bits,
    struct access_entry *out)
{
	const struct access_maps_view *v = arg;
	struct map_hit hit;

	return found_entry(map_view_get_net(v->view, tag, ip, bits, clock_wall(), &hit),
	    &hit, out);
}

/* Judge once with nothing found in directories: that asks for every key there is. */
static void
plan(struct map_view *v, const struct access *a, const struct access_addr *rcpt)
{
	if (!map_view_plan_begin(v))
		return;
	(void)access_check_relay(a);
	if (!a->have_sender) {
		(void)access_greet_pause(a, 0);
		(void)access_check_limit(a, ACCESS_LIMIT_RATE, 0);
		(void)access_check_limit(a, ACCESS_LIMIT_CONNECTIONS, 0);
	} else if (rcpt == NULL) {
		(void)access_check_mail(a, false);
	} else if (a->rules->delay == ACCESS_AT_ONCE) {
		(void)access_check_rcpt(a, rcpt);
	} else {
		(void)access_check_mail(a, true);
		(void)access_check_delayed(a, rcpt);
	}
	map_view_plan_end(v);
}

void
access_maps_bind(
    struct access_maps_view *v, struct access *a, const struct access_addr *rcpt)
{
	a->lookup = access_maps_lookup;
	a->lookup_net = access_maps_lookup_net;
	a->lookup_arg = v;
	plan(v->view, a, rcpt);
}
