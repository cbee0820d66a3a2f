/* SPDX-License-Identifier: BSD-2-Clause */
/* The scan at a start.  Each file is judged by itself:
 *
 *     name or state                        incoming    active, deferred   quarantine
 *     *.tmp                                removed     removed            removed
 *     no whole record (length, END)        discarded   to corrupt/        discarded
 *     checksum does not fit                discarded   found at loading   (at release)
 *     inner id differs from the name       renamed, or to corrupt/ when that is taken
 *     id known from another directory      removed when it is the same record (half of
 * a rename), else to corrupt/ all slots closed                     removed cannot be
 * read now                   left and counted
 *
 * Discarded files were never acknowledged: that needs an fsync which makes them whole.
 */
#include "contrib/relay/queue_recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/xalloc.h"

struct names {
	char **list;
	size_t n, cap;
};

static void
keep_name(void *arg, const char *name)
{
	struct names *names = arg;

	if (names->n == names->cap) {
		names->cap = names->cap > 0 ? names->cap * 2 : 256;
		names->list = xreallocarray(names->list, names->cap, sizeof(char *));
	}
	names->list[names->n++] = xstrdup(name);
}

static void
names_clear(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->list[i]);
	free(names->list);
	*names = (struct names){ 0 };
}

struct scan {
	struct queue_disk *d;
	enum queue_dir dir;
	bool (*each)(void *arg, const struct queue_found *f);
	void *arg;
	struct queue_recovery *sum;
};

static void
tell(enum log_level level, const char *event, const struct scan *s, const char *name,
    const char *why)
{
	struct logline l;

	logline_init(&l, level, event);
	logline_cstr(&l, "dir", queue_dir_name(s->dir));
	logline_cstr(&l, "file", name);
	logline_cstr(&l, "why", why);
	logline_send(&l);
}

static void
discard(struct scan *s, const char *name, const char *why)
{
	const struct qio *q = s->d->q;

	tell(LOG_LEVEL_INFO, "discarded", s, name, why);
	if (q->unlink(q->ctx, s->d->dirs[s->dir], name) == 0 || errno == ENOENT)
		s->sum->discarded++;
	else
		s->sum->unreadable++;
}

static void
to_corrupt(struct scan *s, const char *name, const char *why)
{
	const struct qio *q = s->d->q;

	tell(LOG_LEVEL_ERR, "corrupt", s, name, why);
	if (q->rename(
		q->ctx, s->d->dirs[s->dir], name, s->d->dirs[QUEUE_CORRUPT], name) == 0)
		s->sum->corrupt++;
	else
		s->sum->unreadable++;
}

static bool
exists(const struct scan *s, const char *name)
{
	const struct qio *q = s->d->q;
	int fd = qio_open(q, s->d->dirs[s->dir], name, O_RDONLY);

	if (fd >= 0)
		q->close(q->ctx, fd);
	return fd >= 0;
}

/* The name is not the id: somebody copied files about.  true: it is now. */
static bool
rename_to_id(struct scan *s, const char *name, const char *id)
{
	const struct qio *q = s->d->q;
	int dir = s->d->dirs[s->dir];

	if (!queue_id_ok(str_of(id)) || exists(s, id) ||
	    q->rename(q->ctx, dir, name, dir, id) != 0) {
		to_corrupt(s, name, "the record has another id than the file's name");
		return false;
	}
	tell(LOG_LEVEL_WARN, "renamed", s, name, id);
	return true;
}

/* Does the same record lie under that name where a later state is kept? */
static bool
lies_elsewhere(const struct scan *s, const struct record *r)
{
	static const enum queue_dir later[] = { QUEUE_DEFERRED, QUEUE_ACTIVE };
	const struct qio *q = s->d->q;
	bool same = false;

	for (size_t i = 0; i < 2 && later[i] != s->dir && !same; i++) {
		struct record other;
		int fd = qio_open(q, s->d->dirs[later[i]], r->envelope.id, O_RDONLY);

		if (fd < 0)
			continue;
		if (record_load(q, fd, false, &other, NULL) == 0) {
			same = other.crc == r->crc &&
			    other.slots_offset == r->slots_offset;
			record_clear(&other);
		}
		q->close(q->ctx, fd);
	}
	return same;
}

