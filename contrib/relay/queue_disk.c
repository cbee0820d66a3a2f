/* SPDX-License-Identifier: BSD-2-Clause */
/* Orders of writing that survive kill -9 and power cuts: record, fsync(file),
 * fsync(dir), then the acknowledgement.  A failed fsync is never tried again on its
 * descriptor: the file is removed and the client keeps its mail. */
#include "contrib/relay/queue_disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"

enum { COPY_CHUNK = 256 * 1024, FALLOCATE_MIN = 1 << 20 };

#define PROBE_NAME "probe.tmp"

static const char *const dir_names[] = { "incoming", "active", "deferred", "quarantine",
	"corrupt" };
static_assert(
    sizeof(dir_names) / sizeof(dir_names[0]) == QUEUE_DIRS, "one per directory");

const char *
queue_dir_name(enum queue_dir dir)
{
	return dir_names[dir];
}

bool
queue_id_ok(struct str id)
{
	if (id.len == 0 || id.len >= MESSAGE_ID_MAX)
		return false;
	for (size_t i = 0; i < id.len; i++)
		if (!ascii_alnum(id.p[i]) && id.p[i] != '_')
			return false;
	return true;
}

/* --- the directories -----------------------------------------------------------------
 */

static int
open_dir(const struct qio *q, int at, const char *name, bool *made)
{
	int fd = qio_open(q, at, name, O_RDONLY | O_DIRECTORY);

	if (fd >= 0 || errno != ENOENT)
		return fd;
	if (q->mkdir(q->ctx, at, name, 0700) != 0 && errno != EEXIST)
		return -1;
	*made = true;
	return qio_open(q, at, name, O_RDONLY | O_DIRECTORY);
}

/* Make the name of a fresh spool durable in the directory above it. */
static int
sync_parent(const struct qio *q, const char *path)
{
	ptrdiff_t slash = str_rindex(str_of(path), '/');
	char *parent =
	    slash < 0 ? xstrdup(".") : xmemdup0(path, slash > 0 ? (size_t)slash : 1);
	int fd = qio_open(q, AT_FDCWD, parent, O_RDONLY | O_DIRECTORY);
	int rc = fd < 0 ? -1 : q->fsync(q->ctx, fd);

	if (fd >= 0)
		q->close(q->ctx, fd);
	free(parent);
	return rc;
}

int
queue_disk_open(struct queue_disk *d, const struct qio *q, const char *path,
    bool always_sync, struct err *err)
{
	bool made = false;
	int top = open_dir(q, AT_FDCWD, path, &made);

	*d = (struct queue_disk){ .q = q, .dirs = { -1, -1, -1, -1, -1 } };
	if (top < 0)
		return err_errno(err, "cannot open the spool %s", path);
	if (made && sync_parent(q, path) != 0) {
		err_errno(err, "cannot sync the directory of %s", path);
		goto bad;
	}
	for (int i = 0; i < QUEUE_DIRS; i++) {
		d->dirs[i] = open_dir(q, top, dir_names[i], &made);
		if (d->dirs[i] < 0) {
			err_errno(err, "cannot open %s/%s", path, dir_names[i]);
			goto bad;
		}
	}
	if (made && q->fsync(q->ctx, top) != 0) {
		err_errno(err, "cannot sync the spool %s", path);
		goto bad;
	}
	d->sync_dir = always_sync || !q->sync_names(q->ctx, d->dirs[QUEUE_INCOMING]);
	q->close(q->ctx, top);
	return 0;
bad:
	q->close(q->ctx, top);
	queue_disk_close(d);
	return -1;
}

void
queue_disk_close(struct queue_disk *d)
{
	for (int i = 0; i < QUEUE_DIRS; i++) {
		if (d->dirs[i] >= 0)
			d->q->close(d->q->ctx, d->dirs[i]);
		d->dirs[i] = -1;
	}
}

int
queue_disk_space(
    struct queue_disk *d, uint64_t *octets, uint64_t *inodes, struct err *err)
{
	if (d->q->space(d->q->ctx, d->dirs[QUEUE_INCOMING], octets, inodes) != 0)
		return err_errno(err, "cannot ask for the spool's free space");
	return 0;
}

int
queue_disk_probe(struct queue_disk *d, struct err *err)
{
	const struct qio *q = d->q;
	int dir = d->dirs[QUEUE_INCOMING];
	static const char octets[4096] = { 'p' };
	int fd = qio_open(q, dir, PROBE_NAME, O_RDWR | O_CREAT | O_TRUNC);

	if (fd < 0)
		return err_errno(err, "cannot make a file in the spool");
	bool ok = qio_write(q, fd, octets, sizeof(octets), 0) == 0 &&
	    q->fsync(q->ctx, fd) == 0 && q->fsync(q->ctx, dir) == 0;
	if (!ok)
		err_errno(err, "cannot write in the spool");
	if (q->close(q->ctx, fd) != 0 && ok) {
		ok = false;
		err_errno(err, "cannot write in the spool");
	}
	q->unlink(q->ctx, dir, PROBE_NAME);
	return ok ? 0 : -1;
}

