/* SPDX-License-Identifier: BSD-2-Clause */
/* The states of WHATWG's tokenizer (13.2.5) that decide where text, tags and attributes
 * begin and end.  A position and a few helpers stand for the states: the input is whole. */
#include "common/mail/html.h"

#include <stdint.h>

#include "common/mail/charset.h"

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

/* Elements whose content is not markup. */
static bool
is_raw(struct str name)
{
	static const char *const raw[] = { "script", "style", "xmp", "iframe", "noembed",
		"noframes" };

	for (size_t i = 0; i < sizeof(raw) / sizeof(raw[0]); i++)
		if (str_is_nocase(name, raw[i]))
			return true;
	return false;
}

/* title and textarea: text with references, but no tags. */
static bool
is_rcdata(struct str name)
{
	return str_is_nocase(name, "title") || str_is_nocase(name, "textarea");
}

/* Offset of "</name" followed by a blank, '/' or '>', or the end. */
static size_t
find_end_tag(struct str in, size_t at, struct str name)
{
	for (; at < in.len; at++) {
		ptrdiff_t lt = str_index(str_sub(in, at, in.len), '<');

		if (lt < 0)
			return in.len;
		at += (size_t)lt;
		struct str rest = str_sub(in, at + 1, in.len);
		if (rest.len <= name.len + 1 || rest.p[0] != '/' ||
		    !str_starts_nocase(str_sub(rest, 1, rest.len), name))
			continue;
		char next = rest.p[1 + name.len];
		if (is_space(next) || next == '/' || next == '>')
			return at;
	}
	return in.len;
}

/* at stands behind "<!": a comment, a doctype or a bogus comment.  Returns what is
 * behind it. */
static size_t
skip_markup(struct str in, size_t at)
{
	struct str rest = str_sub(in, at, in.len);

	if (!str_starts(rest, STR("--"))) {
		ptrdiff_t gt = str_index(rest, '>');

		return gt < 0 ? in.len : at + (size_t)gt + 1;
	}
	/* "<!-->" and "<!--->" are whole comments. */
	if (str_starts(rest, STR("-->")))
		return at + 3;
	if (str_starts(rest, STR("--->")))
		return at + 4;
	for (at += 2; at + 2 < in.len; at++) {
		if (in.p[at] != '-' || in.p[at + 1] != '-')
			continue;
		if (in.p[at + 2] == '>')
			return at + 3;
		if (in.p[at + 2] == '!' && at + 3 < in.len && in.p[at + 3] == '>')
			return at + 4;
	}
	return in.len;
}

static void
add_attr(struct html_tag *tag, struct str name, struct str value)
{
	if (tag->n_attrs == HTML_ATTRS_MAX)
		return;
	for (size_t i = 0; i < tag->n_attrs; i++)
		if (str_eq_nocase(tag->attrs[i].name, name))
			return;
	tag->attrs[tag->n_attrs++] = (struct html_attr){ name, value };
}

static size_t
read_attr_value(struct str in, size_t at, struct str *value)
{
	size_t from;

	while (at < in.len && is_space(in.p[at]))
		at++;
	if (at < in.len && (in.p[at] == '"' || in.p[at] == '\'')) {
		ptrdiff_t close = str_index(str_sub(in, at + 1, in.len), in.p[at]);
		size_t end = close < 0 ? in.len : at + 1 + (size_t)close;

		*value = str_sub(in, at + 1, end);
		return end < in.len ? end + 1 : end;
	}
	from = at;
	while (at < in.len && !is_space(in.p[at]) && in.p[at] != '>')
		at++;
	*value = str_sub(in, from, at);
	return at;
}

/* at stands on the first letter of the name.  Returns what is behind '>'; an unclosed tag
 * reaches to the end and is none (the standard drops it), then in.len + 1. */
static size_t
read_tag(struct str in, size_t at, struct html_tag *tag)
{
	size_t from = at;

	while (at < in.len && !is_space(in.p[at]) && in.p[at] != '/' && in.p[at] != '>')
		at++;
	tag->name = str_sub(in, from, at);
	tag->n_attrs = 0;
	while (at < in.len) {
		struct str name, value = { "", 0 };

		while (at < in.len && (is_space(in.p[at]) || in.p[at] == '/'))
			at++;
		if (at == in.len)
			break;
		if (in.p[at] == '>')
			return at + 1;
		from = at++; /* the first octet may even be '=' */
		while (at < in.len && !is_space(in.p[at]) && in.p[at] != '/' &&
		    in.p[at] != '>' && in.p[at] != '=')
			at++;
		name = str_sub(in, from, at);
		size_t behind = at;
		while (behind < in.len && is_space(in.p[behind]))
			behind++;
		if (behind < in.len && in.p[behind] == '=')
			at = read_attr_value(in, behind + 1, &value);
		add_attr(tag, name, value);
	}
	return in.len + 1;
}

