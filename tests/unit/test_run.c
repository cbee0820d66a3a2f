/* SPDX-License-Identifier: BSD-2-Clause */
/* common/run, what needs no libmilter: reply texts, recorded edits, spools, sockets,
 * the words to the service manager, the delays between restarts. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"
#include "common/run/listen.h"
#include "common/run/milter_edits.h"
#include "common/run/milter_reply.h"
#include "common/run/privs.h"
#include "common/run/ready.h"
#include "common/run/spool.h"
#include "common/run/supervisor.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

static char dir[40];

static void
make_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/pst.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void
remove_dir(void)
{
	char *command = xasprintf("rm -r %s", dir);

	ck_assert_int_eq(system(command), 0);
	free(command);
}

/* Tests that change the process for good run in one of their own, also where Check does
 * not fork.  check() says whether all is as it should be. */
static bool
in_child(bool (*check)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(check() ? 0 : 1);
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) &&
	    WEXITSTATUS(status) == 0;
}

static const char *
in_dir(const char *name)
{
	static char paths[4][80];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static const struct {
	enum action action;
	int code;
	const char *enhanced, *text;
	const char *want_code, *want_enhanced, *want_text;
} reply_rows[] = {
	{ ACTION_REJECT, 550, "5.7.1", "no", "550", "5.7.1", "no" },
	{ ACTION_TEMPFAIL, 451, "4.7.1", "later", "451", "4.7.1", "later" },
	{ ACTION_TEMPFAIL, 421, "4.3.2", "closing", "421", "4.3.2", "closing" },
	{ ACTION_REJECT, 550, "5.123.456", "no", "550", "5.123.456", "no" },
	{ ACTION_REJECT, 451, "4.7.1", "no", "550", "5.7.1", "no" },
	{ ACTION_TEMPFAIL, 550, "5.7.1", "no", "451", "4.7.1", "no" },
	{ ACTION_REJECT, 99999, "5.7.1", "no", "550", "5.7.1", "no" },
	{ ACTION_REJECT, 250, "2.0.0", "no", "550", "5.7.1", "no" },
	{ ACTION_REJECT, 554, "", "no", "554", "5.7.1", "no" },
	{ ACTION_REJECT, 554, "4.7.1", "no", "554", "5.7.1", "no" },
	{ ACTION_REJECT, 554, "5.7", "no", "554", "5.7.1", "no" },
	{ ACTION_REJECT, 554, "5.7.", "no", "554", "5.7.1", "no" },
	{ ACTION_REJECT, 554, "5.7.1.1", "no", "554", "5.7.1", "no" },
	{ ACTION_REJECT, 554, "5.1234.1", "no", "554", "5.7.1", "no" },
	{ ACTION_REJECT, 554, "5.x.1", "no", "554", "5.7.1", "no" },
	{ ACTION_REJECT, 554, "55.7.1", "no", "554", "5.7.1", "no" },
	{ ACTION_REJECT, 550, "5.7.1", "", "550", "5.7.1", "refused" },
	{ ACTION_TEMPFAIL, 450, "4.7.1", "", "450", "4.7.1", "try again later" },
	{ ACTION_REJECT, 550, "5.7.1", "100% %s %%", "550", "5.7.1", "100%% %%s %%%%" },
	{ ACTION_REJECT, 550, "5.7.1", "a\r\nb\tc\x7f\xe9", "550", "5.7.1",
	    "a??b?c??" },
};

START_TEST(reply_is_made)
{
	struct verdict v = { .action = reply_rows[_i].action,
		.code = reply_rows[_i].code };
	struct milter_reply r;

	snprintf(v.enhanced, sizeof(v.enhanced), "%s", reply_rows[_i].enhanced);
	snprintf(v.text, sizeof(v.text), "%s", reply_rows[_i].text);
	ck_assert(milter_reply_make(&v, &r));
	ck_assert_str_eq(r.code, reply_rows[_i].want_code);
	ck_assert_str_eq(r.enhanced, reply_rows[_i].want_enhanced);
	ck_assert_uint_eq(r.n_lines, 1);
	ck_assert_str_eq(r.lines[0], reply_rows[_i].want_text);
}
END_TEST

START_TEST(no_reply_of_its_own)
{
	const enum action none[] = { ACTION_CONTINUE, ACTION_DISCARD,
		ACTION_QUARANTINE };
	struct milter_reply r;

	for (int i = 0; i < COUNT(none); i++)
		ck_assert(!milter_reply_make(
		    &(struct verdict){ .action = none[i], .code = 550, .text = "x" },
		    &r));
	ck_assert(!milter_reply_make(&(struct verdict){ .action = ACTION_REJECT }, &r));
}
END_TEST

/* Every length with a blank at every place of interest: nothing of the text is lost. */
START_TEST(reply_is_split)
{
	for (size_t len = 470; len < VERDICT_TEXT_MAX; len++)
		for (size_t gap = 200; gap <= len; gap += 7) {
			struct verdict v = { .action = ACTION_REJECT, .code = 550 };
			struct milter_reply r;
			size_t seen = 0;

			memset(v.text, '%', len);
			if (gap < len - 1)
				v.text[gap] = ' ';
			ck_assert(milter_reply_make(&v, &r));
			for (unsigned i = 0; i < r.n_lines; i++) {
				ck_assert_uint_le(strlen(r.lines[i]), 980);
				for (const char *p = r.lines[i]; *p != '\0'; p++)
					seen += *p == '%';
			}
			ck_assert_uint_eq(seen, 2 * (len - (gap < len - 1)));
		}
}
END_TEST

static const struct {
	struct str name, value;
	bool good;
} field_rows[] = {
	{ STR("X-A"), STR("value"), true },
	{ STR("X-A"), STR(""), true },
	{ STR("X-A"), STR("one\n two\n\tthree"), true },
	{ STR("X-A"), STR("caf\xc3\xa9"), true },
	{ STR("X-A"), STR("one\ntwo"), false },
	{ STR("X-A"), STR("one\n"), false },
	{ STR("X-A"), STR("one\r\n two"), false },
	{ STR("X-A"), STR("a\0b"), false },
	{ STR("X-A"), STR("a\x1b[1m"), false },
	{ STR("X-A"), STR("a\x7f"), false },
	{ STR(""), STR("value"), false },
	{ STR("X A"), STR("value"), false },
	{ STR("X:A"), STR("value"), false },
	{ STR("X\xe9"), STR("value"), false },
	{ STR("X\0"), STR("value"), false },
	{ STR("X\r\nY"), STR("value"), false },
};

START_TEST(fields_are_judged)
{
	struct milter_edits e;
	struct err err = { 0 };

	milter_edits_init(&e);
	int r = milter_edits_field(
	    &e, MILTER_EDIT_ADD, 0, field_rows[_i].name, field_rows[_i].value, &err);
	ck_assert_int_eq(r, field_rows[_i].good ? 0 : -1);
	ck_assert_uint_eq(e.n, field_rows[_i].good ? 1 : 0);
	ck_assert(field_rows[_i].good || err.text[0] != '\0');
	milter_edits_clear(&e);
}
END_TEST

static const struct {
	struct str path;
	bool good;
} path_rows[] = {
	{ STR("<a@x.example>"), true },
	{ STR("a@x.example"), true },
	{ STR("<>"), true },
	{ STR("<\"a b\"@x.example>"), true },
	{ STR(""), false },
	{ STR("<a@x>\r\nDATA"), false },
	{ STR("<a\0@x>"), false },
	{ STR("<a\x7f@x>"), false },
};

START_TEST(paths_are_judged)
{
	struct milter_edits e;
	struct err err;

	milter_edits_init(&e);
	ck_assert_int_eq(
	    milter_edits_path(&e, MILTER_EDIT_ADD_RCPT, path_rows[_i].path, &err),
	    path_rows[_i].good ? 0 : -1);
	milter_edits_clear(&e);
}
END_TEST

START_TEST(edits_have_bounds)
{
	static char text[MILTER_FIELD_MAX + 2000];
	struct milter_edits e;
	struct err err;
	size_t n = 0;

	milter_edits_init(&e);
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 900 == 899 ? '\n' : i % 900 == 0 ? ' ' : 'x';
	/* line length, field length, octets, number */
	memset(text, 'x', 999);
	ck_assert_int_eq(milter_edits_field(&e, MILTER_EDIT_ADD, 0, STR("X"),
			     (struct str){ text, 999 }, &err),
	    -1);
	text[899] = '\n';
	text[900] = ' ';
	ck_assert_int_eq(milter_edits_field(&e, MILTER_EDIT_ADD, 0, STR("X"),
			     (struct str){ text, MILTER_FIELD_MAX }, &err),
	    -1);
	while (milter_edits_field(&e, MILTER_EDIT_ADD, 0, STR("X"),
		   (struct str){ text, 50000 }, &err) == 0)
		n++;
	ck_assert_uint_eq(n, MILTER_EDITS_BYTES / 50001);
	milter_edits_clear(&e);
	for (n = 0;
	     milter_edits_path(&e, MILTER_EDIT_ADD_RCPT, STR("<a@x>"), &err) == 0; n++)
		;
	ck_assert_uint_eq(n, MILTER_EDITS_MAX);
	ck_assert_int_eq(
	    milter_edits_field(&e, MILTER_EDIT_CHANGE, 0, STR("X"), STR("v"), &err),
	    -1);
	milter_edits_clear(&e);
	/* the same field changed for ever holds no more than the bound either */
	for (n = 0; n < 100 &&
	     milter_edits_field(&e, MILTER_EDIT_CHANGE, 1, STR("X"),
		 (struct str){ text, 50000 }, &err) == 0;
	     n++)
		;
	ck_assert_uint_le(n, MILTER_EDITS_BYTES / 50000 + 1);
	milter_edits_clear(&e);
}
END_TEST

/* A sender that writes down what it is given, and fails at the nth. */
struct script {
	struct buf seen;
	int fail_at; /* 0: never */
	int n;
};

static int
script_step(struct script *s)
{
	return ++s->n == s->fail_at ? -1 : 0;
}

static int
script_field(void *to, const struct milter_edit *e)
{
	struct script *s = to;

	buf_addf(&s->seen, "%d:%s/%u=%s;", (int)e->kind, e->name, e->index, e->value);
	return script_step(s);
}

static int
script_path(void *to, const struct milter_edit *e)
{
	struct script *s = to;

	buf_addf(&s->seen, "%d:%s;", (int)e->kind, e->name);
	return script_step(s);
}

static int
script_body(void *to, const unsigned char *p, size_t len)
{
	struct script *s = to;

	(void)p;
	buf_addf(&s->seen, "body %zu;", len);
	return script_step(s);
}

static const struct milter_edits_ops script_ops = { script_field, script_path,
	script_body };

static int
filled(struct milter_edits *e)
{
	struct spool spool;
	struct err err;
	int r = 0;

	milter_edits_init(e);
	r |= milter_edits_path(e, MILTER_EDIT_FROM, STR("<>"), &err);
	r |= milter_edits_field(e, MILTER_EDIT_ADD, 0, STR("Z"), STR("z"), &err);
	r |= milter_edits_field(e, MILTER_EDIT_CHANGE, 1, STR("A"), STR("1"), &err);
	r |= milter_edits_field(e, MILTER_EDIT_CHANGE, 12, STR("B"), STR(""), &err);
	r |= milter_edits_field(e, MILTER_EDIT_CHANGE, 2, STR("A"), STR("2"), &err);
	r |= milter_edits_field(e, MILTER_EDIT_CHANGE, 2, STR("a"), STR("later"), &err);
	r |= milter_edits_path(e, MILTER_EDIT_DELETE_RCPT, STR("<d@x>"), &err);
	r |= milter_edits_field(e, MILTER_EDIT_INSERT, 0, STR("T"), STR("t"), &err);
	spool_init(&spool, dir, 1000000);
	for (int i = 0; i < 130; i++)
		r |= spool_add(&spool, (struct str){ "0123456789", 10 }, &err);
	for (int i = 0; i < 100; i++) {
		static char kilo[1000];

		r |= spool_add(&spool, (struct str){ kilo, sizeof(kilo) }, &err);
	}
	milter_edits_body(e, spool_take_fd(&spool, &err));
	return r;
}

#define ORDER                                                                          \
	"0:B/12=;0:a/2=later;0:A/1=1;1:T/0=t;2:Z/0=z;5:<>;4:<d@x>;body 60000;body "    \
	"41300;"

START_TEST(edits_are_ordered)
{
	struct script s = { .n = 0 };
	struct milter_edits e;
	struct err err;

	buf_init(&s.seen, 4096);
	ck_assert_int_eq(filled(&e), 0);
	ck_assert_int_eq(milter_edits_send(&e, &script_ops, &s, &err), 0);
	ck_assert(str_eq(buf_str(&s.seen), STR(ORDER)));
	/* every failure stops the row and is told */
	for (int at = 1; at <= 9; at++) {
		struct script f = { .fail_at = at };

		buf_init(&f.seen, 4096);
		ck_assert_int_eq(milter_edits_send(&e, &script_ops, &f, &err), -1);
		ck_assert_int_eq(f.n, at);
		buf_clear(&f.seen);
	}
	buf_clear(&s.seen);
	milter_edits_clear(&e);
}
END_TEST

START_TEST(unreadable_spool_sends_nothing)
{
	struct script s = { .n = 0 };
	struct milter_edits e;
	struct err err;

	ck_assert_int_eq(filled(&e), 0);
	int fd = open(in_dir("body"), O_CREAT | O_WRONLY, 0600);
	ck_assert_int_eq(write(fd, "text", 4), 4);
	milter_edits_body(&e, fd);
	ck_assert_int_eq(milter_edits_send(&e, &script_ops, &s, &err), -1);
	ck_assert_int_eq(s.n, 0);
	milter_edits_clear(&e);
}
END_TEST

static const struct {
	size_t total, piece;
	bool in_memory;
} spools[] = {
	{ 1, 1, true },
	{ 1000, 7, true },
	{ SPOOL_MEMORY_MAX, 4096, true },
	{ SPOOL_MEMORY_MAX + 1, 4097, false },
	{ 1000000, 65535, false },
	{ 1000000, 1000000, false },
};

static char
octet_at(size_t i)
{
	return (char)(i * 7 + i / 256);
}

START_TEST(spool_keeps_octets)
{
	size_t total = spools[_i].total;
	char *text = xmalloc(total), *back = xmalloc(total);
	struct spool s;
	struct err err = { 0 };

	for (size_t i = 0; i < total; i++)
		text[i] = octet_at(i);
	spool_init(&s, dir, total);
	for (size_t at = 0; at < total; at += spools[_i].piece)
		ck_assert_msg(
		    spool_add(&s,
			str_sub((struct str){ text, total }, at, at + spools[_i].piece),
			&err) == 0,
		    "%s", err.text);
	ck_assert_uint_eq(s.len, total);
	ck_assert_int_eq(s.in_memory, spools[_i].in_memory);
	ck_assert_int_eq(spool_add(&s, STR("x"), &err), -1); /* the limit */
	ck_assert_int_eq(spool_read(&s, 0, back, total, &err), 0);
	ck_assert_mem_eq(text, back, total);
	ck_assert_int_eq(spool_read(&s, 1, back, total, &err), -1);
	ck_assert_int_eq(spool_read(&s, total + 1, back, 0, &err), -1);
	int fd = spool_take_fd(&s, &err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, back, 1), 1); /* from the front */
	ck_assert_int_eq(back[0], text[0]);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), (off_t)total);
	ck_assert_int_eq(s.fd, -1);
	close(fd);
	spool_clear(&s);
	free(text);
	free(back);
}
END_TEST

