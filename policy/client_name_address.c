/* SPDX-License-Identifier: BSD-2-Clause */
/* Finds an address in a host's name.  Providers write the octets in either order, with or
 * without leading zeros, with dashes, dots or nothing between them, in decimal or in
 * hexadecimal, some of them or all. */
#include "policy/client_name_private.h"

#include <stdio.h>
#include <string.h>

#define RUNS_MAX 64 /* a longer name shows what it is before */
#define NAME_MAX_OCTETS 253
#define NO_NUMBER 0x10000u
#define OCTETS_TEXT_MAX 16

static bool
is_hex(char c)
{
	return ascii_digit(c) || (c >= 'a' && c <= 'f');
}

/* Either number as 0 to 65535, else NO_NUMBER. */
static unsigned
value_of(struct str digits, unsigned base)
{
	unsigned value = 0;

	if (digits.len > (base == 10 ? 3 : 4))
		return NO_NUMBER;
	for (size_t i = 0; i < digits.len; i++) {
		char c = digits.p[i];

		if (!is_hex(c) || (base == 10 && !ascii_digit(c)))
			return NO_NUMBER;
		value = value * base +
		    (unsigned)(ascii_digit(c) ? c - '0' : c - 'a' + 10);
	}
	return digits.len == 0 ? NO_NUMBER : value;
}

struct run {
	size_t at, len;
	unsigned value; /* in the runs' base */
};

/* Maximal runs of what wanted() takes. */
static size_t
runs_of(struct str s, bool (*wanted)(char), unsigned base, struct run out[RUNS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < s.len && n < RUNS_MAX; i++) {
		size_t from = i;

		while (i < s.len && wanted(s.p[i]))
			i++;
		if (i > from)
			out[n++] = (struct run){ from, i - from,
				value_of(str_sub(s, from, i), base) };
	}
	return n;
}

static bool
contains(struct str s, struct str part)
{
	return part.len > 0 && s.len >= part.len &&
	    memmem(s.p, s.len, part.p, part.len) != NULL;
}

/* Only what wanted() takes; out holds NAME_MAX_OCTETS. */
static struct str
squeeze(struct str s, bool (*wanted)(char), char *out)
{
	size_t n = 0;

	for (size_t i = 0; i < s.len && n < NAME_MAX_OCTETS; i++)
		if (wanted(s.p[i]))
			out[n++] = s.p[i];
	return (struct str){ out, n };
}

/* ---- IPv4 ---- */

enum style { PLAIN, PADDED, HEX };

/* n octets without separators, forwards or backwards. */
static struct str
octets_text(const uint8_t *b, size_t n, enum style style, bool back,
    char out[OCTETS_TEXT_MAX])
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned octet = b[back ? n - 1 - i : i];
		char *to = out + at;
		size_t room = OCTETS_TEXT_MAX - at;

		at += (size_t)(style == PLAIN ? snprintf(to, room, "%u", octet)
			: style == PADDED     ? snprintf(to, room, "%03u", octet)
					      : snprintf(to, room, "%02x", octet));
	}
	return (struct str){ out, at };
}

/* n numbers are n octets, in the address's order or against it. */
static bool
same_order(const struct run *runs, const uint8_t *b, size_t n)
{
	bool forth = true, back = true;

	for (size_t i = 0; i < n; i++) {
		forth = forth && runs[i].value == b[i];
		back = back && runs[i].value == b[n - 1 - i];
	}
	return forth || back;
}

/* Four numbers are the octets in any order: host before network, pairs swapped. */
static bool
same_set(const struct run runs[4], const uint8_t b[4])
{
	bool used[4] = { false };
	size_t digits = 0, found = 0;

	for (size_t i = 0; i < 4; i++) {
		size_t k = 0;

		while (k < 4 && (used[k] || runs[i].value != b[k]))
			k++;
		if (k < 4) {
			used[k] = true;
			found++;
		}
		digits += runs[i].len;
	}
	return found == 4 && digits >= 6;
}

