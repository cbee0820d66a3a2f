/* SPDX-License-Identifier: BSD-2-Clause */
/* Statements, blocks and includes of the configuration grammar.  It decides what is a
 * statement; names and values mean nothing here.  Depth is bounded before each descent,
 * time is linear in the octets read, memory lives in one arena that goes with the tree.
 */
#include "common/base/conf_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdalign.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/conf_lex.h"
#include "common/base/xalloc.h"

#define ARENA_CHUNK 16384u

struct chunk {
	struct chunk *next;
	alignas(max_align_t) char data[];
};

struct conf_tree {
	struct conf_node *root;
	struct chunk *chunks;
	size_t used, cap; /* of the first chunk */
};

struct open_file { /* the files that include one another at this moment */
	dev_t dev;
	ino_t ino;
};

struct parser {
	struct conf_tree *tree;
	struct errs *errs;
	struct conf_word *words; /* of the statement in the making */
	size_t n_words, cap_words;
	size_t total_words, total_octets, n_files;
	struct open_file open[CONF_DEPTH_MAX + 1];
	size_t n_open;
	bool no_files; /* text without a name: includes would have no folder */
	bool full; /* a limit of the whole was passed and told */
};

static void *
arena_alloc(struct conf_tree *tree, size_t size)
{
	size = (size + alignof(max_align_t) - 1) / alignof(max_align_t) *
	    alignof(max_align_t);
	if (tree->chunks == NULL || tree->cap - tree->used < size) {
		size_t cap = size > ARENA_CHUNK ? size : ARENA_CHUNK;
		struct chunk *fresh = xmalloc(sizeof(*fresh) + cap);

		fresh->next = tree->chunks;
		tree->chunks = fresh;
		tree->used = 0;
		tree->cap = cap;
	}
	void *p = tree->chunks->data + tree->used;
	tree->used += size;
	return p;
}

static char *
arena_text(struct conf_tree *tree, struct str s)
{
	char *copy = arena_alloc(tree, s.len + 1);

	if (s.len > 0)
		memcpy(copy, s.p, s.len);
	copy[s.len] = '\0';
	return copy;
}

void
conf_free(struct conf_tree *tree)
{
	if (tree == NULL)
		return;
	for (struct chunk *c = tree->chunks, *next; c != NULL; c = next) {
		next = c->next;
		free(c);
	}
	free(tree);
}

const struct conf_node *
conf_root(const struct conf_tree *tree)
{
	return tree->root;
}

static char *
read_fd(int fd, size_t *len, struct err *err)
{
	struct buf b;

	buf_init(&b, CONF_FILE_MAX + 1);
	for (;;) {
		size_t left = b.max - b.len < 65536 ? b.max - b.len : 65536;
		char *room = buf_reserve(&b, left);
		ssize_t n = room == NULL || left == 0 ? 0 : read(fd, room, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_errno(err, "cannot be read");
			buf_clear(&b);
			return NULL;
		}
		if (n == 0)
			break;
		b.len += (size_t)n;
	}
	if (b.len > CONF_FILE_MAX) {
		err_set(err, "is too large: expected at most %u octets", CONF_FILE_MAX);
		buf_clear(&b);
		return NULL;
	}
	*len = b.len;
	return buf_take(&b);
}

static char *
read_file(const char *path, size_t *len, struct stat *st, struct err *err)
{
	char *text = NULL;
	/* NONBLOCK: a FIFO put in the place of a file must not stop a reload */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0) {
		err_errno(err, "cannot be opened");
		return NULL;
	}
	if (fstat(fd, st) != 0)
		err_errno(err, "cannot be read");
	else if (!S_ISREG(st->st_mode))
		err_set(err, "is not a regular file");
	else
		text = read_fd(fd, len, err);
	close(fd);
	return text;
}

char *
conf_read_file(const char *path, size_t *len, struct err *err)
{
	struct stat st;

	return read_file(path, len, &st, err);
}

