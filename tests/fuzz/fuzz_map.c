/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as the text of a map, without and with our extensions: refused with a reason, or a table in which every
 * entry is found by its key. */
#include <stdint.h>
#include <stdlib.h>

#include "common/base/xalloc.h"
#include "db/map_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
read_text(const uint8_t *data, size_t size, const struct map_rules *rules)
{
	struct errs errs = { 0 };
	char *text = xmalloc(size > 0 ? size : 1);

	if (size > 0)
		memcpy(text, data, size);
	struct map_table *t = map_parse("fuzz", text, size, rules, &errs);
	if ((t == NULL) != (errs.n > 0))
		abort();
	for (size_t i = 0; t != NULL && i < t->n; i++) {
		const struct map_entry *e = map_get(t, t->entries[i].key);

		if (e != &t->entries[i] || e->value.len == 0)
			abort();
	}
	for (size_t i = 0; t != NULL && i < t->n_nets; i++)
		if (map_get_net(t, t->nets[i].tag, &t->nets[i].net.ip,
			t->nets[i].net.prefix) != &t->nets[i].entry)
			abort();
	map_table_unref(t);
	errs_clear(&errs);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct map_rules extended = { .extensions = true };

	read_text(data, size, NULL);
	read_text(data, size, &extended);
	return 0;
}
