/* SPDX-License-Identifier: BSD-2-Clause */
/* Asking sentinels, each by a connection of its own: that happens at a start and when
 * the master is lost, so nothing is kept open.  A sentinel that knows no better names a
 * master that is gone; the next one is asked then. */
#include "db/store_redis_sentinel.h"

#include "common/base/clock.h"

static int
ask_one(struct store_sentinel_conf *s, const struct store_address *sentinel,
    struct store_address *out, struct err *err)
{
	const struct store_link_conf conf = { .kind = STORE_LINK_GUIDE,
		.user = s->user,
		.password = s->password,
		.prefix = "" };
	int64_t until = clock_mono_ms() + s->deadline_ms;
	struct store_link link;
	struct store_command c;

	if (store_link_open(&link, &conf, sentinel, until, err) != 0)
		return -1;
	store_command_init(&c);
	store_command_add(&c, STR("SENTINEL"));
	store_command_add(&c, STR("GET-MASTER-ADDR-BY-NAME"));
	store_command_add(&c, str_of(s->master));
	redisReply *reply = store_link_ask(&link, &c, until, err);
	int rc = reply == NULL ? -1 : store_reply_master_address(reply, out, err);
	if (reply != NULL)
		freeReplyObject(reply);
	store_link_close(&link);
	return rc;
}

int
store_sentinel_ask(struct store_sentinel_conf *s, size_t turn,
    struct store_address *out, struct err *err)
{
	char text[STORE_ADDRESS_TEXT];
	struct err why;

	if (turn >= s->n)
		return 0;
	if (turn == 0)
		s->first = s->last;
	size_t i = (s->first + turn) % s->n;
	if (ask_one(s, &s->sentinel[i], out, &why) != 0)
		return err_set(err, "sentinel %s: %s",
		    store_address_format(&s->sentinel[i], text), why.text);
	s->last = i; /* who comes with a next turn was not helped by this one */
	return 1;
}