char *
conf_relative(const char *from, struct str name)
{
	ptrdiff_t slash = str_rindex(str_of(from), '/');
	size_t dir =
	    slash < 0 || (name.len > 0 && name.p[0] == '/') ? 0 : (size_t)slash + 1;
	char *path = xmalloc(dir + name.len + 1);

	if (dir > 0)
		memcpy(path, from, dir);
	if (name.len > 0)
		memcpy(path + dir, name.p, name.len);
	path[dir + name.len] = '\0';
	return path;
}

static struct conf_node **parse_block(struct parser *ps, struct conf_lex *lex,
    const struct conf_node *open, unsigned depth, struct conf_node **tail);

/* A limit of the whole configuration is told once. */
static void
too_much(struct parser *ps, const char *file, int line, const char *what, unsigned max)
{
	if (!ps->full)
		errs_add(ps->errs, file, line,
		    "configuration is too large: expected at most %u %s", max, what);
	ps->full = true;
}

/* text moves into the arena, since words borrow from it. */
static struct conf_node **
parse_source(struct parser *ps, const char *file, struct str text, unsigned depth,
    struct conf_node **tail)
{
	struct conf_lex lex;

	ps->total_octets += text.len;
	if (ps->total_octets > CONF_TOTAL_MAX) {
		too_much(ps, file, 0, "octets", CONF_TOTAL_MAX);
		return tail;
	}
	const char *nul = text.len == 0 ? NULL : memchr(text.p, '\0', text.len);
	if (nul != NULL) {
		int line = 1;

		for (const char *p = text.p; p < nul; p++)
			line += *p == '\n';
		errs_add(ps->errs, file, line, "octet NUL in the file: expected text");
		return tail;
	}
	conf_lex_init(&lex, file, arena_text(ps->tree, text), text.len, ps->errs);
	return parse_block(ps, &lex, NULL, depth, tail);
}

static struct conf_node **
parse_path(struct parser *ps, const char *path, const struct conf_word *by,
    unsigned depth, struct conf_node **tail)
{
	struct stat st;
	struct err err;
	size_t len = 0;
	const char *file = by == NULL ? path : by->file;
	int line = by == NULL ? 0 : by->line;
	char *text = NULL;

	if (ps->n_files++ >= CONF_FILES_MAX) {
		too_much(ps, file, line, "files", CONF_FILES_MAX);
		return tail;
	}
	if (ps->n_open > CONF_DEPTH_MAX) {
		errs_add(ps->errs, file, line, "includes nested over %d deep",
		    CONF_DEPTH_MAX);
		return tail;
	}
	text = read_file(path, &len, &st, &err);
	if (text == NULL) {
		if (by == NULL)
			errs_add(ps->errs, path, 0, "%s", err.text);
		else
			errs_add(
			    ps->errs, file, line, "include: \"%s\" %s", path, err.text);
		return tail;
	}
	for (size_t i = 0; i < ps->n_open; i++) {
		if (ps->open[i].dev == st.st_dev && ps->open[i].ino == st.st_ino) {
			errs_add(ps->errs, file, line,
			    "include: \"%s\" includes itself", path);
			goto out;
		}
	}
	ps->open[ps->n_open++] = (struct open_file){ st.st_dev, st.st_ino };
	tail = parse_source(ps, arena_text(ps->tree, str_of(path)),
	    (struct str){ text, len }, depth, tail);
	ps->n_open--;
out:
	free(text);
	return tail;
}

