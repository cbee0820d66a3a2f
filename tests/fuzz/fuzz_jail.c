/* SPDX-License-Identifier: BSD-2-Clause */
/* Hostile packets at both ends of the jail's wire.  Input: blobs with a u16 length in
 * front, each sent as one packet; the first octet of a blob says how many descriptors go
 * with it and what they are.  A receiver takes each or refuses it, and leaks none; a
 * client that is answered so has every question settled. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/run/jail_wire.h"
#include "common/run/memfd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define QUESTIONS 3

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static int
count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 128; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Sealed, not sealed, no memfd at all. */
static int
some_fd(unsigned kind)
{
	int fd;

	if (kind == 2)
		return open("/dev/null", O_RDONLY | O_CLOEXEC);
	fd = memfd_new("fuzz", NULL);
	must(fd >= 0 && memfd_add(fd, STR("answer"), NULL) == 0);
	if (kind == 0)
		must(memfd_seal(fd, NULL) == 0);
	return fd;
}

/* One blob over the socket, with up to four descriptors. */
static void
send_blob(int sock, struct str blob)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * 4)];
		struct cmsghdr align;
	} control = { { 0 } };
	unsigned what = (unsigned char)blob.p[0], n = what % 5;
	struct iovec iov = { (void *)(uintptr_t)(blob.p + 1), blob.len - 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[4];

	for (unsigned i = 0; i < n; i++)
		fds[i] = some_fd(what / 5 % 3);
	if (n > 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
	}
	/* A peer that hung up is one of the outcomes. */
	if (sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		must(errno == EPIPE || errno == ECONNRESET || errno == EAGAIN || errno == EMSGSIZE);
	for (unsigned i = 0; i < n; i++)
		close(fds[i]);
}

static bool
next_blob(struct str *in, struct str *blob)
{
	if (in->len < 3)
		return false;
	size_t len = (size_t)(unsigned char)in->p[0] << 8 | (unsigned char)in->p[1];
	*blob = str_sub(*in, 2, 2 + len);
	*in = str_sub(*in, 2 + len, in->len);
	return blob->len > 0;
}

static void
as_receiver(struct str in)
{
	static struct jail_packet packet;
	struct str blob;
	int ends[2], before = count_fds();

	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	while (next_blob(&in, &blob)) {
		send_blob(ends[0], blob);
		int rc = jail_receive(ends[1], &packet);

		must(rc > 0 || rc == 0 || errno == EPROTO || errno == EAGAIN);
		if (rc <= 0)
			continue;
		must(packet.head.magic == JAIL_MAGIC);
		must(packet.head.extra_len <= JAIL_REQUEST_MAX);
		must(packet.head.extra_len == blob.len - 1 - sizeof(packet.head));
		jail_packet_close(&packet);
	}
	close(ends[0]);
	close(ends[1]);
	must(count_fds() == before);
}

/* A master that lies: the questions are asked, the blobs are its answers. */
static void
as_client(struct str in)
{
	char address[JAIL_ADDRESS_MAX];
	uint8_t hash[JAIL_HASH_SIZE] = { 0 };
	struct future *asked[QUESTIONS];
	struct str blob;
	int before = count_fds(), listen_fd = jail_listen(address, NULL);
	struct jail_client *client = jail_client_new(address);

	must(listen_fd >= 0 && client != NULL);
	int message = some_fd(0);
	for (int i = 0; i < QUESTIONS; i++)
		asked[i] = jail_ask(client, STR("I"), message, hash, 1000);
	int link = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	must(link >= 0);
	while (next_blob(&in, &blob))
		send_blob(link, blob);
	close(link);
	for (int i = 0; i < QUESTIONS; i++) {
		must(future_wait(asked[i], clock_mono_ms() + 20000));
		const struct jail_answer *a = future_value(asked[i]);

		must(a->status <= JAIL_GONE);
		must(a->status == JAIL_OK || a->reply.len == 0);
		must(a->status != JAIL_OK || str_is(a->reply, "answer"));
		future_unref(asked[i]);
	}
	jail_client_free(client);
	close(message);
	close(listen_fd);
	must(count_fds() == before);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size };

	as_receiver(in);
	as_client(in);
	return 0;
}
