/* SPDX-License-Identifier: BSD-2-Clause */
/* Slots of store_redis_slots.h, after the Redis Cluster specification.  No connection is
 * seen here, so that a fuzzer can feed any octets through hiredis' reader into it. */
#include "db/store_redis_slots.h"

#include "common/base/xalloc.h"

/* Polynomial 0x1021, start 0: a table of the high half octets is fast enough for keys of
 * a hundred octets. */
static unsigned
crc16(struct str s)
{
	static const uint16_t table[16] = { 0x0000, 0x1021, 0x2042, 0x3063, 0x4084,
		0x50a5, 0x60c6, 0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad,
		0xe1ce, 0xf1ef };
	unsigned crc = 0;

	for (size_t i = 0; i < s.len; i++) {
		unsigned octet = (unsigned char)s.p[i];

		crc = (crc << 4 & 0xffff) ^ table[(crc >> 12 ^ octet >> 4) & 15];
		crc = (crc << 4 & 0xffff) ^ table[(crc >> 12 ^ octet) & 15];
	}
	return crc;
}

unsigned
store_slot(struct str key)
{
	ptrdiff_t open = str_index(key, '{');

	if (open >= 0) {
		struct str rest = str_sub(key, (size_t)open + 1, key.len);
		ptrdiff_t end = str_index(rest, '}');

		if (end > 0)
			key = str_sub(rest, 0, (size_t)end);
	}
	return crc16(key) % STORE_SLOTS;
}

static bool
is_text(const redisReply *r)
{
	return r != NULL && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS);
}

static bool
is_number(const redisReply *r, int64_t min, int64_t max)
{
	return r != NULL && r->type == REDIS_REPLY_INTEGER && r->integer >= min &&
	    r->integer <= max;
}

/* [host, port, id, (7.0) [ "ip", address, ... ]].  Host: an address; empty or nil where
 * the node does not know its own; "?" or a name, and then the address may follow. */
static bool
node_address(
    const redisReply *node, const struct store_address *from, struct store_address *out)
{
	char port_text[8];

	if (node == NULL || node->type != REDIS_REPLY_ARRAY || node->elements < 2 ||
	    node->element[0] == NULL || !is_number(node->element[1], 1, 65535))
		return false;
	const redisReply *host = node->element[0];
	const redisReply *more = node->elements < 4 ? NULL : node->element[3];
	int len = snprintf(port_text, sizeof(port_text), "%lld", node->element[1]->integer);
	struct str port = { port_text, (size_t)len };
	if (host->type == REDIS_REPLY_NIL || (is_text(host) && host->len == 0))
		return store_address_of(str_of(from->ip), port, out);
	if (!is_text(host))
		return false;
	if (store_address_of((struct str){ host->str, host->len }, port, out))
		return true;
	for (size_t i = 0; more != NULL && more->type == REDIS_REPLY_ARRAY &&
	     i + 1 < more->elements;
	     i += 2) {
		const redisReply *name = more->element[i], *value = more->element[i + 1];

		if (is_text(name) && is_text(value) &&
		    str_is((struct str){ name->str, name->len }, "ip") &&
		    store_address_of(
			(struct str){ value->str, value->len }, port, out))
			return true;
	}
	return false;
}

/* Its place in the map and one more; 0: the map is full. */
static uint8_t
node_place(struct store_slot_map *map, const struct store_address *a)
{
	for (size_t i = 0; i < map->n; i++)
		if (store_address_same(&map->node[i], a))
			return (uint8_t)(i + 1);
	if (map->n == STORE_NODES_MAX)
		return 0;
	map->node[map->n++] = *a;
	return (uint8_t)map->n;
}

/* [first slot, last slot, master, replicas ...] */
static int
range_read(const redisReply *range, const struct store_address *from,
    struct store_slot_map *map, struct err *err)
{
	struct store_address a;

	if (range == NULL || range->type != REDIS_REPLY_ARRAY || range->elements < 3 ||
	    !is_number(range->element[0], 0, STORE_SLOTS - 1) ||
	    !is_number(range->element[1], range->element[0]->integer, STORE_SLOTS - 1))
		return err_set(err, "its map of slots has no range where one belongs");
	if (!node_address(range->element[2], from, &a))
		return err_set(err,
		    "its map of slots names a master without an IP address (see "
		    "cluster-preferred-endpoint-type)");
	uint8_t place = node_place(map, &a);
	if (place == 0)
		return err_set(
		    err, "its map of slots has more than %d masters", STORE_NODES_MAX);
	for (long long i = range->element[0]->integer; i <= range->element[1]->integer;
	     i++)
		map->owner[i] = place;
	return 0;
}

int
store_slot_map_read(const redisReply *reply, const struct store_address *from,
    struct store_slot_map *out, struct err *err)
{
	if (reply->type == REDIS_REPLY_ERROR)
		return err_set(err, "it answers %.*s",
		    (int)(reply->len < 200 ? reply->len : 200), reply->str);
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0)
		return err_set(err, "its map of slots is empty");
	struct store_slot_map *map = xcalloc(1, sizeof(*map));
	int rc = 0;
	for (size_t i = 0; i < reply->elements && rc == 0; i++)
		rc = range_read(reply->element[i], from, map, err);
	if (rc == 0)
		*out = *map;
	free(map);
	return rc;
}

/* "MOVED 3999 127.0.0.1:6381", "ASK 3999 :6381", "TRYAGAIN ..." */
bool
store_redirect_read(const redisReply *reply, struct store_redirect *out)
{
	struct store_redirect r = { .kind = STORE_TRYAGAIN };
	struct str rest = { reply->str, reply->len }, word, slot, host;
	uint64_t number, port;

	if (reply->type != REDIS_REPLY_ERROR || !str_word(&rest, &word))
		return false;
	if (str_is(word, "TRYAGAIN")) {
		*out = r;
		return true;
	}
	if (!str_is(word, "MOVED") && !str_is(word, "ASK"))
		return false;
	r.kind = str_is(word, "ASK") ? STORE_ASK : STORE_MOVED;
	if (!str_word(&rest, &slot) || !str_to_uint(slot, 0, STORE_SLOTS - 1, &number) ||
	    !str_word(&rest, &host))
		return false;
	ptrdiff_t colon = str_rindex(host, ':');
	struct str port_text =
	    colon < 0 ? STR("") : str_sub(host, (size_t)colon + 1, host.len);
	if (!str_to_uint(port_text, 1, 65535, &port))
		return false;
	r.slot = (unsigned)number;
	r.to.port = (uint16_t)port;
	if (colon > 0 &&
	    !store_address_of(str_sub(host, 0, (size_t)colon), port_text, &r.to))
		return false;
	*out = r;
	return true;
}
