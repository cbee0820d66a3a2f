/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads a pattern as far as needed.  Of each part it keeps either all the strings that the
 * part can match (exact), or words of which one must be in them (needed), or nothing.
 * Every doubt ends in "nothing", never in a word too many. */
#include "milters/score/literals.h"

#include <stdlib.h>

#include "common/base/xalloc.h"

#define DEPTH_MAX 30 /* groups in groups */
#define EXACT_MAX 16 /* strings of an exact part */
#define CLASS_MAX 6 /* letters of a class that is worth spelling out */

struct part {
	bool exact;
	bool needed; /* set holds needed words */
	struct literals set;
};

struct reader {
	struct str s;
	size_t at;
	unsigned depth;
	bool lost; /* something that is not understood */
};

static bool read_alternatives(struct reader *r, struct part *out);

/* ---- sets ---- */

static bool
add_word(struct literals *set, const char *p, size_t len)
{
	if (len > LITERAL_LEN_MAX)
		return false;
	for (size_t i = 0; i < set->n; i++)
		if (set->list[i].len == len && memcmp(set->list[i].p, p, len) == 0)
			return true;
	if (set->n == LITERALS_MAX)
		return false;
	set->list[set->n].len = (unsigned char)len;
	memcpy(set->list[set->n].p, p, len);
	set->n++;
	return true;
}

static void
be_empty(struct part *p)
{
	p->exact = true;
	p->needed = false;
	p->set.n = 1;
	p->set.list[0].len = 0;
}

static void
be_anything(struct part *p)
{
	p->exact = p->needed = false;
	p->set.n = 0;
}

static size_t
shortest(const struct literals *set)
{
	size_t least = LITERAL_LEN_MAX;

	for (size_t i = 0; i < set->n; i++)
		if (set->list[i].len < least)
			least = set->list[i].len;
	return set->n == 0 ? 0 : least;
}

/* Long words first, then few of them. */
static bool
better(const struct literals *a, const struct literals *b)
{
	size_t x = shortest(a), y = shortest(b);

	if (x > 6 && y > 6)
		return a->n < b->n;
	return x > y || (x == y && a->n < b->n);
}

/* Words of p as what is needed, if they are better than what best has. */
static void
consider(const struct part *p, struct part *best)
{
	if ((!p->exact && !p->needed) || shortest(&p->set) < LITERAL_LEN_MIN)
		return;
	if (best->needed && !better(&p->set, &best->set))
		return;
	best->needed = true;
	best->set = p->set;
}

/* a becomes every string of a followed by one of b.  false: too many or too long. */
static bool
cross(struct part *a, const struct part *b)
{
	struct literals out = { .n = 0 };

	if (!b->exact || a->set.n * b->set.n > EXACT_MAX)
		return false;
	for (size_t i = 0; i < a->set.n; i++) {
		for (size_t k = 0; k < b->set.n; k++) {
			char word[2 * LITERAL_LEN_MAX];
			size_t x = a->set.list[i].len, y = b->set.list[k].len;

			memcpy(word, a->set.list[i].p, x);
			memcpy(word + x, b->set.list[k].p, y);
			if (!add_word(&out, word, x + y))
				return false;
		}
	}
	a->set = out;
	return true;
}

/* ---- atoms ---- */

static bool
more(const struct reader *r)
{
	return !r->lost && r->at < r->s.len;
}

static char
peek(const struct reader *r, size_t ahead)
{
	return r->at + ahead < r->s.len ? r->s.p[r->at + ahead] : '\0';
}

static void
be_octet(struct part *p, char c)
{
	char lower = ascii_lower(c);

	p->exact = true;
	p->needed = false;
	p->set.n = 0;
	add_word(&p->set, &lower, 1);
}

