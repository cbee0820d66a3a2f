/* SPDX-License-Identifier: BSD-2-Clause */
/* The real disk behind the table, and the loops around short and interrupted calls.
 * fsync is never repeated, not even after EINTR: a second call on the same descriptor
 * may report success for pages that the first one lost. */
#include "contrib/relay/qio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int
real_open(void *ctx, int dir, const char *name, int flags, mode_t mode)
{
	(void)ctx;
	return openat(dir, name, flags | O_CLOEXEC, mode);
}

static int
real_close(void *ctx, int fd)
{
	(void)ctx;
	return close(fd);
}

static ssize_t
real_pread(void *ctx, int fd, void *to, size_t len, uint64_t at)
{
	(void)ctx;
	return pread(fd, to, len, (off_t)at);
}

static ssize_t
real_pwrite(void *ctx, int fd, const void *from, size_t len, uint64_t at)
{
	(void)ctx;
	return pwrite(fd, from, len, (off_t)at);
}

static int
real_fsync(void *ctx, int fd)
{
	(void)ctx;
	return fsync(fd);
}

static int
real_fdatasync(void *ctx, int fd)
{
	(void)ctx;
	return fdatasync(fd);
}

static int
real_fallocate(void *ctx, int fd, uint64_t len)
{
	(void)ctx;
	return fallocate(fd, 0, 0, (off_t)len);
}

static int
real_rename(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	(void)ctx;
	return renameat(from_dir, from, to_dir, to);
}

static int
real_unlink(void *ctx, int dir, const char *name)
{
	(void)ctx;
	return unlinkat(dir, name, 0);
}

static int
real_mkdir(void *ctx, int dir, const char *name, mode_t mode)
{
	(void)ctx;
	return mkdirat(dir, name, mode);
}

static int
real_size(void *ctx, int fd, uint64_t *size)
{
	struct stat st;

	(void)ctx;
	if (fstat(fd, &st) != 0)
		return -1;
	*size = (uint64_t)st.st_size;
	return 0;
}

static int
real_list(void *ctx, int dir, qio_name *each, void *arg)
{
	(void)ctx;
	/* A descriptor of its own: closedir() closes it, and the position is its own.
	 */
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	errno = 0;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			each(arg, e->d_name);
		errno = 0;
	}
	int saved = errno;
	closedir(d);
	errno = saved;
	return saved == 0 ? 0 : -1;
}

static int
real_space(void *ctx, int dir, uint64_t *octets, uint64_t *inodes)
{
	struct statvfs st;

	(void)ctx;
	if (fstatvfs(dir, &st) != 0)
		return -1;
	*octets = (uint64_t)st.f_bavail * st.f_frsize;
	/* File systems without a fixed number of inodes say 0 of 0. */
	*inodes = st.f_files == 0 ? UINT64_MAX : st.f_favail;
	return 0;
}

/* XFS logs the new name and the inode in one transaction that fsync() of the file
 * forces. ext4 does so too, but cannot be told here from ext2, which does not. */
static bool
real_sync_names(void *ctx, int dir)
{
	struct statfs st;

	(void)ctx;
	return fstatfs(dir, &st) == 0 && st.f_type == XFS_SUPER_MAGIC;
}

const struct qio qio_real = {
	.open = real_open,
	.close = real_close,
	.pread = real_pread,
	.pwrite = real_pwrite,
	.fsync = real_fsync,
	.fdatasync = real_fdatasync,
	.fallocate = real_fallocate,
	.rename = real_rename,
	.unlink = real_unlink,
	.mkdir = real_mkdir,
	.size = real_size,
	.list = real_list,
	.sync_names = real_sync_names,
	.space = real_space,
};

int
qio_open(const struct qio *q, int dir, const char *name, int flags)
{
	int fd;

	do
		fd = q->open(q->ctx, dir, name, flags, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}

int
qio_write(const struct qio *q, int fd, const void *from, size_t len, uint64_t at)
{
	const char *p = from;

	while (len > 0) {
		ssize_t n = q->pwrite(q->ctx, fd, p, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = ENOSPC;
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

int
qio_read(const struct qio *q, int fd, void *to, size_t len, uint64_t at)
{
	char *p = to;

	while (len > 0) {
		ssize_t n = q->pread(q->ctx, fd, p, len, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO;
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}
