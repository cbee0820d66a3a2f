/* SPDX-License-Identifier: BSD-2-Clause */
/* The jail: hostile octets are parsed by processes that can be lost.
 *
 * A single-threaded master loads what is large (signatures, rules), then forks workers
 * that share it copy-on-write.  A worker locks itself down (no network, no exec, no new
 * executable memory, no files but one directory of its own; memory and processor time
 * bounded), does one job at a time and may be killed in the middle of it.  Messages and
 * answers travel as sealed memfds.  A job whose worker dies or overstays is given to a
 * fresh worker once more, and then has failed; failures are counted by content, so that a
 * message that kills scanners is recognised when it comes again. */
#ifndef POSTERN_RUN_JAIL_H
#define POSTERN_RUN_JAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/future.h"
#include "common/base/str.h"

#define JAIL_HASH_SIZE 16
#define JAIL_REQUEST_MAX 60000 /* octets beside the message */
#define JAIL_MESSAGE_MAX (1u << 30)
#define JAIL_REPLY_MAX (16u << 20)
#define JAIL_POISON 3 /* failures of one content that make it poison */

/* What a jailed program does. */
struct jail_ops {
	const char *name; /* "postern-scand" */
	/* In the master, before the first fork: everything large, and every file that the
	 * work will want.  *state is handed to work(). */
	int (*load)(void *arg, void **state, struct err *err);
	/* In a worker after the fork and before lock-down; may be NULL.  dir: the worker's
	 * own directory for temporary files. */
	int (*prepare)(void *state, const char *dir, struct err *err);
	/* One job: append the answer to reply (JAIL_REPLY_MAX); a new version of the message
	 * goes to *output, a memfd that the caller seals and closes, or stays -1.  -1: the
	 * job failed; the worker is replaced. */
	int (*work)(void *state, struct str request, struct str message, struct buf *reply,
	    int *output);
};

struct jail_conf {
	unsigned workers; /* jobs at once */
	unsigned jobs_per_worker; /* then it is replaced by a fresh one */
	unsigned queue_max; /* jobs that wait; more are refused as busy */
	uint64_t memory; /* RLIMIT_AS of a worker beyond the master's own size; 0 = none */
	int64_t cpu_s; /* RLIMIT_CPU of a worker's whole life; 0 = none */
	uint64_t file_size; /* RLIMIT_FSIZE */
	const char *tmp; /* where the workers' directories are made */
};

/* The master's whole life: load, then serve clients that connect to listen_fd (AF_UNIX,
 * SOCK_SEQPACKET) until USR1, or until life_fd reports end of file; without a life_fd (-1)
 * until TERM.  ready() is called once when loading is done.  Returns an exit code. */
int jail_master(const struct jail_ops *ops, void *arg, const struct jail_conf *conf,
    int listen_fd, int life_fd, void (*ready)(void *arg));

/* A listening socket with an abstract name of its own; address gets "@..." for
 * jail_client_new.  -1: err. */
#define JAIL_ADDRESS_MAX 108
int jail_listen(char address[JAIL_ADDRESS_MAX], struct err *err);

/* --- the daemon's side, thread-safe --- */

enum jail_status {
	JAIL_OK,
	JAIL_FAILED, /* died, hung or ran out of memory, twice */
	JAIL_BUSY, /* too many jobs wait */
	JAIL_GONE, /* no master */
};

struct jail_answer {
	enum jail_status status;
	unsigned failures; /* of this content so far; >= JAIL_POISON: poison */
	bool timed_out; /* FAILED because the budget was used up */
	struct str reply; /* mapped */
	int output; /* sealed memfd or -1; jail_answer_take_output hands it over */
};

struct jail_client;
struct jail_client *jail_client_new(const char *address);
void jail_client_free(struct jail_client *c);
/* Ask.  message_fd: sealed memfd, borrowed for the call.  hash identifies the content.
 * budget_ms: for one try on one worker.  Value: struct jail_answer. */
struct future *jail_ask(struct jail_client *c, struct str request, int message_fd,
    const uint8_t hash[JAIL_HASH_SIZE], int64_t budget_ms);
int jail_answer_take_output(struct jail_answer *a);

#endif