static void
emit_text(const struct html_events *events, void *arg, struct str text, bool raw)
{
	if (text.len > 0)
		events->text(arg, text, raw);
}

void
html_read(struct str in, const struct html_events *events, void *arg)
{
	size_t text_from = 0, at = 0;
	struct html_tag tag;

	while (at < in.len) {
		ptrdiff_t lt = str_index(str_sub(in, at, in.len), '<');

		if (lt < 0)
			break;
		size_t open = at + (size_t)lt;
		char next = open + 1 < in.len ? in.p[open + 1] : '\0';
		char after = open + 2 < in.len ? in.p[open + 2] : '\0';

		tag.end = next == '/';
		if (ascii_alpha(next) || (tag.end && ascii_alpha(after))) {
			size_t behind = read_tag(in, open + (tag.end ? 2 : 1), &tag);

			emit_text(events, arg, str_sub(in, text_from, open), false);
			if (behind > in.len)
				return;
			events->tag(arg, &tag);
			at = text_from = behind;
			if (!tag.end && (is_raw(tag.name) || is_rcdata(tag.name))) {
				size_t end = find_end_tag(in, at, tag.name);

				emit_text(events, arg, str_sub(in, at, end), is_raw(tag.name));
				at = text_from = end;
			}
		} else if (next == '!' || next == '?' || next == '/') {
			emit_text(events, arg, str_sub(in, text_from, open), false);
			/* "</>" vanishes; "</ x>" and "<? x>" are comments up to '>'. */
			at = text_from = skip_markup(in, open + (next == '!' ? 2 : 1));
		} else {
			at = open + 1; /* a '<' that opens nothing is text */
		}
	}
	emit_text(events, arg, str_sub(in, text_from, in.len), false);
}

struct str
html_attr(const struct html_tag *tag, const char *name)
{
	for (size_t i = 0; i < tag->n_attrs; i++)
		if (str_is_nocase(tag->attrs[i].name, name))
			return tag->attrs[i].value;
	return (struct str){ "", 0 };
}

/* The references that occur in mail: those of HTML 4 that every client knows without ';',
 * and punctuation. */
static const struct {
	const char *name;
	uint32_t code;
} references[] = {
	{ "AMP", '&' }, { "GT", '>' }, { "LT", '<' }, { "QUOT", '"' }, { "amp", '&' },
	{ "apos", '\'' }, { "gt", '>' }, { "lt", '<' }, { "quot", '"' }, { "nbsp", 0xa0 },
	{ "iexcl", 0xa1 }, { "cent", 0xa2 }, { "pound", 0xa3 }, { "curren", 0xa4 },
	{ "yen", 0xa5 }, { "brvbar", 0xa6 }, { "sect", 0xa7 }, { "uml", 0xa8 },
	{ "copy", 0xa9 }, { "ordf", 0xaa }, { "laquo", 0xab }, { "not", 0xac },
	{ "shy", 0xad }, { "reg", 0xae }, { "macr", 0xaf }, { "deg", 0xb0 },
	{ "plusmn", 0xb1 }, { "sup2", 0xb2 }, { "sup3", 0xb3 }, { "acute", 0xb4 },
	{ "micro", 0xb5 }, { "para", 0xb6 }, { "middot", 0xb7 }, { "cedil", 0xb8 },
	{ "sup1", 0xb9 }, { "ordm", 0xba }, { "raquo", 0xbb }, { "frac14", 0xbc },
	{ "frac12", 0xbd }, { "frac34", 0xbe }, { "iquest", 0xbf }, { "Agrave", 0xc0 },
	{ "Aacute", 0xc1 }, { "Acirc", 0xc2 }, { "Atilde", 0xc3 }, { "Auml", 0xc4 },
	{ "Aring", 0xc5 }, { "AElig", 0xc6 }, { "Ccedil", 0xc7 }, { "Egrave", 0xc8 },
	{ "Eacute", 0xc9 }, { "Ecirc", 0xca }, { "Euml", 0xcb }, { "Igrave", 0xcc },
	{ "Iacute", 0xcd }, { "Icirc", 0xce }, { "Iuml", 0xcf }, { "ETH", 0xd0 },
	{ "Ntilde", 0xd1 }, { "Ograve", 0xd2 }, { "Oacute", 0xd3 }, { "Ocirc", 0xd4 },
	{ "Otilde", 0xd5 }, { "Ouml", 0xd6 }, { "times", 0xd7 }, { "Oslash", 0xd8 },
	{ "Ugrave", 0xd9 }, { "Uacute", 0xda }, { "Ucirc", 0xdb }, { "Uuml", 0xdc },
	{ "Yacute", 0xdd }, { "THORN", 0xde }, { "szlig", 0xdf }, { "agrave", 0xe0 },
	{ "aacute", 0xe1 }, { "acirc", 0xe2 }, { "atilde", 0xe3 }, { "auml", 0xe4 },
	{ "aring", 0xe5 }, { "aelig", 0xe6 }, { "ccedil", 0xe7 }, { "egrave", 0xe8 },
	{ "eacute", 0xe9 }, { "ecirc", 0xea }, { "euml", 0xeb }, { "igrave", 0xec },
	{ "iacute", 0xed }, { "icirc", 0xee }, { "iuml", 0xef }, { "eth", 0xf0 },
	{ "ntilde", 0xf1 }, { "ograve", 0xf2 }, { "oacute", 0xf3 }, { "ocirc", 0xf4 },
	{ "otilde", 0xf5 }, { "ouml", 0xf6 }, { "divide", 0xf7 }, { "oslash", 0xf8 },
	{ "ugrave", 0xf9 }, { "uacute", 0xfa }, { "ucirc", 0xfb }, { "uuml", 0xfc },
	{ "yacute", 0xfd }, { "thorn", 0xfe }, { "yuml", 0xff }, { "ndash", 0x2013 },
	{ "mdash", 0x2014 }, { "lsquo", 0x2018 }, { "rsquo", 0x2019 }, { "sbquo", 0x201a },
	{ "ldquo", 0x201c }, { "rdquo", 0x201d }, { "bdquo", 0x201e }, { "bull", 0x2022 },
	{ "hellip", 0x2026 }, { "euro", 0x20ac }, { "trade", 0x2122 }, { "zwnj", 0x200c },
	{ "zwj", 0x200d }, { "ensp", 0x2002 }, { "emsp", 0x2003 }, { "thinsp", 0x2009 },
};

