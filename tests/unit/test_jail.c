/* SPDX-License-Identifier: BSD-2-Clause */
/* The jail: what a worker may not do, what happens when it dies, hangs or eats memory, and
 * that answers find their questions. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/run/jail.h"
#include "common/run/memfd.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#else
#define SANITIZED false
#endif

static struct jail_client *client;
static pid_t master;
static int life; /* our end: closing it ends the master */
static int listen_fd;
static char tmp[] = "/tmp/postern-jail-XXXXXX";
static char own_dir[200];
static unsigned char secret_before_fork = 7;

static int
remember_dir(void *state, const char *dir, struct err *err)
{
	(void)state;
	(void)err;
	snprintf(own_dir, sizeof(own_dir), "%s", dir);
	return 0;
}

static int
load(void *arg, void **state, struct err *err)
{
	(void)arg;
	(void)err;
	*state = &secret_before_fork;
	return 0;
}

/* What is tried inside, by name; the answer is "refused" or "done". */
static bool
forbidden_works(struct str what)
{
	char path[260];
	void *p;

	if (str_is(what, "socket"))
		return socket(AF_INET, SOCK_STREAM, 0) >= 0;
	if (str_is(what, "unix-socket"))
		return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
	if (str_is(what, "exec")) {
		execl("/bin/true", "true", (char *)NULL);
		return false;
	}
	if (str_is(what, "fork"))
		return fork() >= 0;
	if (str_is(what, "open-outside"))
		return open("/etc/passwd", O_RDONLY) >= 0;
	if (str_is(what, "write-outside"))
		return open("/tmp/postern-jail-escape", O_WRONLY | O_CREAT, 0600) >= 0;
	if (str_is(what, "kill"))
		return kill(getppid(), 0) == 0;
	if (str_is(what, "tgkill"))
		return syscall(SYS_tgkill, (long)getppid(), (long)getppid(), 0) == 0;
	if (str_is(what, "signal-by-fcntl"))
		return fcntl(0, F_SETOWN, getppid()) == 0 || errno != EPERM;
	if (str_is(what, "ptrace"))
		return prctl(PR_SET_DUMPABLE, 1) == 0;
	if (str_is(what, "mmap-exec")) {
		p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return p != MAP_FAILED;
	}
	if (str_is(what, "mprotect-exec")) {
		p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
	}
	if (str_is(what, "open-inside")) {
		snprintf(path, sizeof(path), "%s/file", own_dir);
		return open(path, O_RDWR | O_CREAT, 0600) >= 0;
	}
	return false;
}

static volatile unsigned sink;

static int
work(void *state, struct str request, struct str message, struct buf *reply, int *output)
{
	if (str_is(request, "crash"))
		raise(SIGKILL);
	while (str_is(request, "hang"))
		sink++;
	if (str_is(request, "eat")) {
		for (;;) {
			char *p = malloc(1u << 24);

			if (p == NULL)
				return -1;
			memset(p, 1, 1u << 24);
		}
	}
	if (str_is(request, "fail"))
		return -1;
	if (str_is(request, "nap"))
		poll(NULL, 0, 300);
	if (str_is(request, "rewrite")) {
		*output = memfd_new("rewritten", NULL);
		memfd_add(*output, STR("new: "), NULL);
		memfd_add(*output, message, NULL);
	}
	if (str_is(request, "state"))
		return buf_addf(reply, "%u", *(unsigned char *)state);
	if (str_is(request, "pid"))
		return buf_addf(reply, "%ld", (long)getpid());
	if (str_starts(request, STR("try ")))
		return buf_add_cstr(reply,
		    forbidden_works(str_sub(request, 4, request.len)) ? "done" : "refused");
	return buf_add_str(reply, message);
}

static const struct jail_ops ops = {
	.name = "test", .load = load, .prepare = remember_dir, .work = work
};
static const struct jail_conf conf = { .workers = 2,
	.jobs_per_worker = 20,
	.queue_max = 100,
	.memory = 256u << 20,
	.cpu_s = 20,
	.file_size = 1u << 24,
	.tmp = tmp };