/* The file may not grow beyond 300 kB: a full disk, as far as a write can see. */
static bool
full_disk(void)
{
	static char block[SPOOL_MEMORY_MAX];
	struct rlimit limit = { 300 * 1024, 300 * 1024 };
	struct spool s;
	struct err err = { 0 };

	signal(SIGXFSZ, SIG_IGN);
	spool_init(&s, dir, 10u << 20);
	if (spool_add(&s, (struct str){ block, sizeof(block) }, &err) < 0 ||
	    setrlimit(RLIMIT_FSIZE, &limit) < 0 ||
	    spool_add(&s, (struct str){ block, 10000 }, &err) < 0 || s.in_memory)
		return false;
	bool refused = spool_add(&s, (struct str){ block, sizeof(block) }, &err) < 0;
	spool_clear(&s);
	return refused && strstr(err.text, "writing a spool file") != NULL;
}

START_TEST(spool_takes_no_gap)
{
	static char block[SPOOL_MEMORY_MAX];
	struct spool s;
	struct err err = { 0 };

	ck_assert(in_child(full_disk));
	spool_init(&s, "/nonexistent", 10u << 20);
	ck_assert_int_eq(spool_add(&s, (struct str){ block, sizeof(block) }, &err), 0);
	ck_assert_int_eq(spool_add(&s, STR("x"), &err), -1);
	spool_clear(&s);
}
END_TEST

