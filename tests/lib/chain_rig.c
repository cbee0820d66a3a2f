/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of a chain test put together. */
#include "tests/lib/chain_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void
rig_init(struct chain_rig *r, size_t n)
{
	static char names[][8] = { "first", "second", "third" };

	*r = (struct chain_rig){ .n = n };
	snprintf(r->dir, sizeof(r->dir), "/tmp/postern-chain-XXXXXX");
	if (mkdtemp(r->dir) == NULL)
		abort();
	r->base = event_base_new();
	buf_init(&r->octets, 1 << 20);
	buf_reserve(&r->octets, 1 << 19); /* rules point into it: it must not move */
	for (size_t i = 0; i < n; i++) {
		milter_peer_init(&r->peers[i], r->base, r->dir, names[i]);
		r->confs[i] = (struct milter_filter_conf){ .name = names[i],
			.address = r->peers[i].address,
			.connect_ms = 10000,
			.command_ms = 10000,
			.content_ms = 10000 };
	}
}

void
rig_start(struct chain_rig *r)
{
	if (!r->started)
		driver_init(&r->d, r->base, r->confs, r->n);
	r->started = true;
}

void
rig_clear(struct chain_rig *r)
{
	if (r->started)
		driver_clear(&r->d);
	for (size_t i = 0; i < r->n; i++)
		milter_peer_clear(&r->peers[i]);
	event_base_free(r->base);
	buf_clear(&r->octets);
	rmdir(r->dir);
}

void
rig_reply(
    struct chain_rig *r, size_t peer, char cmd, int nth, char reply, struct str payload)
{
	milter_peer_rule(&r->peers[peer], cmd, nth, PEER_SEND,
	    peer_packet(&r->octets, reply, payload));
}

int
rig_send(struct chain_rig *r)
{
	static const char *const lines[] = { "EHLO client.example",
		"MAIL FROM:<alice@ok.example>", "RCPT TO:<a@ok.example>", "DATA" };

	rig_start(r);
	driver_connect(&r->d);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) && !r->d.closed; i++)
		driver_command(&r->d, lines[i]);
	if (r->d.in_data)
		driver_message(&r->d, STR(RIG_MESSAGE));
	return r->d.code;
}

const char *
rig_seen(struct chain_rig *r, size_t peer)
{
	driver_settle(&r->d);
	return buf_cstr(&r->peers[peer].seen);
}
