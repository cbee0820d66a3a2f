/* SPDX-License-Identifier: BSD-2-Clause */
/* See qio_sim.h.  Sizes are fixed: a test with a few messages needs no more, and an
 * overflow ends the test. */
#include "tests/lib/qio_sim.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"

enum {
	INODES = 256,
	NAMES = 256,
	OPS = 4096,
	FDS = 256,
	FD_BASE = 100000,
	ALL_MAX = 10
};

struct content {
	char *p;
	size_t len;
};

struct inode {
	bool dir;
	struct content seen, durable;
};

struct name {
	bool used;
	int dir, inode;
	char text[64];
};

enum op_kind { OP_WRITE, OP_SIZE, OP_LINK, OP_UNLINK, OP_RENAME };

struct op {
	enum op_kind kind;
	bool durable, lost; /* lost: a failed fsync was to write it */
	int inode; /* whose content; or what the name stands for */
	struct content data;
	size_t at;
	int from_dir, to_dir;
	char from[64], to[64];
};

struct sim {
	struct qio qio;
	struct inode inodes[INODES];
	int n_inodes;
	struct name seen[NAMES], durable[NAMES];
	struct op ops[OPS];
	int n_ops;
	int fds[FDS]; /* inode + 1, 0 free */
	unsigned count, fsyncs;
	enum sim_fault fault;
	unsigned fault_at;
	bool sticky, crashed;
	enum sim_mutant mutant;
	int late[FDS]; /* inodes whose fsync is owed */
	int n_late;
};

/* --- contents and names --------------------------------------------------------------
 */

static void
content_write(struct content *c, const char *p, size_t len, size_t at)
{
	if (at + len > c->len) {
		c->p = xreallocarray(c->p, at + len, 1);
		memset(c->p + c->len, 0, at + len - c->len);
		c->len = at + len;
	}
	if (p != NULL)
		memcpy(c->p + at, p, len);
}

static struct content
content_copy(const struct content *c)
{
	return (struct content){ c->len > 0 ? xmemdup0(c->p, c->len) : NULL, c->len };
}

static struct name *
name_find(struct name *names, int dir, const char *text)
{
	for (int i = 0; i < NAMES; i++)
		if (names[i].used && names[i].dir == dir &&
		    strcmp(names[i].text, text) == 0)
			return &names[i];
	return NULL;
}

static void
name_set(struct name *names, int dir, const char *text, int inode)
{
	struct name *n = name_find(names, dir, text);

	for (int i = 0; n == NULL && i < NAMES; i++)
		if (!names[i].used)
			n = &names[i];
	assert(n != NULL && strlen(text) < sizeof(n->text));
	*n = (struct name){ .used = true, .dir = dir, .inode = inode };
	memcpy(n->text, text, strlen(text));
}

/* Only when it still stands for that inode. */
static void
name_drop(struct name *names, int dir, const char *text, int inode)
{
	struct name *n = name_find(names, dir, text);

	if (n != NULL && n->inode == inode)
		n->used = false;
}

static void
apply(struct inode *inodes, bool durable, struct name *names, const struct op *op)
{
	struct content *c =
	    durable ? &inodes[op->inode].durable : &inodes[op->inode].seen;

	switch (op->kind) {
	case OP_WRITE:
		content_write(c, op->data.p, op->data.len, op->at);
		return;
	case OP_SIZE:
		content_write(c, NULL, 0, op->at);
		return;
	case OP_LINK:
		name_set(names, op->to_dir, op->to, op->inode);
		return;
	case OP_UNLINK:
		name_drop(names, op->from_dir, op->from, op->inode);
		return;
	case OP_RENAME:
		name_drop(names, op->from_dir, op->from, op->inode);
		name_set(names, op->to_dir, op->to, op->inode);
		return;
	}
}

static struct op *
add_op(struct sim *s, enum op_kind kind, int inode)
{
	assert(s->n_ops < OPS);
	struct op *op = &s->ops[s->n_ops++];
	*op = (struct op){ .kind = kind, .inode = inode };
	return op;
}

/* --- faults --------------------------------------------------------------------------
 */

/* Count an operation; the fault that strikes it. */
static enum sim_fault
strike(struct sim *s)
{
	if (s->crashed)
		return SIM_CRASH;
	s->count++;
	if (s->fault == SIM_NONE ||
	    !(s->count == s->fault_at || (s->sticky && s->count > s->fault_at)))
		return SIM_NONE;
	if (s->fault == SIM_CRASH || s->fault == SIM_CRASH_HALF)
		s->crashed = true;
	return s->fault;
}