START_TEST(empty_spool_is_an_empty_file)
{
	struct spool s;
	struct err err;
	char c;

	spool_init(&s, dir, 10);
	int fd = spool_take_fd(&s, &err);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(read(fd, &c, 1), 0);
	close(fd);
}
END_TEST

static const struct {
	const char *spec;
	bool good;
} spec_rows[] = {
	{ "unix:/run/x.sock", true }, { "local:/run/x.sock", true },
	{ "/run/x.sock", true }, { "inet:25", true }, { "inet:25@127.0.0.1", true },
	{ "inet:25@[127.0.0.1]", true }, { "inet6:25", true }, { "inet6:25@::1", true },
	{ "inet6:65535@[::1]", true }, { "", false }, { "unix:", false },
	{ "unix:x.sock", false }, { "x.sock", false }, { "tcp:25", false },
	{ "inet:", false }, { "inet:0", false }, { "inet:65536", false },
	{ "inet:99999@127.0.0.1", false }, { "inet:25@", true }, /* as without '@' */
	{ "inet:-1@127.0.0.1", false }, { "inet:25@::1", false },
	{ "inet:25@localhost", false }, { "inet6:25@127.0.0.1", false },
	{ "inet:127.0.0.1:25", false }, /* as Postfix writes it */
};

START_TEST(socket_names)
{
	struct err err = { 0 };

	ck_assert_msg(
	    listen_check(spec_rows[_i].spec, &err) == (spec_rows[_i].good ? 0 : -1),
	    "%s: %s", spec_rows[_i].spec, err.text);
}
END_TEST

