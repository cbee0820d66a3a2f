/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the text of a map as makemap(8) does: key up to the first blank, folded to
 * lower case; value from the next octet that is no blank to the end of the line,
 * whatever stands in it; lines that are empty or begin with '#' say nothing; there is
 * no continuation.  What makemap complains of (a leading blank, a key without value)
 * refuses the whole text.  As an extension, where the reader asks for it, a comment that
 * begins with "#:" speaks of the entry that follows; to makemap it stays a comment. */
#include "db/map.h"
#include "db/map_private.h"

#include <stdlib.h>
#include <time.h>

/* isspace() of the C locale without LF, which ends lines. */
static bool
map_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r' && c != '\n');
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

/* YYYY-MM-DD, and behind it THH:MMZ.  A day counts to its end, in UTC. */
static bool
map_date(struct str s, int64_t *expires)
{
	static const struct { size_t at, len; uint64_t min, max; } parts[] = {
		{ 0, 4, 1970, 9999 }, { 5, 2, 1, 12 }, { 8, 2, 1, 31 }, { 11, 2, 0, 23 },
		{ 14, 2, 0, 59 } };
	static const char form[] = "0000-00-00T00:00Z";
	uint64_t n[5] = { 0 };

	if (s.len != 10 && s.len != 17)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (form[i] != '0' && s.p[i] != form[i])
			return false;
	for (size_t i = 0; i < (s.len == 10 ? 3 : 5); i++)
		if (!str_to_uint(str_sub(s, parts[i].at, parts[i].at + parts[i].len),
			parts[i].min, parts[i].max, &n[i]))
			return false;
	struct tm tm = { .tm_year = (int)n[0] - 1900,
		.tm_mon = (int)n[1] - 1,
		.tm_mday = (int)n[2],
		.tm_hour = (int)n[3],
		.tm_min = (int)n[4] };
	time_t t = timegm(&tm);
	if (tm.tm_mday != (int)n[2]) /* the 31st of a shorter month */
		return false;
	*expires = (int64_t)t + (s.len == 10 ? 86400 : 0);
	return true;
}

bool
map_note_parse(struct str text, int64_t *expires, struct str *note, struct err *err)
{
	struct str rest = str_trim(text), word;

	*expires = 0;
	*note = rest;
	if (!str_word(&rest, &word) || !str_is_nocase(word, "expires"))
		return true;
	if (!str_word(&rest, &word) || !map_date(word, expires)) {
		err_set(err,
		    "\"#: expires\": expected a day (2026-12-31) or a time "
		    "(2026-12-31T18:00Z)");
		return false;
	}
	*note = str_trim(rest);
	return true;
}

/* A reader at work: the entry in the making, and what "#:" said of it. */
struct reader {
	struct map_table *t;
	const struct map_rules *rules;
	struct errs *errs;
	struct map_entry e;
	int note_line; /* 0: none stands */
};

static void
reader_note(struct reader *r, struct str text)
{
	struct err err;

	if (r->note_line != 0)
		errs_add(r->errs, r->t->path, r->e.line,
		    "second \"#:\" line for one entry, the first is line %d",
		    r->note_line);
	else if (!map_note_parse(text, &r->e.expires, &r->e.note, &err))
		errs_add(r->errs, r->t->path, r->e.line, "%s", err.text);
	r->note_line = r->e.line;
}

static void
reader_line(struct reader *r, char *line, size_t len)
{
	if (len > MAP_LINE_MAX) {
		errs_add(r->errs, r->t->path, r->e.line,
		    "line of %zu octets, expected at most %d", len, MAP_LINE_MAX);
		return;
	}
	if (r->rules != NULL && r->rules->extensions && len >= 2 && line[0] == '#' &&
	    line[1] == ':' && memchr(line, '\0', len) == NULL) {
		reader_note(r, (struct str){ line + 2, len - 2 });
		return;
	}
	if (!map_line(&r->e, line, len, r->t->path, r->errs))
		return;
	map_table_add(r->t, &r->e, r->rules, r->errs);
	r->e.expires = 0;
	r->e.note = (struct str){ NULL, 0 };
	r->note_line = 0;
}

struct map_table *
map_parse(const char *path, char *text_take, size_t len, const struct map_rules *rules,
    struct errs *errs)
{
	size_t before = errs->n;
	struct reader r = { .t = map_table_new(path, text_take),
		.rules = rules,
		.errs = errs };
	char *p = text_take, *end = text_take + len;

	while (p < end && errs->dropped == 0) {
		char *lf = memchr(p, '\n', (size_t)(end - p));
		char *stop = lf != NULL ? lf : end;

		r.e.line++;
		reader_line(&r, p, (size_t)(stop - p));
		if (r.t->n + r.t->n_nets > MAP_ENTRIES_MAX) {
			errs_add(errs, path, r.e.line, "more than %d entries",
			    MAP_ENTRIES_MAX);
			break;
		}
		p = stop + 1;
	}
	return map_table_done(r.t, errs->n == before, errs);
}
