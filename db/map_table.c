/* SPDX-License-Identifier: BSD-2-Clause */
/* The table that readers of maps fill: exact keys in a hash that is seeded anew for each
 * table, keys that are networks sorted, so that each length costs one binary search.  Of
 * a key that stands twice the first stays, and the second is counted. */
#include "db/map.h"
#include "db/map_private.h"

#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"

/* Slot of key, or the free slot where it belongs.  At most half of the slots are in
 * use, so a free one is always met. */
static size_t
map_slot(const struct map_table *t, struct str key)
{
	size_t at = (size_t)XXH3_64bits_withSeed(key.p, key.len, t->seed) & t->mask;

	while (t->slots[at] != 0 && !str_eq(t->entries[t->slots[at] - 1].key, key))
		at = (at + 1) & t->mask;
	return at;
}

static void
map_append(struct map_table *t, const struct map_entry *e)
{
	if (t->n == t->cap) {
		t->cap = t->cap == 0 ? 64 : t->cap * 2;
		t->entries = xreallocarray(t->entries, t->cap, sizeof(*t->entries));
	}
	t->entries[t->n++] = *e;
}

/* ---- networks ---- */

int
map_net_parse(struct str key, struct str *tag, struct ipnet *net, struct err *err)
{
	ptrdiff_t slash = str_rindex(key, '/'), colon = str_index(key, ':');
	struct str bare = str_sub(key, 0, slash < 0 ? 0 : (size_t)slash);
	uint64_t bits;
	struct ip ip;

	if (slash <= 0 ||
	    !str_to_uint(str_sub(key, (size_t)slash + 1, key.len), 0, 999, &bits))
		return 0;
	*tag = str_sub(key, 0, 0);
	if (!ip_parse(bare, &ip)) {
		if (colon < 0 ||
		    !ip_parse(str_sub(bare, (size_t)colon + 1, bare.len), &ip))
			return 0;
		*tag = str_sub(key, 0, (size_t)colon + 1);
	}
	if (bits > (ip.family == AF_INET ? 32 : 128))
		return err_set(err, "network of %u bits, expected at most %d",
		    (unsigned)bits, ip.family == AF_INET ? 32 : 128);
	*net = ip_mask(&ip, (unsigned)bits);
	if (!ip_eq(&net->ip, &ip))
		return err_set(err,
		    "network with bits behind its length, expected zeros there");
	return 1;
}

static int
map_net_order(const void *a, const void *b)
{
	const struct map_net *x = a, *y = b;

	if (x->net.ip.family != y->net.ip.family)
		return x->net.ip.family < y->net.ip.family ? -1 : 1;
	if (x->net.prefix != y->net.prefix)
		return x->net.prefix < y->net.prefix ? -1 : 1;
	int d = memcmp(x->net.ip.b, y->net.ip.b, sizeof(x->net.ip.b));
	return d != 0 ? d : str_cmp(x->tag, y->tag);
}

/* By line where the keys are the same, so that the first stays. */
static int
map_net_sort(const void *a, const void *b)
{
	const struct map_net *x = a, *y = b;
	int d = map_net_order(a, b);

	return d != 0 ? d : (x->entry.line > y->entry.line) - (x->entry.line < y->entry.line);
}

static void
add_net(struct map_table *t, const struct map_net *net)
{
	if (t->n_nets == t->nets_cap) {
		t->nets_cap = t->nets_cap == 0 ? 16 : t->nets_cap * 2;
		t->nets = xreallocarray(t->nets, t->nets_cap, sizeof(*t->nets));
	}
	t->nets[t->n_nets++] = *net;
}

static void
index_nets(struct map_table *t)
{
	size_t kept = 0;

	if (t->n_nets == 0)
		return;
	qsort(t->nets, t->n_nets, sizeof(*t->nets), map_net_sort);
	for (size_t i = 0; i < t->n_nets; i++) {
		const struct map_net *x = &t->nets[i];

		if (kept > 0 && map_net_order(&t->nets[kept - 1], x) == 0) {
			if (t->duplicates++ == 0)
				t->duplicate_line = x->entry.line;
			continue;
		}
		*(x->net.ip.family == AF_INET ? &t->net4[x->net.prefix]
					      : &t->net6[x->net.prefix]) = true;
		t->nets[kept++] = *x;
	}
	t->n_nets = kept;
}

bool
map_has_nets(const struct map_table *t, int family, unsigned bits)
{
	if (family == AF_INET)
		return bits <= 32 && t->net4[bits];
	return family == AF_INET6 && bits <= 128 && t->net6[bits];
}

const struct map_entry *
map_get_net(
    const struct map_table *t, struct str tag, const struct ip *ip, unsigned bits)
{
	char folded[MAP_KEY_MAX];

	if (!map_has_nets(t, ip->family, bits) || tag.len > sizeof(folded))
		return NULL;
	for (size_t i = 0; i < tag.len; i++)
		folded[i] = ascii_lower(tag.p[i]);
	const struct map_net want = { .tag = { folded, tag.len },
		.net = ip_mask(ip, bits) };
	const struct map_net *found =
	    bsearch(&want, t->nets, t->n_nets, sizeof(*t->nets), map_net_order);
	return found != NULL ? &found->entry : NULL;
}

/* ---- the making ---- */

