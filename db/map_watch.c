/* SPDX-License-Identifier: BSD-2-Clause */
/* Watches the directories of maps, so that both a writer that closes a file and a
 * rename into place are seen, and has the maps read again.  It decides when to look;
 * whether a version is complete and right is decided in map.c.  A minute's look at all
 * maps catches what inotify does not tell: changes made by another host, lost events, a
 * link further up that was turned. */
#include "db/map.h"
#include "db/map_private.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"

#define MAP_LOOK_MS 60000
#define MAP_EVENTS                                                                     \
	(IN_MODIFY | IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM |        \
	    IN_DELETE | IN_ONLYDIR)

/* A place where the map's file is: its own directory, and where a symbolic link leads.
 */
struct map_place {
	int wd;
	char *dir, *name;
};

struct map_watched {
	struct map *map;
	struct map_place place[2];
	bool due, closed, gone;
	bool turned; /* something changed beside it: perhaps a link on the way to it */
	char *real; /* where the path led when its file was there last */
	bool fresh; /* nothing was told of it yet */
};

struct map_watcher {
	pthread_t thread;
	int inotify, wake;
	pthread_mutex_t lock; /* of the list; held while maps are read */
	struct map_watched *list;
	size_t n;
};

static void
place_clear(struct map_place *p)
{
	free(p->dir);
	free(p->name);
	*p = (struct map_place){ .wd = -1 };
}

/* Have the directory of path watched; asking again for the same one costs nothing and
 * finds a directory that was made anew. */
static void
place_watch(struct map_watcher *w, struct map_place *p, const char *path)
{
	const char *slash = strrchr(path, '/');

	place_clear(p);
	p->name = xstrdup(slash == NULL ? path : slash + 1);
	if (slash == NULL)
		p->dir = xstrdup(".");
	else
		p->dir = xmemdup0(path, slash == path ? 1 : (size_t)(slash - path));
	p->wd = inotify_add_watch(w->inotify, p->dir, MAP_EVENTS);
}

/* Does the path lead to another file than before?  Links are turned in the path's own
 * directory, also one that is not the map's last name ("..data" of mounted maps). */
static bool
watched_leads_elsewhere(struct map_watched *x)
{
	char *real = realpath(x->map->path, NULL);
	bool elsewhere =
	    real != NULL && x->real != NULL && strcmp(real, x->real) != 0;

	if (real != NULL) {
		free(x->real);
		x->real = real;
	}
	return elsewhere;
}

static void
watched_place(struct map_watcher *w, struct map_watched *x)
{
	place_watch(w, &x->place[0], x->map->path);
	/* Turned since it was looked at: what told of that comes too late to tell. */
	if (watched_leads_elsewhere(x)) {
		x->due = x->closed = true;
		(void)eventfd_write(w->wake, 1);
	}
	if (x->real != NULL)
		place_watch(w, &x->place[1], x->real);
}

static void
watched_writing(struct map_watched *x, bool writing)
{
	pthread_mutex_lock(&x->map->lock);
	x->map->writing = writing;
	pthread_mutex_unlock(&x->map->lock);
}

static void
watched_event(struct map_watched *x, uint32_t mask)
{
	if (mask & IN_MODIFY)
		watched_writing(x, true);
	if (mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) {
		watched_writing(x, false);
		x->due = x->closed = true;
		x->gone = false;
	}
	if (mask & (IN_DELETE | IN_MOVED_FROM)) {
		watched_writing(x, false);
		x->gone = true;
	}
}

static void
watcher_event(struct map_watcher *w, const struct inotify_event *e)
{
	for (size_t i = 0; i < w->n; i++) {
		struct map_watched *x = &w->list[i];

		if (e->mask & (IN_Q_OVERFLOW | IN_IGNORED))
			x->due = true;
		if ((e->mask & (IN_CREATE | IN_MOVED_TO)) && x->place[0].wd == e->wd)
			x->turned = true;
		for (size_t k = 0; k < 2 && e->len > 0; k++)
			if (x->place[k].wd == e->wd &&
			    strcmp(x->place[k].name, e->name) == 0)
				watched_event(x, e->mask);
	}
}

