/* SPDX-License-Identifier: BSD-2-Clause */
/* Macros of SPF (RFC 7208 7.3): a value is split at its delimiters, perhaps reversed,
 * its right-hand parts are kept and joined by dots; an upper-case letter escapes the
 * result as for a URL.  libspf2's own expansion is not used: it has no delimiters ","
 * and "/", escapes in lower case, and reads beyond what it was given (CVE-2023-42118).
 */
#include "common/auth/spf_macro.h"

#include <assert.h>

#define PARTS_MAX 128

/* "%{" letter digits "r" delimiters "}" taken apart. */
struct macro {
	char letter; /* lower case */
	bool escape, reverse;
	size_t keep; /* right-hand parts; 0: all */
	struct str delimiters;
};

static struct macro
read_macro(struct str inner)
{
	struct macro m = { .letter = ascii_lower(inner.p[0]),
		.escape = ascii_lower(inner.p[0]) != inner.p[0] };
	size_t i = 1;

	for (; i < inner.len && ascii_digit(inner.p[i]); i++)
		m.keep = m.keep * 10 + (size_t)(inner.p[i] - '0');
	if (i < inner.len && ascii_lower(inner.p[i]) == 'r') {
		m.reverse = true;
		i++;
	}
	m.delimiters = str_sub(inner, i, inner.len);
	if (m.delimiters.len == 0)
		m.delimiters = STR(".");
	return m;
}

/* A value of more parts than any name has labels keeps its last ones whole. */
static size_t
split(struct str value, struct str delimiters, struct str parts[PARTS_MAX])
{
	size_t n = 0, from = 0;

	for (size_t i = 0; i < value.len && n < PARTS_MAX - 1; i++)
		if (str_has(delimiters, value.p[i])) {
			parts[n++] = str_sub(value, from, i);
			from = i + 1;
		}
	parts[n++] = str_sub(value, from, value.len);
	return n;
}

/* Everything but the unreserved characters of RFC 3986 2.3. */
static void
add_escaped(struct str s, struct buf *out)
{
	for (size_t i = 0; i < s.len; i++)
		if (ascii_alnum(s.p[i]) || memchr("-._~", s.p[i], 4) != NULL)
			buf_add_char(out, s.p[i]);
		else
			buf_addf(out, "%%%02X", (unsigned char)s.p[i]);
}

static void
expand_one(const struct spf_vars *vars, struct str inner, struct buf *out)
{
	struct macro m = read_macro(inner);
	struct str parts[PARTS_MAX];

	assert(m.letter >= 'a' && m.letter <= 'z');
	size_t n = split(vars->value[m.letter - 'a'], m.delimiters, parts);
	size_t first = m.keep > 0 && m.keep < n ? n - m.keep : 0;
	for (size_t i = first; i < n; i++) {
		struct str part = parts[m.reverse ? n - 1 - i : i];

		if (i > first)
			buf_add_char(out, '.');
		if (m.escape)
			add_escaped(part, out);
		else
			buf_add_str(out, part);
	}
}

int
spf_macro_expand(const struct spf_vars *vars, struct str text, struct buf *out)
{
	for (size_t i = 0; i < text.len;) {
		if (text.p[i] != '%') {
			buf_add_char(out, text.p[i++]);
			continue;
		}
		assert(i + 1 < text.len);
		switch (text.p[i + 1]) {
		case '{': {
			ptrdiff_t end = str_index(str_sub(text, i, text.len), '}');
			assert(end > 2);
			expand_one(vars, str_sub(text, i + 2, i + (size_t)end), out);
			i += (size_t)end + 1;
			continue;
		}
		case '_':
			buf_add_char(out, ' ');
			break;
		case '-':
			buf_add_cstr(out, "%20");
			break;
		default:
			buf_add_char(out, '%');
			break;
		}
		i += 2;
	}
	return out->failed ? -1 : 0;
}
