/* SPDX-License-Identifier: BSD-2-Clause */
/* Perl's ways to write a pattern, and tags (<A>) that stand for others.  Whether a pattern
 * compiles is match.c's to find out: here only its frame is read. */
#include <stdlib.h>

#include "common/base/xalloc.h"
#include "milters/score/rules_private.h"

#define EXPAND_PASSES 6 /* tags inside tags */
#define PIECES_MAX 4000

const char *
rules_tag(const struct rules *r, enum rules_tags kind, struct str name)
{
	for (size_t i = 0; i < r->n_tags[kind]; i++)
		if (str_is(name, r->tags[kind][i].name))
			return r->tags[kind][i].text;
	return NULL;
}

static char
closing(char open)
{
	switch (open) {
	case '{':
		return '}';
	case '(':
		return ')';
	case '[':
		return ']';
	case '<':
		return '>';
	default:
		return open;
	}
}

/* a, aa, u, l, d: character sets, of which only octets are meant here; o, g, c: how often
 * Perl compiles or goes on. */
static int
read_flags(struct str flags, struct rule *rule, struct err *err)
{
	for (size_t i = 0; i < flags.len; i++) {
		switch (flags.p[i]) {
		case 'i':
			rule->flags |= RULE_CASELESS;
			break;
		case 'm':
			rule->flags |= RULE_MULTILINE;
			break;
		case 's':
			rule->flags |= RULE_DOTALL;
			break;
		case 'x':
			rule->flags |= RULE_EXTENDED;
			break;
		case 'a':
		case 'u':
		case 'l':
		case 'd':
		case 'o':
		case 'g':
		case 'c':
			break;
		default:
			return err_set(err, "flag '%c' of a pattern is not known: expected i, m, s or x",
			    flags.p[i]);
		}
	}
	return 0;
}

/* Without (?aa) and (?a), which PCRE2 knows only in later versions: without UTF it is
 * always so. */
static char *
strip_ascii_flags(struct str s)
{
	struct buf out;
	size_t i = 0;

	buf_init(&out, s.len + 1);
	while (i < s.len) {
		struct str rest = str_sub(s, i, s.len);
		size_t skip = str_starts(rest, STR("(?aa)")) ? 5
		    : str_starts(rest, STR("(?a)"))	     ? 4
							     : 0;

		/* an escaped bracket is no group */
		if (skip > 0 && i > 0 && s.p[i - 1] == '\\')
			skip = 0;
		if (skip == 0)
			buf_add_char(&out, s.p[i++]);
		i += skip;
	}
	return buf_take(&out);
}

int
rules_pattern_parse(struct str text, struct rule *rule, struct err *err)
{
	size_t from = 1;
	char open = text.len > 0 ? text.p[0] : '\0';

	if (open == 'm' && text.len > 2 && !ascii_alnum(text.p[1]) && !ascii_blank(text.p[1])) {
		open = text.p[1];
		from = 2;
	} else if (open != '/') {
		return err_set(err, "\"%.*s\" is no pattern: expected /.../ or m{...}",
		    (int)(text.len < 40 ? text.len : 40), text.p);
	}
	size_t end = text.len;
	while (end > from && ascii_alpha(text.p[end - 1]))
		end--;
	if (end <= from || text.p[end - 1] != closing(open))
		return err_set(err, "the pattern has no end: expected '%c'", closing(open));
	struct str pattern = str_sub(text, from, end - 1);
	if (memchr(pattern.p, '\0', pattern.len) != NULL)
		return err_set(err, "NUL in a pattern");
	if (read_flags(str_sub(text, end, text.len), rule, err) != 0)
		return -1;
	rule->pattern = strip_ascii_flags(pattern);
	return 0;
}

/* ---- replace tags ---- */

/* A pattern cut at its tags: text, <tag>, text, <tag>, text. */
struct pieces {
	struct str list[PIECES_MAX];
	size_t n;
};

