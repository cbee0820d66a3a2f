/* SPDX-License-Identifier: BSD-2-Clause */
/* The real queue and delivery processes on a real directory, with a next hop played by
 * threads of the test.  For Check tests that run each case in a process of its own. */
#ifndef POSTERN_TESTS_QUEUE_RIG_H
#define POSTERN_TESTS_QUEUE_RIG_H

#include <check.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "common/base/clock.h"
#include "contrib/relay/queue_client.h"
#include "contrib/relay/queue_process.h"

#define QRIG_WAIT_MS 10000
#define QRIG_MAILS_MAX 300
#define QRIG_BODY "Subject: test\r\n\r\nline\r\n.dot\r\n"

struct qrig_mail {
	char sender[100], rcpts[300];
	char *data; /* with the final dot */
};

/* Refuses recipients that begin with "bad" (550) or "busy" (450). */
struct qrig_sink {
	pthread_mutex_t lock;
	int listener;
	uint16_t port;
	pthread_t thread;
	struct qrig_mail mails[QRIG_MAILS_MAX];
	size_t n;
	bool listening; /* its thread uses it until the process ends */
	atomic_bool stall; /* never answer the final dot */
	atomic_int stalled; /* connections that wait so */
};

struct qrig {
	struct relay_conf conf; /* changed before qrig_queue() */
	char spool[64], smarthost[40], address[QUEUE_ADDRESS_MAX], dns[40];
	int listen_fd;
	pid_t queue, delivery;
	struct qrig_sink *sink;
	struct event_base *base;
	struct queue_client *client;
	int answers, durable;
};

/* A spool, a port for the next hop (nobody listens yet), a client; no processes. */
void qrig_init(struct qrig *r);
/* Start a process; disk NULL: the real one.  In it `disk` does the queue's operations.
 */
void qrig_queue(struct qrig *r, const struct qio *disk);
void qrig_delivery(struct qrig *r);
/* qrig_init() and both. */
void qrig_start(struct qrig *r);
/* Ends what runs with TERM, which must succeed, and removes the spool. */
void qrig_end(struct qrig *r);
/* Signal a process and wait for its end; its status. */
int qrig_kill(pid_t *pid, int sig);
void qrig_listen(struct qrig *r);

/* Hand in a message; rcpts separated by blanks; hold "" none. */
void qrig_submit(
    struct qrig *r, const char *sender, const char *rcpts, const char *hold);
/* The same with another message than QRIG_BODY. */
void qrig_submit_text(struct qrig *r, const char *sender, const char *rcpts,
    const char *hold, struct str text);
/* For queue_client_submit(): counts answers and durable in the rig. */
void qrig_on_answer(void *arg, bool durable, const char *text);
/* Run the client until n answers came in all; false: not within ms. */
bool qrig_answers(struct qrig *r, int n, int64_t ms);
/* What the next hop took. */
size_t qrig_mails(struct qrig *r);
const struct qrig_mail *qrig_mail_from(struct qrig *r, const char *sender);
int qrig_files(const struct qrig *r, const char *dir);
bool qrig_spool_empty(const struct qrig *r);

/* Polls: the other side is another process. */
#define qrig_wait(condition)                                                           \
	do {                                                                           \
		int64_t deadline_ = clock_mono_ms() + QRIG_WAIT_MS;                    \
		while (!(condition)) {                                                 \
			ck_assert_msg(                                                 \
			    clock_mono_ms() < deadline_, "never: %s", #condition);     \
			poll(NULL, 0, 10);                                             \
		}                                                                      \
	} while (0)

#endif