static bool
can_connect(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	bool done = connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0;
	close(fd);
	return done;
}

START_TEST(unix_socket)
{
	const char *path = in_dir("s");
	struct listener l, other;
	struct err err = { 0 };
	struct stat st;

	mode_t before = umask(022);
	ck_assert_msg(listen_open(&l, path, 0620, NULL, &err) == 0, "%s", err.text);
	umask(before);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0620);
	ck_assert_int_ne(access(in_dir("s.new"), F_OK), 0);
	ck_assert(can_connect(path));
	ck_assert_int_eq(listen_open(&other, path, 0660, NULL, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "another process"));
	ck_assert(can_connect(path)); /* as before */
	listen_close(&l);
	ck_assert_int_ne(access(path, F_OK), 0);

	/* what a dead process left is replaced; a successor's socket is not removed */
	ck_assert_int_eq(listen_open(&l, path, 0660, NULL, &err), 0);
	close(l.lock_fd);
	l.lock_fd = -1;
	ck_assert_int_eq(listen_open(&other, path, 0660, NULL, &err), 0);
	listen_close(&l);
	ck_assert(can_connect(path));
	listen_close(&other);

	ck_assert_int_eq(listen_open(&l, path, 0660, "no-such-group", &err), -1);
	ck_assert_int_eq(listen_open(&l, "unix:/nonexistent/s", 0660, NULL, &err), -1);
}
END_TEST

