/* SPDX-License-Identifier: BSD-2-Clause */
/* Settings tables: which names a section knows, defaults, duplicates, hints.  Values
 * themselves are conf_value.c's, the grammar is conf_tree.c's. */
#include "common/base/conf.h"

#include <assert.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/conf_value.h"
#include "common/base/xalloc.h"

#define NEAREST_MAX 64 /* octets of a name that a hint is looked for */
#define NEAREST_EDITS 2

static void *
field_of(const struct conf_setting *setting, void *out)
{
	return (char *)out + setting->offset;
}

static const struct conf_setting *
find(const struct conf_table *table, struct str name, bool block)
{
	for (size_t i = 0; i < table->n; i++)
		if (table->settings[i].block == block &&
		    str_is(name, table->settings[i].name))
			return &table->settings[i];
	return NULL;
}

const struct conf_setting *
conf_find(const struct conf_table *table, struct str name)
{
	return find(table, name, false);
}

const struct conf_setting *
conf_find_block(const struct conf_table *table, struct str name)
{
	return find(table, name, true);
}

size_t
conf_field_size(const struct conf_setting *setting)
{
	return conf_value_size(setting);
}

void
conf_print(const struct conf_setting *setting, const void *from, struct buf *out)
{
	conf_value_print(setting, (const char *)from + setting->offset, out);
}

void
conf_clear(const struct conf_table *table, void *out)
{
	for (size_t i = 0; i < table->n; i++)
		conf_value_clear(
		    &table->settings[i], field_of(&table->settings[i], out));
	memset(out, 0, table->size);
}

/* Defaults are written as in a file and go the same way as a file. */
void
conf_defaults(const struct conf_table *table, void *out)
{
	struct errs errs = { 0 };
	struct buf text;

	memset(out, 0, table->size);
	buf_init(&text, CONF_FILE_MAX);
	for (size_t i = 0; i < table->n; i++) {
		const struct conf_setting *s = &table->settings[i];

		if (s->def != NULL)
			buf_addf(&text, "%s %s;\n", s->name, s->def);
		else if (s->type == CONF_STRING)
			*(char **)field_of(s, out) = xstrdup("");
	}
	struct conf_tree *tree = conf_parse_text(buf_str(&text), NULL, &errs);
	/* a default that breaks its own row is our mistake, which the tests of every
	 * table show */
	assert(tree != NULL);
	for (const struct conf_node *n = conf_root(tree); n != NULL; n = n->next) {
		const struct conf_setting *s = find(table, n->name.text, n->block);
		bool good = s != NULL && conf_set(s, n, out, &errs);

		assert(good);
		(void)good;
	}
	conf_free(tree);
	buf_clear(&text);
	errs_clear(&errs);
}

bool
conf_set(const struct conf_setting *setting, const struct conf_node *node, void *out,
    struct errs *errs)
{
	void *field = field_of(setting, out);

	if (conf_value_adds(setting) || setting->type == CONF_CUSTOM)
		conf_value_clear(setting, field);
	return conf_value_parse(setting, node, field, errs);
}

/* Edit distance with swapped neighbours as one edit; more than the limit is limit + 1.
 */
static unsigned
distance(struct str a, struct str b)
{
	unsigned rows[3][NEAREST_MAX + 1];
	unsigned *before = rows[0], *last = rows[1], *row = rows[2];

	if (a.len > NEAREST_MAX || b.len > NEAREST_MAX ||
	    (a.len > b.len ? a.len - b.len : b.len - a.len) > NEAREST_EDITS)
		return NEAREST_EDITS + 1;
	for (size_t j = 0; j <= b.len; j++)
		last[j] = (unsigned)j;
	for (size_t i = 1; i <= a.len; i++) {
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b.len; j++) {
			char x = ascii_lower(a.p[i - 1]), y = ascii_lower(b.p[j - 1]);
			unsigned best = last[j - 1] + (x != y);

			best = last[j] + 1 < best ? last[j] + 1 : best;
			best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
			if (i > 1 && j > 1 && x == ascii_lower(b.p[j - 2]) &&
			    y == ascii_lower(a.p[i - 2]) && before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		unsigned *spare = before;
		before = last;
		last = row;
		row = spare;
	}
	return last[b.len];
}

const char *
conf_nearest(struct str word, const char *const *names, size_t n)
{
	const char *best = NULL;
	unsigned least = NEAREST_EDITS + 1;

	for (size_t i = 0; i < n; i++) {
		struct str name = str_of(names[i]);
		unsigned d = distance(word, name);

		/* a name that keeps nothing of the word is no hint */
		if (d < least && d < word.len && d < name.len) {
			least = d;
			best = names[i];
		}
	}
	return best;
}

void
conf_unknown(const struct conf_word *word, const char *what, const char *const *names,
    size_t n, struct errs *errs)
{
	int len = (int)(word->text.len < 80 ? word->text.len : 80);

	if (errs->n ==
	    ERRS_MAX) { /* counted, not read: a hint costs more than a line */
		errs->dropped++;
		return;
	}
	const char *hint = conf_nearest(word->text, names, n);
	if (hint != NULL)
		errs_add(errs, word->file, word->line,
		    "\"%.*s\" is no %s: did you mean \"%s\"?", len, word->text.p, what,
		    hint);
	else
		errs_add(errs, word->file, word->line,
		    "\"%.*s\" is no %s: expected one of those in postern.conf(5)", len,
		    word->text.p, what);
}

static void
unknown(const struct conf_table *table, const struct conf_node *node, struct errs *errs)
{
	const char **names = xcalloc(table->n, sizeof(*names));
	char *what = xasprintf("setting of %s", table->section);
	const struct conf_setting *other = find(table, node->name.text, !node->block);

	for (size_t i = 0; i < table->n; i++)
		names[i] = table->settings[i].name;
	if (other == NULL)
		conf_unknown(&node->name, what, names, table->n, errs);
	else if (other->block)
		errs_add(errs, node->name.file, node->name.line,
		    "%s stands alone: expected a block, %s \"...\" { ... }",
		    other->name, other->name);
	else
		errs_add(errs, node->name.file, node->name.line,
		    "%s has a block: expected a value and \";\"", other->name);
	free(what);
	free(names);
}

bool
conf_apply_node(const struct conf_table *table, const struct conf_node *node, void *out,
    const struct conf_node **seen, struct errs *errs)
{
	const struct conf_setting *s = find(table, node->name.text, node->block);

	if (s == NULL) {
		unknown(table, node, errs);
		return false;
	}
	const struct conf_node **first = &seen[s - table->settings];
	if (*first != NULL && !conf_value_adds(s)) {
		errs_add(errs, node->name.file, node->name.line,
		    "%s is set again: expected it once, it stands in %s:%d", s->name,
		    (*first)->name.file, (*first)->name.line);
		return false;
	}
	bool again = *first != NULL;
	if (!again)
		*first = node;
	return again ? conf_value_parse(s, node, field_of(s, out), errs)
		     : conf_set(s, node, out, errs);
}

bool
conf_apply(const struct conf_table *table, const struct conf_node *block, void *out,
    struct errs *errs)
{
	const struct conf_node **seen = xcalloc(table->n, sizeof(*seen));
	bool good = true;

	for (const struct conf_node *n = block->children; n != NULL; n = n->next)
		good = conf_apply_node(table, n, out, seen, errs) && good;
	free(seen);
	return good;
}
