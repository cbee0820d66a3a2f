/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the .db files that makemap(8) makes: Berkeley DB's hash and btree formats,
 * versions 5 to 10, straight from their pages.  Every page that holds keys and data says
 * so in its header, so all pairs are found by one walk over the pages, without hashing,
 * descending or locks, and a damaged file is an error instead of a crash in a library.
 * Not read: files of another byte order, encrypted ones, and keys with several values,
 * which makemap does not make. */
#include "db/map.h"
#include "db/map_private.h"

#include <stdlib.h>

#include "common/base/xalloc.h"

/* Offsets in the metadata page, the first of the file. */
#define META_MAGIC 12
#define META_PAGESIZE 20
#define META_ENCRYPTED 24
#define META_LAST 32 /* number of the last page */
#define META_MIN 72
#define MAGIC_HASH 0x061561u
#define MAGIC_BTREE 0x053162u

/* Offsets in every page. */
#define PAGE_NEXT 16
#define PAGE_ENTRIES 20
#define PAGE_USED 22 /* of an overflow page: octets of data */
#define PAGE_TYPE 25
#define PAGE_HEAD 26 /* here the table of 16-bit offsets begins, or overflow data */

enum page_type {
	PAGE_HASH_UNSORTED = 2,
	PAGE_BTREE_LEAF = 5,
	PAGE_OVERFLOW = 7,
	PAGE_HASH = 13,
};

/* First octet of an item on a hash page; in a leaf the third one, there with the top bit
 * set when it is deleted. */
enum item_type { HASH_INLINE = 1, HASH_OVERFLOW = 3, LEAF_INLINE = 1, LEAF_OVERFLOW = 3 };
#define LEAF_DELETED 0x80

struct db {
	const unsigned char *p;
	size_t len, page_size;
	size_t overflow; /* octets of items on pages of their own: no page serves two */
	struct map_table *t;
	const char *path;
	struct errs *errs;
};

