/* SPDX-License-Identifier: BSD-2-Clause */
/* A chain with up to three scripted filters, ready to be spoken to. */
#ifndef POSTERN_TESTS_CHAIN_RIG_H
#define POSTERN_TESTS_CHAIN_RIG_H

#include "tests/lib/chain_driver.h"
#include "tests/lib/milter_peer.h"

#define RIG_MESSAGE                                                                    \
	"From: Alice <alice@ok.example>\r\nTo: a@ok.example\r\nX-Dup: one\r\n"         \
	"X-Dup: two\r\nX-Dup: three\r\n\r\nline 1\r\n.line 2\r\n"
#define RIG_RECEIVED "Received: from client.example by mx.ok.example; now\r\n"

struct chain_rig {
	char dir[64];
	struct event_base *base;
	size_t n;
	struct milter_peer peers[3];
	struct milter_filter_conf confs[3]; /* 10 s each, tempfail */
	struct chain_driver d;
	bool started;
	struct buf octets; /* for packets of rules */
};

/* Peers listen; change peers and confs, then start. */
void rig_init(struct chain_rig *r, size_t n);
void rig_start(struct chain_rig *r);
void rig_clear(struct chain_rig *r);

/* A rule with one packet (payload may hold NUL). */
void rig_reply(struct chain_rig *r, size_t peer, char cmd, int nth, char reply,
    struct str payload);
/* start, connect, EHLO, MAIL, RCPT a, DATA, the message; returns the last code. */
int rig_send(struct chain_rig *r);
/* What the peer has seen, after both ends are quiet. */
const char *rig_seen(struct chain_rig *r, size_t peer);

#endif