/* For operations that succeed or fail as a whole.  needs_room: ENOSPC may strike.
 * Returns true when it must not happen, with errno. */
static bool
struck(struct sim *s, bool needs_room, bool interruptible)
{
	switch (strike(s)) {
	case SIM_CRASH:
	case SIM_CRASH_HALF:
	case SIM_EIO:
		errno = EIO;
		return true;
	case SIM_ENOSPC:
		errno = ENOSPC;
		return needs_room;
	case SIM_EINTR:
		errno = EINTR;
		return interruptible && !s->sticky;
	case SIM_SHORT:
	case SIM_NONE:
		return false;
	}
	return false;
}

/* --- the table -----------------------------------------------------------------------
 */

static int
fd_inode(const struct sim *s, int fd)
{
	assert(fd >= FD_BASE && fd < FD_BASE + FDS && s->fds[fd - FD_BASE] > 0);
	return s->fds[fd - FD_BASE] - 1;
}

static int
fd_new(struct sim *s, int inode)
{
	for (int i = 0; i < FDS; i++)
		if (s->fds[i] == 0) {
			s->fds[i] = inode + 1;
			return FD_BASE + i;
		}
	assert(false); /* too many open files */
	return -1;
}

static int
create(struct sim *s, int dir, const char *name, bool is_dir)
{
	assert(s->n_inodes < INODES);
	int inode = s->n_inodes++;
	s->inodes[inode] = (struct inode){ .dir = is_dir };
	struct op *op = add_op(s, OP_LINK, inode);
	op->to_dir = dir;
	snprintf(op->to, sizeof(op->to), "%s", name);
	apply(s->inodes, false, s->seen, op);
	return inode;
}

static int
sim_open(void *ctx, int dir, const char *name, int flags, mode_t mode)
{
	struct sim *s = ctx;
	int at = dir == AT_FDCWD ? 0 : fd_inode(s, dir);

	(void)mode;
	if (strcmp(name, ".") == 0)
		return fd_new(s, at);
	struct name *n = name_find(s->seen, at, name);
	if (n == NULL && (flags & O_CREAT) == 0) {
		errno = ENOENT;
		return -1;
	}
	if (n != NULL && (flags & O_EXCL) != 0) {
		errno = EEXIST;
		return -1;
	}
	if (n == NULL && struck(s, true, true))
		return -1;
	if (s->crashed) {
		errno = EIO;
		return -1;
	}
	return fd_new(s, n != NULL ? n->inode : create(s, at, name, false));
}

static int
sim_close(void *ctx, int fd)
{
	struct sim *s = ctx;

	fd_inode(s, fd);
	s->fds[fd - FD_BASE] = 0;
	return 0;
}

static ssize_t
sim_pread(void *ctx, int fd, void *to, size_t len, uint64_t at)
{
	struct sim *s = ctx;
	const struct content *c = &s->inodes[fd_inode(s, fd)].seen;

	if (s->crashed) {
		errno = EIO;
		return -1;
	}
	if (at >= c->len)
		return 0;
	if (len > c->len - at)
		len = c->len - (size_t)at;
	memcpy(to, c->p + at, len);
	return (ssize_t)len;
}

static ssize_t
sim_pwrite(void *ctx, int fd, const void *from, size_t len, uint64_t at)
{
	struct sim *s = ctx;
	int inode = fd_inode(s, fd);
	enum sim_fault fault = strike(s);

	if (fault == SIM_CRASH || fault == SIM_EIO || fault == SIM_ENOSPC ||
	    (fault == SIM_EINTR && !s->sticky)) {
		errno = fault == SIM_ENOSPC ? ENOSPC : fault == SIM_EINTR ? EINTR : EIO;
		return -1;
	}
	if (fault == SIM_SHORT || fault == SIM_CRASH_HALF)
		len = len > 1 ? len / 2 : len;
	struct op *op = add_op(s, OP_WRITE, inode);
	op->data = (struct content){ xmemdup0(from, len), len };
	op->at = (size_t)at;
	apply(s->inodes, false, s->seen, op);
	if (fault == SIM_CRASH_HALF) {
		errno = EIO;
		return -1;
	}
	return (ssize_t)len;
}