static unsigned
get16(const unsigned char *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static uint32_t
get32(const unsigned char *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static bool
db_fault(struct db *d, const char *what, size_t page)
{
	errs_add(d->errs, d->path, 0, "page %zu: %s", page, what);
	return false;
}

/* What does not fit a page lies on a chain of others. */
static bool
db_overflow(struct db *d, size_t page, uint32_t next, uint32_t len, struct str *out)
{
	size_t got = 0;

	if (len == 0 || len > MAP_LINE_MAX)
		return db_fault(d, "item longer than a line may be", page);
	d->overflow += len;
	if (d->overflow > d->len)
		return db_fault(d, "overflow page of several items", page);
	char *octets = xmalloc(len);
	map_table_own(d->t, octets);
	while (got < len) {
		if (next == 0 || next >= d->len / d->page_size)
			return db_fault(d, "overflow page outside the file", page);
		const unsigned char *p = d->p + next * d->page_size;
		size_t part = get16(p + PAGE_USED);

		if (p[PAGE_TYPE] != PAGE_OVERFLOW || part == 0 || part > len - got ||
		    part > d->page_size - PAGE_HEAD)
			return db_fault(d, "damaged overflow page", next);
		memcpy(octets + got, p + PAGE_HEAD, part);
		got += part;
		next = get32(p + PAGE_NEXT);
	}
	*out = (struct str){ octets, len };
	return true;
}

/* An item of a hash page reaches to the one before it, or to the end of the page. */
static bool
hash_item(struct db *d, size_t page, size_t i, struct str *out)
{
	const unsigned char *p = d->p + page * d->page_size;
	size_t at = get16(p + PAGE_HEAD + 2 * i);
	size_t end = i == 0 ? d->page_size : get16(p + PAGE_HEAD + 2 * (i - 1));

	if (at < PAGE_HEAD || at >= end || end > d->page_size)
		return db_fault(d, "damaged table of items", page);
	if (p[at] == HASH_INLINE) {
		*out = (struct str){ (const char *)p + at + 1, end - at - 1 };
		return true;
	}
	if (p[at] != HASH_OVERFLOW || end - at < 12)
		return db_fault(d, "key with several values, or damaged item", page);
	return db_overflow(d, page, get32(p + at + 4), get32(p + at + 8), out);
}

/* An item of a leaf: length, type, octets.  *gone: it was deleted. */
static bool
leaf_item(struct db *d, size_t page, size_t i, struct str *out, bool *gone)
{
	const unsigned char *p = d->p + page * d->page_size;
	size_t at = get16(p + PAGE_HEAD + 2 * i);

	if (at < PAGE_HEAD || at + 3 > d->page_size)
		return db_fault(d, "damaged table of items", page);
	size_t len = get16(p + at);
	*gone = (p[at + 2] & LEAF_DELETED) != 0;
	switch (p[at + 2] & ~LEAF_DELETED) {
	case LEAF_INLINE:
		if (len > d->page_size - at - 3)
			return db_fault(d, "item beyond its page", page);
		*out = (struct str){ (const char *)p + at + 3, len };
		return true;
	case LEAF_OVERFLOW:
		if (d->page_size - at < 12)
			return db_fault(d, "item beyond its page", page);
		if (*gone)
			return true;
		return db_overflow(d, page, get32(p + at + 4), get32(p + at + 8), out);
	}
	return db_fault(d, "key with several values, or damaged item", page);
}

/* makemap -N and postmap store a NUL behind key and value. */
static struct str
without_nul(struct str s)
{
	if (s.len > 0 && s.p[s.len - 1] == '\0')
		s.len--;
	return s;
}

/* Keys stay as they are: a lookup folds, so that one with capitals is never found, as
 * in sendmail. */
static void
db_pair(struct db *d, struct str key, struct str value, const struct map_rules *rules)
{
	struct map_entry e = { .key = without_nul(key), .value = without_nul(value) };

	if (e.key.len == 0 || e.key.len > MAP_KEY_MAX)
		errs_add(d->errs, d->path, 0, "key of %zu octets, expected 1 to %d",
		    e.key.len, MAP_KEY_MAX);
	else if (memchr(e.value.p, '\0', e.value.len) != NULL)
		errs_add(d->errs, d->path, 0, "%.*s: NUL octet in value, expected text",
		    STR_ARG(e.key));
	else
		map_table_add(d->t, &e, rules, d->errs);
}

/* All pairs of one page. */
static bool
db_page(struct db *d, size_t page, const struct map_rules *rules)
{
	const unsigned char *p = d->p + page * d->page_size;
	bool leaf = p[PAGE_TYPE] == PAGE_BTREE_LEAF;
	size_t n = get16(p + PAGE_ENTRIES);

	if (!leaf && p[PAGE_TYPE] != PAGE_HASH && p[PAGE_TYPE] != PAGE_HASH_UNSORTED)
		return true;
	if (n % 2 != 0 || PAGE_HEAD + 2 * n > d->page_size)
		return db_fault(d, "damaged count of items", page);
	for (size_t i = 0; i < n; i += 2) {
		struct str key = { NULL, 0 }, value = { NULL, 0 };
		bool key_gone = false, gone = false;

		if (leaf ? !leaf_item(d, page, i, &key, &key_gone) ||
				!leaf_item(d, page, i + 1, &value, &gone)
			 : !hash_item(d, page, i, &key) ||
				!hash_item(d, page, i + 1, &value))
			return false;
		if (!gone && !key_gone)
			db_pair(d, key, value, rules);
	}
	return d->errs->dropped == 0;
}

static bool
db_meta(struct db *d)
{
	uint32_t magic, page;

	if (d->len < META_MIN)
		return db_fault(d, "too short for a .db file", 0);
	magic = get32(d->p + META_MAGIC);
	page = get32(d->p + META_PAGESIZE);
	if (magic == __builtin_bswap32(MAGIC_HASH) ||
	    magic == __builtin_bswap32(MAGIC_BTREE))
		return db_fault(d, "made on a machine of another byte order", 0);
	if (magic != MAGIC_HASH && magic != MAGIC_BTREE)
		return db_fault(
		    d, "no .db file of type hash or btree, expected makemap's output", 0);
	if (d->p[META_ENCRYPTED] != 0)
		return db_fault(d, "encrypted", 0);
	if (page < 512 || page > 65536 || (page & (page - 1)) != 0 ||
	    d->len % page != 0 || d->len / page <= get32(d->p + META_LAST))
		return db_fault(d, "half a file, or a damaged one", 0);
	d->page_size = page;
	return true;
}

struct map_table *
map_db_parse(const char *path, char *octets_take, size_t len,
    const struct map_rules *rules, struct errs *errs)
{
	struct db d = { .p = (const unsigned char *)octets_take,
		.len = len,
		.t = map_table_new(path, octets_take),
		.path = path,
		.errs = errs };
	size_t before = errs->n;
	bool ok = db_meta(&d);

	for (size_t page = 1; ok && page < len / d.page_size; page++) {
		ok = db_page(&d, page, rules);
		if (ok && d.t->n + d.t->n_nets > MAP_ENTRIES_MAX)
			ok = db_fault(&d, "too many entries", page);
	}
	return map_table_done(d.t, ok && errs->n == before, errs);
}
