/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks keys up in several maps, in order.  What cannot be answered from memory is asked
 * at once and waited for; a plan collects such keys first, so that a whole envelope costs
 * a directory one question instead of one for each key. */
#include "db/map_set.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/map_shared.h"

#define KNOWN_MAX 4096 /* keys that a view keeps of a directory */
#define KNOWN_MANY 256 /* from here on a new plan begins with none: the cache has them */

struct source {
	enum map_kind kind;
	char *label; /* "ldap:NAME", as a hit's file */
	struct map *file;
	struct map_shared *shared;
	struct map_ldap *ldap;
};

struct map_set {
	struct source list[MAP_SET_MAX];
	size_t n;
};

/* What a view knows of a key in a directory. */
struct known {
	char *key; /* lower case */
	char *value; /* NULL: none */
	bool asked; /* false: wanted by the plan */
};

struct seen {
	struct map_table *table; /* file, shared; NULL: never read */
	struct known *known; /* directory */
	size_t n, cap;
	bool failed;
};

struct map_view {
	struct map_set *set;
	bool (*wait)(void *arg, struct future *f, int64_t deadline_ms);
	void *wait_arg;
	bool planning;
	struct seen seen[MAP_SET_MAX];
};

/* ---- opening ---- */

static bool
open_ldap(struct source *s, struct str name, const struct map_set_conf *conf,
    struct errs *errs)
{
	struct err err = { .text = "" };

	for (size_t i = 0; i < conf->n_ldaps && s->ldap == NULL; i++)
		if (str_is(name, conf->ldaps[i].name)) {
			s->ldap = map_ldap_open(&conf->ldaps[i], &err);
			if (s->ldap == NULL)
				errs_add(errs, NULL, 0, "%s", err.text);
			return s->ldap != NULL;
		}
	errs_add(errs, NULL, 0, "%s: expected a block ldap \"%.*s\" { ... }", s->label,
	    STR_ARG(name));
	return false;
}

static bool
source_open(struct source *s, const char *spec, const struct map_set_conf *conf,
    struct errs *errs)
{
	struct err err = { .text = "" };
	struct str name;

	s->label = xstrdup(spec);
	s->kind = map_spec_kind(str_of(spec), &name);
	if (s->kind == MAP_KIND_LDAP)
		return open_ldap(s, name, conf, errs);
	if (s->kind == MAP_KIND_SHARED) {
		if (conf->store == NULL)
			err_set(&err, "%s: no store for it", spec);
		else
			s->shared = map_shared_open(
			    name.p, &conf->shared_rules, conf->store, conf->store_arg, &err);
		if (s->shared == NULL)
			errs_add(errs, NULL, 0, "%s", err.text);
		return s->shared != NULL;
	}
	s->file = map_open_rules(spec, &conf->rules, errs);
	return s->file != NULL;
}

static bool
watch_files(const struct map_set *set, struct errs *errs)
{
	struct map *files[MAP_SET_MAX];
	struct err err;
	size_t n = 0;

	for (size_t i = 0; i < set->n; i++)
		if (set->list[i].kind == MAP_KIND_FILE)
			files[n++] = set->list[i].file;
	if (n == 0 || map_watch(files, n, &err) == 0)
		return true;
	errs_add(errs, NULL, 0, "%s", err.text);
	return false;
}

struct map_set *
map_set_open(const struct map_set_conf *conf, struct errs *errs)
{
	struct map_set *set = xcalloc(1, sizeof(*set));
	bool ok = true;

	if (conf->n > MAP_SET_MAX) {
		errs_add(errs, NULL, 0, "%zu maps, expected at most %d", conf->n,
		    MAP_SET_MAX);
		ok = false;
	}
	for (; set->n < conf->n && set->n < MAP_SET_MAX; set->n++)
		if (!source_open(&set->list[set->n], conf->specs[set->n], conf, errs))
			ok = false;
	if (ok && watch_files(set, errs))
		return set;
	map_set_close(set);
	return NULL;
}

void
map_set_refresh(struct map_set *set, struct errs *errs)
{
	for (size_t i = 0; i < set->n; i++)
		if (set->list[i].kind == MAP_KIND_FILE)
			(void)map_refresh(set->list[i].file, errs);
}

void
map_set_close(struct map_set *set)
{
	if (set == NULL)
		return;
	for (size_t i = 0; i < set->n; i++) {
		map_close(set->list[i].file);
		map_shared_close(set->list[i].shared);
		map_ldap_close(set->list[i].ldap);
		free(set->list[i].label);
	}
	free(set);
}

/* ---- a view ---- */

struct map_view *
map_view_new(struct map_set *set,
    bool (*wait)(void *arg, struct future *f, int64_t deadline_ms), void *arg)
{
	struct map_view *v = xcalloc(1, sizeof(*v));

	v->set = set;
	v->wait = wait;
	v->wait_arg = arg;
	for (size_t i = 0; i < set->n; i++) {
		if (set->list[i].kind == MAP_KIND_FILE)
			v->seen[i].table = map_table_ref(set->list[i].file);
		else if (set->list[i].kind == MAP_KIND_SHARED)
			v->seen[i].table = map_shared_ref(set->list[i].shared);
	}
	return v;
}

static void
known_forget(struct seen *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->known[i].key);
		free(s->known[i].value);
	}
	s->n = 0;
}