/* The next <...> without '<' inside, from at on.  false: none. */
static bool
next_tag(struct str s, size_t at, size_t *from, size_t *to)
{
	while (at < s.len) {
		const char *open = memchr(s.p + at, '<', s.len - at);

		if (open == NULL)
			return false;
		*from = (size_t)(open - s.p);
		for (at = *from + 1; at < s.len && s.p[at] != '<' && s.p[at] != '>'; at++)
			;
		if (at < s.len && s.p[at] == '>' && at > *from + 1) {
			*to = at + 1;
			return true;
		}
	}
	return false;
}

static bool
split(struct str s, struct pieces *out)
{
	size_t at = 0, from, to;

	out->n = 0;
	while (next_tag(s, at, &from, &to)) {
		if (out->n + 3 > PIECES_MAX)
			return false;
		out->list[out->n++] = str_sub(s, at, from);
		out->list[out->n++] = str_sub(s, from, to);
		at = to;
	}
	out->list[out->n++] = str_sub(s, at, s.len);
	return true;
}

/* Take "<pre NAME>" out of s; the text of that name, or NULL. */
static const char *
take_modifier(const struct rules *r, enum rules_tags kind, struct buf *s)
{
	static const char *const words[] = { NULL, "<pre ", "<inter ", "<post " };
	struct str all = buf_str(s), word = str_of(words[kind]);
	size_t at = 0, from, to;

	while (next_tag(all, at, &from, &to)) {
		struct str tag = str_sub(all, from, to);

		at = to;
		if (!str_starts(tag, word) || tag.len == word.len + 1)
			continue;
		const char *text =
		    rules_tag(r, kind, str_sub(tag, word.len, tag.len - 1));
		memmove(s->p + from, s->p + to, s->len - to);
		s->len -= to - from;
		return text;
	}
	return NULL;
}

/* How one tag is written out; NULL: it is no tag of ours. */
typedef int tag_writer(void *arg, struct str name, const char *text, struct buf *out);

static int
write_plain(void *arg, struct str name, const char *text, struct buf *out)
{
	(void)arg;
	(void)name;
	return buf_add_cstr(out, text);
}

/* One pass over the tags of in.  *again: what was put in has tags of its own. */
static int
expand_pass(const struct rules *r, struct buf *in, tag_writer *writer, void *arg,
    struct buf *out, bool *again)
{
	const char *pre = take_modifier(r, RULES_PRE, in);
	const char *post = take_modifier(r, RULES_POST, in);
	const char *inter = take_modifier(r, RULES_INTER, in);
	struct pieces *pieces = xmalloc(sizeof(*pieces));
	int rc = split(buf_str(in), pieces) ? 0 : -1;

	for (size_t i = 0; rc == 0 && i < pieces->n; i++) {
		struct str p = pieces->list[i];
		const char *text = i % 2 == 0 ? NULL
					      : rules_tag(r, RULES_TAG,
						    str_sub(p, 1, p.len - 1));

		/* between two tags that stand side by side */
		if (i % 2 == 0 && p.len == 0 && i > 0 && i + 1 < pieces->n && inter != NULL)
			rc = buf_add_cstr(out, inter);
		if (i % 2 == 1 && pre != NULL)
			rc |= buf_add_cstr(out, pre);
		if (text != NULL) {
			*again = *again || strchr(text, '<') != NULL;
			rc |= writer(arg, str_sub(p, 1, p.len - 1), text, out);
		} else {
			rc |= buf_add_str(out, p);
		}
		if (i % 2 == 1 && post != NULL)
			rc |= buf_add_cstr(out, post);
	}
	free(pieces);
	return rc;
}

int
rules_expand(const struct rules *r, const struct rule *rule, struct buf *out)
{
	struct buf a, b;
	bool again = rule->tagged;
	int rc;

	buf_init(&a, RULES_PATTERN_MAX);
	buf_init(&b, RULES_PATTERN_MAX);
	rc = buf_add_cstr(&a, rule->pattern);
	for (int pass = 0; rc == 0 && again && pass < EXPAND_PASSES; pass++) {
		again = false;
		buf_reset(&b);
		rc = expand_pass(r, &a, write_plain, NULL, &b, &again);
		struct buf swap = a;
		a = b;
		b = swap;
	}
	if (rc == 0)
		rc = buf_add_str(out, buf_str(&a));
	buf_clear(&a);
	buf_clear(&b);
	return rc;
}

