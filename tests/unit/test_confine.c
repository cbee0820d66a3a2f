/* SPDX-License-Identifier: BSD-2-Clause */
/* A confined process tries what it must not be able to do; each try runs in a child of
 * its own, because there is no way back. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contrib/relay/confine.h"

static char base[200], allowed[240], spool[240];

static void
make_file(const char *folder, char *path, size_t size)
{
	int fd;

	ck_assert_int_eq(mkdir(folder, 0700), 0);
	(void)snprintf(path, size, "%s/file", folder);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);
}

static void
setup(void)
{
	const char *dir = getenv("TMPDIR");
	char folder[220];

	(void)snprintf(
	    base, sizeof(base), "%s/confineXXXXXX", dir == NULL ? "/tmp" : dir);
	ck_assert_ptr_nonnull(mkdtemp(base));
	(void)snprintf(folder, sizeof(folder), "%s/maps", base);
	make_file(folder, allowed, sizeof(allowed));
	(void)snprintf(folder, sizeof(folder), "%s/spool", base);
	make_file(folder, spool, sizeof(spool));
}

static void
teardown(void)
{
	char folder[220];

	unlink(allowed);
	unlink(spool);
	(void)snprintf(folder, sizeof(folder), "%s/maps", base);
	rmdir(folder);
	(void)snprintf(folder, sizeof(folder), "%s/spool", base);
	rmdir(folder);
	rmdir(base);
}

/* Each returns 0 when it went well, else errno. */
static int
opens(const char *path, int flags)
{
	int fd = open(path, flags, 0600);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int
read_allowed(int spool_fd)
{
	(void)spool_fd;
	return opens(allowed, O_RDONLY);
}

static int
write_allowed(int spool_fd)
{
	(void)spool_fd;
	return opens(allowed, O_WRONLY);
}

static int
read_spool(int spool_fd)
{
	(void)spool_fd;
	return opens(spool, O_RDONLY);
}

static int
list_spool(int spool_fd)
{
	char folder[220];

	(void)spool_fd;
	(void)snprintf(folder, sizeof(folder), "%s/spool", base);
	return opens(folder, O_RDONLY | O_DIRECTORY);
}

static int
remove_spooled(int spool_fd)
{
	(void)spool_fd;
	return unlink(spool) == 0 ? 0 : errno;
}

static int
create(int spool_fd)
{
	char path[260];

	(void)spool_fd;
	(void)snprintf(path, sizeof(path), "%s/new", base);
	return opens(path, O_WRONLY | O_CREAT);
}

static int
run_program(int spool_fd)
{
	char path[] = "/bin/true";
	char *argv[] = { path, NULL };

	(void)spool_fd;
	(void)execv(path, argv);
	return errno;
}

static int
read_descriptor(int spool_fd)
{
	char c;

	return pread(spool_fd, &c, 1, 0) == 1 ? 0 : errno;
}

static int
use_memfd(int spool_fd)
{
	int fd = memfd_create("x", MFD_CLOEXEC);

	(void)spool_fd;
	return fd >= 0 && write(fd, "x", 1) == 1 ? 0 : errno;
}

static int
read_system(int spool_fd)
{
	(void)spool_fd;
	return opens("/etc/passwd", O_RDONLY);
}

static const struct
try {
	const char *name;
	int (*run)(int spool_fd);
	int wanted; /* errno */
}
tries[] = {
	{ "reads what it may", read_allowed, 0 },
	{ "writes what it may read", write_allowed, EACCES },
	{ "reads the spool", read_spool, EACCES },
	{ "lists the spool", list_spool, EACCES },
	{ "removes from the spool", remove_spooled, EACCES },
	{ "creates a file", create, EACCES },
	{ "runs a program", run_program, EACCES },
	{ "reads an open descriptor of the spool", read_descriptor, 0 },
	{ "keeps a message in a memfd", use_memfd, 0 },
	{ "reads the system's files", read_system, 0 },
};

#define INACTIVE 250
#define FAILED 251

START_TEST(tried)
{
	const struct try *t = &tries[_i];
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		const char *paths[] = { "", NULL, allowed };
		int fd = open(spool, O_RDONLY);
		struct err err;
		bool active;

		if (confine_files(paths, 3, &active, &err) < 0)
			_exit(FAILED);
		_exit(active ? t->run(fd) : INACTIVE);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	if (WEXITSTATUS(status) == INACTIVE) {
		/* A kernel without it says so; a sanitizer's build leaves it out. */
		long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);

		ck_assert(abi < 0 || (getenv("SAN") != NULL && getenv("SAN")[0] != 0));
		return;
	}
	ck_assert_msg(WEXITSTATUS(status) == t->wanted, "%s: %s, not %s", t->name,
	    strerror(WEXITSTATUS(status)), strerror(t->wanted));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("confine");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, tried, 0, (int)(sizeof(tries) / sizeof(tries[0])));
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? 0 : 1;
}