START_TEST(a_file_in_the_way)
{
	const char *path = in_dir("file");
	struct listener l;
	struct err err = { 0 };

	close(open(path, O_CREAT | O_WRONLY, 0600));
	ck_assert_int_eq(listen_open(&l, path, 0660, NULL, &err), -1);
	ck_assert_int_eq(listen_unix_replace(path, 0660, 1, &err), -1);
	ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

static bool
activation_cases(void)
{
	struct listener l;
	struct err err = { 0 };
	char pid[20];

	setenv("LISTEN_FDS", "1", 1);
	setenv("LISTEN_PID", "1", 1); /* somebody else's */
	if (listen_open(&l, in_dir("s"), 0660, NULL, &err) < 0 || l.path == NULL)
		return false;
	listen_close(&l);
	snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "2", 1);
	if (listen_open(&l, in_dir("s"), 0660, NULL, &err) == 0)
		return false;
	setenv("LISTEN_FDS", "1", 1);
	dup2(open("/dev/null", O_RDONLY), 3);
	return listen_open(&l, in_dir("s"), 0660, NULL, &err) < 0 &&
	    strstr(err.text, "does not listen") != NULL;
}

START_TEST(activation_is_for_us_alone)
{
	ck_assert(in_child(activation_cases));
}
END_TEST

/* What arrives at a notify socket with this name. */
static void
notify_case(const char *name, const struct sockaddr_un *sun, socklen_t len)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	char text[400], want[80];

	ck_assert_int_eq(bind(fd, (const struct sockaddr *)sun, len), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	ck_assert(ready_supervised());
	ck_assert(ready_up());
	ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	snprintf(want, sizeof(want), "READY=1\nMAINPID=%ld", (long)getpid());
	ck_assert_str_eq(text, want);
	ck_assert(ready_reloading());
	n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	ck_assert_ptr_nonnull(strstr(text, "RELOADING=1\nMONOTONIC_USEC="));
	close(fd);
}

