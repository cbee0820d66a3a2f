/* SPDX-License-Identifier: BSD-2-Clause */
/* Copies that are there or are not: octet for octet when told so, and nothing left behind
 * when not. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/quarantine.h"

static char dir[] = "/tmp/postern-quarantine-XXXXXX";

static void
setup(void)
{
	memcpy(dir + sizeof(dir) - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void
teardown(void)
{
	char command[200];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	ck_assert_int_eq(system(command), 0);
}

static int
count_files(void)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)) != NULL)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* The stored file; *len its octets.  The caller frees. */
static char *
content(const char *id, size_t *len)
{
	char path[200];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s.eml", dir, id);
	int fd = open(path, O_RDONLY);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_mode & 0007, 0); /* nobody else reads mail */
	char *text = malloc((size_t)st.st_size + 1);
	ck_assert_ptr_nonnull(text);
	ck_assert_int_eq(read(fd, text, (size_t)st.st_size), st.st_size);
	text[st.st_size] = '\0';
	close(fd);
	*len = (size_t)st.st_size;
	return text;
}

START_TEST(stored_to_the_octet)
{
	static const struct str message = STR("Subject: x\r\n\r\n\0\xff\n.\r\nbare\rend");
	struct quarantine_note notes[] = { { "Reason", STR("infected") },
		{ "Detail", STR("Eicar\nEnvelope-To: <evil>\r\n\n\0\x1b[1m\x7f") } };
	char id[ID_SIZE];
	struct err err;
	size_t len;

	ck_assert_int_eq(quarantine_store(dir, notes, 2, message, id, &err), 0);
	ck_assert(id_ok(str_of(id)));
	char *text = content(id, &len);
	/* The head holds no line but its own. */
	static const char head[] =
	    "Reason: infected\nDetail: Eicar?Envelope-To: <evil>????\?[1m?\n\n";
	ck_assert_msg(strncmp(text, head, sizeof(head) - 1) == 0, "%s", text);
	ck_assert_uint_eq(len, sizeof(head) - 1 + message.len);
	ck_assert_int_eq(memcmp(text + sizeof(head) - 1, message.p, message.len), 0);
	free(text);
	ck_assert_int_eq(count_files(), 1);
}
END_TEST

START_TEST(large_messages_and_notes)
{
	static char octets[3000000];
	struct quarantine_note note = { "Detail", { octets, sizeof(octets) } };
	struct str message = { octets, sizeof(octets) };
	char id[ID_SIZE];
	struct err err;
	size_t len;

	for (size_t i = 0; i < sizeof(octets); i++)
		octets[i] = (char)('A' + i % 23);
	ck_assert_int_eq(quarantine_store(dir, &note, 1, message, id, &err), 0);
	char *text = content(id, &len);
	ck_assert_int_eq(memcmp(text + len - message.len, message.p, message.len), 0);
	ck_assert_uint_le(len - message.len, 2100); /* the note is cut */
	free(text);
	ck_assert_int_eq(
	    quarantine_store(dir, NULL, 0, (struct str){ "", 0 }, id, &err), 0);
	text = content(id, &len);
	ck_assert_str_eq(text, "\n");
	free(text);
}
END_TEST

/* A head that cannot be written in full is no head. */
START_TEST(too_many_notes)
{
	static char value[2000];
	struct quarantine_note notes[60];
	char id[ID_SIZE];
	struct err err;

	memset(value, 'v', sizeof(value));
	for (int i = 0; i < 60; i++)
		notes[i] = (struct quarantine_note){ "K", { value, sizeof(value) } };
	ck_assert_int_eq(quarantine_store(dir, notes, 60, STR("x"), id, &err), -1);
	ck_assert_int_eq(count_files(), 0);
}
END_TEST

/* As somebody whom permissions bind; root is bound by none. */
static int
as_nobody(int (*fn)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0))
			_exit(99);
		_exit(fn());
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int
store_fails(void)
{
	char id[ID_SIZE];
	struct err err = { 0 };

	if (quarantine_store(dir, NULL, 0, STR("mail"), id, &err) == 0)
		return 1;
	return err.text[0] != '\0' && strstr(err.text, dir) != NULL ? 0 : 2;
}

START_TEST(unwritable)
{
	ck_assert_int_eq(chmod(dir, 0555), 0);
	ck_assert_int_eq(as_nobody(store_fails), 0);
	ck_assert_int_eq(count_files(), 0);
	ck_assert_int_eq(chmod(dir, 0000), 0);
	ck_assert_int_eq(as_nobody(store_fails), 0);
	ck_assert_int_eq(chmod(dir, 0700), 0);
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_int_eq(store_fails(), 0);
	ck_assert_int_eq(mkdir(dir, 0700), 0);
}
END_TEST

