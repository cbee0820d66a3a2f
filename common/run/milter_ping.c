/* SPDX-License-Identifier: BSD-2-Clause */
/* Owns the private listener, the connection of this process to its own libmilter and
 * the thread that uses it.  Pings follow every callback that begins to wait and then
 * every 5 ms while one waits: one ping, one more thread.  An idle connection gets a
 * ping a minute, because libmilter reaps what is silent for its time limit. */
#include "common/run/milter_ping.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"

#define WAKE_SIGNAL SIGURG /* ignored by default, so a stray one does no harm */
#define PING_INTERVAL_MS 5
#define PING_IDLE_MS 60000
#define PING_RETRY_MS 1000 /* between attempts to mend a broken connection */
/* Our own command can wait for a thread like any other, unless our connection is the
 * oldest, as it is until it breaks.  A new one always gets a thread at once. */
#define PING_STUCK_MS 1000
#define PING_ANSWER_MAX                                                                \
	4096 /* of our own libmilter; its macro lists are the longest                  \
	      */

/* Everything here is set before the thread starts; the door under its lock, because the
 * worker may begin to drain before we serve. */
static struct {
	pthread_mutex_t lock; /* of shared_fd, diverted and number's target */
	int number; /* what libmilter polls */
	int private_fd;
	int given_fd; /* the listening socket that becomes shared_fd */
	int shared_fd; /* -1: not serving yet, or diverted */
	bool diverted; /* nobody new comes in any more */
	int path_fd; /* the private socket's inode: the name is gone at once */
	int wake_fd; /* semaphore: counts callbacks that began to wait */
	int conn; /* the thread's; -1: none */
	pthread_t listener; /* polls number */
	atomic_uint blocked;
	_Atomic uint64_t count;
	void (*ready)(void *);
	void *ready_arg;
} ping = { .lock = PTHREAD_MUTEX_INITIALIZER, .shared_fd = -1, .conn = -1 };

static int
set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void
on_wake(int sig)
{
	(void)sig; /* that poll() ends with EINTR is all */
}

/* Bind in a directory of our own, keep the inode, and remove both names: from now on
 * only /proc/self/fd of this process leads there. */
static int
bind_private(struct err *err)
{
	const char *base = getenv("RUNTIME_DIRECTORY");
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char dir[80];
	int r = 0;

	if (base == NULL || base[0] != '/' || strlen(base) > 50)
		base = "/tmp";
	snprintf(dir, sizeof(dir), "%s/postern.XXXXXX", base);
	if (mkdtemp(dir) == NULL)
		return err_errno(err, "%s", dir);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/ping", dir);
	if (bind(ping.private_fd, (struct sockaddr *)&sun, sizeof(sun)) < 0 ||
	    listen(ping.private_fd, 16) < 0 ||
	    (ping.path_fd = open(sun.sun_path, O_PATH | O_CLOEXEC)) < 0)
		r = err_errno(err, "%s", sun.sun_path);
	unlink(sun.sun_path);
	rmdir(dir);
	return r;
}

int
milter_ping_init(int shared_fd, int *number, struct err *err)
{
	ping.given_fd = shared_fd;
	ping.private_fd =
	    socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (ping.private_fd < 0)
		return err_errno(err, "socket");
	if (bind_private(err) < 0)
		return -1;
	/* A poll() that began before an exchange may report what the descriptor no
	 * longer has; accept() must then return at once. */
	if (set_nonblocking(shared_fd) < 0)
		return err_errno(err, "O_NONBLOCK on the listening socket");
	struct sigaction act = { .sa_handler = on_wake };
	if (sigaction(WAKE_SIGNAL, &act, NULL) < 0)
		return err_errno(err, "signal handler");
	ping.number = fcntl(ping.private_fd, F_DUPFD_CLOEXEC, 3);
	ping.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	if (ping.number < 0 || ping.wake_fd < 0)
		return err_errno(err, "descriptors of the self-ping");
	*number = ping.number;
	return 0;
}

static int
connect_private(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	snprintf(sun.sun_path, sizeof(sun.sun_path), "/proc/self/fd/%d", ping.path_fd);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool
read_full(int fd, unsigned char *out, size_t len, int timeout_ms)
{
	int64_t deadline = clock_mono_ms() + timeout_ms;

	while (len > 0) {
		int64_t left = deadline - clock_mono_ms();
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, left > 0 ? (int)left : 0) <= 0)
			return false;
		ssize_t n = recv(fd, out, len, 0);
		if (n <= 0)
			return false;
		out += n;
		len -= (size_t)n;
	}
	return true;
}

/* One packet of our libmilter; only that it came matters. */
static bool
read_answer(int fd, int timeout_ms)
{
	unsigned char head[4], rest[PING_ANSWER_MAX];

	if (!read_full(fd, head, sizeof(head), timeout_ms))
		return false;
	size_t len = (size_t)head[0] << 24 | (size_t)head[1] << 16 |
	    (size_t)head[2] << 8 | head[3];
	return len > 0 && len <= sizeof(rest) && read_full(fd, rest, len, timeout_ms);
}

/* libmilter's poll() waits in the queue of the socket that was behind the number when
 * it began, and would sleep on for up to 5 s: a signal to its thread ends it, and the
 * next one waits in the right queue. */
static void
put_over_number(int fd)
{
	dup3(fd, ping.number, O_CLOEXEC);
	pthread_kill(ping.listener, WAKE_SIGNAL);
}