static void
remove_done(struct scan *s, const char *id)
{
	const struct qio *q = s->d->q;

	if (q->unlink(q->ctx, s->d->dirs[s->dir], id) == 0)
		s->sum->finished++;
	else
		s->sum->unreadable++;
}

/* A whole record of that name lies there. */
static void
take(struct scan *s, const struct record *r)
{
	struct queue_found f = { .id = r->envelope.id,
		.dir = s->dir,
		.received = r->envelope.received,
		.next_try = r->next_try,
		.tries = r->tries,
		.n_open = record_open(r) };

	if (s->dir == QUEUE_QUARANTINE)
		return;
	if (f.n_open == 0) {
		remove_done(s, f.id);
		return;
	}
	if (!s->each(s->arg, &f)) {
		if (lies_elsewhere(s, r))
			remove_done(s, f.id);
		else
			to_corrupt(s, f.id, "the same id lies in another directory");
		return;
	}
	s->sum->found++;
	s->sum->open_rcpts += f.n_open;
	s->sum->dup_risk += s->dir == QUEUE_ACTIVE ? f.n_open : 0;
}

static bool
is_temporary(const char *name)
{
	return str_ends_nocase(str_of(name), STR(".tmp"));
}

static void
look_at(struct scan *s, const char *name)
{
	const struct qio *q = s->d->q;
	struct record r;
	struct err err;

	if (is_temporary(name)) {
		q->unlink(q->ctx, s->d->dirs[s->dir], name);
		return;
	}
	if (s->dir == QUEUE_QUARANTINE && !queue_id_ok(str_of(name)))
		return; /* a person put it there */
	int fd = qio_open(q, s->d->dirs[s->dir], name, O_RDONLY);
	if (fd < 0) {
		tell(LOG_LEVEL_ERR, "unreadable", s, name, strerror(errno));
		s->sum->unreadable++;
		return;
	}
	/* Elsewhere the checksum is verified when the message is loaded. */
	int rc = record_load(q, fd, s->dir == QUEUE_INCOMING, &r, &err);
	bool torn = rc != 0 && errno == EBADMSG;
	q->close(q->ctx, fd);
	if (rc != 0 && !torn) {
		tell(LOG_LEVEL_ERR, "unreadable", s, name, err.text);
		s->sum->unreadable++;
	} else if (rc != 0) {
		if (s->dir == QUEUE_INCOMING || s->dir == QUEUE_QUARANTINE)
			discard(s, name, err.text);
		else
			to_corrupt(s, name, err.text);
	} else {
		if (strcmp(name, r.envelope.id) == 0 ||
		    rename_to_id(s, name, r.envelope.id))
			take(s, &r);
		record_clear(&r);
	}
}

int
queue_disk_recover(struct queue_disk *d,
    bool (*each)(void *arg, const struct queue_found *f), void *arg,
    struct queue_recovery *sum, struct err *err)
{
	/* The later a state, the more it knows of closed slots. */
	static const enum queue_dir order[] = { QUEUE_DEFERRED, QUEUE_ACTIVE,
		QUEUE_INCOMING, QUEUE_QUARANTINE };

	*sum = (struct queue_recovery){ 0 };
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
		struct scan s = { d, order[i], each, arg, sum };
		struct names names = { 0 };

		if (d->q->list(d->q->ctx, d->dirs[s.dir], keep_name, &names) != 0) {
			names_clear(&names);
			return err_errno(err, "cannot read %s", queue_dir_name(s.dir));
		}
		for (size_t j = 0; j < names.n; j++)
			look_at(&s, names.list[j]);
		names_clear(&names);
	}
	return 0;
}
