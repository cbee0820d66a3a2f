/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads an SPF record strictly by the ABNF of RFC 7208: a record with a fault anywhere
 * is refused as a whole (4.6), so that nothing behind this ever sees one.  Decides
 * nothing about a client. */
#include "common/auth/spf_record.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "common/base/xalloc.h"

static const struct str version = { "v=spf1", 6 };

bool
spf_record_is(struct str txt)
{
	return str_starts_nocase(txt, version) &&
	    (txt.len == version.len || txt.p[version.len] == ' ');
}

/* ---- macros ---- */

/* "%{" letter digits "r" delimiters "}" at text[at]; returns the octets, 0: wrong. */
static size_t
macro_len(struct str text, size_t at, bool explanation, struct spf_macros *m)
{
	size_t i = at + 2;

	if (i >= text.len)
		return 0;
	char letter = ascii_lower(text.p[i++]);
	if (memchr("slodiphv", letter, 8) == NULL &&
	    (!explanation || memchr("crt", letter, 3) == NULL))
		return 0;
	size_t digits = i;
	unsigned value = 0;
	for (; i < text.len && ascii_digit(text.p[i]); i++) {
		value = value * 10 + (unsigned)(text.p[i] - '0');
		if (value > 128) /* no name has more labels */
			return 0;
	}
	if (i > digits && value == 0) /* 7.1: DIGIT transformers are not zero */
		return 0;
	if (i < text.len && ascii_lower(text.p[i]) == 'r')
		i++;
	while (i < text.len && memchr(".-+,/_=", text.p[i], 7) != NULL)
		i++;
	if (i >= text.len || text.p[i] != '}')
		return 0;
	m->foreign = m->foreign || (letter != 'd' && letter != 'o');
	m->uses_p = m->uses_p || letter == 'p';
	return i + 1 - at;
}

int
spf_macros_check(
    struct str text, bool explanation, struct spf_macros *out, struct err *err)
{
	unsigned n = 0;

	*out = (struct spf_macros){ .last_end = 0 };
	for (size_t i = 0; i < text.len;) {
		unsigned char c = (unsigned char)text.p[i];
		size_t len = 0;

		if (c < 0x20 || c > 0x7e || (c == ' ' && !explanation))
			return err_set(err, "octet 0x%02x, expected visible ASCII", c);
		if (c != '%') {
			i++;
			continue;
		}
		if (i + 1 < text.len && memchr("%_-", text.p[i + 1], 3) != NULL)
			len = 2;
		else if (i + 1 < text.len && text.p[i + 1] == '{')
			len = macro_len(text, i, explanation, out);
		if (len == 0)
			return err_set(err, "\"%%\" starts no macro in \"%.*s\"",
			    STR_ARG(str_sub(text, 0, SPF_TERM_MAX)));
		if (++n > SPF_MACROS_MAX)
			return err_set(err, "more than %d macros", SPF_MACROS_MAX);
		i += len;
		out->last_end = i;
	}
	return 0;
}

/* toplabel of 7.1: letters, digits, inner hyphens, not digits alone. */
static bool
toplabel_ok(struct str s)
{
	bool more_than_digits = false;

	if (s.len == 0 || s.p[0] == '-' || s.p[s.len - 1] == '-')
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (!ascii_alnum(s.p[i]) && s.p[i] != '-')
			return false;
		more_than_digits = more_than_digits || !ascii_digit(s.p[i]);
	}
	return more_than_digits;
}

/* domain-spec = macro-string ( "." toplabel [ "." ] / macro-expand ) */
static int
check_spec(struct str spec, struct spf_macros *m, struct err *err)
{
	if (spec.len == 0)
		return err_set(err, "empty domain");
	if (spf_macros_check(spec, false, m, err) != 0)
		return -1;
	struct str tail = str_sub(spec, m->last_end, spec.len);
	if (tail.len == 0)
		return 0;
	if (tail.p[tail.len - 1] == '.')
		tail.len--;
	ptrdiff_t dot = str_rindex(tail, '.');
	if (dot < 0 || !toplabel_ok(str_sub(tail, (size_t)dot + 1, tail.len)))
		return err_set(err, "\"%.*s\" does not end in a domain", STR_ARG(spec));
	return 0;
}

