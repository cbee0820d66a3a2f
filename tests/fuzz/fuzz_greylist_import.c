/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as what another greylist wrote out.  The first one says which form; what is
 * taken as an entry is written to our table and read back the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "contrib/ctl/greylist_import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct settings_greylist set = { .delay = 300,
	.window = 172800,
	.keep = 3024000,
	.auto_whitelist = 5,
	.whitelist_keep = 3024000,
	.prefix4 = 24,
	.prefix6 = 64,
	.block = 3600 };

static void
there_and_back(const struct store_entry *e)
{
	struct greylist_entry again;
	struct buf row, second;
	struct err err;

	buf_init(&row, 16384);
	buf_init(&second, 16384);
	if (!greylist_table_row(&row, e) || row.failed || row.p[row.len - 1] != '\n')
		abort();
	if (e->expires < 0 || e->expires > INT64_MAX / 4 ||
	    (e->kind == STORE_TRIPLE && e->triple.first < 0) ||
	    (e->kind == STORE_CLIENT && e->person.last < 0) ||
	    (e->kind == STORE_EVENT && e->sum.last < 0))
		goto out; /* times before 1970 are not written in a way that is read */
	if (greylist_table_read(str_sub(buf_str(&row), 0, row.len - 1), &again, &err) != 0 ||
	    !greylist_table_row(&second, &again.entry) ||
	    !str_eq(buf_str(&row), buf_str(&second)))
		abort();
out:
	buf_clear(&second);
	buf_clear(&row);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct import import;
	struct greylist_entry e;
	struct err err;

	if (size == 0)
		return 0;
	struct str all = { (const char *)data + 1, size - 1 }, line;
	import_init(&import, (enum import_format)(data[0] % IMPORT_FORMATS), &set,
	    1800000000);
	while (all.len > 0 && str_cut(&all, '\n', &line)) {
		if (import_line(&import, line, &e, &err) != IMPORT_ENTRY)
			continue;
		if (e.entry.client.len > GREYLIST_CLIENT_MAX ||
		    e.entry.key.len > GREYLIST_KEY_MAX || e.entry.cut ||
		    e.entry.expires < 1800000000)
			abort();
		there_and_back(&e.entry);
	}
	(void)import_complete(&import, &err);
	return 0;
}
