/* SPDX-License-Identifier: BSD-2-Clause */
/* The rules of greylist_sender.h.  All parts borrow from the address until it is written.
 */
#include "policy/greylist_sender.h"

#include "policy/greylist.h"

#define UNWRAP_MAX 4
#define TAG_MIN 6
#define TAG_MAX 40
#define HASH_MAX 40
#define PROGRAM_HEX 12 /* hexadecimal digits that no person has in a row */
#define PERSON_DIGITS 6 /* longer than a year or a house number */

struct sender {
	struct str local, domain;
};

static bool
is_hex(char c)
{
	c = ascii_lower(c);
	return ascii_digit(c) || (c >= 'a' && c <= 'f');
}

static size_t
count(struct str s, bool (*is)(char))
{
	size_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += is(s.p[i]);
	return n;
}

/* ---- what wraps an address ---- */

/* The part before the first c, which is dropped too; false: there is none. */
static bool
cut(struct str *s, char c, struct str *head)
{
	if (!str_has(*s, c))
		return false;
	return str_cut(s, c, head);
}

static bool
is_tag(struct str s)
{
	return s.len >= TAG_MIN && s.len <= TAG_MAX && count(s, ascii_alnum) == s.len &&
	    count(s, ascii_digit) > 0;
}

static bool
unwrap_prvs(struct str rest, struct str *local)
{
	struct str head = rest, tail = rest;
	ptrdiff_t last = str_rindex(rest, '=');

	/* a tag begins with the number of its key, or is hexadecimal */
	if (cut(&tail, '=', &head) && is_tag(head) &&
	    (ascii_digit(head.p[0]) || count(head, is_hex) == head.len)) {
		if (tail.len == 0)
			return false;
		*local = tail;
		return true;
	}
	if (last < 0)
		last = str_rindex(rest, '/');
	tail = str_sub(rest, last < 0 ? rest.len : (size_t)last + 1, rest.len);
	if (last <= 0 || !is_tag(tail) || !ascii_digit(tail.p[0]))
		return false;
	*local = str_sub(rest, 0, (size_t)last);
	return true;
}

/* draft-levine-smtp-batv and its relatives. */
static bool
unwrap_batv(struct sender *s)
{
	struct str rest = s->local, tag;

	if (str_starts_nocase(rest, STR("prvs=")))
		return unwrap_prvs(str_sub(rest, 5, rest.len), &s->local);
	if (str_starts_nocase(rest, STR("btv1=="))) {
		rest = str_sub(rest, 6, rest.len);
		if (!cut(&rest, '=', &tag) || !is_tag(tag) || rest.len < 2 ||
		    rest.p[0] != '=')
			return false;
		s->local = str_sub(rest, 1, rest.len);
		return true;
	}
	if (!str_starts_nocase(rest, STR("msprvs1=")))
		return false;
	rest = str_sub(rest, 8, rest.len);
	/* base64 for addresses: with '_' and '-' */
	if (!cut(&rest, '=', &tag) || tag.len == 0 || tag.len > TAG_MAX || rest.len == 0)
		return false;
	s->local = rest;
	return true;
}

static bool
srs_separator(struct str s)
{
	return s.len > 0 && (s.p[0] == '=' || s.p[0] == '-' || s.p[0] == '+');
}

/* HASH=TIME=host=local */
static bool
unwrap_srs_body(struct str rest, struct sender *s)
{
	struct str hash, when, host;

	if (!cut(&rest, '=', &hash) || !cut(&rest, '=', &when) ||
	    !cut(&rest, '=', &host))
		return false;
	if (hash.len == 0 || hash.len > HASH_MAX || when.len == 0 || when.len > 8 ||
	    rest.len == 0 || !str_has(host, '.') || !address_domain_ok(host))
		return false;
	s->domain = host;
	s->local = rest;
	return true;
}

static bool
unwrap_srs(struct sender *s)
{
	struct str rest = s->local, hash, host;
	bool second = str_starts_nocase(rest, STR("SRS1"));

	if (!second && !str_starts_nocase(rest, STR("SRS0")))
		return false;
	rest = str_sub(rest, 4, rest.len);
	if (!srs_separator(rest))
		return false;
	rest = str_sub(rest, 1, rest.len);
	if (!second)
		return unwrap_srs_body(rest, s);
	if (!cut(&rest, '=', &hash) || !cut(&rest, '=', &host) || hash.len == 0 ||
	    host.len == 0 || !srs_separator(rest))
		return false;
	return unwrap_srs_body(str_sub(rest, 1, rest.len), s);
}