static bool
four_numbers(const struct run *runs, size_t n, const uint8_t b[4])
{
	for (size_t i = 0; i + 4 <= n; i++)
		if (same_order(runs + i, b, 4) || same_set(runs + i, b))
			return true;
	return false;
}

/* The whole address as one number or run of digits. */
static bool
one_number(struct str s, const struct run *runs, size_t n, const uint8_t b[4])
{
	char digits[NAME_MAX_OCTETS], hex[NAME_MAX_OCTETS], text[OCTETS_TEXT_MAX];
	struct str all_digits = squeeze(s, ascii_digit, digits);
	struct str all_hex = squeeze(s, ascii_alnum, hex);

	for (int back = 0; back < 2; back++) {
		if (contains(all_digits, octets_text(b, 4, PADDED, back, text)) ||
		    contains(all_hex, octets_text(b, 4, HEX, back, text)))
			return true;
		uint32_t number = back ? (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 |
			(uint32_t)b[1] << 8 | b[0]
				       : (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 |
			(uint32_t)b[2] << 8 | b[3];
		struct str plain = octets_text(b, 4, PLAIN, back, text);
		for (size_t i = 0; i < n; i++) {
			struct str run = str_sub(s, runs[i].at, runs[i].at + runs[i].len);
			uint64_t value;

			if ((run.len >= 6 && str_eq(run, plain)) ||
			    (run.len >= 8 && str_to_uint(run, number, number, &value)))
				return true;
		}
	}
	return false;
}

static bool
whole4(struct str s, const struct run *runs, size_t n, const uint8_t b[4])
{
	struct run hex[RUNS_MAX];

	if (four_numbers(runs, n, b) || one_number(s, runs, n, b))
		return true;
	/* 51.2.45.8e: words of their own, so that letters of others do not count */
	size_t n_hex = runs_of(s, ascii_alnum, 16, hex);
	for (size_t i = 0; i + 4 <= n_hex; i++)
		if (same_order(hex + i, b, 4))
			return true;
	return false;
}

/* Numbers close to each other; small ones may be so by chance. */
static bool
beside(const struct run *runs, size_t n)
{
	size_t digits = runs[0].len, gap = 0;
	unsigned least = runs[0].value;

	for (size_t i = 1; i < n; i++) {
		size_t between = runs[i].at - runs[i - 1].at - runs[i - 1].len;

		gap = between > gap ? between : gap;
		least = runs[i].value < least ? runs[i].value : least;
		digits += runs[i].len;
	}
	return digits > n && (gap == 1 || (gap <= 8 && (least > 9 || n == 3)));
}

/* n neighbouring octets as one run of digits. */
static bool
run_of_octets(struct str run, const uint8_t *b, size_t n)
{
	char text[OCTETS_TEXT_MAX];

	if (run.len < 4)
		return false;
	for (int back = 0; back < 2; back++) {
		if (str_eq(run, octets_text(b, n, PLAIN, back, text)))
			return true;
		struct str padded = octets_text(b, n, PADDED, back, text);
		if (run.len >= padded.len &&
		    str_eq(str_sub(run, run.len - padded.len, run.len), padded))
			return true;
	}
	return false;
}

/* Two or three octets in hexadecimal, as a word of their own or behind another letter. */
static bool
hex_part4(struct str s, const uint8_t b[4])
{
	struct run hex[RUNS_MAX];
	char text[OCTETS_TEXT_MAX];
	size_t n_hex = runs_of(s, is_hex, 16, hex);

	for (size_t i = 0; i < n_hex; i++)
		for (size_t n = 2; n <= 3; n++)
			for (size_t k = 0; hex[i].len == 2 * n && k + n <= 4; k++)
				if (str_eq(str_sub(s, hex[i].at, hex[i].at + hex[i].len),
					octets_text(b + k, n, HEX, false, text)))
					return true;
	return false;
}

static bool
part4(struct str s, const struct run *runs, size_t n_runs, const uint8_t b[4])
{
	for (size_t n = 2; n <= 3; n++)
		for (size_t k = 0; k + n <= 4; k++)
			for (size_t i = 0; i < n_runs; i++) {
				if (i + n <= n_runs && same_order(runs + i, b + k, n) &&
				    beside(runs + i, n))
					return true;
				if (run_of_octets(str_sub(s, runs[i].at,
						      runs[i].at + runs[i].len),
					b + k, n))
					return true;
			}
	return hex_part4(s, b);
}

/* ---- IPv6 ---- */

#define NIBBLES 32

static void
nibbles_of(const uint8_t b[16], char forth[NIBBLES], char back[NIBBLES])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < NIBBLES; i++) {
		forth[i] = digits[i % 2 == 0 ? b[i / 2] >> 4 : b[i / 2] & 15];
		back[NIBBLES - 1 - i] = forth[i];
	}
}

