/* SPDX-License-Identifier: BSD-2-Clause */
/* The octets of store_rows.h.  A log is read as foreign: another version of ours may
 * have written it. */
#include "db/store_rows.h"

#include <assert.h>

#include "db/store_record.h"

int
rows_add(struct buf *rows, struct str part)
{
	int rc = buf_add_u32(rows, (unsigned long)part.len);

	return rc == 0 ? buf_add_str(rows, part) : rc;
}

bool
rows_part(struct str *rows, struct str *part)
{
	const uint8_t *p = (const uint8_t *)rows->p;

	if (rows->len < 4)
		return false;
	size_t len = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
	if (len > rows->len - 4)
		return false;
	*part = str_sub(*rows, 4, 4 + len);
	*rows = str_sub(*rows, 4 + len, rows->len);
	return true;
}

static size_t
part_write(struct str s, char *out, size_t at, uint8_t *len)
{
	len[0] = (uint8_t)(s.len >> 8);
	len[1] = (uint8_t)s.len;
	if (s.len > 0)
		memcpy(out + at, s.p, s.len);
	return at + s.len;
}

size_t
rows_change_write(const struct map_change *change, char *out)
{
	uint8_t *head = (uint8_t *)out;
	size_t at = ROWS_CHANGE_HEAD;

	assert(change->who.len <= STORE_MAP_WHO_MAX &&
	    change->key.len <= STORE_MAP_KEY_MAX &&
	    change->value.len <= STORE_MAP_VALUE_MAX);
	head[0] = 1;
	head[1] = change->removed;
	be64_put(head + 2, change->when);
	at = part_write(change->who, out, at, head + 10);
	at = part_write(change->key, out, at, head + 12);
	return part_write(change->value, out, at, head + 14);
}

bool
rows_change_read(struct str in, struct map_change *out)
{
	const uint8_t *p = (const uint8_t *)in.p;
	struct str *parts[] = { &out->who, &out->key, &out->value };
	size_t at = ROWS_CHANGE_HEAD;

	if (in.len < ROWS_CHANGE_HEAD || p[0] != 1 || p[1] > 1)
		return false;
	out->removed = p[1] == 1;
	out->when = be64_get(p + 2);
	for (size_t i = 0; i < 3; i++) {
		size_t len = (size_t)p[10 + 2 * i] << 8 | p[11 + 2 * i];

		if (len > in.len - at)
			return false;
		*parts[i] = str_sub(in, at, at + len);
		at += len;
	}
	return at == in.len;
}