/* ---- who is a program ---- */

static const char *const program_words[] = { "bounce", "bounces", "bounced", "bnc",
	"return", "returns", "returned", "returnpath", "rp", "verp", "errors", "error",
	"owner", "list", "lists", "mailer", "mailman", "sentto", "notify", "notifier",
	"notification", "notifications", "noreply", "reply", "replies", "donotreply",
	"noresponse", "news", "newsletter", "newsletters", "nl", "campaign", "campaigns",
	"msg", "message", "messages", "track", "tracking", "delivery", "bulk", "mailing",
	"mailings", "alert", "alerts", "envelope", "feedback", "daemon", "auto",
	"automated", "listserv", "confirm", "confirmation" };

/* Nobody's own address ends in these; the second only before the last two labels, for
 * providers are called email.example. */
static const char *const program_labels[] = { "bounce", "bounces", "bnc", "returns",
	"list", "lists", "verp", "mailer", "newsletter", "newsletters", "mailing",
	"mailings" };
static const char *const program_hosts[] = { "return", "rp", "groups", "envelope", "env",
	"news", "email", "em", "campaign", "msg" };

static bool
listed(struct str s, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_is_nocase(s, list[i]))
			return true;
	return false;
}

#define LISTED(s, list) listed(s, list, sizeof(list) / sizeof((list)[0]))

/* The next run of what is() takes; false: none left. */
static bool
next_run(struct str *rest, bool (*is)(char), struct str *run)
{
	size_t from = 0, to;

	while (from < rest->len && !is(rest->p[from]))
		from++;
	to = from;
	while (to < rest->len && is(rest->p[to]))
		to++;
	*run = str_sub(*rest, from, to);
	*rest = str_sub(*rest, to, rest->len);
	return run->len > 0;
}

static bool
all_hex(struct str s, size_t least)
{
	return s.len >= least && count(s, is_hex) == s.len;
}

#define UUID_LEN 36

/* A UUID (RFC 9562 4) stands at its beginning: 8-4-4-4-12. */
static bool
uuid_starts(struct str s)
{
	if (s.len < UUID_LEN || (s.len > UUID_LEN && ascii_alnum(s.p[UUID_LEN])))
		return false;
	for (size_t i = 0; i < UUID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? s.p[i] != '-' : !is_hex(s.p[i]))
			return false;
	}
	return true;
}

static bool
has_uuid(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((i == 0 || !ascii_alnum(s.p[i - 1])) &&
		    uuid_starts(str_sub(s, i, s.len)))
			return true;
	return false;
}

static bool
program_local(struct str local)
{
	struct str rest = local, word, number;

	while (next_run(&rest, ascii_alpha, &word))
		if (LISTED(word, program_words))
			return true;
	rest = local;
	while (next_run(&rest, ascii_alnum, &word))
		if (all_hex(word, PROGRAM_HEX) && count(word, ascii_digit) > 1 &&
		    count(word, ascii_alpha) > 0) /* digits alone: a telephone */
			return true;
	if (has_uuid(local))
		return true;
	/* b-1234-5678, no-reply */
	rest = local;
	if (!next_run(&rest, ascii_alnum, &word) || !next_run(&rest, ascii_alnum, &number))
		return false;
	if (str_is_nocase(word, "no") && str_is_nocase(number, "reply"))
		return true;
	return word.len == 1 && ascii_alpha(word.p[0]) && local.p[1] == '-' &&
	    number.len >= 3 && count(number, ascii_digit) == number.len;
}

static bool
program_domain(struct str domain)
{
	struct str label;

	while (str_cut(&domain, '.', &label) && domain.len > 0)
		if (LISTED(label, program_labels) ||
		    (str_has(domain, '.') && LISTED(label, program_hosts)))
			return true;
	return false;
}

/* ---- writing ---- */

struct writer {
	char *p;
	size_t len;
};

