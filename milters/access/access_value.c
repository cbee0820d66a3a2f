/* SPDX-License-Identifier: BSD-2-Clause */
/* Values of the access map.  Splits a value into sendmail's address tokens, joins them
 * as it does, and reads keywords, `ERROR:D.S.N:text`, and reply codes from the result.
 * Which check heeds which word is access_map.c's business. */
#include "milters/access/access_value.h"

#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"

#define TOKENS_MAX 200 /* a value of single characters; more are dropped */
#define TOKENS_SIZE (2 * ACCESS_VALUE_MAX) /* with the quotes that were missing */

struct tokens {
	char text[TOKENS_SIZE]; /* all tokens, one behind the other */
	size_t len;
	struct str list[TOKENS_MAX]; /* borrow from text */
	size_t n;
};

static const struct {
	const char *name;
	enum access_word word;
} words[] = {
	{ "OK", ACCESS_WORD_OK },
	{ "RELAY", ACCESS_WORD_RELAY },
	{ "REJECT", ACCESS_WORD_REJECT },
	{ "DISCARD", ACCESS_WORD_DISCARD },
	{ "SKIP", ACCESS_WORD_SKIP },
	{ "FRIEND", ACCESS_WORD_FRIEND },
	{ "HATER", ACCESS_WORD_HATER },
	{ "SPAMFRIEND", ACCESS_WORD_SPAMFRIEND },
	{ "SPAMHATER", ACCESS_WORD_SPAMHATER },
};

static bool
is_operator(char c)
{
	return c != '\0' && strchr(".:%@!^/[]+()<>,;", c) != NULL;
}

static bool
is_atom(struct str token)
{
	return token.len > 0 && !is_operator(token.p[0]) && token.p[0] != '"';
}

/* "%0" is the key, other digits the arguments of the lookup (none), "%%" a percent
 * sign. Control octets become blanks. */
static void
expand(struct str value, struct str key, struct buf *out)
{
	for (size_t i = 0; i < value.len; i++) {
		char c = value.p[i];

		if (c == '%' && i + 1 < value.len && value.p[i + 1] == '%') {
			buf_add_char(out, '%');
			i++;
		} else if (c == '%' && i + 1 < value.len &&
		    ascii_digit(value.p[i + 1])) {
			if (value.p[++i] == '0')
				buf_add_str(out, str_sub(key, 0, out->max - out->len));
		} else {
			buf_add_char(
			    out, (unsigned char)c < ' ' || c == 0x7f ? ' ' : c);
		}
	}
}

/* Where the next character goes. */
struct scan {
	struct tokens *out;
	bool open; /* the last token goes on */
	bool quote; /* within "..." */
	unsigned comment; /* depth of parentheses */
	unsigned angle; /* depth of '<' */
};

static void
scan_add(struct scan *s, char c)
{
	struct tokens *t = s->out;

	if (t->len == TOKENS_SIZE || (!s->open && t->n == TOKENS_MAX))
		return;
	if (!s->open) {
		t->list[t->n++] = (struct str){ t->text + t->len, 0 };
		s->open = true;
	}
	t->text[t->len++] = c;
	t->list[t->n - 1].len++;
}

static void
scan_token(struct scan *s, char c)
{
	s->open = false;
	scan_add(s, c);
	s->open = false;
}

/* A character in a comment; those leave nothing but a gap. */
static void
scan_comment(struct scan *s, char c)
{
	if (c == '(')
		s->comment++;
	else if (c == ')')
		s->comment--;
}

/* A character outside of quotes and comments.  false: the value ends before it. */
static bool
scan_plain(struct scan *s, char c)
{
	if (c == '"') {
		s->open = false;
		scan_add(s, c);
		s->quote = true;
	} else if (c == '(') {
		s->open = false;
		s->comment = 1;
	} else if (c == ')' || (c == '>' && s->angle == 0)) {
		return true; /* without its partner it is not there at all */
	} else if (c == '>') {
		return false;
	} else if (ascii_blank(c)) {
		s->open = false;
	} else if (is_operator(c)) {
		s->angle += c == '<';
		scan_token(s, c);
	} else {
		scan_add(s, c);
	}
	return true;
}

/* Into tokens, as sendmail reads an address.  A backslash takes the next character
 * along wherever it stands; at the end of the value it is dropped. */
static void
split(struct str value, struct tokens *out)
{
	struct scan s = { .out = out };

	out->len = out->n = 0;
	for (size_t i = 0; i < value.len; i++) {
		char c = value.p[i];

		if (c == '\\') {
			if (++i < value.len && s.comment == 0) {
				scan_add(&s, c);
				scan_add(&s, value.p[i]);
			}
		} else if (s.quote) {
			scan_add(&s, c);
			s.quote = c != '"';
			s.open = s.quote;
		} else if (s.comment > 0) {
			scan_comment(&s, c);
		} else if (!scan_plain(&s, c)) {
			break;
		}
	}
	if (s.quote)
		scan_add(&s, '"');
}