static void
watcher_read_events(struct map_watcher *w)
{
	char events[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t len;

	while ((len = read(w->inotify, events, sizeof(events))) > 0) {
		for (char *p = events; p < events + len;) {
			const struct inotify_event *e = (const void *)p;

			watcher_event(w, e);
			p += sizeof(*e) + e->len;
		}
	}
}

static void
watched_tell(const struct map_watched *x, int rc, const struct errs *errs)
{
	for (size_t i = 0; i < errs->n; i++)
		log_err("map_refused", &errs->list[i]);
	if (rc != 1)
		return;
	struct map_table *t = map_table_ref(x->map);
	map_log_loaded(t);
	map_table_unref(t);
}

/* A .db that was forgotten is told once for each version of its text. */
static void
watched_stale(const struct map_watched *x)
{
	struct err err;

	if (map_stale_news(x->map, &err))
		log_msg(LOG_LEVEL_WARN, "map_stale", "%s: %s", err.file, err.text);
}

static void
watched_look(struct map_watcher *w, struct map_watched *x, bool all)
{
	struct errs errs = { 0 };

	if (x->turned && watched_leads_elsewhere(x))
		x->due = x->closed = true;
	x->turned = false;
	if (x->gone) {
		log_msg(LOG_LEVEL_WARN, "map_gone",
		    "%s is gone; what was read stays in force", x->map->path);
		x->gone = false;
	}
	if (x->due || (all && access(x->map->path, F_OK) == 0)) {
		int rc = map_load(x->map, x->closed, x->due, &errs);

		watched_tell(x, rc == 0 && x->fresh ? 1 : rc, &errs);
		errs_clear(&errs);
		x->fresh = false;
	}
	if (x->due || all)
		watched_stale(x);
	x->due = x->closed = false;
	watched_place(w, x);
}

static void *
watcher_run(void *arg)
{
	struct map_watcher *w = arg;
	struct pollfd fds[2] = { { .fd = w->inotify, .events = POLLIN },
		{ .fd = w->wake, .events = POLLIN } };
	int64_t look = clock_mono_ms() + MAP_LOOK_MS;

	for (;;) {
		int64_t left = look - clock_mono_ms();
		eventfd_t woken;

		poll(fds, 2, left > 0 ? (int)left : 0);
		(void)eventfd_read(w->wake, &woken);
		pthread_mutex_lock(&w->lock);
		if (w->n == 0)
			break;
		watcher_read_events(w);
		bool all = clock_mono_ms() >= look;
		for (size_t i = 0; i < w->n; i++)
			watched_look(w, &w->list[i], all);
		pthread_mutex_unlock(&w->lock);
		if (all)
			look = clock_mono_ms() + MAP_LOOK_MS;
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void
watcher_free(struct map_watcher *w)
{
	for (size_t i = 0; i < w->n; i++) {
		place_clear(&w->list[i].place[0]);
		place_clear(&w->list[i].place[1]);
		free(w->list[i].real);
	}
	if (w->inotify >= 0)
		close(w->inotify);
	if (w->wake >= 0)
		close(w->wake);
	pthread_mutex_destroy(&w->lock);
	free(w->list);
	free(w);
}

int
map_watch(struct map *const *maps, size_t n, struct err *err)
{
	struct map_watcher *w = xcalloc(1, sizeof(*w));

	if (n == 0) {
		free(w);
		return 0;
	}
	w->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->list = xcalloc(n, sizeof(*w->list));
	w->n = n;
	pthread_mutex_init(&w->lock, NULL);
	for (size_t i = 0; i < n; i++) {
		w->list[i].map = maps[i];
		w->list[i].fresh = true;
		w->list[i].due = true; /* changed between reading and watching */
		watched_place(w, &w->list[i]);
		maps[i]->watcher = w;
	}
	int rc = w->inotify < 0 || w->wake < 0 ? errno : 0;
	if (rc == 0)
		rc = pthread_create(&w->thread, NULL, watcher_run, w);
	if (rc == 0) {
		(void)eventfd_write(w->wake, 1);
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		maps[i]->watcher = NULL;
	watcher_free(w);
	errno = rc;
	return err_errno(err, "cannot watch maps");
}

void
map_unwatch(struct map *m)
{
	struct map_watcher *w = m->watcher;
	size_t i = 0;

	if (w == NULL)
		return;
	pthread_mutex_lock(&w->lock);
	while (w->list[i].map != m)
		i++;
	place_clear(&w->list[i].place[0]);
	place_clear(&w->list[i].place[1]);
	free(w->list[i].real);
	w->list[i] = w->list[--w->n];
	bool last = w->n == 0;
	pthread_mutex_unlock(&w->lock);
	m->watcher = NULL;
	if (!last)
		return;
	(void)eventfd_write(w->wake, 1);
	pthread_join(w->thread, NULL);
	watcher_free(w);
}
