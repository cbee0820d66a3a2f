/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the text of a map as makemap(8) does: key up to the first blank, folded to
 * lower case; value from the next octet that is no blank to the end of the line,
 * whatever stands in it; lines that are empty or begin with '#' say nothing; there is
 * no continuation.  What makemap complains of (a leading blank, a key without value)
 * refuses the whole text; of a key that stands twice the first stays, and the second is
 * counted. Lookups go through a hash seeded anew for each table. */
#include "db/map.h"
#include "db/map_private.h"

#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"

/* isspace() of the C locale without LF, which ends lines. */
static bool
map_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r' && c != '\n');
}

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

/* false: *e says nothing (empty, comment), or errs grew. */
static bool
map_line(
    struct map_entry *e, char *line, size_t len, const char *path, struct errs *errs)
{
	size_t key = 0;

	if (len > 0 && line[len - 1] == '\r') /* saved on a system that ends lines so */
		len--;
	if (len == 0 || line[0] == '#')
		return false;
	if (memchr(line, '\0', len) != NULL) {
		errs_add(errs, path, e->line, "NUL octet in line, expected text");
		return false;
	}
	while (key < len && !map_blank(line[key]))
		key++;
	size_t value = key;
	while (value < len && map_blank(line[value]))
		value++;
	if (key == 0 && value == len)
		return false;
	if (key == 0) {
		errs_add(
		    errs, path, e->line, "line begins with a blank, expected a key");
		return false;
	}
	if (key > MAP_KEY_MAX) {
		errs_add(errs, path, e->line, "key of %zu octets, expected at most %d",
		    key, MAP_KEY_MAX);
		return false;
	}
	if (value == len) {
		errs_add(errs, path, e->line,
		    "key \"%.*s\" without value, expected "
		    "\"key value\"",
		    (int)(key < 200 ? key : 200), line);
		return false;
	}
	for (size_t i = 0; i < key; i++)
		line[i] = ascii_lower(line[i]);
	e->key = (struct str){ line, key };
	e->value = (struct str){ line + value, len - value };
	return true;
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

/* All lines into entries. */
static void
map_lines(struct map_table *t, size_t len, map_check *check, struct errs *errs)
{
	char *p = t->text, *end = t->text + len;
	struct map_entry e = { .line = 0 };

	while (p < end && errs->dropped == 0) {
		char *lf = memchr(p, '\n', (size_t)(end - p));
		char *stop = lf != NULL ? lf : end;

		e.line++;
		if ((size_t)(stop - p) > MAP_LINE_MAX)
			errs_add(errs, t->path, e.line,
			    "line of %zu octets, expected at most %d",
			    (size_t)(stop - p), MAP_LINE_MAX);
		else if (map_line(&e, p, (size_t)(stop - p), t->path, errs) &&
		    (check == NULL || check(&e, t->path, errs)))
			map_append(t, &e);
		if (t->n > MAP_ENTRIES_MAX) {
			errs_add(errs, t->path, e.line, "more than %d entries",
			    MAP_ENTRIES_MAX);
			return;
		}
		p = stop + 1;
	}
}

static uint64_t
map_seed(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		seed = (uint64_t)clock_mono_us();
	return seed;
}

/* Build the hash and drop what a former line holds already. */
static void
map_index(struct map_table *t)
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
map_parse(
    const char *path, char *text_take, size_t len, map_check *check, struct errs *errs)
{
	struct map_table *t = xcalloc(1, sizeof(*t));
	size_t before = errs->n;

	atomic_init(&t->refs, 1);
	t->path = xstrdup(path);
	t->text = text_take;
	map_lines(t, len, check, errs);
	if (errs->n > before) {
		map_table_unref(t);
		return NULL;
	}
	map_index(t);
	return t;
}

void
map_table_unref(struct map_table *t)
{
	if (t == NULL || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
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
	return t->n;
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
