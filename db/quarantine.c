/* SPDX-License-Identifier: BSD-2-Clause */
/* Write, fsync, rename, fsync of the folder: whoever is answered after that can rely on
 * the copy.  A failed fsync is never tried again: the pages may be gone. */
#include "db/quarantine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/buf.h"

#define HEAD_MAX 65536
#define OPEN_TRIES 1000 /* each lost to a cleaner that came between */

static int
write_all(int fd, struct str s)
{
	while (s.len > 0) {
		ssize_t n = write(fd, s.p, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		s = str_sub(s, (size_t)n, s.len);
	}
	return 0;
}

static void
write_head(struct buf *head, const struct quarantine_note *notes, size_t n_notes)
{
	for (size_t i = 0; i < n_notes; i++) {
		struct str v = str_sub(notes[i].value, 0, 2000);

		buf_addf(head, "%s: ", notes[i].key);
		for (size_t k = 0; k < v.len; k++)
			buf_add_char(head,
			    (unsigned char)v.p[k] < ' ' || v.p[k] == 0x7f ? '?' : v.p[k]);
		buf_add_char(head, '\n');
	}
	buf_add_char(head, '\n');
}

/* A fresh file; the lock keeps quarantine_clean() of another process away from it, which
 * may have come between. */
static int
open_locked(int dir_fd, const char *name)
{
	struct stat st;

	for (int tries = 0; tries < OPEN_TRIES; tries++) {
		int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

		if (fd < 0)
			return -1;
		if (flock(fd, LOCK_EX) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 1)
			return fd;
		close(fd);
	}
	errno = EBUSY;
	return -1;
}

int
quarantine_store(const char *dir, const struct quarantine_note *notes, size_t n_notes,
    struct str message, char id[ID_SIZE], struct err *err)
{
	char temp[ID_SIZE + 8], name[ID_SIZE + 8];
	struct buf head;
	int fd = -1, rc = -1;
	int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	buf_init(&head, HEAD_MAX);
	if (dir_fd < 0) {
		err_errno(err, "cannot open the quarantine %s", dir);
		goto out;
	}
	id_make(id);
	snprintf(temp, sizeof(temp), "%s.tmp", id);
	snprintf(name, sizeof(name), "%s.eml", id);
	write_head(&head, notes, n_notes);
	if (head.failed) {
		err_set(err, "notes for the quarantine of over %d octets", HEAD_MAX);
		goto out;
	}
	fd = open_locked(dir_fd, temp);
	if (fd < 0 || write_all(fd, buf_str(&head)) != 0 || write_all(fd, message) != 0 ||
	    fsync(fd) != 0) {
		err_errno(err, "cannot write to the quarantine %s", dir);
		goto out;
	}
	if (renameat(dir_fd, temp, dir_fd, name) != 0 || fsync(dir_fd) != 0) {
		err_errno(err, "cannot store in the quarantine %s", dir);
		unlinkat(dir_fd, name, 0);
		goto out;
	}
	rc = 0;
out:
	if (fd >= 0) {
		if (rc != 0)
			unlinkat(dir_fd, temp, 0);
		close(fd);
	}
	if (dir_fd >= 0)
		close(dir_fd);
	buf_clear(&head);
	return rc;
}

/* Left by a process that is no more: whoever writes holds a lock.  0 removed. */
static int
remove_unlocked(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int rc = -1;

	if (fd < 0)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		rc = unlinkat(dir_fd, name, 0);
	close(fd);
	return rc;
}

int
quarantine_clean(const char *dir, struct err *err)
{
	struct dirent *entry;
	int removed = 0;
	DIR *d = opendir(dir);

	if (d == NULL && errno == ENOENT && mkdir(dir, 02770) == 0)
		d = opendir(dir);
	if (d == NULL)
		return err_errno(err, "cannot open the quarantine %s", dir);
	while ((entry = readdir(d)) != NULL) {
		struct str name = str_of(entry->d_name);

		if (str_ends_nocase(name, STR(".tmp")) &&
		    id_ok(str_sub(name, 0, name.len - 4)) &&
		    remove_unlocked(dirfd(d), entry->d_name) == 0)
			removed++;
	}
	closedir(d);
	return removed;
}
