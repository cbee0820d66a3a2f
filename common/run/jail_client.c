/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon's end of the jail: any thread asks, one thread receives the answers and
 * settles the futures.  When the master goes away, everything under way is answered as
 * gone (the MTA tempfails) and the next question connects anew. */
#include "common/run/jail.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/xalloc.h"
#include "common/run/jail_wire.h"
#include "common/run/memfd.h"

struct waiting {
	struct waiting *next;
	uint64_t id;
	int fd; /* the link that it was asked over */
	struct future *future;
};

#define LINKS_MAX 8 /* the present master and those that finish their jobs */
#define SEND_TRIES 4 /* masters may follow each other quickly */

struct jail_client {
	pthread_mutex_t lock;
	pthread_t thread;
	char address[JAIL_ADDRESS_MAX];
	int links[LINKS_MAX]; /* [0] is asked; -1: not connected */
	int wake_fd;
	uint64_t next_id;
	struct waiting *waiting;
	bool ending;
};

static void
answer_free(void *value)
{
	struct jail_answer *a = value;

	memfd_unmap(a->reply);
	if (a->output >= 0)
		close(a->output);
	free(a);
}

int
jail_answer_take_output(struct jail_answer *a)
{
	int fd = a->output;

	a->output = -1;
	return fd;
}

static void
settle(struct future *f, enum jail_status status)
{
	struct jail_answer *a = xcalloc(1, sizeof(*a));

	a->status = status;
	a->output = -1;
	future_set(f, a);
	future_unref(f);
}

static int
connect_to(const char *address)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t len = strlen(address);
	int fd;

	if (len < 2 || len >= sizeof(sun.sun_path) || address[0] != '@')
		return -1;
	memcpy(sun.sun_path + 1, address + 1, len - 1);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    connect(fd, (struct sockaddr *)&sun,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void
wake(struct jail_client *c)
{
	uint64_t one = 1;
	ssize_t n = write(c->wake_fd, &one, sizeof(one));

	(void)n; /* full means that it is awake */
}

/* Everything asked over a link that broke; the lock is held. */
static struct waiting *
detach(struct jail_client *c, int fd)
{
	struct waiting **at = &c->waiting, *lost = NULL;

	while (*at != NULL) {
		struct waiting *w = *at;

		if (w->fd == fd || fd < 0) {
			*at = w->next;
			w->next = lost;
			lost = w;
		} else {
			at = &w->next;
		}
	}
	return lost;
}

static void
settle_lost(struct waiting *lost)
{
	while (lost != NULL) {
		struct waiting *w = lost;

		lost = w->next;
		settle(w->future, JAIL_GONE);
		free(w);
	}
}

/* The link fd, if it is still one of ours. */
static void
link_broken(struct jail_client *c, int fd)
{
	struct waiting *lost = NULL;

	pthread_mutex_lock(&c->lock);
	for (int i = 0; i < LINKS_MAX; i++)
		if (c->links[i] == fd) {
			lost = detach(c, fd);
			c->links[i] = -1;
			close(fd);
			break;
		}
	pthread_mutex_unlock(&c->lock);
	settle_lost(lost);
}

/* Under the lock, so that nobody closes the link meanwhile; it does not block. */
static int
receive(struct jail_client *c, int fd, struct jail_packet *packet)
{
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	for (int i = 0; i < LINKS_MAX; i++)
		if (c->links[i] == fd) {
			rc = jail_receive(fd, packet);
			break;
		}
	int saved = errno;
	pthread_mutex_unlock(&c->lock);
	errno = saved;
	return rc;
}

static void
take_answer(struct jail_client *c, struct jail_packet *p)
{
	struct waiting **at, *w;
	struct jail_answer *a;

	pthread_mutex_lock(&c->lock);
	for (at = &c->waiting; (w = *at) != NULL && w->id != p->head.id; at = &w->next)
		;
	if (w != NULL)
		*at = w->next;
	pthread_mutex_unlock(&c->lock);
	if (w == NULL) {
		jail_packet_close(p);
		return;
	}
	a = xcalloc(1, sizeof(*a));
	a->status = p->head.status <= JAIL_BUSY ? (enum jail_status)p->head.status : JAIL_FAILED;
	a->failures = p->head.failures;
	a->timed_out = p->head.timed_out != 0;
	a->output = p->fds[1];
	p->fds[1] = -1;
	/* An answer that is no sealed memfd comes from a worker that was taken over. */
	if (a->status == JAIL_OK &&
	    (p->fds[0] < 0 || memfd_map(p->fds[0], JAIL_REPLY_MAX, &a->reply, NULL) != 0))
		a->status = JAIL_FAILED;
	jail_packet_close(p);
	future_set(w->future, a);
	future_unref(w->future);
	free(w);
}

static bool
link_readable(struct jail_client *c, int fd, struct jail_packet *packet)
{
	int rc;

	while ((rc = receive(c, fd, packet)) > 0)
		take_answer(c, packet);
	return rc < 0 && errno == EAGAIN;
}

static void *
receive_thread(void *arg)
{
	struct jail_client *c = arg;
	struct jail_packet *packet = xmalloc(sizeof(*packet));
	struct pollfd p[1 + LINKS_MAX];
	uint64_t count;

	for (;;) {
		pthread_mutex_lock(&c->lock);
		bool ending = c->ending;
		p[0] = (struct pollfd){ .fd = c->wake_fd, .events = POLLIN };
		for (int i = 0; i < LINKS_MAX; i++)
			p[1 + i] = (struct pollfd){ .fd = c->links[i], .events = POLLIN };
		pthread_mutex_unlock(&c->lock);
		if (ending)
			break;
		if (poll(p, 1 + LINKS_MAX, -1) <= 0)
			continue;
		if (p[0].revents != 0 && read(c->wake_fd, &count, sizeof(count)) < 0)
			continue;
		for (int i = 0; i < LINKS_MAX; i++)
			if (p[1 + i].revents != 0 && !link_readable(c, p[1 + i].fd, packet))
				link_broken(c, p[1 + i].fd);
	}
	free(packet);
	return NULL;
}

struct jail_client *
jail_client_new(const char *address)
{
	struct jail_client *c = xcalloc(1, sizeof(*c));

	pthread_mutex_init(&c->lock, NULL);
	strncpy(c->address, address, sizeof(c->address) - 1);
	for (int i = 0; i < LINKS_MAX; i++)
		c->links[i] = -1;
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake_fd < 0 || pthread_create(&c->thread, NULL, receive_thread, c) != 0) {
		if (c->wake_fd >= 0)
			close(c->wake_fd);
		pthread_mutex_destroy(&c->lock);
		free(c);
		return NULL;
	}
	return c;
}

