/* SPDX-License-Identifier: BSD-2-Clause */
/* Small text files as tables and as maps, for the test of recorded decisions.  The
 * daemon's maps are db/map.c's, which watches its files. */
#include "milters/access/access_table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"

char *
access_file_read(const char *dir, const char *name, struct err *err)
{
	struct buf text;
	char part[8192];
	size_t n;

	if (name[0] == '/' || strstr(name, "..") != NULL) {
		err_set(err, "%s: expected a file within the folder", name);
		return NULL;
	}
	char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "re");
	if (f == NULL) {
		err_errno(err, "%s", path);
		free(path);
		return NULL;
	}
	buf_init(&text, ACCESS_FILE_MAX);
	while (
	    (n = fread(part, 1, sizeof(part), f)) > 0 && buf_add(&text, part, n) == 0)
		;
	bool bad = ferror(f) != 0 || text.failed;
	fclose(f);
	if (bad)
		err_set(err, "%s: cannot be read, or over %d octets", path,
		    ACCESS_FILE_MAX);
	free(path);
	if (!bad)
		return buf_take(&text);
	buf_clear(&text);
	return NULL;
}

/* In place; never longer than before. */
static void
unescape(char *cell)
{
	char *out = cell;

	for (const char *in = cell; *in != '\0'; in++) {
		char c = *in;
		if (c == '\\' && (in[1] == '\\' || in[1] == 't' || in[1] == 'n')) {
			in++;
			c = *in == 't' ? '\t' : *in == 'n' ? '\n' : '\\';
		}
		*out++ = c;
	}
	*out = '\0';
}

/* Cells of one line, which is cut into pieces. */
static size_t
cells(char *line, const char *out[ACCESS_TABLE_COLUMNS_MAX])
{
	size_t n = 0;

	while (line != NULL && n < ACCESS_TABLE_COLUMNS_MAX) {
		char *tab = strchr(line, '\t');
		if (tab != NULL)
			*tab++ = '\0';
		unescape(line);
		out[n++] = line;
		line = tab;
	}
	for (size_t i = n; i < ACCESS_TABLE_COLUMNS_MAX; i++)
		out[i] = "";
	return n;
}

int
access_table_read(
    const char *dir, const char *name, struct access_table *out, struct err *err)
{
	*out = (struct access_table){ .text = access_file_read(dir, name, err) };
	if (out->text == NULL)
		return -1;
	for (char *line = out->text; *line != '\0';) {
		char *end = strchr(line, '\n');
		char *next = end != NULL ? end + 1 : line + strlen(line);

		if (end != NULL)
			*end = '\0';
		if (out->n_columns == 0) {
			out->n_columns = cells(line, out->columns);
		} else {
			if (out->n_rows % 256 == 0)
				out->rows = xreallocarray(
				    out->rows, out->n_rows + 256, sizeof(*out->rows));
			cells(line, out->rows[out->n_rows++]);
		}
		line = next;
	}
	return 0;
}

void
access_table_clear(struct access_table *t)
{
	free(t->rows);
	free(t->text);
	*t = (struct access_table){ .text = NULL };
}

static size_t
column_of(const struct access_table *t, const char *column)
{
	size_t i = 0;

	while (i < t->n_columns && strcmp(t->columns[i], column) != 0)
		i++;
	return i;
}

bool
access_table_has(const struct access_table *t, const char *column)
{
	return column_of(t, column) < t->n_columns;
}

const char *
access_table_get(const struct access_table *t, size_t row, const char *column)
{
	size_t i = column_of(t, column);

	return i < t->n_columns ? t->rows[row][i] : "";
}

struct entry {
	struct str key, value;
	int line;
};

struct access_textmap {
	char *text;
	struct entry *entries; /* sorted by key without case, then by line */
	size_t n;
};

static int
key_cmp(struct str a, struct str b)
{
	size_t n = a.len < b.len ? a.len : b.len;

	for (size_t i = 0; i < n; i++) {
		int d = (unsigned char)ascii_lower(a.p[i]) -
		    (unsigned char)ascii_lower(b.p[i]);
		if (d != 0)
			return d;
	}
	return a.len < b.len ? -1 : a.len > b.len;
}

static int
entry_cmp(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int d = key_cmp(x->key, y->key);

	return d != 0 ? d : x->line - y->line;
}

struct access_textmap *
access_textmap_of(const char *text)
{
	struct access_textmap *m = xcalloc(1, sizeof(*m));

	m->text = xstrdup(text);
	struct str rest = str_of(m->text), line, key;
	for (int n = 1; str_cut(&rest, '\n', &line); n++) {
		if (line.len == 0 || line.p[0] == '#' || ascii_blank(line.p[0]) ||
		    !str_word(&line, &key))
			continue;
		line = str_trim(line);
		if (line.len == 0)
			continue;
		if (m->n % 64 == 0)
			m->entries =
			    xreallocarray(m->entries, m->n + 64, sizeof(*m->entries));
		m->entries[m->n++] = (struct entry){ key, line, n };
	}
	if (m->n > 0)
		qsort(m->entries, m->n, sizeof(*m->entries), entry_cmp);
	return m;
}

void
access_textmap_free(struct access_textmap *m)
{
	if (m == NULL)
		return;
	free(m->entries);
	free(m->text);
	free(m);
}

bool
access_textmap_lookup(void *arg, struct str key, struct access_entry *out)
{
	const struct access_textmap *m = arg;
	size_t low = 0, high = m->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (key_cmp(m->entries[mid].key, key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == m->n || key_cmp(m->entries[low].key, key) != 0)
		return false;
	*out = (struct access_entry){
		.value = m->entries[low].value, .line = m->entries[low].line
	};
	return true;
}