/* Tokens from..n as one text: a blank only between two atoms.  As in sendmail's replies
 * octets above 0x7f lose their top bit, quotes and backslashes are gone and what a
 * backslash stood before remains; sendmail keeps both in the reason of a quarantine. */
static void
join(const struct tokens *t, size_t from, bool keep_quotes,
    char out[ACCESS_VALUE_MAX + 1])
{
	struct buf text;

	buf_init(&text, ACCESS_VALUE_MAX);
	for (size_t i = from; i < t->n; i++) {
		struct str token = t->list[i];

		if (i > from && is_atom(token) && is_atom(t->list[i - 1]))
			buf_add_char(&text, ' ');
		for (size_t k = 0; k < token.len; k++) {
			if (!keep_quotes && token.p[k] == '"')
				continue;
			if (!keep_quotes && token.p[k] == '\\' && ++k == token.len)
				break;
			buf_add_char(&text, token.p[k]);
		}
	}
	for (size_t i = 0; i < text.len; i++)
		text.p[i] = (char)(text.p[i] & 0x7f);
	snprintf(out, ACCESS_VALUE_MAX + 1, "%s", text.len > 0 ? buf_cstr(&text) : "");
	buf_clear(&text);
}

static bool
token_is(const struct tokens *t, size_t i, const char *text)
{
	return i < t->n && str_is_nocase(t->list[i], text);
}

/* D.S.N of RFC 3463 at the start of s; returns its length, 0: none. */
static size_t
enhanced_len(const char *s)
{
	size_t at = 1;

	if (*s != '2' && *s != '4' && *s != '5')
		return 0;
	for (int part = 0; part < 2; part++) {
		size_t digits = 0;

		if (s[at] != '.')
			return 0;
		at++;
		while (ascii_digit(s[at]) && digits < 4) {
			at++;
			digits++;
		}
		if (digits == 0 || digits > 3)
			return 0;
	}
	return at;
}

/* "ccc words" or "ccc D.S.N words"; given: D.S.N that stood in front, or "". */
static void
read_codes(struct access_value *v, const char *text, const char *given)
{
	size_t len;

	v->code = 553;
	snprintf(v->enhanced, sizeof(v->enhanced), "5.3.0");
	snprintf(v->reply, sizeof(v->reply), "%s", text);
	if (!ascii_digit(text[0]) || !ascii_digit(text[1]) || !ascii_digit(text[2]) ||
	    text[3] != ' ')
		return;
	const char class = text[0];
	v->code = (class - '0') * 100 + (text[1] - '0') * 10 + (text[2] - '0');
	text += 4;
	len = enhanced_len(text);
	size_t given_len = strlen(given);
	if (given_len > 0 && enhanced_len(given) == given_len) {
		snprintf(v->enhanced, sizeof(v->enhanced), "%s", given);
	} else if (len > 0 && (text[len] == ' ' || text[len] == '\0')) {
		snprintf(v->enhanced, sizeof(v->enhanced), "%.*s", (int)len, text);
		text += len;
		while (*text == ' ')
			text++;
	} else {
		snprintf(v->enhanced, sizeof(v->enhanced), "%c.0.0", class);
	}
	snprintf(v->reply, sizeof(v->reply), "%s", text);
}

static void
read_text(struct access_value *v, const struct tokens *t)
{
	char given[32] = "", text[ACCESS_VALUE_MAX + 1];
	size_t from = 0;

	if (token_is(t, 0, "ERROR") && token_is(t, 1, ":") && t->n > 2) {
		from = 2;
		/* D . S . N : and something behind it */
		if (t->n > 8 && token_is(t, 3, ".") && token_is(t, 5, ".") &&
		    token_is(t, 7, ":")) {
			from = 8;
			snprintf(given, sizeof(given), "%.*s.%.*s.%.*s",
			    STR_ARG(t->list[2]), STR_ARG(t->list[4]),
			    STR_ARG(t->list[6]));
		}
	}
	join(t, from, false, text);
	read_codes(v, text, given);
}

void
access_value_read(struct str value, struct str key, struct access_value *out)
{
	struct tokens t;
	struct buf text;

	memset(out, 0, sizeof(*out));
	buf_init(&text, ACCESS_VALUE_MAX);
	expand(value, key, &text);
	split(buf_str(&text), &t);
	join(&t, 0, false, out->text);
	read_text(out, &t);
	if (t.n == 1)
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (str_is_nocase(t.list[0], words[i].name))
				out->word = words[i].word;
	if (token_is(&t, 0, "QUARANTINE") && token_is(&t, 1, ":") && t.n > 2) {
		out->word = ACCESS_WORD_QUARANTINE;
		join(&t, 2, true, out->text);
	}
	buf_clear(&text);
}