START_TEST(notify)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char name[60];

	unsetenv("NOTIFY_SOCKET");
	unsetenv("INVOCATION_ID");
	unsetenv("LISTEN_FDS");
	ck_assert(!ready_supervised());
	ck_assert(!ready_up());
	setenv("NOTIFY_SOCKET", "relative", 1);
	ck_assert(!ready_up());
	setenv("NOTIFY_SOCKET", "/nonexistent/socket", 1);
	ck_assert(!ready_up());
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", in_dir("notify"));
	notify_case(sun.sun_path, &sun, sizeof(sun));
	snprintf(name, sizeof(name), "@postern-test-%ld", (long)getpid());
	memset(sun.sun_path, 0, sizeof(sun.sun_path));
	memcpy(sun.sun_path + 1, name + 1, strlen(name + 1));
	notify_case(name, &sun,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name)));
}
END_TEST

static const struct {
	const char *usec;
	const char *pid; /* "self": ours */
	int64_t want;
} watchdogs[] = {
	{ NULL, NULL, 0 },
	{ "30000000", NULL, 15000 },
	{ "30000000", "self", 15000 },
	{ "30000000", "1", 0 },
	{ "30000000", "nobody", 0 },
	{ "1000", NULL, 1 },
	{ "0", NULL, 0 },
	{ "soon", NULL, 0 },
};

START_TEST(watchdog)
{
	char pid[20];

	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	if (watchdogs[_i].usec != NULL)
		setenv("WATCHDOG_USEC", watchdogs[_i].usec, 1);
	snprintf(pid, sizeof(pid), "%ld", (long)getpid());
	if (watchdogs[_i].pid != NULL)
		setenv("WATCHDOG_PID",
		    strcmp(watchdogs[_i].pid, "self") == 0 ? pid : watchdogs[_i].pid,
		    1);
	ck_assert_int_eq(ready_watchdog_ms(), watchdogs[_i].want);
}
END_TEST

START_TEST(restarts_slow_down)
{
	const int64_t waits[] = { 0, 1000, 2000, 4000, 8000, 16000, 30000, 30000 };
	struct restart_delay d = { 0 };

	for (int i = 0; i < COUNT(waits); i++)
		ck_assert_int_eq(
		    restart_delay_next(&d, i % 2 == 0 ? 0 : 59999), waits[i]);
	ck_assert_int_eq(
	    restart_delay_next(&d, 60000), 0); /* it was well for a minute */
	ck_assert_int_eq(restart_delay_next(&d, 0), 1000);
}
END_TEST

static bool
drop_cases(void)
{
	struct err err = { 0 };
	bool root = geteuid() == 0;

	if (privs_drop("no-such-user", NULL, &err) == 0 ||
	    strstr(err.text, "no-such-user") == NULL ||
	    privs_drop(NULL, "no-such-group", &err) == 0)
		return false;
	privs_raise_files();
	if (root &&
	    (privs_drop("nobody", NULL, &err) < 0 || geteuid() == 0 || getegid() == 0 ||
		setuid(0) == 0))
		return false;
	return privs_drop("root", NULL, &err) < 0 && privs_drop(NULL, NULL, &err) == 0;
}

START_TEST(privileges)
{
	ck_assert(in_child(drop_cases));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("run");
	TCase *t = tcase_create("pure");

	tcase_add_loop_test(t, reply_is_made, 0, COUNT(reply_rows));
	tcase_add_test(t, no_reply_of_its_own);
	tcase_add_test(t, reply_is_split);
	tcase_add_loop_test(t, fields_are_judged, 0, COUNT(field_rows));
	tcase_add_loop_test(t, paths_are_judged, 0, COUNT(path_rows));
	tcase_add_test(t, edits_have_bounds);
	tcase_add_loop_test(t, socket_names, 0, COUNT(spec_rows));
	tcase_add_loop_test(t, watchdog, 0, COUNT(watchdogs));
	tcase_add_test(t, restarts_slow_down);
	tcase_add_test(t, privileges);
	suite_add_tcase(s, t);
	t = tcase_create("files");
	tcase_add_checked_fixture(t, make_dir, remove_dir);
	tcase_add_test(t, edits_are_ordered);
	tcase_add_test(t, unreadable_spool_sends_nothing);
	tcase_add_loop_test(t, spool_keeps_octets, 0, COUNT(spools));
	tcase_add_test(t, spool_takes_no_gap);
	tcase_add_test(t, empty_spool_is_an_empty_file);
	tcase_add_test(t, unix_socket);
	tcase_add_test(t, a_file_in_the_way);
	tcase_add_test(t, activation_is_for_us_alone);
	tcase_add_test(t, notify);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