static int
cmp_path(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool
is_pattern(struct str s)
{
	return str_has(s, '*') || str_has(s, '?') || str_has(s, '[');
}

/* The folder's own name is no pattern, whatever it holds. */
static char *
glob_escape(struct str dir, struct str pattern)
{
	struct buf b;

	buf_init(&b, CONF_FILE_MAX * 2);
	for (size_t i = 0; i < dir.len; i++) {
		if (strchr("*?[\\", dir.p[i]) != NULL)
			buf_add_char(&b, '\\');
		buf_add_char(&b, dir.p[i]);
	}
	buf_add_str(&b, pattern);
	return buf_take(&b);
}

/* A folder that is not there holds no file; one that cannot be read might hold policies,
 * and going on without them would be a silent change. */
static int
glob_fault(const char *path, int error)
{
	(void)path;
	return error != ENOENT;
}

static struct conf_node **
include_pattern(struct parser *ps, const struct conf_word *word, unsigned depth,
    struct conf_node **tail)
{
	glob_t found = { 0 };
	char *whole = conf_relative(word->file, word->text);
	size_t dir = strlen(whole) - word->text.len;
	char *pattern = glob_escape(str_sub(str_of(whole), 0, dir), word->text);
	int rc = glob(pattern, GLOB_NOSORT, glob_fault, &found);

	if (rc != 0 && rc != GLOB_NOMATCH) /* an empty conf.d is no fault */
		errs_add(ps->errs, word->file, word->line,
		    "include: \"%.*s\" cannot be listed", STR_ARG(word->text));
	/* sorted here: glob's order would depend on the locale */
	if (rc == 0 && found.gl_pathc > 1)
		qsort(found.gl_pathv, found.gl_pathc, sizeof(char *), cmp_path);
	for (size_t i = 0; rc == 0 && i < found.gl_pathc && !ps->full; i++)
		tail = parse_path(ps, found.gl_pathv[i], word, depth, tail);
	globfree(&found);
	free(pattern);
	free(whole);
	return tail;
}

/* The files stand in the place of the statement. */
static struct conf_node **
include(struct parser *ps, const struct conf_node *node, unsigned depth,
    struct conf_node **tail)
{
	if (ps->no_files || node->n_values == 0 || node->block) {
		errs_add(ps->errs, node->name.file, node->name.line,
		    ps->no_files
			? "include: not possible in a text without a file"
			: "include: expected one or more file names and \";\"");
		return tail;
	}
	for (size_t i = 0; i < node->n_values && !ps->full; i++) {
		const struct conf_word *word = &node->values[i];

		if (word->text.len == 0 || word->text.len > 4000) {
			errs_add(ps->errs, word->file, word->line,
			    "include: expected a file name");
		} else if (is_pattern(word->text)) {
			tail = include_pattern(ps, word, depth, tail);
		} else {
			char *path = conf_relative(word->file, word->text);

			tail = parse_path(ps, path, word, depth, tail);
			free(path);
		}
	}
	return tail;
}

static void
push_word(struct parser *ps, const struct conf_word *word)
{
	if (ps->total_words++ >= CONF_WORDS_MAX) {
		too_much(ps, word->file, word->line, "words", CONF_WORDS_MAX);
		return;
	}
	if (ps->n_words == ps->cap_words) {
		ps->cap_words = ps->cap_words == 0 ? 64 : ps->cap_words * 2;
		ps->words = xreallocarray(ps->words, ps->cap_words, sizeof(*ps->words));
	}
	ps->words[ps->n_words++] = *word;
}

/* Behind "{" of a block that is too deep or has no name: find its "}". */
static void
skip_block(struct conf_lex *lex)
{
	struct conf_word word;
	size_t depth = 1;

	while (depth > 0) {
		enum conf_token t = conf_lex_next(lex, &word);

		if (t == CONF_TOKEN_END)
			return;
		if (t == CONF_TOKEN_OPEN)
			depth++;
		if (t == CONF_TOKEN_CLOSE)
			depth--;
	}
}

/* Values up to the mark that ends them; "}" stays for the block around. */
static enum conf_token
read_values(struct parser *ps, struct conf_lex *lex)
{
	struct conf_word word;

	ps->n_words = 0;
	for (;;) {
		enum conf_token t = conf_lex_next(lex, &word);

		if (t == CONF_TOKEN_CLOSE)
			lex->p--;
		if (t != CONF_TOKEN_WORD)
			return t;
		push_word(ps, &word);
	}
}

static struct conf_node **
parse_statement(struct parser *ps, struct conf_lex *lex, const struct conf_word *name,
    unsigned depth, struct conf_node **tail)
{
	enum conf_token end = read_values(ps, lex);
	struct conf_node *node = arena_alloc(ps->tree, sizeof(*node));

	*node = (struct conf_node){ .name = *name, .n_values = ps->n_words };
	if (ps->n_words > 0) {
		node->values =
		    arena_alloc(ps->tree, ps->n_words * sizeof(*node->values));
		memcpy(node->values, ps->words, ps->n_words * sizeof(*node->values));
	}
	if (name->quoted)
		errs_add(ps->errs, name->file, name->line,
		    "\"%.60s\" begins a statement: expected a name without quotes",
		    arena_text(ps->tree, str_sub(name->text, 0, 60)));
	node->block = end == CONF_TOKEN_OPEN;
	if (end == CONF_TOKEN_END)
		errs_add(ps->errs, name->file, name->line,
		    "statement has no end: expected \";\" before the end of the file");
	if (node->block && depth >= CONF_DEPTH_MAX) {
		errs_add(ps->errs, name->file, name->line, "blocks nested over %d deep",
		    CONF_DEPTH_MAX);
		skip_block(lex);
		return tail;
	}
	if (node->block)
		parse_block(ps, lex, node, depth + 1, &node->children);
	if (name->quoted) /* told above; it can mean nothing */
		return tail;
	if (str_is(name->text, "include"))
		return include(ps, node, depth, tail);
	*tail = node;
	return &node->next;
}

/* Statements up to the "}" of open, or to the end of the file when open is NULL. */
static struct conf_node **
parse_block(struct parser *ps, struct conf_lex *lex, const struct conf_node *open,
    unsigned depth, struct conf_node **tail)
{
	struct conf_word word;

	while (!ps->full) {
		switch (conf_lex_next(lex, &word)) {
		case CONF_TOKEN_END:
			if (open != NULL)
				errs_add(ps->errs, lex->file, lex->line,
				    "end of file inside the block that line %d opened: "
				    "expected \"}\"",
				    open->name.line);
			return tail;
		case CONF_TOKEN_CLOSE:
			if (open != NULL)
				return tail;
			errs_add(ps->errs, lex->file, lex->line,
			    "\"}\" closes nothing: expected a statement");
			break;
		case CONF_TOKEN_OPEN:
			errs_add(ps->errs, lex->file, lex->line,
			    "\"{\" without a name: expected a statement");
			skip_block(lex);
			break;
		case CONF_TOKEN_SEMICOLON: /* "};" is what many hands write */
			break;
		case CONF_TOKEN_WORD:
			if (ps->total_words++ >= CONF_WORDS_MAX)
				too_much(
				    ps, word.file, word.line, "words", CONF_WORDS_MAX);
			tail = parse_statement(ps, lex, &word, depth, tail);
			break;
		}
	}
	return tail;
}

struct conf_tree *
conf_parse_file_all(const char *path, struct errs *errs)
{
	struct parser ps = { .tree = xcalloc(1, sizeof(*ps.tree)), .errs = errs };

	parse_path(&ps, path, NULL, 0, &ps.tree->root);
	free(ps.words);
	return ps.tree;
}

struct conf_tree *
conf_parse_text_all(struct str text, const char *file, struct errs *errs)
{
	struct parser ps = { .tree = xcalloc(1, sizeof(*ps.tree)), .errs = errs };

	ps.no_files = file == NULL;
	ps.n_files = 1;
	parse_source(&ps, arena_text(ps.tree, str_of(file == NULL ? "text" : file)),
	    text, 0, &ps.tree->root);
	free(ps.words);
	return ps.tree;
}

/* Only a tree without faults is one. */
static struct conf_tree *
whole(struct conf_tree *tree, size_t before, const struct errs *errs)
{
	if (errs->n + errs->dropped == before)
		return tree;
	conf_free(tree);
	return NULL;
}

struct conf_tree *
conf_parse_file(const char *path, struct errs *errs)
{
	size_t before = errs->n + errs->dropped;

	return whole(conf_parse_file_all(path, errs), before, errs);
}

struct conf_tree *
conf_parse_text(struct str text, const char *file, struct errs *errs)
{
	size_t before = errs->n + errs->dropped;

	return whole(conf_parse_text_all(text, file, errs), before, errs);
}
