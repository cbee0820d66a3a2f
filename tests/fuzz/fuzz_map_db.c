/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as makemap's output, with networks as keys: refused with a reason, or a
 * table in which every entry is found, by its key or by its network. */
#include <stdint.h>
#include <stdlib.h>

#include "common/base/xalloc.h"
#include "db/map_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* makemap -f keeps capitals; lookups, like sendmail's, then do not find the key. */
static bool
is_folded(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] != ascii_lower(s.p[i]))
			return false;
	return true;
}

static void
look_up(const struct map_table *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (is_folded(t->entries[i].key) &&
		    map_get(t, t->entries[i].key) != &t->entries[i])
			abort();
	for (size_t i = 0; i < t->n_nets; i++)
		if (is_folded(t->nets[i].tag) &&
		    map_get_net(t, t->nets[i].tag, &t->nets[i].net.ip,
			t->nets[i].net.prefix) == NULL)
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct map_rules rules = { .extensions = true };
	struct errs errs = { 0 };
	struct map_table *t = map_db_parse(
	    "fuzz", xmemdup0(data, size), size, &rules, &errs);

	if ((t == NULL) != (errs.n > 0))
		abort();
	if (t != NULL)
		look_up(t);
	map_table_unref(t);
	errs_clear(&errs);
	return 0;
}
