/* SPDX-License-Identifier: BSD-2-Clause */
/* Loads maps from files, and only from complete ones.  Three witnesses, in this order:
 * a read lease, which the kernel grants only while nobody has the file open for writing
 * (needs the file's owner or CAP_LEASE); inotify, which told the watcher of a change
 * without a close; and else rest, an mtime that is some time old.  The file's stamp
 * must be the same before and after reading.  What is refused leaves the old table in
 * force. */
#include "db/map.h"
#include "db/map_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"

static struct map_stamp
map_stamp_of(const struct stat *st)
{
	return (struct map_stamp){ .dev = st->st_dev,
		.ino = st->st_ino,
		.size = st->st_size,
		.mtime = st->st_mtim,
		.ctime = st->st_ctim };
}

static bool
map_same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool
map_same(const struct map_stamp *a, const struct map_stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	    map_same_time(a->mtime, b->mtime) && map_same_time(a->ctime, b->ctime);
}

/* Milliseconds since the last change; a time in the future is long ago: the clock
 * stepped, and the file must not be shut out until it comes. */
static int64_t
map_age_ms(const struct stat *st)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	int64_t age = (now.tv_sec - st->st_mtim.tv_sec) * 1000 +
	    (now.tv_nsec - st->st_mtim.tv_nsec) / 1000000;
	return age < 0 ? MAP_SETTLE_MS : age;
}

#define MAP_CLOSE_TRIES 200 /* milliseconds */

enum lease { LEASE_HELD, LEASE_WRITER, LEASE_UNKNOWN };

/* With the lease held a writer that comes now waits in its open() until it is given
 * back, that is for the milliseconds that reading takes.  The kernel announces it by a
 * signal, SIGIO unless told otherwise, which would end the process: SIGURG is ignored.
 */
static enum lease
map_lease_try(int fd)
{
	if (fcntl(fd, F_SETSIG, SIGURG) != 0)
		return LEASE_UNKNOWN;
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0)
		return LEASE_HELD;
	return errno == EAGAIN ? LEASE_WRITER : LEASE_UNKNOWN;
}

/* The kernel tells of a close a moment before it forgets the writer, so after such an
 * event the question is asked again for a while. */
static enum lease
map_lease(int fd, bool closed)
{
	enum lease lease = map_lease_try(fd);

	for (int i = 0; closed && lease == LEASE_WRITER && i < MAP_CLOSE_TRIES; i++) {
		poll(NULL, 0, 1);
		lease = map_lease_try(fd);
	}
	return lease;
}

/* makemap rewrites a .db in place, and holds an exclusive lock meanwhile: flock() or
 * fcntl(), as it was built.  Our lock is given back at once: makemap would not wait for
 * it, but give up. */
static bool
map_locked(int fd)
{
	struct flock range = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

	if (fcntl(fd, F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK)
		return true;
	if (flock(fd, LOCK_SH | LOCK_NB) != 0)
		return errno == EWOULDBLOCK;
	(void)flock(fd, LOCK_UN);
	return false;
}

/* Wait until the file was left alone for MAP_SETTLE_MS; false when it is not. */
static bool
map_settle(int fd, struct stat *st)
{
	int64_t until = clock_mono_ms() + 2 * MAP_SETTLE_MS;

	while (map_age_ms(st) < MAP_SETTLE_MS) {
		if (clock_mono_ms() >= until)
			return false;
		poll(NULL, 0, (int)(MAP_SETTLE_MS - map_age_ms(st)) + 1);
		if (fstat(fd, st) != 0)
			return false;
	}
	return true;
}

/* Whether a writer is done.  *st may be renewed by waiting.  NULL: yes, else why not.
 */
static const char *
map_complete(struct map *m, int fd, bool closed, bool had_entries, struct stat *st)
{
	enum lease lease = map_lease(fd, closed);

	pthread_mutex_lock(&m->lock);
	bool writing = m->writing;
	pthread_mutex_unlock(&m->lock);
	if (lease == LEASE_WRITER || (m->db && map_locked(fd)))
		return "file is open for writing; it is read when its writer closes it";
	if (lease == LEASE_UNKNOWN && writing && !closed)
		return "file is being written; it is read when its writer closes it";
	/* Emptied a moment ago: many writers truncate first and write afterwards. */
	bool emptied = st->st_size == 0 && had_entries;
	if ((emptied || (lease == LEASE_UNKNOWN && !closed)) && !map_settle(fd, st))
		return "file keeps changing; it is read when it was left alone";
	return NULL;
}

/* The whole file of st's size, malloc'd; NULL when it cannot be read or changes. */
static char *
map_read(int fd, const char *path, const struct stat *st, struct errs *errs)
{
	size_t size = (size_t)st->st_size, got = 0;
	char *text = malloc(size + 1); /* one more: growth shows */
	struct stat after;
	ssize_t n = 1;

	if (text == NULL) {
		errs_add(errs, path, 0, "no memory for %zu octets", size);
		return NULL;
	}
	while (got <= size && n > 0) {
		n = read(fd, text + got, size + 1 - got);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			got += (size_t)n;
	}
	struct map_stamp was = map_stamp_of(st);
	if (n < 0 || fstat(fd, &after) != 0) {
		errs_add(errs, path, 0, "cannot read: %s", strerror(errno));
	} else {
		struct map_stamp is = map_stamp_of(&after);

		if (got == size && map_same(&was, &is))
			return text;
		errs_add(errs, path, 0, "file changed while it was read");
	}
	free(text);
	return NULL;
}

static void
map_swap(struct map *m, struct map_table *table, const struct map_stamp *stamp)
{
	pthread_mutex_lock(&m->lock);
	struct map_table *old = m->table;
	m->table = table;
	m->stamp = *stamp;
	pthread_mutex_unlock(&m->lock);
	map_table_unref(old);
}

/* Read the open file and swap.  1, 0, -1 as map_refresh. */
static int
map_load_fd(struct map *m, int fd, bool closed, bool again, struct errs *errs)
{
	struct stat st;

	if (fstat(fd, &st) != 0) {
		errs_add(errs, m->path, 0, "cannot read: %s", strerror(errno));
		return -1;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > MAP_FILE_MAX) {
		errs_add(errs, m->path, 0, "expected a regular file of at most %d MB",
		    MAP_FILE_MAX >> 20);
		return -1;
	}
	struct map_stamp stamp = map_stamp_of(&st);
	pthread_mutex_lock(&m->lock);
	bool same = m->table != NULL && map_same(&stamp, &m->stamp);
	bool had_entries = m->table != NULL && m->table->n > 0;
	pthread_mutex_unlock(&m->lock);
	if (same || (!again && map_same(&stamp, &m->refused)))
		return 0;
	const char *why = map_complete(m, fd, closed, had_entries, &st);
	if (why != NULL) {
		errs_add(errs, m->path, 0, "%s", why);
		return -1;
	}
	stamp = map_stamp_of(&st);
	char *text = map_read(fd, m->path, &st, errs);
	(void)fcntl(
	    fd, F_SETLEASE, F_UNLCK); /* closing would do it, after the parsing */
	if (text == NULL)
		return -1;
	struct map_table *table = (m->db ? map_db_parse : map_parse)(
	    m->path, text, (size_t)st.st_size, &m->rules, errs);
	if (table == NULL) {
		m->refused = stamp;
		return -1;
	}
	map_swap(m, table, &stamp);
	return 1;
}

int
map_load(struct map *m, bool closed, bool again, struct errs *errs)
{
	int rc = -1;

	pthread_mutex_lock(&m->refresh);
	/* A FIFO in its place must not stop us: NONBLOCK, then fstat looks. */
	int fd = open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0) {
		rc = map_load_fd(m, fd, closed, again, errs);
		close(fd);
	} else {
		errs_add(errs, m->path, 0, "cannot open: %s", strerror(errno));
	}
	pthread_mutex_unlock(&m->refresh);
	return rc;
}