/* Numeric references to 0x80..0x9f mean windows-1252, as the standard says. */
static const uint16_t c1[32] = { 0x20ac, 0x81, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020,
	0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0x8d, 0x017d, 0x8f, 0x90, 0x2018,
	0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a,
	0x0153, 0x9d, 0x017e, 0x0178 };

/* s stands behind "&#".  Returns octets eaten, 0 when it is no reference. */
static size_t
numeric(struct str s, uint32_t *code)
{
	bool hex = s.len > 0 && (s.p[0] == 'x' || s.p[0] == 'X');
	size_t at = hex ? 1 : 0, from = at;
	uint32_t value = 0;

	for (; at < s.len; at++) {
		char c = ascii_lower(s.p[at]);
		uint32_t digit;

		if (ascii_digit(c))
			digit = (uint32_t)(c - '0');
		else if (hex && c >= 'a' && c <= 'f')
			digit = (uint32_t)(c - 'a') + 10;
		else
			break;
		if (value < 0x200000)
			value = value * (hex ? 16 : 10) + digit;
	}
	if (at == from)
		return 0;
	*code = value >= 0x80 && value < 0xa0 ? c1[value - 0x80] : value == 0 ? 0xfffd : value;
	return at < s.len && s.p[at] == ';' ? at + 1 : at;
}

static size_t
named(struct str s, uint32_t *code)
{
	size_t len = 0;

	while (len < s.len && len < 8 && ascii_alnum(s.p[len]))
		len++;
	/* The longest name wins; behind a shorter one without ';' text goes on. */
	for (; len >= 2; len--)
		for (size_t i = 0; i < sizeof(references) / sizeof(references[0]); i++)
			if (references[i].name[0] == s.p[0] &&
			    str_is(str_sub(s, 0, len), references[i].name)) {
				*code = references[i].code;
				return len < s.len && s.p[len] == ';' ? len + 1 : len;
			}
	return 0;
}

void
html_decode(struct str in, struct buf *out)
{
	size_t at = 0;

	while (at < in.len) {
		ptrdiff_t amp = str_index(str_sub(in, at, in.len), '&');
		size_t to = amp < 0 ? in.len : at + (size_t)amp;
		uint32_t code = 0;
		size_t used;

		if (buf_add_str(out, str_sub(in, at, to)) != 0 || to == in.len)
			return;
		struct str rest = str_sub(in, to + 1, in.len);
		if (rest.len > 0 && rest.p[0] == '#') {
			used = numeric(str_sub(rest, 1, rest.len), &code);
			used += used > 0;
		} else {
			used = named(rest, &code);
		}
		if ((used > 0 ? utf8_add(out, code) : buf_add_char(out, '&')) != 0)
			return;
		at = to + 1 + used;
	}
}