static void
put(struct writer *w, struct str s)
{
	for (size_t i = 0; i < s.len && w->len < ADDRESS_MAX; i++)
		w->p[w->len++] = ascii_lower(s.p[i]);
}

/* How often letters and digits, or small and capital letters, follow each other. */
static size_t
changes(struct str s, bool letter_case)
{
	size_t n = 0;

	for (size_t i = 1; i < s.len; i++) {
		char a = s.p[i - 1], b = s.p[i];

		if (!letter_case)
			n += ascii_digit(a) != ascii_digit(b);
		else
			n += ascii_alpha(a) && ascii_alpha(b) &&
			    (ascii_lower(a) == a) != (ascii_lower(b) == b);
	}
	return n;
}

static bool
is_counted(struct str word)
{
	size_t digits = count(word, ascii_digit);

	if (digits == 0)
		return word.len >= 20 || (word.len >= 8 && changes(word, true) >= 4);
	return digits == word.len || all_hex(word, 8) || word.len >= 20 ||
	    changes(word, false) >= 3 || (word.len >= 8 && changes(word, true) >= 3);
}

static void
put_program_word(struct writer *w, struct str word)
{
	if (is_counted(word)) {
		put(w, STR("#"));
		return;
	}
	for (size_t i = 0; i < word.len; i++)
		if (!ascii_digit(word.p[i]))
			put(w, str_sub(word, i, i + 1));
		else if (i == 0 || !ascii_digit(word.p[i - 1]))
			put(w, STR("#"));
}

/* Where VERP's encoded recipient begins: behind the separator before the user; the length
 * when there is none. */
static size_t
verp_at(struct str local)
{
	ptrdiff_t eq = str_rindex(local, '=');

	if (eq <= 0 ||
	    !address_domain_ok(str_sub(local, (size_t)eq + 1, local.len)) ||
	    !str_has(str_sub(local, (size_t)eq + 1, local.len), '.'))
		return local.len;
	size_t at = (size_t)eq;
	while (at > 0 && !str_has(STR("-=_/"), local.p[at - 1]))
		at--;
	return at;
}

static void
put_local(struct writer *w, struct str local, bool program)
{
	size_t verp = program ? verp_at(local) : local.len, to;
	char before = '\0';

	for (size_t i = 0; i < verp; i = to) {
		to = i + 1;
		if (!ascii_alnum(local.p[i])) {
			before = local.p[i];
			put(w, str_sub(local, i, to));
			continue;
		}
		if (program && uuid_starts(str_sub(local, i, verp))) {
			to = i + UUID_LEN;
			put(w, STR("#"));
			continue;
		}
		while (to < verp && ascii_alnum(local.p[to]))
			to++;
		struct str word = str_sub(local, i, to);
		bool alone = count(local, ascii_alnum) == word.len;
		bool dotted = before == '.' || (to < verp && local.p[to] == '.');
		if (program)
			put_program_word(w, word);
		else if (!alone && !dotted && word.len >= PERSON_DIGITS &&
		    count(word, ascii_digit) == word.len)
			put(w, STR("#"));
		else
			put(w, word);
	}
	if (verp < local.len)
		put(w, STR("="));
}

size_t
greylist_sender(struct str path, char out[ADDRESS_MAX])
{
	struct writer w = { out, 0 };
	struct address a;

	if (greylist_null_sender(path))
		return 0;
	if (address_parse(path, &a, NULL) != 0)
		return greylist_address(path, out);
	struct sender s = { a.local, a.domain };
	/* quoted: nobody but a program that does not wrap writes these */
	bool plain = !str_has(s.local, '"');
	for (int i = 0; plain && i < UNWRAP_MAX && (unwrap_batv(&s) || unwrap_srs(&s)); i++)
		;
	ptrdiff_t plus = plain ? str_index(s.local, '+') : -1;
	bool program = plain && (program_local(s.local) || program_domain(s.domain));
	if (plus > 0)
		s.local = str_sub(s.local, 0, (size_t)plus);
	if (plain)
		put_local(&w, s.local, program);
	else
		put(&w, s.local);
	if (s.domain.len > 0) {
		put(&w, STR("@"));
		put(&w, s.domain);
	}
	return w.len;
}
