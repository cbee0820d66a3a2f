/* SPDX-License-Identifier: BSD-2-Clause */
/* Borrowed octets.  Mail may hold NUL, so len decides and nothing here looks for an end.
 * No function depends on the locale: case means ASCII case. */
#ifndef POSTERN_BASE_STR_H
#define POSTERN_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *p;
	size_t len;
};

#define STR(literal) ((struct str){ "" literal, sizeof(literal) - 1 })
/* For printf: printf("%.*s", STR_ARG(s)).  Only for text known to fit an int. */
#define STR_ARG(s) (int)(s).len, (s).p

static inline struct str
str_of(const char *cstr)
{
	return (struct str){ cstr, cstr == NULL ? 0 : strlen(cstr) };
}

/* The part [from, to) of s; both are clamped to s. */
struct str str_sub(struct str s, size_t from, size_t to);

bool str_eq(struct str a, struct str b);
bool str_eq_nocase(struct str a, struct str b);
bool str_is(struct str a, const char *cstr); /* exact */
bool str_is_nocase(struct str a, const char *cstr);
bool str_starts(struct str s, struct str prefix);
bool str_starts_nocase(struct str s, struct str prefix);
bool str_ends_nocase(struct str s, struct str suffix);

/* <0, 0, >0 by unsigned octets, shorter first. */
int str_cmp(struct str a, struct str b);

/* Index of c or -1. */
ptrdiff_t str_index(struct str s, char c);
ptrdiff_t str_rindex(struct str s, char c);
bool str_has(struct str s, char c);

/* Without spaces, tabs, CR and LF at both ends. */
struct str str_trim(struct str s);

/* Split at the first c: *head = before, *s = behind it.  false when s is empty and
 * nothing was left; without c the whole is the head. */
bool str_cut(struct str *s, char c, struct str *head);

/* The next run of octets that are not blank (space, tab, CR, LF).  false: none left. */
bool str_word(struct str *s, struct str *word);

/* Heap copy with a NUL behind it; the caller frees.  _lower: in ASCII lower case. */
char *str_dup(struct str s);
char *str_dup_lower(struct str s);

/* Decimal digits only, no sign, no blank; false when out of [min, max] or not a number. */
bool str_to_uint(struct str s, uint64_t min, uint64_t max, uint64_t *out);

/* "90", "90s", "5m", "1h30m", "2d", "5w" in seconds, "250ms" only by _ms.  Without a unit:
 * seconds (_ms: milliseconds). */
bool str_to_duration(struct str s, int64_t *seconds);
bool str_to_duration_ms(struct str s, int64_t *ms);

/* "1000", "64k", "10M", "2G": powers of 1024. */
bool str_to_size(struct str s, uint64_t *bytes);

/* ASCII only, whatever the locale. */
static inline char
ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}
static inline bool
ascii_digit(char c)
{
	return c >= '0' && c <= '9';
}
static inline bool
ascii_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool
ascii_alnum(char c)
{
	return ascii_alpha(c) || ascii_digit(c);
}
static inline bool
ascii_blank(char c)
{
	return c == ' ' || c == '\t';
}

#endif