/* Connect while the private listener is behind the number, then open the door. */
static bool
open_connection(int timeout_ms)
{
	static const unsigned char offer[] = { 0, 0, 0, 13, 'O', 0, 0, 0, 6, 0, 0, 1,
		0xff, 0, 0x1f, 0xff, 0xff };
	int fd = connect_private();

	if (fd < 0)
		return false;
	if (send(fd, offer, sizeof(offer), MSG_NOSIGNAL) != sizeof(offer) ||
	    !read_answer(fd, timeout_ms)) {
		close(fd);
		return false;
	}
	ping.conn = fd;
	return true;
}

static void
open_door(void)
{
	pthread_mutex_lock(&ping.lock);
	if (ping.shared_fd >= 0)
		put_over_number(ping.shared_fd);
	pthread_mutex_unlock(&ping.lock);
}

void
milter_ping_divert(void)
{
	pthread_mutex_lock(&ping.lock);
	ping.diverted = true;
	if (ping.shared_fd >= 0) {
		put_over_number(ping.private_fd);
		close(ping.shared_fd);
		ping.shared_fd = -1;
	}
	pthread_mutex_unlock(&ping.lock);
}

/* Our own connection broke: the door is shut for the moment that a new one takes. */
static void
reopen(void)
{
	log_msg(LOG_LEVEL_WARN, "ping",
	    "the connection to ourselves is of no use; opening another");
	if (ping.conn >= 0)
		close(ping.conn);
	ping.conn = -1;
	pthread_mutex_lock(&ping.lock);
	put_over_number(ping.private_fd);
	pthread_mutex_unlock(&ping.lock);
	open_connection(8000);
	open_door();
}

static bool
send_command(int64_t *sent_ms)
{
	static const unsigned char command[] = { 0, 0, 0, 2, 'U', 0 };

	if (send(ping.conn, command, sizeof(command), MSG_NOSIGNAL) != sizeof(command))
		return false;
	atomic_fetch_add(&ping.count, 1);
	*sent_ms = clock_mono_ms();
	return true;
}

/* Take the late answer to the last command, where there is one, and send another.
 * *sent_ms: when the one under way was sent; 0: none is.  false: the connection is of
 * no use any more. */
static bool
ping_once(int64_t *sent_ms)
{
	bool late = *sent_ms != 0;

	for (;;) {
		struct pollfd p = { .fd = ping.conn, .events = POLLIN };

		if (*sent_ms == 0 && !send_command(sent_ms))
			return false;
		if (poll(&p, 1, PING_INTERVAL_MS) == 0)
			return clock_mono_ms() - *sent_ms < PING_STUCK_MS;
		*sent_ms = 0;
		if (!read_answer(ping.conn, PING_STUCK_MS))
			return false;
		if (!late)
			return true;
		late = false;
	}
}

/* Wait for the next reason to send: one callback more that waits, the 5 ms while any
 * waits, or the minute.  false: woken for a wait that is over already. */
static bool
wait_for_reason(int64_t last_ms)
{
	struct pollfd p = { .fd = ping.wake_fd, .events = POLLIN };
	uint64_t one;

	poll(&p, 1, atomic_load(&ping.blocked) > 0 ? PING_INTERVAL_MS : PING_IDLE_MS);
	if (read(ping.wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_msg(LOG_LEVEL_ERR, "ping", "eventfd: errno %d", errno);
	return atomic_load(&ping.blocked) > 0 ||
	    clock_mono_ms() - last_ms >= PING_IDLE_MS;
}

static void
ping_loop(void)
{
	int64_t last_ms = clock_mono_ms(), retry_ms = 0, sent_ms = 0;

	for (;;) {
		if (!wait_for_reason(last_ms))
			continue;
		last_ms = clock_mono_ms();
		if (ping.conn >= 0 && ping_once(&sent_ms))
			continue;
		sent_ms = 0;
		if (last_ms < retry_ms)
			continue;
		reopen();
		retry_ms = clock_mono_ms() + PING_RETRY_MS;
	}
}

static void *
ping_thread(void *arg)
{
	if (!open_connection(10000))
		log_msg(LOG_LEVEL_ERR, "ping",
		    "no connection to ourselves: waiting callbacks will hold up "
		    "others");
	open_door();
	ping.ready(ping.ready_arg);
	ping_loop();
	return arg;
}

int
milter_ping_start(void (*ready)(void *arg), void *arg, struct err *err)
{
	pthread_t thread;
	sigset_t wake;

	ping.ready = ready;
	ping.ready_arg = arg;
	sigemptyset(&wake);
	sigaddset(&wake, WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	pthread_mutex_lock(&ping.lock);
	ping.listener = pthread_self();
	if (ping.diverted)
		close(ping.given_fd);
	else
		ping.shared_fd = ping.given_fd;
	pthread_mutex_unlock(&ping.lock);
	errno = pthread_create(&thread, NULL, ping_thread, NULL);
	if (errno != 0)
		return err_errno(err, "thread of the self-ping");
	pthread_detach(thread);
	return 0;
}

void
milter_ping_blocked(void)
{
	uint64_t one = 1;

	atomic_fetch_add(&ping.blocked, 1);
	/* Every callback that begins to wait holds a thread that another may need.  A
	 * full eventfd wakes as well. */
	if (write(ping.wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_msg(LOG_LEVEL_ERR, "ping", "eventfd: errno %d", errno);
}

void
milter_ping_unblocked(void)
{
	atomic_fetch_sub(&ping.blocked, 1);
}

uint64_t
milter_ping_count(void)
{
	return atomic_load(&ping.count);
}
