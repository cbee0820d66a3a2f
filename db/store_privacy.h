/* SPDX-License-Identifier: BSD-2-Clause */
/* Privacy mode: in the place of what people are called the store keeps a keyed hash, so
 * that who reads the store without the secret learns neither who wrote to whom nor can
 * find it out by trying addresses.  The hash is SipHash-2-4 with 128 bits of key and of
 * output: a pseudo-random function for just this, short names under a secret key, and 30
 * lines, so that no program that opens a store needs a library for it.  A table's hash
 * (XXH3) is none: from it a secret can be computed.
 *
 * A hidden name is '#' and 22 of A-Z a-z 0-9 - _. */
#ifndef POSTERN_DB_STORE_PRIVACY_H
#define POSTERN_DB_STORE_PRIVACY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

#define STORE_HIDDEN 23 /* octets of a hidden name */
#define STORE_SECRET 16 /* octets */
#define STORE_HIDDEN_KEY_MAX (8 * (2 + STORE_HIDDEN))

struct store_privacy {
	bool on;
	uint8_t secret[STORE_SECRET];
};

/* SipHash-2-4-128 (Aumasson and Bernstein, 2012). */
void siphash128(
    const uint8_t key[STORE_SECRET], const void *in, size_t len, uint8_t out[16]);

/* The first line of the file is 32 hexadecimal digits; nobody but its owner and group may
 * read it.  -1: err says why. */
int store_privacy_read(struct store_privacy *p, const char *file, struct err *err);

/* The name as it is kept.  again: one that is hidden already stays as it is; for what a
 * tool read out of a store, never for what strangers send. */
struct str store_privacy_name(
    const struct store_privacy *p, struct str name, bool again, char out[STORE_HIDDEN]);
/* A key whose parts stand behind their lengths in two octets: each part is hidden; any
 * other key as a whole.  Off: key itself. */
struct str store_privacy_key(const struct store_privacy *p, struct str key, bool again,
    char out[STORE_HIDDEN_KEY_MAX]);

#endif