static struct verdict
refusal(int code, const char *enhanced, const char *why, const char *reply)
{
	/* A checked map has no other codes; whatever else comes must still refuse. */
	if (code < 400 || code > 599)
		return verdict_refuse(553, "5.3.0", why, "%s", reply);
	return verdict_refuse(code, enhanced, why, "%s", reply);
}

struct verdict
access_value_refusal(const struct access_value *v, const char *why)
{
	return refusal(v->code, v->enhanced, why, v->reply);
}

struct verdict
access_text_refusal(const char *text, const char *why)
{
	struct access_value v = { .code = 0 };

	read_codes(&v, text, "");
	return access_value_refusal(&v, why);
}

/* "ERROR:" or "ERROR:D.S.N:" with nothing behind it, whatever D, S and N are. */
static bool
is_empty_error(struct str text)
{
	if (!str_starts_nocase(text, STR("ERROR:")))
		return false;
	text = str_sub(text, 6, text.len);
	if (text.len == 0)
		return true;
	if (str_index(text, ':') != (ptrdiff_t)text.len - 1)
		return false;
	ptrdiff_t first = str_index(text, '.'), last = str_rindex(text, '.');
	return first > 0 && last > first + 1 && (size_t)last + 2 < text.len;
}

bool
access_value_garbles(struct str value, struct err *err)
{
	struct access_value v;

	access_value_read(value, STR(""), &v);
	if (v.word != ACCESS_WORD_TEXT || (v.code >= 400 && v.code <= 599))
		return false;
	err_set(err, "reply code %d, expected 4yz or 5yz", v.code);
	return true;
}

int
access_value_check(struct str value, struct err *err)
{
	struct access_value v;

	access_value_read(value, STR(""), &v);
	if (v.word != ACCESS_WORD_TEXT)
		return 0;
	if (v.text[0] == '\0' || is_empty_error(str_of(v.text)))
		return err_set(err, "value without words");
	if (str_is_nocase(str_of(v.text), "QUARANTINE:"))
		return err_set(err, "QUARANTINE: without a reason");
	return access_value_garbles(value, err) ? -1 : 0;
}

bool
access_key_is_foreign(struct str key, struct str *tag)
{
	static const char *const tags[] = { "TLS_Srv:", "TLS_Clt:", "TLS_Rcpt:",
		"Try_TLS:", "TLS_Srv_Features:", "TLS_Clt_Features:", "Srv_Features:",
		"Clt_Features:", "AuthInfo:", "CERTISSUER:", "CERTSUBJECT:" };

	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
		*tag = str_of(tags[i]);
		if (str_starts_nocase(key, *tag))
			return true;
	}
	return false;
}

static void
say_foreign(const struct map_entry *e, struct str tag, const char *file, struct errs *said)
{
	char text[80];

	snprintf(text, sizeof(text), "%.*s is left to the MTA", STR_ARG(tag));
	for (size_t i = 0; i < said->n; i++)
		if (strcmp(said->list[i].text, text) == 0)
			return;
	errs_add(said, file, e->line, "%s", text);
}

static bool
line_sift(const struct map_entry *e, const char *file, struct errs *refused,
    struct errs *said)
{
	struct str tag;
	struct err err;

	if (access_key_is_foreign(e->key, &tag)) {
		say_foreign(e, tag, file, said);
		return false;
	}
	if (!access_value_garbles(e->value, &err))
		return true;
	errs_add(refused, file, e->line, "%.*s: %s; the line is not in force",
	    STR_ARG(e->key), err.text);
	return false;
}

static bool
line_sift_all(const struct map_entry *e, const char *file, struct errs *refused,
    struct errs *said)
{
	struct err err;

	if (!line_sift(e, file, refused, said))
		return false;
	if (access_value_check(e->value, &err) == 0)
		return true;
	errs_add(refused, file, e->line, "%.*s: %s; it is not in force", STR_ARG(e->key),
	    err.text);
	return false;
}

static bool
line_check(const struct map_entry *e, const char *file, struct errs *errs)
{
	struct err err;

	if (access_value_check(e->value, &err) == 0)
		return true;
	errs_add(errs, file, e->line, "%.*s: %s", STR_ARG(e->key), err.text);
	return false;
}

struct map_rules
access_map_rules(bool extensions)
{
	return (struct map_rules){ .sift = line_sift,
		.check = line_check,
		.extensions = extensions };
}

struct map_rules
access_map_rules_shared(void)
{
	return (struct map_rules){ .sift = line_sift_all, .extensions = true };
}