/* ---- terms ---- */

/* "/" digits at the end of *s, without leading zeros; cut off when it is there.
 * -1: out of range. */
static int
cut_prefix(
    struct str *s, const char *slash, unsigned max, unsigned *out, struct err *err)
{
	size_t mark = strlen(slash), digits = 0;
	uint64_t value;

	while (digits < s->len && ascii_digit(s->p[s->len - 1 - digits]))
		digits++;
	if (digits == 0 || s->len < digits + mark ||
	    memcmp(s->p + s->len - digits - mark, slash, mark) != 0)
		return 0;
	struct str number = str_sub(*s, s->len - digits, s->len);
	if ((number.len > 1 && number.p[0] == '0') || number.len > 3 ||
	    !str_to_uint(number, 0, max, &value))
		return err_set(err, "prefix length \"%.*s\", expected 0 to %u",
		    STR_ARG(str_sub(number, 0, 40)), max);
	*out = (unsigned)value;
	s->len -= digits + mark;
	return 0;
}

/* What follows ip4: and ip6:. */
static int
read_network(struct str value, struct spf_term *t, struct err *err)
{
	bool v6 = t->mechanism == SPF_MECH_IP6;
	struct str whole = value;
	int rc = v6 ? cut_prefix(&value, "/", 128, &t->prefix6, err)
		    : cut_prefix(&value, "/", 32, &t->prefix4, err);

	if (rc != 0)
		return -1;
	/* ip_parse() knows more spellings than the ABNF, and makes a mapped address
	 * IPv4's: here it is a network of IPv6, which no IPv4 client matches (5). */
	char text[IP_TEXT_MAX];
	if (value.len >= sizeof(text))
		return err_set(err, "\"%.*s\" is no network", STR_ARG(whole));
	memcpy(text, value.p, value.len);
	text[value.len] = '\0';
	t->ip.family = v6 ? AF_INET6 : AF_INET;
	if (inet_pton(t->ip.family, text, t->ip.b) != 1)
		return err_set(err, "\"%.*s\" is no network", STR_ARG(whole));
	return 0;
}

/* [ ":" domain-spec ] [ cidr ] of a and mx; [ ":" domain-spec ] of the others. */
static int
read_target(struct str value, bool required, struct spf_term *t, struct err *err)
{
	struct spf_macros m = { .foreign = false };

	if (t->mechanism == SPF_MECH_A || t->mechanism == SPF_MECH_MX)
		if (cut_prefix(&value, "//", 128, &t->prefix6, err) != 0 ||
		    cut_prefix(&value, "/", 32, &t->prefix4, err) != 0)
			return -1;
	if (value.len == 0 && !required)
		return 0;
	if (value.len == 0 || value.p[0] != ':')
		return err_set(err, "expected \":\" and a domain");
	t->spec = str_sub(value, 1, value.len);
	int rc = check_spec(t->spec, &m, err);
	t->foreign = m.foreign;
	t->uses_p = m.uses_p;
	return rc;
}

static const struct {
	const char *name;
	enum spf_mechanism mechanism;
} mechanisms[] = {
	{ "all", SPF_MECH_ALL },
	{ "include", SPF_MECH_INCLUDE },
	{ "a", SPF_MECH_A },
	{ "mx", SPF_MECH_MX },
	{ "ptr", SPF_MECH_PTR },
	{ "ip4", SPF_MECH_IP4 },
	{ "ip6", SPF_MECH_IP6 },
	{ "exists", SPF_MECH_EXISTS },
};

static int
read_value(struct str value, struct spf_term *t, struct err *err)
{
	switch (t->mechanism) {
	case SPF_MECH_ALL:
		return value.len == 0 ? 0 : err_set(err, "\"all\" takes no value");
	case SPF_MECH_IP4:
	case SPF_MECH_IP6:
		if (value.len == 0 || value.p[0] != ':')
			return err_set(err, "expected \":\" and a network");
		return read_network(str_sub(value, 1, value.len), t, err);
	case SPF_MECH_INCLUDE:
	case SPF_MECH_EXISTS:
		return read_target(value, true, t, err);
	case SPF_MECH_A:
	case SPF_MECH_MX:
	case SPF_MECH_PTR:
		return read_target(value, false, t, err);
	}
	return -1;
}