static void
start(void)
{
	char address[JAIL_ADDRESS_MAX];
	int ends[2];

	memcpy(tmp + sizeof(tmp) - 7, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(tmp));
	listen_fd = jail_listen(address, NULL);
	ck_assert_int_ge(listen_fd, 0);
	ck_assert_int_eq(pipe(ends), 0);
	master = fork();
	if (master == 0) {
		close(ends[1]);
		_exit(jail_master(&ops, NULL, &conf, listen_fd, ends[0], NULL));
	}
	close(ends[0]);
	life = ends[1];
	client = jail_client_new(address);
	ck_assert_ptr_nonnull(client);
}

static void
stop(void)
{
	int status;

	jail_client_free(client);
	close(life);
	close(listen_fd);
	waitpid(master, &status, 0);
	ck_assert_int_eq(rmdir(tmp), 0); /* the workers' directories are gone */
	ck_assert(WIFEXITED(status) || WTERMSIG(status) == SIGKILL);
}

/* Ask and wait; the caller unrefs. */
static struct future *
ask(const char *request, struct str message, int64_t budget_ms)
{
	uint8_t hash[JAIL_HASH_SIZE] = { 0 };
	int fd = memfd_new("message", NULL);

	memcpy(hash, request, strlen(request) < 16 ? strlen(request) : 16);
	ck_assert_int_eq(memfd_add(fd, message, NULL), 0);
	ck_assert_int_eq(memfd_seal(fd, NULL), 0);
	struct future *f = jail_ask(client, str_of(request), fd, hash, budget_ms);
	close(fd);
	ck_assert(future_wait(f, clock_mono_ms() + 60000));
	return f;
}

START_TEST(echo_and_state)
{
	struct future *f = ask("echo", STR("a\0b"), 10000);
	struct jail_answer *a = future_value(f);

	ck_assert_int_eq(a->status, JAIL_OK);
	ck_assert(str_eq(a->reply, STR("a\0b")));
	ck_assert_int_eq(a->output, -1);
	future_unref(f);
	f = ask("state", STR(""), 10000);
	a = future_value(f);
	ck_assert(str_is(a->reply, "7"));
	future_unref(f);
}
END_TEST

START_TEST(rewritten_message_is_sealed)
{
	struct future *f = ask("rewrite", STR("old"), 10000);
	struct jail_answer *a = future_value(f);
	struct str s;

	ck_assert_int_eq(a->status, JAIL_OK);
	int fd = jail_answer_take_output(a);
	ck_assert_int_eq(memfd_map(fd, 1000, &s, NULL), 0);
	ck_assert(str_is(s, "new: old"));
	ck_assert(write(fd, "x", 1) < 0);
	memfd_unmap(s);
	close(fd);
	future_unref(f);
}
END_TEST

static const struct {
	const char *what, *answer;
} tries[] = {
	{ "try socket", "refused" },
	{ "try unix-socket", "refused" },
	{ "try exec", "refused" },
	{ "try fork", "refused" },
	{ "try open-outside", "refused" },
	{ "try write-outside", "refused" },
	{ "try kill", "refused" },
	{ "try tgkill", "refused" },
	{ "try signal-by-fcntl", "refused" },
	{ "try ptrace", "refused" },
	{ "try mmap-exec", "refused" },
	{ "try mprotect-exec", "refused" },
	{ "try open-inside", "done" },
};

START_TEST(lock_down)
{
	struct future *f = ask(tries[_i].what, STR(""), 10000);
	struct jail_answer *a = future_value(f);

	ck_assert_int_eq(a->status, JAIL_OK);
	ck_assert_msg(str_is(a->reply, tries[_i].answer), "%s: %.*s", tries[_i].what,
	    STR_ARG(a->reply));
	future_unref(f);
}
END_TEST

START_TEST(failures_are_told_and_counted)
{
	static const char *const how[] = { "crash", "fail", "eat" };
	struct jail_answer *a;
	struct future *f;

	for (unsigned i = 1; i <= JAIL_POISON; i++) {
		f = ask(how[_i], STR(""), 30000);
		a = future_value(f);
		ck_assert_int_eq(a->status, JAIL_FAILED);
		ck_assert_uint_eq(a->failures, i);
		ck_assert(!a->timed_out);
		future_unref(f);
	}
	/* It is poison: no further worker is spent on it. */
	int64_t began = clock_mono_ms();
	f = ask(how[_i], STR(""), 30000);
	a = future_value(f);
	ck_assert_int_eq(a->status, JAIL_FAILED);
	ck_assert_uint_eq(a->failures, JAIL_POISON);
	ck_assert_int_lt(clock_mono_ms() - began, 5000);
	future_unref(f);
	f = ask("echo", STR("still here"), 10000);
	a = future_value(f);
	ck_assert_int_eq(a->status, JAIL_OK);
	future_unref(f);
}
END_TEST

