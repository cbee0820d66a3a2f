/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a Redis server listens and what our keys there begin with, as settings say it.
 */
#ifndef POSTERN_DB_STORE_ADDRESS_H
#define POSTERN_DB_STORE_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/str.h"

#define STORE_PREFIX_MAX 32
#define STORE_CONNECTIONS_MAX 16
#define STORE_DATABASE_MAX 1023

struct store_address {
	char path[108]; /* of a UNIX socket; "": TCP */
	char ip[64]; /* canonical text: nothing is ever resolved */
	uint16_t port;
};

/* "unix:/path", "/path", "192.0.2.1:6379", "[2001:db8::1]:6379" or an address alone
 * (port 6379).  Names are refused: looking one up could take longer than a mail may
 * wait.  out may be NULL. */
bool store_address_parse(struct str s, struct store_address *out);

/* The same from an IP address and a port that stand apart. */
bool store_address_of(struct str ip, struct str port, struct store_address *out);
bool store_address_same(const struct store_address *a, const struct store_address *b);
/* As it is written in settings. */
#define STORE_ADDRESS_TEXT 120
const char *store_address_format(
    const struct store_address *a, char text[STORE_ADDRESS_TEXT]);

/* Keys begin with it: 1 to 32 of letters, digits, '.', '_' and '-'. */
bool store_prefix_good(struct str s);

#endif