/* Does an fsync of that inode reach the operation? */
static bool
reaches(const struct sim *s, int inode, const struct op *op)
{
	if (op->durable || op->lost)
		return false;
	if (!s->inodes[inode].dir)
		return op->inode == inode &&
		    (op->kind == OP_WRITE || op->kind == OP_SIZE);
	return op->kind != OP_WRITE && op->kind != OP_SIZE &&
	    ((op->kind != OP_LINK && op->from_dir == inode) ||
		(op->kind != OP_UNLINK && op->to_dir == inode));
}

static void
make_durable(struct sim *s, int inode)
{
	for (int i = 0; i < s->n_ops; i++)
		if (reaches(s, inode, &s->ops[i])) {
			apply(s->inodes, true, s->durable, &s->ops[i]);
			s->ops[i].durable = true;
		}
}

static void
lose(struct sim *s, int inode)
{
	for (int i = 0; i < s->n_ops; i++)
		if (reaches(s, inode, &s->ops[i]))
			s->ops[i].lost = true;
}

static int
sim_fsync(void *ctx, int fd)
{
	struct sim *s = ctx;
	int inode = fd_inode(s, fd);
	bool dir = s->inodes[inode].dir;

	if (struck(s, true, true)) {
		if (!s->crashed && errno != EINTR)
			lose(s, inode);
		if (s->mutant == SIM_DEAF && !s->crashed)
			return 0;
		return s->mutant == SIM_RETRY_FSYNC && !s->crashed ? sim_fsync(ctx, fd)
								   : -1;
	}
	s->fsyncs++;
	if ((s->mutant == SIM_NO_FSYNC && !dir) ||
	    (s->mutant == SIM_NO_DIR_FSYNC && dir))
		return 0;
	if (s->mutant == SIM_LATE_FSYNC) {
		assert(s->n_late < FDS);
		s->late[s->n_late++] = inode;
		return 0;
	}
	make_durable(s, inode);
	return 0;
}

void
sim_acknowledged(struct sim *s)
{
	/* The fsyncs that should have come before; each may be where it ends. */
	for (int i = 0; i < s->n_late; i++)
		if (!struck(s, false, false))
			make_durable(s, s->late[i]);
	s->n_late = 0;
}

static int
sim_fallocate(void *ctx, int fd, uint64_t len)
{
	struct sim *s = ctx;

	if (struck(s, true, false))
		return -1;
	struct op *op = add_op(s, OP_SIZE, fd_inode(s, fd));
	op->at = (size_t)len;
	apply(s->inodes, false, s->seen, op);
	return 0;
}

static int
sim_rename(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	struct sim *s = ctx;
	struct name *n = name_find(s->seen, fd_inode(s, from_dir), from);

	if (n == NULL) {
		errno = ENOENT;
		return -1;
	}
	if (struck(s, true, false))
		return -1;
	struct op *op = add_op(s, OP_RENAME, n->inode);
	op->from_dir = fd_inode(s, from_dir);
	op->to_dir = fd_inode(s, to_dir);
	snprintf(op->from, sizeof(op->from), "%s", from);
	snprintf(op->to, sizeof(op->to), "%s", to);
	apply(s->inodes, false, s->seen, op);
	return 0;
}

static int
sim_unlink(void *ctx, int dir, const char *name)
{
	struct sim *s = ctx;
	struct name *n = name_find(s->seen, fd_inode(s, dir), name);

	if (n == NULL) {
		errno = ENOENT;
		return -1;
	}
	if (struck(s, false, false))
		return -1;
	struct op *op = add_op(s, OP_UNLINK, n->inode);
	op->from_dir = fd_inode(s, dir);
	snprintf(op->from, sizeof(op->from), "%s", name);
	apply(s->inodes, false, s->seen, op);
	return 0;
}

static int
sim_mkdir(void *ctx, int dir, const char *name, mode_t mode)
{
	struct sim *s = ctx;
	int at = dir == AT_FDCWD ? 0 : fd_inode(s, dir);

	(void)mode;
	if (name_find(s->seen, at, name) != NULL) {
		errno = EEXIST;
		return -1;
	}
	if (struck(s, true, false))
		return -1;
	create(s, at, name, true);
	return 0;
}

static int
sim_size(void *ctx, int fd, uint64_t *size)
{
	struct sim *s = ctx;

	*size = s->inodes[fd_inode(s, fd)].seen.len;
	return 0;
}

static int
sim_list(void *ctx, int dir, qio_name *each, void *arg)
{
	struct sim *s = ctx;
	int at = fd_inode(s, dir);

	if (s->crashed) {
		errno = EIO;
		return -1;
	}
	for (int i = 0; i < NAMES; i++)
		if (s->seen[i].used && s->seen[i].dir == at)
			each(arg, s->seen[i].text);
	return 0;
}