START_TEST(a_hanging_worker_is_killed)
{
	int64_t began = clock_mono_ms();
	struct future *f = ask("hang", STR(""), 300);
	struct jail_answer *a = future_value(f);

	ck_assert_int_eq(a->status, JAIL_FAILED);
	ck_assert(a->timed_out);
	ck_assert_int_ge(clock_mono_ms() - began, 600); /* two workers had their budget */
	future_unref(f);
}
END_TEST

START_TEST(workers_are_replaced_after_their_share)
{
	long seen[8] = { 0 };
	int n = 0;

	for (int i = 0; i < 100; i++) {
		struct future *f = ask("pid", STR(""), 10000);
		struct jail_answer *a = future_value(f);
		uint64_t pid;
		int k = 0;

		ck_assert_int_eq(a->status, JAIL_OK);
		ck_assert(str_to_uint(a->reply, 1, INT32_MAX, &pid));
		while (k < n && seen[k] != (long)pid)
			k++;
		if (k == n && n < 8)
			seen[n++] = (long)pid;
		future_unref(f);
	}
	ck_assert_int_ge(n, 4); /* 100 jobs, 20 a worker */
}
END_TEST

static void *
many(void *arg)
{
	long me = (long)(intptr_t)arg;
	char text[40];

	for (int i = 0; i < 100; i++) {
		uint8_t hash[JAIL_HASH_SIZE] = { 9 };
		int fd = memfd_new("message", NULL);

		snprintf(text, sizeof(text), "%ld/%d", me, i);
		memfd_add(fd, str_of(text), NULL);
		memfd_seal(fd, NULL);
		struct future *f = jail_ask(client, STR("echo"), fd, hash, 30000);
		close(fd);
		bool done = future_wait(f, clock_mono_ms() + 60000);
		struct jail_answer *a = future_value(f);
		bool right = done && a->status == JAIL_OK && str_is(a->reply, text);
		future_unref(f);
		if (!right)
			return client; /* anything but NULL */
	}
	return NULL;
}

START_TEST(answers_find_their_questions)
{
	pthread_t threads[16];
	void *result;

	for (long i = 0; i < 16; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, many, (void *)(intptr_t)i), 0);
	for (int i = 0; i < 16; i++) {
		pthread_join(threads[i], &result);
		ck_assert_ptr_null(result);
	}
}
END_TEST

START_TEST(unsealed_messages_are_refused)
{
	uint8_t hash[JAIL_HASH_SIZE] = { 1 };
	int fd = memfd_new("message", NULL);
	struct future *f = jail_ask(client, STR("echo"), fd, hash, 10000);

	ck_assert(future_wait(f, clock_mono_ms() + 60000));
	ck_assert_int_eq(((struct jail_answer *)future_value(f))->status, JAIL_FAILED);
	future_unref(f);
	close(fd);
}
END_TEST

static void
make_dir(const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", tmp, name);
	ck_assert_int_eq(mkdir(path, 0700), 0);
}

static bool
remove_dir(const char *name)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/%s", tmp, name);
	return rmdir(path) == 0;
}