void
map_view_free(struct map_view *v)
{
	if (v == NULL)
		return;
	for (size_t i = 0; i < v->set->n; i++) {
		map_table_unref(v->seen[i].table);
		known_forget(&v->seen[i]);
		free(v->seen[i].known);
	}
	free(v);
}

static struct known *
known_of(const struct seen *s, struct str key)
{
	for (size_t i = 0; i < s->n; i++)
		if (str_is_nocase(key, s->known[i].key))
			return &s->known[i];
	return NULL;
}

static struct known *
known_add(struct seen *s, struct str key)
{
	if (s->n == s->cap) {
		s->cap = s->cap == 0 ? 32 : s->cap * 2;
		s->known = xreallocarray(s->known, s->cap, sizeof(*s->known));
	}
	s->known[s->n] = (struct known){ .key = str_dup_lower(key) };
	return &s->known[s->n++];
}

/* Ask for all that is wanted, and wait. */
static void
directory_fetch(struct map_view *v, size_t at)
{
	struct map_ldap *ldap = v->set->list[at].ldap;
	struct seen *s = &v->seen[at];
	struct str keys[MAP_LDAP_KEYS_MAX];
	struct known *wanted[MAP_LDAP_KEYS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < s->n && n < MAP_LDAP_KEYS_MAX; i++)
		if (!s->known[i].asked) {
			wanted[n] = &s->known[i];
			keys[n++] = str_of(s->known[i].key);
		}
	if (n == 0 || s->failed)
		return;
	struct future *f = map_ldap_ask(ldap, keys, n);
	bool came = v->wait(v->wait_arg, f, clock_mono_ms() + map_ldap_timeout_ms(ldap));
	struct map_ldap_answer *a = came ? future_value(f) : NULL;
	s->failed = a == NULL || a->failed;
	for (size_t i = 0; i < n && !s->failed; i++) {
		wanted[i]->asked = true;
		wanted[i]->value = a->pairs[i].value == NULL
		    ? NULL
		    : xstrdup(a->pairs[i].value);
	}
	future_unref(f);
}

static enum map_found
directory_get(struct map_view *v, size_t at, struct str key, struct map_hit *out)
{
	struct seen *s = &v->seen[at];
	struct known *k;
	char *value = NULL;

	if (key.len == 0 || key.len > MAP_KEY_MAX)
		return MAP_NONE;
	k = known_of(s, key);
	if (k == NULL) {
		enum map_ldap_known kept =
		    map_ldap_cached(v->set->list[at].ldap, key, &value);

		if (s->n >= KNOWN_MAX) { /* nobody's envelope has so many keys */
			free(value);
			return MAP_FAILED;
		}
		k = known_add(s, key);
		k->asked = kept != MAP_LDAP_UNKNOWN;
		k->value = value;
	}
	if (!k->asked && v->planning)
		return MAP_NONE;
	if (!k->asked) {
		directory_fetch(v, at);
		k = known_of(s, key);
	}
	if (k == NULL || !k->asked)
		return MAP_FAILED;
	if (k->value == NULL)
		return MAP_NONE;
	*out = (struct map_hit){ .value = str_of(k->value),
		.file = v->set->list[at].label };
	return MAP_FOUND;
}

static enum map_found
table_hit(const struct map_table *t, const struct map_entry *e, int64_t now,
    struct map_hit *out)
{
	if (e == NULL || (e->expires != 0 && now >= e->expires))
		return MAP_NONE;
	*out = (struct map_hit){ .value = e->value,
		.note = e->note,
		.file = map_path(t),
		.line = e->line };
	return MAP_FOUND;
}

enum map_found
map_view_get(struct map_view *v, struct str key, int64_t now, struct map_hit *out)
{
	for (size_t i = 0; i < v->set->n; i++) {
		const struct map_table *t = v->seen[i].table;
		enum map_found found = v->set->list[i].kind == MAP_KIND_LDAP
		    ? directory_get(v, i, key, out)
		    : t == NULL ? MAP_FAILED
				: table_hit(t, map_get(t, key), now, out);

		if (found != MAP_NONE)
			return found;
	}
	return MAP_NONE;
}

enum map_found
map_view_get_net(struct map_view *v, struct str tag, const struct ip *ip, unsigned bits,
    int64_t now, struct map_hit *out)
{
	for (size_t i = 0; i < v->set->n; i++) {
		const struct map_table *t = v->seen[i].table;

		if (v->set->list[i].kind == MAP_KIND_LDAP)
			continue;
		enum map_found found = t == NULL
		    ? MAP_FAILED
		    : table_hit(t, map_get_net(t, tag, ip, bits), now, out);
		if (found != MAP_NONE)
			return found;
	}
	return MAP_NONE;
}

/* ---- plans ---- */

bool
map_view_plan_begin(struct map_view *v)
{
	v->planning = false;
	for (size_t i = 0; i < v->set->n; i++) {
		if (v->set->list[i].kind != MAP_KIND_LDAP)
			continue;
		v->planning = true;
		if (v->seen[i].n > KNOWN_MANY)
			known_forget(&v->seen[i]);
	}
	return v->planning;
}

void
map_view_plan_end(struct map_view *v)
{
	v->planning = false;
	for (size_t i = 0; i < v->set->n; i++)
		if (v->set->list[i].kind == MAP_KIND_LDAP)
			directory_fetch(v, i);
}

void
map_view_forget_failures(struct map_view *v)
{
	for (size_t i = 0; i < v->set->n; i++)
		v->seen[i].failed = false;
}