/* The longest stretch of s, of which at least 4 nibbles are not zero, that stands in the
 * address. */
static size_t
longest(struct str s, struct str address)
{
	size_t best = 0;

	for (size_t i = 0; i < s.len; i++)
		for (size_t k = 0; k < address.len; k++) {
			size_t len = 0, not_zero = 0;

			while (i + len < s.len && k + len < address.len &&
			    s.p[i + len] == address.p[k + len])
				not_zero += s.p[i + len++] != '0';
			if (len > best && not_zero >= 4)
				best = len;
		}
	return best;
}

#define GROUPS_WHOLE 3

/* How many groups that are not zero stand in a row; zeros may be left out.  Groups of one
 * digit may do so by chance: it takes one more of them. */
static size_t
groups_in_row(const struct run *runs, size_t n, const uint8_t b[16])
{
	size_t best = 0;

	for (size_t first = 0; first < n; first++)
		for (size_t from = 0; from < 8; from++) {
			size_t i = first, found = 0, any = 0;

			for (size_t g = from; g < 8; g++) {
				unsigned group =
				    (unsigned)b[2 * g] << 8 | b[2 * g + 1];

				if (i < n && runs[i].value == group) {
					found += group > 9;
					any += group != 0;
					i++;
				} else if (group != 0) {
					break;
				}
			}
			if (any > GROUPS_WHOLE && found < GROUPS_WHOLE)
				found = GROUPS_WHOLE;
			best = found > best ? found : best;
		}
	return best;
}

static enum client_name_has
address6(struct str s, const uint8_t b[16])
{
	char forth[NIBBLES], back[NIBBLES], hex[NAME_MAX_OCTETS];
	struct run runs[RUNS_MAX];
	struct str all = squeeze(s, ascii_alnum, hex);
	size_t n = runs_of(s, ascii_alnum, 16, runs);

	nibbles_of(b, forth, back);
	size_t len = longest(all, (struct str){ forth, NIBBLES });
	size_t other = longest(all, (struct str){ back, NIBBLES });
	len = other > len ? other : len;
	size_t groups = groups_in_row(runs, n, b);
	if (len >= 12 || groups >= GROUPS_WHOLE)
		return CLIENT_NAME_WHOLE;
	return len >= 8 || groups == 2 ? CLIENT_NAME_PART : CLIENT_NAME_NOTHING;
}

enum client_name_has
client_name_address(const struct client_name *name, const struct ip *ip)
{
	struct run runs[RUNS_MAX];

	if (ip->family == AF_INET6)
		return address6(name->labels, ip->b);
	if (ip->family != AF_INET)
		return CLIENT_NAME_NOTHING;
	size_t n = runs_of(name->labels, ascii_digit, 10, runs);
	if (whole4(name->labels, runs, n, ip->b))
		return CLIENT_NAME_WHOLE;
	return part4(name->labels, runs, n, ip->b) ? CLIENT_NAME_PART
						   : CLIENT_NAME_NOTHING;
}