START_TEST(a_successor_takes_over)
{
	uint8_t hash[JAIL_HASH_SIZE] = { 1 };
	int fd = memfd_new("message", NULL), status;

	memfd_add(fd, STR("x"), NULL);
	memfd_seal(fd, NULL);
	future_unref(ask("echo", STR("it is there"), 30000));
	struct future *under_way = jail_ask(client, STR("nap"), fd, hash, 30000);
	/* What a master that was killed left behind goes; what looks alike stays. */
	make_dir("test.4194305.3");
	make_dir("test.1.3"); /* somebody lives under that number */
	make_dir("test.x.3");
	make_dir("testing");
	pid_t successor = fork();
	if (successor == 0)
		_exit(jail_master(&ops, NULL, &conf, listen_fd, -1, NULL));
	/* The job must have been taken before the master is told to end. */
	struct future *first = ask("echo", STR("y"), 30000);
	future_unref(first);
	kill(master, SIGUSR1);
	waitpid(master, &status, 0);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	for (int i = 0; i < 5; i++) {
		struct future *f = ask("echo", STR("z"), 30000);

		ck_assert_int_eq(((struct jail_answer *)future_value(f))->status, JAIL_OK);
		future_unref(f);
	}
	ck_assert(!remove_dir("test.4194305.3"));
	ck_assert(remove_dir("test.1.3") && remove_dir("test.x.3") && remove_dir("testing"));
	ck_assert(future_wait(under_way, clock_mono_ms() + 60000));
	ck_assert_int_eq(((struct jail_answer *)future_value(under_way))->status, JAIL_OK);
	future_unref(under_way);
	close(fd);
	kill(successor, SIGTERM);
	master = successor; /* stop() waits for it */
}
END_TEST

/* Masters come and go; whoever asks does not notice. */
START_TEST(successors_under_load)
{
	pthread_t threads[8];
	void *result;
	int status;

	future_unref(ask("echo", STR("it is there"), 30000));
	for (long i = 0; i < 8; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, many, (void *)(intptr_t)i), 0);
	for (int i = 0; i < 12; i++) {
		int ends[2];

		ck_assert_int_eq(pipe(ends), 0);
		pid_t successor = fork();
		if (successor == 0) {
			close(ends[1]);
			close(life);
			_exit(jail_master(&ops, NULL, &conf, listen_fd, ends[0], NULL));
		}
		close(ends[0]);
		/* SIGUSR1 is for those who are up: they have workers. */
		char path[300];
		snprintf(path, sizeof(path), "%s/test.%ld.0", tmp, (long)successor);
		while (access(path, F_OK) != 0)
			poll(NULL, 0, 1);
		kill(master, SIGUSR1);
		waitpid(master, &status, 0);
		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		close(life);
		life = ends[1];
		master = successor;
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(threads[i], &result);
		ck_assert_ptr_null(result);
	}
}
END_TEST

START_TEST(a_dead_master_is_told)
{
	uint8_t hash[JAIL_HASH_SIZE] = { 1 };
	int fd = memfd_new("message", NULL);

	memfd_seal(fd, NULL);
	future_unref(ask("echo", STR("it is there"), 30000));
	struct future *under_way = jail_ask(client, STR("hang"), fd, hash, 30000);
	kill(master, SIGKILL);
	shutdown(listen_fd, SHUT_RDWR); /* nobody will come after it */
	ck_assert(future_wait(under_way, clock_mono_ms() + 60000));
	ck_assert_int_eq(((struct jail_answer *)future_value(under_way))->status, JAIL_GONE);
	future_unref(under_way);
	struct future *after = jail_ask(client, STR("echo"), fd, hash, 30000);
	ck_assert(future_wait(after, clock_mono_ms() + 60000));
	ck_assert_int_eq(((struct jail_answer *)future_value(after))->status, JAIL_GONE);
	future_unref(after);
	close(fd);
	/* Its workers ended with it; what they left is not ours to find. */
	char command[300];
	snprintf(command, sizeof(command), "rm -rf '%s' && mkdir '%s'", tmp, tmp);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("jail");
	TCase *tc = tcase_create("jail");

	tcase_add_checked_fixture(tc, start, stop);
	tcase_set_timeout(tc, 90);
	tcase_add_test(tc, echo_and_state);
	tcase_add_test(tc, rewritten_message_is_sealed);
	if (!SANITIZED)
		tcase_add_loop_test(tc, lock_down, 0, sizeof(tries) / sizeof(tries[0]));
	tcase_add_loop_test(tc, failures_are_told_and_counted, 0, SANITIZED ? 2 : 3);
	tcase_add_test(tc, a_hanging_worker_is_killed);
	tcase_add_test(tc, workers_are_replaced_after_their_share);
	tcase_add_test(tc, answers_find_their_questions);
	tcase_add_test(tc, unsealed_messages_are_refused);
	tcase_add_test(tc, a_successor_takes_over);
	tcase_add_test(tc, successors_under_load);
	tcase_add_test(tc, a_dead_master_is_told);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int bad = srunner_ntests_failed(runner);
	srunner_free(runner);
	return bad == 0 ? 0 : 1;
}