struct map_table *
map_table_new(const char *path, char *text_take)
{
	struct map_table *t = xcalloc(1, sizeof(*t));

	atomic_init(&t->refs, 1);
	t->path = xstrdup(path);
	t->text = text_take;
	return t;
}

void
map_table_own(struct map_table *t, char *octets_take)
{
	if (t->n_owned == t->owned_cap) {
		t->owned_cap = t->owned_cap == 0 ? 16 : t->owned_cap * 2;
		t->owned = xreallocarray(t->owned, t->owned_cap, sizeof(*t->owned));
	}
	t->owned[t->n_owned++] = octets_take;
}

void
map_table_add(struct map_table *t, const struct map_entry *e,
    const struct map_rules *rules, struct errs *errs)
{
	static const struct map_rules none;
	struct map_net net = { .entry = *e };
	struct err err;
	int is_net = 0;

	if (rules == NULL)
		rules = &none;
	if (rules->sift != NULL && !rules->sift(e, t->path, &t->refused, &t->said))
		return;
	if (rules->check != NULL && !rules->check(e, t->path, errs))
		return;
	if (rules->extensions)
		is_net = map_net_parse(e->key, &net.tag, &net.net, &err);
	if (is_net < 0)
		errs_add(errs, t->path, e->line, "%.*s: %s", STR_ARG(e->key), err.text);
	else if (is_net > 0)
		add_net(t, &net);
	else
		map_append(t, e);
}

static uint64_t
map_seed(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		seed = (uint64_t)clock_mono_us();
	return seed;
}

/* Drop what a former line holds already. */
static void
index_keys(struct map_table *t)
{
	size_t size = 16, kept = 0;

	while (size < t->n * 2)
		size *= 2;
	t->mask = size - 1;
	t->slots = xcalloc(size, sizeof(*t->slots));
	t->seed = map_seed();
	for (size_t i = 0; i < t->n; i++) {
		size_t at = map_slot(t, t->entries[i].key);

		if (t->slots[at] != 0) {
			if (t->duplicates++ == 0)
				t->duplicate_line = t->entries[i].line;
			continue;
		}
		t->entries[kept++] = t->entries[i];
		t->slots[at] = (uint32_t)kept;
	}
	t->n = kept;
}

struct map_table *
map_table_done(struct map_table *t, bool good, struct errs *errs)
{
	if (good) {
		index_keys(t);
		index_nets(t);
		return t;
	}
	for (size_t i = 0; i < t->refused.n; i++)
		errs_add(errs, t->refused.list[i].file, t->refused.list[i].line, "%s",
		    t->refused.list[i].text);
	map_table_unref(t);
	return NULL;
}

void
map_table_unref(struct map_table *t)
{
	if (t == NULL || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	for (size_t i = 0; i < t->n_owned; i++)
		free(t->owned[i]);
	free(t->owned);
	errs_clear(&t->refused);
	errs_clear(&t->said);
	free(t->nets);
	free(t->slots);
	free(t->entries);
	free(t->text);
	free(t->path);
	free(t);
}

const struct map_entry *
map_get(const struct map_table *t, struct str key)
{
	char folded[MAP_KEY_MAX];

	if (key.len == 0 || key.len > sizeof(folded))
		return NULL;
	for (size_t i = 0; i < key.len; i++)
		folded[i] = ascii_lower(key.p[i]);
	size_t at = map_slot(t, (struct str){ folded, key.len });
	return t->slots[at] == 0 ? NULL : &t->entries[t->slots[at] - 1];
}

size_t
map_count(const struct map_table *t)
{
	return t->n + t->n_nets;
}

size_t
map_duplicates(const struct map_table *t, int *first_line)
{
	*first_line = t->duplicate_line;
	return t->duplicates;
}

const char *
map_path(const struct map_table *t)
{
	return t->path;
}

void
map_each(const struct map_table *t, bool (*each)(void *arg, const struct map_entry *e),
    void *arg)
{
	for (size_t i = 0; i < t->n; i++)
		if (!each(arg, &t->entries[i]))
			return;
	for (size_t i = 0; i < t->n_nets; i++)
		if (!each(arg, &t->nets[i].entry))
			return;
}

const struct errs *
map_refused(const struct map_table *t)
{
	return &t->refused;
}

const struct errs *
map_said(const struct map_table *t)
{
	return &t->said;
}

void
map_log_loaded(const struct map_table *t)
{
	struct logline l;

	logline_init(
	    &l, t->duplicates > 0 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "map_loaded");
	logline_cstr(&l, "file", t->path);
	logline_int(&l, "entries", (int64_t)map_count(t));
	if (t->duplicates > 0) {
		logline_int(&l, "duplicates", (int64_t)t->duplicates);
		logline_int(&l, "first_duplicate_line", t->duplicate_line);
	}
	if (t->refused.n > 0)
		logline_int(
		    &l, "refused", (int64_t)(t->refused.n + t->refused.dropped));
	logline_send(&l);
	for (size_t i = 0; i < t->refused.n; i++)
		log_err("map_line_refused", &t->refused.list[i]);
	for (size_t i = 0; i < t->said.n; i++)
		log_msg(LOG_LEVEL_INFO, "map_line_left", "%s:%d: %s",
		    t->said.list[i].file, t->said.list[i].line, t->said.list[i].text);
}