/* A file may not grow: the write fails in the middle. */
START_TEST(a_write_that_fails)
{
	static char octets[100000];
	struct rlimit limit = { 50000, RLIM_INFINITY };
	char id[ID_SIZE];
	struct err err;

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(quarantine_store(
			     dir, NULL, 0, (struct str){ octets, sizeof(octets) }, id, &err),
	    -1);
	ck_assert_ptr_nonnull(strstr(err.text, strerror(EFBIG)));
	limit.rlim_cur = RLIM_INFINITY;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(count_files(), 0);
}
END_TEST

/* In a mount name space of its own; 0 done, 77 the system does not let us mount. */
static int
on_a_full_disk(void)
{
	static char octets[300000];
	char id[ID_SIZE];
	struct err err;
	int n = 0;

	if (unshare(CLONE_NEWNS) != 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("none", dir, "tmpfs", 0, "size=1m") != 0)
		return 77;
	while (quarantine_store(dir, NULL, 0, (struct str){ octets, sizeof(octets) }, id,
		   &err) == 0)
		n++;
	if (n != 3 || strstr(err.text, strerror(ENOSPC)) == NULL)
		return 1;
	if (count_files() != n)
		return 2;
	return quarantine_store(dir, NULL, 0, STR("small"), id, &err) == 0 ? 0 : 3;
}

START_TEST(a_full_disk)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(on_a_full_disk());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	/* Where mounting is not allowed a_write_that_fails stands for it. */
	if (WEXITSTATUS(status) != 77)
		ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

static void
touch(const char *name)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
}

START_TEST(left_overs)
{
	char id[ID_SIZE], name[60], path[300];
	struct err err;

	id_make(id);
	snprintf(name, sizeof(name), "%s.tmp", id);
	touch(name);
	snprintf(name, sizeof(name), "%s.eml", id);
	touch(name);
	touch("notes.tmp"); /* not ours */
	touch("x");
	ck_assert_int_eq(quarantine_clean(dir, &err), 1);
	ck_assert_int_eq(count_files(), 3);
	ck_assert_int_eq(quarantine_clean(dir, &err), 0);
	/* A folder that is not there is made; one that cannot be is told. */
	snprintf(path, sizeof(path), "%s/new", dir);
	ck_assert_int_eq(quarantine_clean(path, &err), 0);
	ck_assert_int_eq(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/no/such", dir);
	ck_assert_int_eq(quarantine_clean(path, &err), -1);
	snprintf(path, sizeof(path), "%s/x", dir);
	ck_assert_int_eq(quarantine_clean(path, &err), -1);
}
END_TEST

/* A worker that takes over cleans while the old one still writes. */
START_TEST(what_is_being_written_stays)
{
	char id[ID_SIZE], path[300];
	struct err err;

	id_make(id);
	snprintf(path, sizeof(path), "%s/%s.tmp", dir, id);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	ck_assert_int_eq(quarantine_clean(dir, &err), 0);
	ck_assert_int_eq(count_files(), 1);
	close(fd);
	ck_assert_int_eq(quarantine_clean(dir, &err), 1);
	ck_assert_int_eq(count_files(), 0);
}
END_TEST

static int
clean_until_killed(void)
{
	struct err err;

	for (;;)
		if (quarantine_clean(dir, &err) < 0)
			return 1;
}

/* Two processes at once, and nothing is lost. */
START_TEST(writing_beside_a_cleaner)
{
	char id[ID_SIZE];
	struct err err;
	int stored = 0, status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(clean_until_killed());
	for (int i = 0; i < 300; i++)
		stored += quarantine_store(dir, NULL, 0, STR("mail"), id, &err) == 0;
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	ck_assert_int_eq(count_files(), stored);
	ck_assert_int_eq(stored, 300);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("quarantine");
	TCase *tc = tcase_create("quarantine");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, stored_to_the_octet);
	tcase_add_test(tc, large_messages_and_notes);
	tcase_add_test(tc, too_many_notes);
	tcase_add_test(tc, unwritable);
	tcase_add_test(tc, a_write_that_fails);
	tcase_add_test(tc, a_full_disk);
	tcase_add_test(tc, left_overs);
	tcase_add_test(tc, what_is_being_written_stays);
	tcase_add_test(tc, writing_beside_a_cleaner);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int bad = srunner_ntests_failed(runner);
	srunner_free(runner);
	return bad == 0 ? 0 : 1;
}