/* --- committing ----------------------------------------------------------------------
 */

static void
commit_fails(struct queue_commit *c, const char *what)
{
	err_errno(&c->err, "%s", what);
	c->io_failed = true;
}

/* Is it a record, of this id, and where does it belong? */
static bool
check_source(struct queue_commit *c)
{
	if (record_read(c->source, true, &c->record, &c->err) != 0)
		return false;
	if (!queue_id_ok(str_of(c->id)) || strcmp(c->id, c->record.envelope.id) != 0) {
		err_set(&c->err, "the record has another id");
		record_clear(&c->record);
		return false;
	}
	c->dir = c->record.envelope.hold[0] != '\0' ? QUEUE_QUARANTINE : QUEUE_INCOMING;
	return true;
}

static int
copy_source(const struct qio *q, const struct queue_commit *c, uint64_t len)
{
	char *chunk = xmalloc(COPY_CHUNK);
	uint64_t at = 0;
	int rc = 0;

	while (rc == 0 && at < len) {
		size_t n = len - at < COPY_CHUNK ? (size_t)(len - at) : COPY_CHUNK;

		rc = qio_read(&qio_real, c->source, chunk, n, at);
		if (rc == 0)
			rc = qio_write(q, c->fd, chunk, n, at);
		at += n;
	}
	int saved = errno;
	free(chunk);
	errno = saved;
	return rc;
}

/* Create the file under its final name and write it. */
static void
write_file(struct queue_disk *d, struct queue_commit *c)
{
	const struct qio *q = d->q;
	uint64_t len =
	    c->record.slots_offset + c->record.envelope.n_rcpts + RECORD_TAIL;

	c->fd = qio_open(q, d->dirs[c->dir], c->id, O_RDWR | O_CREAT | O_EXCL);
	if (c->fd < 0) {
		/* A file of that name is another message: it must not be removed below.
		 */
		commit_fails(c, "cannot create the spool file");
		return;
	}
	/* To know early that there is no room; not every file system can. */
	if (len >= FALLOCATE_MIN && q->fallocate(q->ctx, c->fd, len) != 0 &&
	    (errno == ENOSPC || errno == EDQUOT || errno == EIO))
		commit_fails(c, "no room for the spool file");
	else if (copy_source(q, c, len) != 0)
		commit_fails(c, "cannot write the spool file");
}

static void
sync_file(struct queue_disk *d, struct queue_commit *c)
{
	const struct qio *q = d->q;

	if (!c->io_failed && q->fsync(q->ctx, c->fd) != 0)
		commit_fails(c, "cannot sync the spool file");
	if (q->close(q->ctx, c->fd) != 0 && !c->io_failed)
		commit_fails(c, "cannot close the spool file");
}

/* One fsync for all names that the batch made there.  When it fails, all of them go:
 * the next batch's fsync then vouches for nothing of this one. */
static void
sync_dir(struct queue_disk *d, enum queue_dir dir, struct queue_commit *const *list,
    size_t n)
{
	bool any = false;

	for (size_t i = 0; i < n; i++)
		any |= list[i]->dir == dir && list[i]->fd >= 0 && !list[i]->io_failed;
	if (!any || !d->sync_dir || d->q->fsync(d->q->ctx, d->dirs[dir]) == 0)
		return;
	int saved = errno;
	for (size_t i = 0; i < n; i++)
		if (list[i]->dir == dir && list[i]->fd >= 0 && !list[i]->io_failed) {
			errno = saved;
			commit_fails(list[i], "cannot sync the spool directory");
		}
}

void
queue_disk_commit(struct queue_disk *d, struct queue_commit *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct queue_commit *c = list[i];

		c->durable = c->io_failed = false;
		c->fd = -1;
		if (check_source(c))
			write_file(d, c);
	}
	for (size_t i = 0; i < n; i++)
		if (list[i]->fd >= 0)
			sync_file(d, list[i]);
	sync_dir(d, QUEUE_INCOMING, list, n);
	sync_dir(d, QUEUE_QUARANTINE, list, n);
	for (size_t i = 0; i < n; i++) {
		struct queue_commit *c = list[i];

		c->durable = c->fd >= 0 && !c->io_failed;
		if (c->fd >= 0 && c->io_failed)
			d->q->unlink(d->q->ctx, d->dirs[c->dir], c->id);
		if (!c->durable)
			record_clear(&c->record);
		c->fd = -1;
	}
}