int
map_refresh(struct map *m, struct errs *errs)
{
	return map_load(m, false, true, errs);
}

/* "text:PATH", "hash:PATH", "btree:PATH", PATH */
static void
map_spec(struct map *m, struct str spec)
{
	static const struct str types[] = { STR("text:"), STR("hash:"), STR("btree:") };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (!str_starts(spec, types[i]))
			continue;
		spec = str_sub(spec, types[i].len, spec.len);
		m->db = i > 0;
		break;
	}
	if (m->db && str_ends_nocase(spec, STR(".db")))
		spec = str_sub(spec, 0, spec.len - 3);
	if (m->db)
		m->source = str_dup(spec);
	m->path = xasprintf("%.*s%s", STR_ARG(spec), m->db ? ".db" : "");
}

struct map *
map_open_rules(const char *spec, const struct map_rules *rules, struct errs *errs)
{
	struct map *m = xcalloc(1, sizeof(*m));

	map_spec(m, str_of(spec));
	m->rules = *rules;
	pthread_mutex_init(&m->refresh, NULL);
	pthread_mutex_init(&m->lock, NULL);
	if (map_refresh(m, errs) == 1)
		return m;
	map_close(m);
	return NULL;
}

struct map *
map_open(const char *spec, map_check *check, struct errs *errs)
{
	return map_open_rules(spec, &(struct map_rules){ .check = check }, errs);
}

/* mtime of the text when it is newer than the .db; 0: it is not, or there is none. */
static int64_t
map_stale_since(const struct map *m)
{
	struct stat text, db;

	if (m->source == NULL || stat(m->source, &text) != 0 || stat(m->path, &db) != 0)
		return 0;
	if (text.st_mtim.tv_sec != db.st_mtim.tv_sec
		? text.st_mtim.tv_sec < db.st_mtim.tv_sec
		: text.st_mtim.tv_nsec <= db.st_mtim.tv_nsec)
		return 0;
	return text.st_mtim.tv_sec;
}

bool
map_is_stale(const struct map *m, struct err *err)
{
	if (map_stale_since(m) == 0)
		return false;
	err_at(err, m->path, 0, "older than its text %s: makemap was not run since",
	    m->source);
	return true;
}

bool
map_stale_news(struct map *m, struct err *err)
{
	int64_t since = map_stale_since(m);
	bool news = since != 0 && since != m->stale_told;

	m->stale_told = since;
	return news && map_is_stale(m, err);
}

void
map_close(struct map *m)
{
	if (m == NULL)
		return;
	map_unwatch(m);
	map_table_unref(m->table);
	pthread_mutex_destroy(&m->lock);
	pthread_mutex_destroy(&m->refresh);
	free(m->source);
	free(m->path);
	free(m);
}

struct map_table *
map_table_ref(struct map *m)
{
	pthread_mutex_lock(&m->lock);
	struct map_table *t = m->table;
	atomic_fetch_add(&t->refs, 1);
	pthread_mutex_unlock(&m->lock);
	return t;
}