static int
read_directive(struct str text, struct spf_term *t, struct err *err)
{
	struct str s = text;
	size_t name = 0;

	*t = (struct spf_term){
		.qualifier = '+', .text = text, .prefix4 = 32, .prefix6 = 128
	};
	if (memchr("+-~?", s.p[0], 4) != NULL) {
		t->qualifier = s.p[0];
		s = str_sub(s, 1, s.len);
	}
	while (name < s.len && s.p[name] != ':' && s.p[name] != '/')
		name++;
	for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++)
		if (str_is_nocase(str_sub(s, 0, name), mechanisms[i].name)) {
			t->mechanism = mechanisms[i].mechanism;
			return read_value(str_sub(s, name, s.len), t, err);
		}
	return err_set(err, "no such mechanism");
}

static int
read_modifier(struct str name, struct str value, struct spf_record *r, struct err *err)
{
	struct spf_modifier *known = NULL;
	struct spf_macros m;

	if (str_is_nocase(name, "redirect"))
		known = &r->redirect;
	else if (str_is_nocase(name, "exp"))
		known = &r->exp;
	if (known == NULL) /* 6: unknown modifiers are ignored, if well-formed */
		return spf_macros_check(value, true, &m, err);
	if (known->given) /* 6: at most once each */
		return err_set(err, "\"%.*s=\" stands twice", STR_ARG(name));
	if (check_spec(value, &m, err) != 0)
		return -1;
	*known = (struct spf_modifier){ true, m.foreign, m.uses_p, value };
	return 0;
}

/* Octets of a modifier's name in front of "="; 0: this is none. */
static size_t
modifier_name(struct str term)
{
	size_t i = 0;

	if (!ascii_alpha(term.p[0]))
		return 0;
	while (i < term.len && (ascii_alnum(term.p[i]) || memchr("-_.", term.p[i], 3)))
		i++;
	return i < term.len && term.p[i] == '=' ? i : 0;
}

static int
read_term(struct str term, struct spf_record *r, struct err *err)
{
	struct err why;
	size_t name = modifier_name(term);
	int rc;

	if (term.len > SPF_TERM_MAX)
		return err_set(err, "a term of %zu octets, expected at most %d",
		    term.len, SPF_TERM_MAX);
	if (r->n == SPF_TERMS_MAX)
		return err_set(err, "more than %d terms", SPF_TERMS_MAX);
	if (name > 0)
		rc = read_modifier(
		    str_sub(term, 0, name), str_sub(term, name + 1, term.len), r, &why);
	else
		rc = read_directive(term, &r->terms[r->n], &why);
	if (rc != 0)
		return err_set(err, "\"%.*s\": %s", STR_ARG(term), why.text);
	if (name == 0)
		r->n++;
	return 0;
}

int
spf_record_parse(struct str txt, struct spf_record *out, struct err *err)
{
	struct str rest = str_sub(txt, version.len, txt.len), term;
	size_t spaces = 0;

	*out = (struct spf_record){ .n = 0 };
	if (!spf_record_is(txt))
		return err_set(err, "no SPF record");
	if (txt.len > SPF_RECORD_MAX)
		return err_set(err, "a record of %zu octets, expected at most %d",
		    txt.len, SPF_RECORD_MAX);
	for (size_t i = 0; i < rest.len; i++)
		if (rest.p[i] < 0x20 || rest.p[i] > 0x7e)
			return err_set(err, "octet 0x%02x, expected visible ASCII",
			    (unsigned char)rest.p[i]);
		else if (rest.p[i] == ' ')
			spaces++;
	out->terms = xcalloc(
	    spaces < SPF_TERMS_MAX ? spaces + 1 : SPF_TERMS_MAX, sizeof(*out->terms));
	while (str_cut(&rest, ' ', &term))
		if (term.len > 0 && read_term(term, out, err) != 0)
			return -1;
	return 0;
}

void
spf_record_clear(struct spf_record *record)
{
	free(record->terms);
	*record = (struct spf_record){ .n = 0 };
}