static int
hex(char c)
{
	c = ascii_lower(c);
	return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Behind the backslash. */
static void
read_escape(struct reader *r, struct part *out)
{
	static const char classes[] = "dDwWsShHvVNRX", widthless[] = "bBAzZG";
	char c = peek(r, 0);

	r->at++;
	be_anything(out);
	if (c == '\0') {
		r->lost = true;
	} else if (!ascii_alnum(c)) {
		be_octet(out, c);
	} else if (strchr(widthless, c) != NULL) {
		be_empty(out);
	} else if (strchr(classes, c) != NULL) {
		if (c == 'N' && peek(r, 0) == '{')
			r->lost = true;
	} else if (c == 'n' || c == 't' || c == 'r') {
		be_octet(out, c == 'n' ? '\n' : c == 't' ? '\t' : '\r');
	} else if (c == 'x' && hex(peek(r, 0)) >= 0 && hex(peek(r, 1)) >= 0) {
		be_octet(out, (char)(hex(peek(r, 0)) * 16 + hex(peek(r, 1))));
		r->at += 2;
	} else if (c >= '1' && c <= '9' && !ascii_digit(peek(r, 0))) {
		return; /* a back reference: anything */
	} else {
		r->lost = true; /* octal, names, properties, \Q: not worth it */
	}
}

/* One octet of a class in words[], both cases as one; true when more of these fit. */
static bool
class_octet(struct part *out, char c)
{
	char lower = ascii_lower(c);

	return add_word(&out->set, &lower, 1) && out->set.n <= CLASS_MAX;
}

/* Behind '['. */
static void
read_class(struct reader *r, struct part *out)
{
	bool simple = true, first = true;

	out->exact = true;
	out->needed = false;
	out->set.n = 0;
	if (peek(r, 0) == '^') {
		simple = false;
		r->at++;
	}
	for (; more(r) && (first || peek(r, 0) != ']'); first = false) {
		char c = peek(r, 0);

		r->at++;
		if (c == '[' && (peek(r, 0) == ':' || peek(r, 0) == '.' || peek(r, 0) == '=')) {
			r->lost = true; /* [:alpha:] */
		} else if (c == '\\') {
			char e = peek(r, 0);

			r->at++;
			if (e == 'Q' || e == 'E' || e == 'N' || e == 'p' || e == 'P' || e == 'o' ||
			    e == 'c' || e == '\0')
				r->lost = true;
			else if (e == 'x' && peek(r, 0) == '{')
				r->lost = true;
			simple = simple && !ascii_alnum(e) && class_octet(out, e);
		} else {
			simple = simple && class_octet(out, c);
		}
		if (peek(r, 0) == '-' && peek(r, 1) != ']')
			simple = false; /* a range */
	}
	if (!more(r))
		r->lost = true;
	r->at++;
	if (!simple)
		be_anything(out);
}

/* Behind "(?": what kind of group.  *zero: it matches nothing of the text itself. */
static void
read_group_kind(struct reader *r, bool *zero, bool *flags_only)
{
	char c = peek(r, 0), d = peek(r, 1);

	if (c == ':' || c == '>' || c == '|') {
		r->at++;
	} else if (c == '=' || c == '!') {
		*zero = true;
		r->at++;
	} else if (c == '<' && (d == '=' || d == '!')) {
		*zero = true;
		r->at += 2;
	} else if (c == '<' || (c == 'P' && d == '<')) {
		while (more(r) && peek(r, 0) != '>')
			r->at++;
		r->at++;
	} else {
		/* (?i) (?s:...): letters that do not change what a blank means */
		while (more(r) && strchr("ims-", peek(r, 0)) != NULL && peek(r, 0) != '\0')
			r->at++;
		*flags_only = peek(r, 0) == ')';
		if (peek(r, 0) != ':' && !*flags_only)
			r->lost = true;
		r->at += !*flags_only;
	}
}

/* Behind '('. */
static void
read_group(struct reader *r, struct part *out)
{
	bool zero = false, flags_only = false;

	if (peek(r, 0) == '*' || ++r->depth > DEPTH_MAX) {
		r->lost = true;
		return;
	}
	if (peek(r, 0) == '?') {
		r->at++;
		read_group_kind(r, &zero, &flags_only);
	}
	if (flags_only)
		be_empty(out);
	else
		read_alternatives(r, out);
	if (peek(r, 0) != ')')
		r->lost = true;
	r->at++;
	r->depth--;
	if (zero)
		be_empty(out);
}

static void
read_atom(struct reader *r, struct part *out)
{
	char c = peek(r, 0);

	r->at++;
	switch (c) {
	case '\\':
		read_escape(r, out);
		break;
	case '[':
		read_class(r, out);
		break;
	case '(':
		read_group(r, out);
		break;
	case '.':
		be_anything(out);
		break;
	case '^':
	case '$':
		be_empty(out);
		break;
	case '*':
	case '+':
	case '?':
		r->lost = true;
		break;
	default:
		be_octet(out, c);
	}
}

/* ---- sequences ---- */

/* How often: the least and whether exactly once.  Consumes it. */
static bool
read_quantifier(struct reader *r, bool *optional)
{
	char c = peek(r, 0);

	*optional = false;
	if (c == '*' || c == '?' || c == '+') {
		*optional = c != '+';
		r->at++;
	} else if (c == '{' && (ascii_digit(peek(r, 1)) || peek(r, 1) == ',')) {
		size_t end = r->at + 1;

		while (end < r->s.len && (ascii_digit(r->s.p[end]) || r->s.p[end] == ','))
			end++;
		if (end == r->s.len || r->s.p[end] != '}') {
			r->lost = true; /* a brace as itself, or blanks: versions differ */
			return false;
		}
		*optional = true;
		for (size_t i = r->at + 1; i < end && r->s.p[i] != ','; i++)
			*optional = *optional && r->s.p[i] == '0';
		r->at = end + 1;
	} else {
		return false;
	}
	if (peek(r, 0) == '?' || peek(r, 0) == '+')
		r->at++;
	return true;
}

/* Up to '|' or ')'. */
static void
read_sequence(struct reader *r, struct part *out)
{
	struct part *item = xmalloc(sizeof(*item)), *run = xmalloc(sizeof(*run));
	bool broken = false; /* run is not the whole sequence */

	be_empty(run);
	be_anything(out);
	while (more(r) && peek(r, 0) != '|' && peek(r, 0) != ')') {
		bool optional, repeated;

		read_atom(r, item);
		if (r->lost)
			break;
		repeated = read_quantifier(r, &optional);
		if (repeated && optional)
			be_anything(item);
		bool grew = item->exact && cross(run, item);
		if (!grew) {
			/* the run ends before the item; the item may begin the next one */
			consider(run, out);
			consider(item, out);
			if (item->exact && !repeated)
				*run = *item;
			else
				be_empty(run);
			broken = true;
		} else if (repeated) {
			/* at least once: it ends a run, what follows begins another */
			consider(run, out);
			be_empty(run);
			broken = true;
		}
	}
	if (broken)
		consider(run, out);
	else
		*out = *run;
	free(item);
	free(run);
}

/* One of them matches: the words of all are needed together. */
static void
unite(struct part *all, const struct part *one)
{
	bool exact = all->exact && one->exact && all->set.n + one->set.n <= EXACT_MAX;
	bool words = (all->exact || all->needed) && (one->exact || one->needed) &&
	    shortest(&all->set) > 0 && shortest(&one->set) > 0;

	if (!exact && !words) {
		be_anything(all);
		return;
	}
	for (size_t i = 0; i < one->set.n; i++) {
		if (!add_word(&all->set, one->set.list[i].p, one->set.list[i].len)) {
			be_anything(all);
			return;
		}
	}
	all->exact = exact;
	all->needed = !exact;
}

static bool
read_alternatives(struct reader *r, struct part *out)
{
	struct part *next = xmalloc(sizeof(*next));

	read_sequence(r, out);
	while (more(r) && peek(r, 0) == '|') {
		r->at++;
		read_sequence(r, next);
		unite(out, next);
	}
	free(next);
	return !r->lost;
}

bool
literals_of(struct str pattern, bool extended, struct literals *out)
{
	struct reader r = { .s = pattern };
	struct part *all, *best;
	bool found = false;

	out->n = 0;
	if (extended)
		return false;
	all = xmalloc(sizeof(*all));
	best = xmalloc(sizeof(*best));
	be_anything(best);
	if (read_alternatives(&r, all) && r.at == r.s.len) {
		consider(all, best);
		found = best->needed;
		*out = best->set;
	}
	free(all);
	free(best);
	return found;
}
