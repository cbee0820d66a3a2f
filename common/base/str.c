/* SPDX-License-Identifier: BSD-2-Clause */
/* Borrowed octets: compare, cut, and the three notations of numbers that our files use. */
#include "common/base/str.h"

#include "common/base/xalloc.h"

struct str
str_sub(struct str s, size_t from, size_t to)
{
	if (to > s.len)
		to = s.len;
	if (from > to)
		from = to;
	return (struct str){ s.p == NULL ? NULL : s.p + from, to - from };
}

bool
str_eq(struct str a, struct str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

bool
str_eq_nocase(struct str a, struct str b)
{
	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	return true;
}

bool
str_is(struct str a, const char *cstr)
{
	return str_eq(a, str_of(cstr));
}

bool
str_is_nocase(struct str a, const char *cstr)
{
	return str_eq_nocase(a, str_of(cstr));
}

bool
str_starts(struct str s, struct str prefix)
{
	return s.len >= prefix.len && str_eq(str_sub(s, 0, prefix.len), prefix);
}

bool
str_starts_nocase(struct str s, struct str prefix)
{
	return s.len >= prefix.len && str_eq_nocase(str_sub(s, 0, prefix.len), prefix);
}

bool
str_ends_nocase(struct str s, struct str suffix)
{
	return s.len >= suffix.len &&
	    str_eq_nocase(str_sub(s, s.len - suffix.len, s.len), suffix);
}

int
str_cmp(struct str a, struct str b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int diff = common == 0 ? 0 : memcmp(a.p, b.p, common);

	if (diff != 0)
		return diff;
	return a.len < b.len ? -1 : a.len > b.len;
}

ptrdiff_t
str_index(struct str s, char c)
{
	const char *hit = s.len == 0 ? NULL : memchr(s.p, c, s.len);

	return hit == NULL ? -1 : hit - s.p;
}

ptrdiff_t
str_rindex(struct str s, char c)
{
	const char *hit = s.len == 0 ? NULL : memrchr(s.p, c, s.len);

	return hit == NULL ? -1 : hit - s.p;
}

bool
str_has(struct str s, char c)
{
	return str_index(s, c) >= 0;
}

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct str
str_trim(struct str s)
{
	while (s.len > 0 && is_space(s.p[0]))
		s = str_sub(s, 1, s.len);
	while (s.len > 0 && is_space(s.p[s.len - 1]))
		s.len--;
	return s;
}

bool
str_cut(struct str *s, char c, struct str *head)
{
	if (s->p == NULL)
		return false;
	ptrdiff_t at = str_index(*s, c);

	if (at < 0) {
		*head = *s;
		*s = (struct str){ NULL, 0 };
		return true;
	}
	*head = str_sub(*s, 0, (size_t)at);
	*s = str_sub(*s, (size_t)at + 1, s->len);
	return true;
}

bool
str_word(struct str *s, struct str *word)
{
	size_t from = 0;

	while (from < s->len && is_space(s->p[from]))
		from++;
	size_t to = from;
	while (to < s->len && !is_space(s->p[to]))
		to++;
	*word = str_sub(*s, from, to);
	*s = str_sub(*s, to, s->len);
	return word->len > 0;
}

char *
str_dup(struct str s)
{
	return xmemdup0(s.p, s.len);
}

char *
str_dup_lower(struct str s)
{
	char *copy = str_dup(s);

	for (size_t i = 0; i < s.len; i++)
		copy[i] = ascii_lower(copy[i]);
	return copy;
}

bool
str_to_uint(struct str s, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (!ascii_digit(s.p[i]) || __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(s.p[i] - '0'), &value))
			return false;
	}
	if (value < min || value > max)
		return false;
	*out = value;
	return true;
}

struct unit {
	const char *name;
	int64_t ms;
};

static const struct unit duration_units[] = {
	{ "ms", 1 },
	{ "s", 1000 },
	{ "m", 60 * 1000 },
	{ "h", 3600 * 1000 },
	{ "d", 86400 * 1000 },
	{ "w", 7 * 86400 * 1000 },
};

/* One "<digits><unit>" off the front of *s; a bare number counts in bare_ms. */
static bool
duration_part(struct str *s, int64_t bare_ms, int64_t *ms)
{
	size_t digits = 0, letters;
	uint64_t n;
	int64_t factor = 0;

	while (digits < s->len && ascii_digit(s->p[digits]))
		digits++;
	if (!str_to_uint(str_sub(*s, 0, digits), 0, INT64_MAX, &n))
		return false;
	for (letters = digits; letters < s->len && ascii_alpha(s->p[letters]); letters++)
		;
	struct str name = str_sub(*s, digits, letters);
	for (size_t i = 0; i < sizeof(duration_units) / sizeof(duration_units[0]); i++)
		if (str_is(name, duration_units[i].name))
			factor = duration_units[i].ms;
	if (name.len == 0)
		factor = bare_ms;
	*s = str_sub(*s, letters, s->len);
	return factor > 0 && !__builtin_mul_overflow((int64_t)n, factor, ms);
}

static bool
duration(struct str s, int64_t bare_ms, int64_t *out)
{
	int64_t sum = 0, part;

	if (s.len == 0)
		return false;
	while (s.len > 0)
		if (!duration_part(&s, bare_ms, &part) ||
		    __builtin_add_overflow(sum, part, &sum))
			return false;
	*out = sum;
	return true;
}

bool
str_to_duration_ms(struct str s, int64_t *ms)
{
	return duration(s, 1, ms);
}

bool
str_to_duration(struct str s, int64_t *seconds)
{
	int64_t ms;

	/* Fractions of a second are refused, not rounded: "250ms" here is a mistake. */
	if (!duration(s, 1000, &ms) || ms % 1000 != 0)
		return false;
	*seconds = ms / 1000;
	return true;
}

bool
str_to_size(struct str s, uint64_t *bytes)
{
	static const char units[] = "kmgt";
	uint64_t n, factor = 1;

	if (s.len > 1 && ascii_alpha(s.p[s.len - 1])) {
		const char *unit = strchr(units, ascii_lower(s.p[s.len - 1]));

		if (unit == NULL)
			return false;
		for (const char *u = units; u <= unit; u++)
			factor *= 1024;
		s.len--;
	}
	return str_to_uint(s, 0, UINT64_MAX, &n) &&
	    !__builtin_mul_overflow(n, factor, bytes);
}