static bool
sim_sync_names(void *ctx, int dir)
{
	(void)ctx;
	(void)dir;
	return false;
}

static int
sim_space(void *ctx, int dir, uint64_t *octets, uint64_t *inodes)
{
	(void)ctx;
	(void)dir;
	*octets = 1u << 30;
	*inodes = 1000000;
	return 0;
}

/* --- life ----------------------------------------------------------------------------
 */

struct sim *
sim_new(void)
{
	struct sim *s = xcalloc(1, sizeof(*s));

	s->inodes[0].dir = true;
	s->n_inodes = 1;
	s->qio = (struct qio){ .ctx = s,
		.open = sim_open,
		.close = sim_close,
		.pread = sim_pread,
		.pwrite = sim_pwrite,
		.fsync = sim_fsync,
		.fdatasync = sim_fsync,
		.fallocate = sim_fallocate,
		.rename = sim_rename,
		.unlink = sim_unlink,
		.mkdir = sim_mkdir,
		.size = sim_size,
		.list = sim_list,
		.sync_names = sim_sync_names,
		.space = sim_space };
	return s;
}

void
sim_free(struct sim *s)
{
	if (s == NULL)
		return;
	for (int i = 0; i < s->n_inodes; i++) {
		free(s->inodes[i].seen.p);
		free(s->inodes[i].durable.p);
	}
	for (int i = 0; i < s->n_ops; i++)
		free(s->ops[i].data.p);
	free(s);
}

const struct qio *
sim_qio(struct sim *s)
{
	return &s->qio;
}

void
sim_set_fault(struct sim *s, enum sim_fault fault, unsigned at, bool sticky)
{
	s->fault = fault;
	s->fault_at = at;
	s->sticky = sticky;
}

void
sim_set_mutant(struct sim *s, enum sim_mutant mutant)
{
	s->mutant = mutant;
}

unsigned
sim_ops(const struct sim *s)
{
	return s->count;
}

unsigned
sim_fsyncs(const struct sim *s)
{
	return s->fsyncs;
}

bool
sim_crashed(const struct sim *s)
{
	return s->crashed;
}

/* A machine that starts with these inodes' contents and names, all durable. */
static struct sim *
boot(const struct sim *s, bool durable, const struct name *names)
{
	struct sim *b = sim_new();

	b->n_inodes = s->n_inodes;
	for (int i = 0; i < s->n_inodes; i++) {
		const struct inode *from = &s->inodes[i];

		b->inodes[i].dir = from->dir;
		b->inodes[i].seen =
		    content_copy(durable ? &from->durable : &from->seen);
		b->inodes[i].durable = content_copy(&b->inodes[i].seen);
	}
	memcpy(b->seen, names, sizeof(b->seen));
	memcpy(b->durable, names, sizeof(b->durable));
	return b;
}

struct sim *
sim_after_kill(const struct sim *s)
{
	return boot(s, false, s->seen);
}

static int
pending_ops(const struct sim *s)
{
	int n = 0;

	for (int i = 0; i < s->n_ops; i++)
		n += !s->ops[i].durable;
	return n;
}

unsigned
sim_cuts(const struct sim *s)
{
	int n = pending_ops(s);

	return n <= ALL_MAX ? 1u << n : 3u * (unsigned)n + 2;
}

/* Is the kth of n pending operations kept in the ith state? */
static bool
kept(int k, int n, unsigned i)
{
	if (n <= ALL_MAX)
		return (i >> k & 1) != 0;
	unsigned un = (unsigned)n, uk = (unsigned)k;

	if (i < un)
		return uk == i; /* one alone */
	if (i < 2 * un)
		return uk != i - un; /* all but one */
	return uk < i - 2 * un; /* prefixes; the last is all, the first is none */
}

struct sim *
sim_after_cut(const struct sim *s, unsigned i)
{
	struct sim *b = boot(s, true, s->durable);
	int n = pending_ops(s), k = 0;

	for (int j = 0; j < s->n_ops; j++) {
		if (s->ops[j].durable)
			continue;
		if (kept(k++, n, i))
			apply(b->inodes, true, b->durable, &s->ops[j]);
	}
	for (int j = 0; j < b->n_inodes; j++) {
		free(b->inodes[j].seen.p);
		b->inodes[j].seen = content_copy(&b->inodes[j].durable);
	}
	memcpy(b->seen, b->durable, sizeof(b->seen));
	return b;
}
