/* SPDX-License-Identifier: BSD-2-Clause */
/* Hidden names of store_privacy.h: the hash, its text, and the file with the secret. */
#include "db/store_privacy.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTS_MAX 8
#define SECRET_DIGITS (2 * STORE_SECRET)

static uint64_t
le64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static uint64_t
rotl(uint64_t v, unsigned n)
{
	return v << n | v >> (64 - n);
}

static void
rounds(uint64_t v[4], int n)
{
	while (n-- > 0) {
		v[0] += v[1];
		v[1] = rotl(v[1], 13) ^ v[0];
		v[0] = rotl(v[0], 32);
		v[2] += v[3];
		v[3] = rotl(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = rotl(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = rotl(v[1], 17) ^ v[2];
		v[2] = rotl(v[2], 32);
	}
}

static void
half_put(const uint64_t v[4], uint8_t *out)
{
	uint64_t h = v[0] ^ v[1] ^ v[2] ^ v[3];

	for (int i = 0; i < 8; i++, h >>= 8)
		out[i] = (uint8_t)h;
}

void
siphash128(const uint8_t key[STORE_SECRET], const void *in, size_t len, uint8_t out[16])
{
	uint64_t k0 = le64(key), k1 = le64(key + 8);
	uint64_t v[4] = { k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d ^ 0xee,
		k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573 };
	const uint8_t *p = in;
	uint8_t last[8] = { 0 };
	size_t left = len;

	for (; left >= 8; left -= 8, p += 8) {
		uint64_t m = le64(p);

		v[3] ^= m;
		rounds(v, 2);
		v[0] ^= m;
	}
	if (left > 0)
		memcpy(last, p, left);
	last[7] = (uint8_t)len;
	uint64_t m = le64(last);
	v[3] ^= m;
	rounds(v, 2);
	v[0] ^= m;
	v[2] ^= 0xee;
	rounds(v, 4);
	half_put(v, out);
	v[1] ^= 0xdd;
	rounds(v, 4);
	half_put(v, out + 8);
}

static int
hex_digit(char c)
{
	c = ascii_lower(c);
	return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
secret_parse(struct str line, uint8_t out[STORE_SECRET])
{
	if (line.len != SECRET_DIGITS)
		return false;
	for (size_t i = 0; i < STORE_SECRET; i++) {
		int high = hex_digit(line.p[2 * i]), low = hex_digit(line.p[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

int
store_privacy_read(struct store_privacy *p, const char *file, struct err *err)
{
	char text[SECRET_DIGITS + 66];
	struct stat st;
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_errno(err, "cannot read %s", file);
	ssize_t n = fstat(fd, &st) == 0 ? read(fd, text, sizeof(text)) : -1;
	if (n < 0)
		err_errno(err, "cannot read %s", file);
	(void)close(fd);
	if (n < 0)
		return -1;
	if ((st.st_mode & S_IRWXO) != 0)
		return err_set(err,
		    "%s: everybody may read the secret, expected mode 0640 or less", file);
	struct str all = { text, (size_t)n }, line = { 0 };
	(void)str_cut(&all, '\n', &line);
	p->on = secret_parse(str_trim(line), p->secret);
	explicit_bzero(text, sizeof(text));
	return p->on ? 0
		     : err_set(err,
			   "%s: expected %d hexadecimal digits in its first line", file,
			   SECRET_DIGITS);
}

/* --- names --- */

static const char digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static bool
hidden(struct str name)
{
	if (name.len != STORE_HIDDEN || name.p[0] != '#')
		return false;
	for (size_t i = 1; i < name.len; i++)
		if (name.p[i] == '\0' || strchr(digits, name.p[i]) == NULL)
			return false;
	return true;
}

struct str
store_privacy_name(
    const struct store_privacy *p, struct str name, bool again, char out[STORE_HIDDEN])
{
	uint8_t hash[18] = { 0 }; /* 16, and what fills the last six bits */

	if (!p->on || (again && hidden(name)))
		return name;
	siphash128(p->secret, name.p, name.len, hash);
	out[0] = '#';
	for (size_t i = 0; i < STORE_HIDDEN - 1; i++) {
		size_t bit = 6 * i;
		unsigned two = (unsigned)hash[bit / 8] << 8 | hash[bit / 8 + 1];

		out[1 + i] = digits[two >> (10 - bit % 8) & 63];
	}
	return (struct str){ out, STORE_HIDDEN };
}

/* The next part; false: no whole one is left. */
static bool
next_part(struct str *key, struct str *part)
{
	const uint8_t *p = (const uint8_t *)key->p;

	if (key->len < 2)
		return false;
	size_t len = (size_t)p[0] << 8 | p[1];
	if (len > key->len - 2)
		return false;
	*part = str_sub(*key, 2, 2 + len);
	*key = str_sub(*key, 2 + len, key->len);
	return true;
}

struct str
store_privacy_key(const struct store_privacy *p, struct str key, bool again,
    char out[STORE_HIDDEN_KEY_MAX])
{
	struct str left = key, part;
	char name[STORE_HIDDEN];
	size_t used = 0;
	int n = 0;

	if (!p->on)
		return key;
	for (; n < PARTS_MAX && next_part(&left, &part); n++) {
		struct str kept = store_privacy_name(p, part, again, name);

		out[used++] = 0;
		out[used++] = (char)kept.len;
		memcpy(out + used, kept.p, kept.len);
		used += kept.len;
	}
	if (n > 0 && left.len == 0)
		return (struct str){ out, used };
	return store_privacy_name(p, key, again, out);
}
