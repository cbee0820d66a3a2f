/* SPDX-License-Identifier: BSD-2-Clause */
/* A memfd first, so that the common small message never meets the disk; an O_TMPFILE
 * when it grows, so that a large one does not fill the memory. */
#include "common/run/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "common/base/xalloc.h"

void
spool_init(struct spool *s, const char *dir, uint64_t max)
{
	*s = (struct spool){ .fd = -1, .dir = dir, .max = max };
}

void
spool_clear(struct spool *s)
{
	if (s->fd >= 0)
		close(s->fd);
	spool_init(s, s->dir, s->max);
}

/* A file without a name; where the file system knows no O_TMPFILE (overlay, NFS), one
 * whose name is gone before anything stands in it. */
static int
open_file(const char *dir, struct err *err)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		return fd;
	if (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)
		return err_errno(err, "spool file in %s", dir);
	char *name = xasprintf("%s/postern.XXXXXX", dir);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		err_errno(err, "%s", name);
	else
		unlink(name);
	free(name);
	return fd;
}

static int
write_all(int fd, struct str s, uint64_t at, struct err *err)
{
	while (s.len > 0) {
		ssize_t n = pwrite(fd, s.p, s.len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(err, "writing a spool file");
		s = str_sub(s, (size_t)n, s.len);
		at += (uint64_t)n;
	}
	return 0;
}

static int
move_to_file(struct spool *s, struct err *err)
{
	int fd = open_file(s->dir, err);
	off_t at = 0;

	if (fd < 0)
		return -1;
	while ((uint64_t)at < s->len) {
		ssize_t n = sendfile(fd, s->fd, &at, s->len - (uint64_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err_errno(err, "writing a spool file");
			close(fd);
			return -1;
		}
	}
	close(s->fd);
	s->fd = fd;
	s->in_memory = false;
	return 0;
}

int
spool_add(struct spool *s, struct str octets, struct err *err)
{
	uint64_t len;

	if (__builtin_add_overflow(s->len, octets.len, &len) || len > s->max)
		return err_set(err, "message of more than %llu octets",
		    (unsigned long long)s->max);
	if (s->fd < 0) {
		s->in_memory = len <= SPOOL_MEMORY_MAX;
		s->fd = s->in_memory ? memfd_create("postern-spool", MFD_CLOEXEC)
				     : open_file(s->dir, err);
		if (s->fd < 0)
			return s->in_memory ? err_errno(err, "memfd") : -1;
	} else if (s->in_memory && len > SPOOL_MEMORY_MAX && move_to_file(s, err) < 0) {
		return -1;
	}
	if (write_all(s->fd, octets, s->len, err) < 0)
		return -1;
	s->len = len;
	return 0;
}

int
spool_read(const struct spool *s, uint64_t at, void *p, size_t len, struct err *err)
{
	char *to = p;

	if (at > s->len || len > s->len - at)
		return err_set(err, "reading beyond the end of a spool");
	while (len > 0) {
		ssize_t n = pread(s->fd, to, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "reading a spool file");
		if (n == 0)
			return err_set(err, "a spool file was cut short");
		to += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int
spool_take_fd(struct spool *s, struct err *err)
{
	int fd = s->fd;

	if (fd < 0)
		fd = memfd_create("postern-spool", MFD_CLOEXEC);
	if (fd < 0)
		return err_errno(err, "memfd");
	if (s->fd >= 0 && lseek(fd, 0, SEEK_SET) < 0) {
		err_errno(err, "spool");
		return -1;
	}
	s->fd = -1;
	spool_clear(s);
	return fd;
}