/* --- a message in delivery -----------------------------------------------------------
 */

void
queue_message_clear(struct queue_disk *d, struct queue_message *m)
{
	if (m->fd >= 0)
		d->q->close(d->q->ctx, m->fd);
	m->fd = -1;
	record_clear(&m->record);
}

static int
move(struct queue_disk *d, const char *id, enum queue_dir from, enum queue_dir to)
{
	return d->q->rename(d->q->ctx, d->dirs[from], id, d->dirs[to], id);
}

enum queue_loaded
queue_disk_activate(struct queue_disk *d, const char *id, enum queue_dir dir,
    struct queue_message *out, struct err *err)
{
	size_t len = strlen(id);

	assert(len < MESSAGE_ID_MAX);
	*out = (struct queue_message){ .dir = dir };
	memcpy(out->id, id, len);
	out->fd = qio_open(d->q, d->dirs[dir], id, O_RDWR);
	if (out->fd < 0) {
		bool gone = errno == ENOENT;

		err_errno(err, "cannot open %s/%s", dir_names[dir], id);
		return gone ? QUEUE_GONE : QUEUE_UNREADABLE;
	}
	if (record_load(d->q, out->fd, true, &out->record, err) != 0) {
		bool corrupt = errno == EBADMSG;

		queue_message_clear(d, out);
		if (!corrupt || move(d, id, dir, QUEUE_CORRUPT) != 0)
			return QUEUE_UNREADABLE;
		return QUEUE_GONE;
	}
	/* Where it lies does not matter to it: the scan of a start finds it anywhere.
	 */
	if (dir != QUEUE_ACTIVE && move(d, id, dir, QUEUE_ACTIVE) == 0)
		out->dir = QUEUE_ACTIVE;
	return QUEUE_LOADED;
}

int
queue_disk_reader(struct queue_disk *d, const struct queue_message *m, struct err *err)
{
	int fd = qio_open(d->q, d->dirs[m->dir], m->id, O_RDONLY);

	return fd < 0 ? err_errno(err, "cannot open %s/%s", dir_names[m->dir], m->id)
		      : fd;
}

static bool
is_one_of(const uint16_t *rcpts, size_t n, size_t rcpt)
{
	for (size_t i = 0; i < n; i++)
		if (rcpts[i] == rcpt)
			return true;
	return false;
}

int
queue_disk_settle(struct queue_disk *d, struct queue_message *m, const uint16_t *rcpts,
    size_t n, enum record_slot slot, bool *finished, struct err *err)
{
	struct record *r = &m->record;
	size_t left = 0;
	int rc = 0;

	*finished = false;
	for (size_t i = 0; i < r->envelope.n_rcpts; i++)
		left += r->slots[i] == SLOT_OPEN && !is_one_of(rcpts, n, i);
	/* The removal alone says it all. */
	if (left == 0 && d->q->unlink(d->q->ctx, d->dirs[m->dir], m->id) == 0) {
		for (size_t i = 0; i < n; i++)
			r->slots[rcpts[i]] = (char)slot;
		*finished = true;
		return 0;
	}
	if (left == 0)
		rc = err_errno(err, "cannot remove %s/%s", dir_names[m->dir], m->id);
	for (size_t i = 0; i < n; i++) {
		if (r->slots[rcpts[i]] != SLOT_OPEN)
			continue;
		if (record_set_slot(d->q, m->fd, r, rcpts[i], slot, err) != 0)
			rc = -1;
		else
			m->dirty = true;
	}
	return rc;
}

int
queue_disk_defer(struct queue_disk *d, struct queue_message *m, int64_t next_try,
    uint32_t tries, struct err *err)
{
	int rc = record_set_retry(d->q, m->fd, &m->record, next_try, tries, err);

	if (m->dir != QUEUE_DEFERRED) {
		if (move(d, m->id, m->dir, QUEUE_DEFERRED) != 0)
			return err_errno(err, "cannot move %s/%s to deferred",
			    dir_names[m->dir], m->id);
		m->dir = QUEUE_DEFERRED;
	}
	return rc;
}

int
queue_disk_fail(
    struct queue_disk *d, struct queue_failure *f, bool *finished, struct err *err)
{
	struct queue_commit *c = &f->commit;

	*finished = false;
	*c = (struct queue_commit){ .source = f->record };
	memcpy(c->id, f->id, sizeof(c->id));
	queue_disk_commit(d, (struct queue_commit *const[]){ c }, 1);
	if (!c->durable) {
		*err = c->err;
		return -1;
	}
	return queue_disk_settle(
	    d, f->message, f->rcpts, f->n, SLOT_FAILED, finished, err);
}