void
jail_client_free(struct jail_client *c)
{
	if (c == NULL)
		return;
	pthread_mutex_lock(&c->lock);
	c->ending = true;
	pthread_mutex_unlock(&c->lock);
	wake(c);
	pthread_join(c->thread, NULL);
	settle_lost(detach(c, -1));
	for (int i = 0; i < LINKS_MAX; i++)
		if (c->links[i] >= 0)
			close(c->links[i]);
	close(c->wake_fd);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* The lock is held.  The present link takes no more questions but still owes answers: it
 * makes room, where a place is free there, else the oldest gives way (its jobs are older
 * than any budget) and what it owed is added to *lost. */
static void
demote_link(struct jail_client *c, struct waiting **lost)
{
	int place = 1;

	while (place < LINKS_MAX - 1 && c->links[place] >= 0)
		place++;
	if (c->links[place] >= 0) {
		struct waiting *owed = detach(c, c->links[place]);

		close(c->links[place]);
		while (*lost != NULL)
			lost = &(*lost)->next;
		*lost = owed;
	}
	for (; place > 0; place--)
		c->links[place] = c->links[place - 1];
	c->links[0] = -1;
}

/* The lock is held.  A master that is being replaced refuses by its socket; then the
 * question goes to whoever took over. */
static int
send_job(struct jail_client *c, const struct jail_head *head, struct str request, int fd,
    struct waiting **lost)
{
	for (int attempt = 0; attempt < SEND_TRIES; attempt++) {
		if (c->links[0] < 0) {
			c->links[0] = connect_to(c->address);
			if (c->links[0] < 0)
				return -1;
			wake(c);
		}
		if (jail_send(c->links[0], head, request, &fd, 1) == 0)
			return 0;
		demote_link(c, lost);
	}
	return -1;
}

struct future *
jail_ask(struct jail_client *c, struct str request, int message_fd,
    const uint8_t hash[JAIL_HASH_SIZE], int64_t budget_ms)
{
	struct future *f = future_new(answer_free);
	struct jail_head head = { .magic = JAIL_MAGIC, .budget_ms = budget_ms };
	struct waiting *w, *lost = NULL;

	if (request.len > JAIL_REQUEST_MAX) {
		settle(future_ref(f), JAIL_FAILED);
		return f;
	}
	memcpy(head.hash, hash, JAIL_HASH_SIZE);
	head.extra_len = (uint32_t)request.len;
	w = xcalloc(1, sizeof(*w));
	pthread_mutex_lock(&c->lock);
	head.id = w->id = ++c->next_id;
	w->future = future_ref(f);
	bool sent = send_job(c, &head, request, message_fd, &lost) == 0;
	if (sent) {
		/* The answer cannot be taken before the lock is released. */
		w->fd = c->links[0];
		w->next = c->waiting;
		c->waiting = w;
	}
	pthread_mutex_unlock(&c->lock);
	settle_lost(lost);
	if (!sent) {
		settle(w->future, JAIL_GONE);
		free(w);
	}
	return f;
}
