/* SPDX-License-Identifier: BSD-2-Clause */
/* Locks, the boot file, recovery and snapshots of the embedded store.  Nothing here
 * reads records: whether a file is right is asked of table_verify(), in a child,
 * because a broken file can crash whoever maps it. */
#include "db/store_home.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/str.h"
#include "common/base/xalloc.h"
#include "db/store_table.h"

#define SALVAGE_MS 20000 /* a walk takes a second per million records */
#define BOOT_MAX 160

static int
boot_id_read(char *out, size_t size)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -1;
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

static int
lock_file(struct store_home *h, const char *name)
{
	int fd = openat(h->dir, name, O_RDWR | O_CREAT | O_CLOEXEC, 0660);

	if (fd >= 0)
		(void)fchmod(
		    fd, 0660); /* fails when another user made it: then it is */
	return fd;
}

static int
home_directory(struct store_home *h, struct err *err)
{
	if (mkdir(h->path, 02770) == 0)
		(void)chmod(h->path, 02770); /* whatever the umask is */
	else if (errno != EEXIST)
		return err_errno(err, "cannot make directory %s", h->path);
	h->dir = open(h->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (h->dir < 0)
		return err_errno(err, "cannot open directory %s", h->path);
	h->open_lock = lock_file(h, "open.lock");
	h->users_lock = lock_file(h, "users.lock");
	h->keeper_lock = lock_file(h, "keeper.lock");
	if (h->open_lock < 0 || h->users_lock < 0 || h->keeper_lock < 0)
		return err_errno(err, "cannot open lock files in %s", h->path);
	return 0;
}

static int
lock_wait(int fd, int how)
{
	int rc;

	while ((rc = flock(fd, how)) != 0 && errno == EINTR)
		;
	return rc;
}

/* Durably: a temporary file, fsync, rename, fsync of the directory. */
static int
replace_done(struct store_home *h, int fd, const char *from, const char *to)
{
	if (fsync(fd) != 0 || renameat(h->dir, from, h->dir, to) != 0)
		return -1;
	return fsync(h->dir);
}

static int
boot_write(struct store_home *h, const char *state)
{
	char text[BOOT_MAX];
	int n = snprintf(text, sizeof(text), "postern-store 1 %s %s\n", h->boot, state);
	int fd =
	    openat(h->dir, "boot.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0660);
	int rc = -1;

	if (fd < 0)
		return -1;
	(void)fchmod(fd, 0660);
	if (write(fd, text, (size_t)n) == n)
		rc = replace_done(h, fd, "boot.new", "boot");
	close(fd);
	return rc;
}

/* The file tells that data.mdb holds what was written last. */
static bool
boot_trusted(struct store_home *h)
{
	char text[BOOT_MAX], same[BOOT_MAX];
	int fd = openat(h->dir, "boot", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	snprintf(same, sizeof(same), "postern-store 1 %s open\n", h->boot);
	if (strcmp(text, same) == 0)
		return true;
	return str_starts(str_of(text), STR("postern-store 1 ")) &&
	    str_ends_nocase(str_of(text), STR(" clean\n"));
}

static void
salvage_crashed(int sig)
{
	_exit(64 + sig);
}

/* In the child: no lock is taken, nothing is logged, nothing returns. */
static _Noreturn void
salvage_child(const char *from, int to, int report)
{
	struct err err = { .text = "" };
	MDB_env *env = NULL;
	const struct rlimit none = { 0, 0 };

	(void)setrlimit(RLIMIT_CORE, &none);
	signal(SIGSEGV, salvage_crashed);
	signal(SIGBUS, salvage_crashed);
	signal(SIGABRT, salvage_crashed);
	int rc = mdb_env_create(&env);
	if (rc == 0)
		rc = mdb_env_set_maxdbs(env, TABLE_DATABASES);
	if (rc == 0)
		rc = mdb_env_open(
		    env, from, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK, 0660);
	if (rc == 0 && table_verify(env, &err) != 0)
		rc = MDB_CORRUPTED;
	/* Compacting copies what the trees reach and makes the list of free pages anew,
	 * so that a wrong list does not spoil the store later. */
	if (rc == 0)
		rc = mdb_env_copyfd2(env, to, MDB_CP_COMPACT);
	if (rc == 0 && fsync(to) != 0)
		rc = errno;
	if (rc != 0 && err.text[0] == '\0')
		err_set(&err, "%s", mdb_strerror(rc));
	const char *told = rc == 0 ? "ok" : err.text;
	_exit(write(report, told, strlen(told)) > 0 ? 0 : 1);
}

/* What the child said; false when it did not say "ok" in time. */
static bool
salvage_wait(pid_t child, int report, char *told, size_t size)
{
	int64_t until = clock_mono_ms() + SALVAGE_MS;
	struct pollfd pfd = { .fd = report, .events = POLLIN };
	ssize_t n = 0;
	int rc;

	do {
		int64_t left = until - clock_mono_ms();

		rc = poll(&pfd, 1, left > 0 ? (int)left : 0);
	} while (rc < 0 && errno == EINTR);
	if (rc > 0)
		n = read(report, told, size - 1);
	told[n > 0 ? n : 0] = '\0';
	kill(child, SIGKILL); /* it is done, or takes too long */
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	if (n <= 0)
		snprintf(
		    told, size, rc > 0 ? "the walk crashed" : "the walk took too long");
	return strcmp(told, "ok") == 0;
}

/* Walk the file `name` and put a sound copy in data.mdb's place.  false: told says why.
 */
static bool
salvage(struct store_home *h, const char *name, char *told, size_t size)
{
	char *from = xasprintf("%s/%s", h->path, name);
	int report[2] = { -1, -1 };
	int to =
	    openat(h->dir, "data.new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0660);
	bool ok = false;

	snprintf(told, size, "cannot copy: %s", strerror(errno));
	if (to < 0 || pipe2(report, O_CLOEXEC) != 0)
		goto out;
	(void)fchmod(to, 0660);
	pid_t child = fork();
	if (child == 0)
		salvage_child(from, to, report[1]);
	close(report[1]);
	report[1] = -1;
	ok = child > 0 && salvage_wait(child, report[0], told, size);
	if (ok) {
		/* A second name, not a rename: a power cut here must not leave us
		 * without. */
		(void)unlinkat(h->dir, "data.bad", 0);
		int kept = linkat(h->dir, "data.mdb", h->dir, "data.bad", 0);
		(void)kept; /* there may be none */
		ok = replace_done(h, to, "data.new", "data.mdb") == 0;
	}
out:
	(void)unlinkat(h->dir, "data.new", 0);
	if (report[0] >= 0)
		close(report[0]);
	if (report[1] >= 0)
		close(report[1]);
	if (to >= 0)
		close(to);
	free(from);
	return ok;
}

static bool
home_has(struct store_home *h, const char *name)
{
	struct stat st;

	return fstatat(h->dir, name, &st, 0) == 0 && st.st_size > 0;
}

static void
home_recover(struct store_home *h)
{
	char data[64] = "no data", snapshot[64] = "there is none";

	if (home_has(h, "data.mdb") && salvage(h, "data.mdb", data, sizeof(data))) {
		snprintf(h->note, sizeof(h->note), "verified after an unclean boot");
		(void)unlinkat(h->dir, "data.bad", 0); /* it was right after all */
		return;
	}
	if (home_has(h, "snapshot.mdb") &&
	    salvage(h, "snapshot.mdb", snapshot, sizeof(snapshot))) {
		snprintf(h->note, sizeof(h->note), "recovered from snapshot (data: %s)",
		    data);
		return;
	}
	(void)renameat(h->dir, "data.mdb", h->dir, "data.bad");
	(void)fsync(h->dir);
	snprintf(h->note, sizeof(h->note), "begun empty (data: %.40s; snapshot: %.40s)",
	    data, snapshot);
}

/* With the open lock held. */
static int
home_first(struct store_home *h, struct err *err)
{
	if (flock(h->users_lock, LOCK_EX | LOCK_NB) == 0) {
		if (boot_trusted(h) && home_has(h, "data.mdb"))
			snprintf(h->note, sizeof(h->note), "opened");
		else if (home_has(h, "data.mdb") || home_has(h, "snapshot.mdb"))
			home_recover(h);
		else
			snprintf(h->note, sizeof(h->note), "new");
		if (boot_write(h, "open") != 0)
			return err_errno(err, "cannot write %s/boot", h->path);
	} else {
		snprintf(h->note, sizeof(h->note), "joined");
	}
	return lock_wait(h->users_lock, LOCK_SH) == 0
	    ? 0
	    : err_errno(err, "cannot lock %s/users.lock", h->path);
}

static void
home_clear(struct store_home *h)
{
	int fds[] = { h->dir, h->open_lock, h->users_lock, h->keeper_lock };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(h->path);
	h->path = NULL;
}

int
home_open(struct store_home *h, const char *path, const char *boot_id, struct err *err)
{
	*h = (struct store_home){ .dir = -1,
		.open_lock = -1,
		.users_lock = -1,
		.keeper_lock = -1,
		.path = xstrdup(path) };
	if (boot_id != NULL)
		snprintf(h->boot, sizeof(h->boot), "%s", boot_id);
	else if (boot_id_read(h->boot, sizeof(h->boot)) != 0)
		err_errno(err, "cannot read the kernel's boot id");
	if (h->boot[0] == '\0' || home_directory(h, err) != 0)
		goto fail;
	if (lock_wait(h->open_lock, LOCK_EX) != 0) {
		err_errno(err, "cannot lock %s/open.lock", path);
		goto fail;
	}
	if (home_first(h, err) == 0)
		return 0;
fail:
	home_clear(h);
	return -1;
}

void
home_opened(struct store_home *h)
{
	(void)flock(h->open_lock, LOCK_UN);
}

void
home_closing(struct store_home *h)
{
	(void)lock_wait(h->open_lock, LOCK_EX);
}

void
home_close(struct store_home *h, bool synced)
{
	/* Alone, and all is on disk: the next boot may trust it. */
	if (synced && boot_trusted(h) && flock(h->users_lock, LOCK_EX | LOCK_NB) == 0)
		(void)boot_write(h, "clean");
	home_clear(h);
}

void
home_suspect(struct store_home *h)
{
	(void)boot_write(h, "suspect");
}

bool
home_keeper(struct store_home *h)
{
	if (!h->keeper)
		h->keeper = flock(h->keeper_lock, LOCK_EX | LOCK_NB) == 0;
	return h->keeper;
}

int
home_snapshot(struct store_home *h, MDB_env *env, struct err *err)
{
	int fd = openat(
	    h->dir, "snapshot.new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0660);

	if (fd < 0)
		return err_errno(err, "cannot make %s/snapshot.new", h->path);
	(void)fchmod(fd, 0660);
	int rc = mdb_env_copyfd2(env, fd, MDB_CP_COMPACT);
	if (rc != 0)
		err_set(err, "cannot copy to %s/snapshot.new: %s", h->path,
		    mdb_strerror(rc));
	else if (replace_done(h, fd, "snapshot.new", "snapshot.mdb") != 0)
		rc = err_errno(err, "cannot replace %s/snapshot.mdb", h->path);
	if (rc != 0)
		(void)unlinkat(h->dir, "snapshot.new", 0);
	close(fd);
	return rc == 0 ? 0 : -1;
}