/* ---- tags as subroutines ---- */

#define DEFINES_MAX 200

struct defines {
	const struct rules *r;
	char *names[DEFINES_MAX];
	size_t n;
	struct buf groups;
};

/* The number of a tag's group. */
static int
define_tag(struct defines *d, struct str name, size_t *out)
{
	for (*out = 0; *out < d->n; (*out)++)
		if (str_is(name, d->names[*out]))
			return 0;
	if (d->n == DEFINES_MAX)
		return -1;
	d->names[d->n++] = str_dup(name);
	return 0;
}

static int
write_call(void *arg, struct str name, const char *text, struct buf *out)
{
	struct defines *d = arg;
	size_t i;

	(void)text;
	return define_tag(d, name, &i) != 0 ? -1 : buf_addf(out, "(?&T%zu)", i);
}

/* \1 in the pattern would mean another group behind a DEFINE. */
static bool
has_back_reference(const char *p)
{
	for (; *p != '\0'; p++) {
		if (*p == '\\' && p[1] != '\0') {
			p++;
			if (ascii_digit(*p) || *p == 'g' || *p == 'k')
				return true;
		}
	}
	return false;
}

/* Groups of tags may call further tags: names grows while this runs. */
static int
write_groups(struct defines *d)
{
	for (size_t i = 0; i < d->n; i++) {
		const char *text = rules_tag(d->r, RULES_TAG, str_of(d->names[i]));
		struct buf body, called;
		bool again = false;
		int rc;

		buf_init(&body, RULES_PATTERN_MAX);
		buf_init(&called, RULES_PATTERN_MAX);
		rc = text == NULL || has_back_reference(text) ? -1 : buf_add_cstr(&body, text);
		if (rc == 0)
			rc = expand_pass(d->r, &body, write_call, d, &called, &again);
		if (rc == 0)
			rc = buf_addf(&d->groups, "(?<T%zu>", i);
		if (rc == 0)
			rc = buf_add_str(&d->groups, buf_str(&called));
		if (rc == 0)
			rc = buf_add_char(&d->groups, ')');
		buf_clear(&body);
		buf_clear(&called);
		if (rc != 0)
			return -1;
	}
	return 0;
}

int
rules_expand_define(const struct rules *r, const struct rule *rule, struct buf *out)
{
	struct defines d = { .r = r };
	struct buf pattern, body;
	bool again = false;
	int rc = -1;

	buf_init(&d.groups, RULES_PATTERN_MAX);
	buf_init(&pattern, RULES_PATTERN_MAX);
	buf_init(&body, RULES_PATTERN_MAX);
	if (rule->tagged && !has_back_reference(rule->pattern) &&
	    buf_add_cstr(&pattern, rule->pattern) == 0 &&
	    expand_pass(r, &pattern, write_call, &d, &body, &again) == 0 && d.n > 0 &&
	    write_groups(&d) == 0) {
		/* options at the front must hold for the groups, too */
		struct str all = buf_str(&body);
		size_t front = 0;

		while (str_starts(str_sub(all, front, all.len), STR("(?i)")))
			front += 4;
		rc = buf_add_str(out, str_sub(all, 0, front));
		rc |= buf_add_cstr(out, "(?(DEFINE)");
		rc |= buf_add_str(out, buf_str(&d.groups));
		rc |= buf_add_char(out, ')');
		rc |= buf_add_str(out, str_sub(all, front, all.len));
	}
	for (size_t i = 0; i < d.n; i++)
		free(d.names[i]);
	buf_clear(&d.groups);
	buf_clear(&pattern);
	buf_clear(&body);
	return rc;
}
