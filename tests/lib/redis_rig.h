/* SPDX-License-Identifier: BSD-2-Clause */
/* A Redis server of the test's own: unpacked under build/peers, never installed,
 * listening on a UNIX socket in a temporary directory, ended by its pid and with its
 * parent. */
#ifndef POSTERN_TESTS_REDIS_RIG_H
#define POSTERN_TESTS_REDIS_RIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <pthread.h>
#include <sys/types.h>

#include "db/store.h"

/* NULL, or why there is none here: static text.  POSTERN_REDIS_SERVER names another one
 * than that of tests/lib/peers.sh.  Called before any test runs. */
const char *rig_server_missing(void);

/* Tell the runner (TAP: a plan of none) and return what main() returns. */
int rig_server_skip(const char *why);

struct rig_server {
	pid_t pid; /* 0: not running */
	char dir[64], socket[96];
	bool sentinel; /* of Redis' other mode */
};

/* A TCP port of 127.0.0.1 that is free now; 0: there is none. */
unsigned rig_port(void);
/* n of them, no two alike.  0 or -1. */
int rig_ports(unsigned *out, int n);

/* Outside of tests, 0 or -1.  _up: a directory, and (options not NULL) a server in it.
 */
int rig_server_up(struct rig_server *s, const char *options);
int rig_server_run(struct rig_server *s, const char *options);

/* Make the directory and the name of the socket; nothing runs yet. */
void rig_server_place(struct rig_server *s);
/* Start and wait until it answers; options: further lines of its configuration. */
void rig_server_start(struct rig_server *s, const char *options);
void rig_server_signal(const struct rig_server *s, int sig);
void rig_server_kill(struct rig_server *s); /* and wait for its end */
void rig_server_remove(struct rig_server *s); /* the directory, too */

/* One command by an own connection, words split at blanks; the reply as text: strings
 * as they are, numbers in decimal, errors with '-' in front, arrays by their length.
 * Valid until the next call. */
const char *rig_server_ask(const struct rig_server *s, const char *command);
/* SET key value, with any octets. */
void rig_server_set(
    const struct rig_server *s, const char *key, const void *value, size_t len);

/* An empty store on that server, deadline 100 ms. */
struct store_conf rig_server_conf(const struct rig_server *s);

/* Checked fixtures: what rig_counted() says is since then. */
void rig_counters_new(void);
void rig_counters_remove(void);
/* By how much a counter rose, over all its labels that begin like name. */
uint64_t rig_counted(const char *name);

/* Add one to a bucket that never leaks; took_ms may be NULL. */
struct rate_answer rig_ask(struct store *s, const char *name, int64_t *took_ms);

/* A go-between on a UNIX socket: forwards after a delay, or answers by itself. */
struct rig_between {
	pthread_t thread;
	int listener, stop[2];
	char path[96];
	const char *to; /* socket of the server; NULL: say `says` to whoever connects */
	const char *says;
	size_t says_len;
	_Atomic int delay_ms; /* before each answer is handed on */
	_Atomic int cuts; /* so many answers are lost with their connection */
};

void rig_between_start(struct rig_between *b, const char *dir);
void rig_between_stop(struct rig_between *b);

#endif
