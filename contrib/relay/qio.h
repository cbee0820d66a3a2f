/* SPDX-License-Identifier: BSD-2-Clause */
/* Every operation on the spool, as one table, so that a simulated disk can stand in for
 * the real one: faults at the Nth call, power cuts between any two of them.  Each
 * operation is one system call: -1 and errno like it, no repetition, no cleverness.
 * The helpers below do the repeating (EINTR, short writes). */
#ifndef POSTERN_RELAY_QIO_H
#define POSTERN_RELAY_QIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/base/err.h"

typedef void qio_name(void *arg, const char *name);

struct qio {
	void *ctx;
	/* A directory is opened with O_RDONLY|O_DIRECTORY; dir AT_FDCWD: name is a
	 * path. */
	int (*open)(void *ctx, int dir, const char *name, int flags, mode_t mode);
	int (*close)(void *ctx, int fd);
	ssize_t (*pread)(void *ctx, int fd, void *to, size_t len, uint64_t at);
	ssize_t (*pwrite)(void *ctx, int fd, const void *from, size_t len, uint64_t at);
	int (*fsync)(void *ctx, int fd);
	int (*fdatasync)(void *ctx, int fd);
	int (*fallocate)(void *ctx, int fd, uint64_t len);
	int (*rename)(
	    void *ctx, int from_dir, const char *from, int to_dir, const char *to);
	int (*unlink)(void *ctx, int dir, const char *name);
	int (*mkdir)(void *ctx, int dir, const char *name, mode_t mode);
	int (*size)(void *ctx, int fd, uint64_t *size);
	/* Call each() for every name but "." and ".."; names that appear or go
	 * meanwhile may be missed or told. */
	int (*list)(void *ctx, int dir, qio_name *each, void *arg);
	/* Does fsync() of a new file make its name in dir durable as well? */
	bool (*sync_names)(void *ctx, int dir);
	/* Octets and inodes that we may still use on the disk of dir. */
	int (*space)(void *ctx, int dir, uint64_t *octets, uint64_t *inodes);
};

extern const struct qio qio_real;

int qio_open(const struct qio *q, int dir, const char *name, int flags);
/* All of it, or -1 with errno: a write of nothing counts as ENOSPC. */
int qio_write(const struct qio *q, int fd, const void *from, size_t len, uint64_t at);
/* All of it: 0; -1 with errno; a file that ends before is EIO. */
int qio_read(const struct qio *q, int fd, void *to, size_t len, uint64_t at);

#endif
