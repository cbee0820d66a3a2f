/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as what a node of a Redis Cluster or a sentinel tells: the map of slots,
 * redirections, the master's address.  What is taken names only addresses and slots that
 * there can be. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "db/store_redis_reply.h"
#include "db/store_redis_slots.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
address(const struct store_address *a, bool named)
{
	struct store_address again;
	char text[STORE_ADDRESS_TEXT];

	if (a->path[0] != '\0' || a->port == 0)
		abort();
	if (a->ip[0] == '\0' && !named)
		return;
	(void)store_address_format(a, text);
	if (!store_address_parse(str_of(text), &again) || !store_address_same(a, &again))
		abort();
}

static void
map(const redisReply *r, struct store_slot_map *m)
{
	const struct store_address from = { .ip = "192.0.2.9", .port = 1 };
	struct err err = { .text = "" };

	m->n = 0;
	if (store_slot_map_read(r, &from, m, &err) != 0) {
		if (err.text[0] == '\0' || m->n != 0)
			abort();
		return;
	}
	if (m->n == 0 || m->n > STORE_NODES_MAX)
		abort();
	for (size_t i = 0; i < m->n; i++)
		address(&m->node[i], true);
	for (size_t i = 0; i < STORE_SLOTS; i++)
		if (m->owner[i] > m->n)
			abort();
}

static void
others(const redisReply *r)
{
	struct store_redirect to;
	struct store_address master;
	struct err err = { .text = "" };

	if (store_redirect_read(r, &to)) {
		if (to.slot >= STORE_SLOTS || to.kind >= STORE_REDIRECTS)
			abort();
		if (to.kind != STORE_TRYAGAIN)
			address(&to.to, false);
	}
	if (store_reply_master_address(r, &master, &err) == 0)
		address(&master, true);
	else if (err.text[0] == '\0')
		abort();
	(void)store_reply_is_master(r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct store_slot_map m;
	redisReader *reader = redisReaderCreate();
	struct store_reply_room room;
	void *reply = NULL;

	if (store_slot((struct str){ (const char *)data, size }) >= STORE_SLOTS)
		abort();
	store_reply_bound(reader, &room, STORE_REPLY_MAP_MAX);
	redisReaderFeed(reader, (const char *)data, size);
	while (redisReaderGetReply(reader, &reply) == REDIS_OK && reply != NULL) {
		map(reply, &m);
		others(reply);
		freeReplyObject(reply);
		reply = NULL;
	}
	redisReaderFree(reader);
	return 0;
}
