/* SPDX-License-Identifier: BSD-2-Clause */
/* common/run/milter on the real libmilter: a daemon whose verdicts the addresses choose
 * (tests/lib/testfilter_main.c), driven by the scripted mail server. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "tests/lib/mta.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

/* The filter of a test case: started once, before its tests are forked. */
static struct {
	char dir[40], socket[80], conf[80], log[80];
	pid_t pid;
} filter;

static void
write_conf(void)
{
	FILE *f = fopen(filter.conf, "w");

	ck_assert_ptr_nonnull(f);
	fprintf(f, "socket \"unix:%s\"; spool \"%s\"; mark one; drain 1s;\n",
	    filter.socket, filter.dir);
	ck_assert_int_eq(fclose(f), 0);
}

static void
exec_filter(void)
{
	const char *build = getenv("BUILD");
	char *program =
	    xasprintf("%s/tests/testfilter", build == NULL ? "build" : build);
	int log = open(filter.log, O_WRONLY | O_CREAT | O_APPEND, 0600);

	dup2(log, 1);
	dup2(log, 2);
	execl(program, program, "-f", "-c", filter.conf, NULL);
	perror(program);
	_exit(127);
}

static bool
log_says(const char *what)
{
	static char text[1u << 20];
	FILE *f = fopen(filter.log, "r");

	if (f == NULL)
		return false;
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	return strstr(text, what) != NULL;
}

static void
pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

static void
start_filter(void)
{
	int64_t deadline = clock_mono_ms() + 30000;

	snprintf(filter.dir, sizeof(filter.dir), "/tmp/pst.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(filter.dir));
	snprintf(filter.socket, sizeof(filter.socket), "%s/s", filter.dir);
	snprintf(filter.conf, sizeof(filter.conf), "%s/conf", filter.dir);
	snprintf(filter.log, sizeof(filter.log), "%s/log", filter.dir);
	write_conf();
	filter.pid = fork();
	ck_assert_int_ge(filter.pid, 0);
	if (filter.pid == 0)
		exec_filter();
	while (!log_says("serving")) {
		ck_assert_msg(
		    clock_mono_ms() < deadline, "the filter does not come up");
		ck_assert_msg(
		    waitpid(filter.pid, NULL, WNOHANG) == 0, "the filter ended");
		pause_ms(5);
	}
}

static void
stop_filter(void)
{
	char *command;
	int status;

	kill(filter.pid, SIGTERM);
	ck_assert_int_eq(waitpid(filter.pid, &status, 0), filter.pid);
	ck_assert_msg(
	    WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %d", status);
	ck_assert(log_says("engines down"));
	/* lock, conf and log are all that it leaves */
	const char *const left[] = { "conf", "log", "s.lock" };
	for (int i = 0; i < COUNT(left); i++) {
		command = xasprintf("%s/%s", filter.dir, left[i]);
		ck_assert_int_eq(unlink(command), 0);
		free(command);
	}
	ck_assert_int_eq(rmdir(filter.dir), 0);
}

#define OK(call)                                                                       \
	do {                                                                           \
		struct err e_ = { 0 };                                                 \
		ck_assert_msg((call) == 0, "%s: %s", #call, e_.text);                  \
	} while (0)
#define E (&e_)

static void
open_mta(struct mta *m)
{
	OK(mta_connect(m, filter.socket, E));
	OK(mta_negotiate(m, MILTER_F_ALL, MILTER_P_ALL, E));
}

/* As far as an open message with this sender. */
static void
open_message(struct mta *m, const char *sender)
{
	open_mta(m);
	OK(mta_client(m, "mx.ok.example", "192.0.2.1", E));
	OK(mta_helo(m, "mx.ok.example", E));
	OK(mta_mail(m, sender, E));
	ck_assert_int_eq(m->cmd, MILTER_R_CONTINUE);
}

static void
end_message(struct mta *m)
{
	OK(mta_header(m, "Subject", "text", E));
	OK(mta_eoh(m, E));
	OK(mta_body(m, STR("line\r\n"), E));
	OK(mta_eom(m, E));
}

static const struct {
	const char *rcpt, *reply; /* reply "c": continue, "d": discard */
} replies[] = {
	{ "<plain@x.example>", "c" },
	{ "<reject@x.example>", "550 5.7.1 no, and that is final" },
	{ "<tempfail@x.example>", "451 4.7.1 come back later" },
	{ "<percent@x.example>", "550 5.7.1 100%% sure, %%s and %%n" },
	{ "<misfit@x.example>", "550 5.7.1 a?b?c?" },
	{ "<mark@x.example>", "550 5.7.1 mark=one" },
	{ "<counts@x.example>", "550 5.7.1 conns=1 messages=1 headers=0 octets=0" },
	{ "<quarantine@x.example>", "451 4.3.0 internal error, try again later" },
	{ "<discard@x.example>", "d" },
	{ "<wait50@x.example>", "c" },
	{ "<edit@x.example>", "c" },
};

START_TEST(replies_at_rcpt)
{
	const char *want = replies[_i].reply;
	struct mta m;

	open_message(&m, "<a@ok.example>");
	OK(mta_rcpt(&m, replies[_i].rcpt, E));
	if (want[1] == '\0')
		ck_assert_int_eq(m.cmd, want[0]);
	else
		ck_assert_msg(mta_replied(&m, want), "%c%.*s", m.cmd,
		    STR_ARG(buf_str(&m.payload)));
	mta_quit(&m);
}
END_TEST

START_TEST(long_text_has_lines)
{
	struct mta m;

	open_message(&m, "<a@ok.example>");
	OK(mta_rcpt(&m, "<long@x.example>", E));
	ck_assert_int_eq(m.cmd, MILTER_R_REPLYCODE);
	struct str rest = buf_str(&m.payload), line;
	int lines = 0;
	while (str_cut(&rest, '\n', &line)) {
		ck_assert_uint_le(line.len, 980);
		ck_assert(str_starts(
		    line, lines == 0 ? STR("550-5.7.1 ") : STR("550 5.7.1 ")));
		lines++;
	}
	ck_assert_int_eq(lines, 2);
	/* the reader of the other side finds whole percent signs */
	struct buf text;
	char enhanced[12];
	int code;
	buf_init(&text, 4096);
	OK(milter_replycode_read(buf_str(&m.payload), &code, enhanced, &text, E));
	size_t percents = 0;
	for (size_t i = 0; i < text.len; i++)
		percents += text.p[i] == '%';
	ck_assert_uint_eq(percents, 501); /* of 511 octets every 50th is a blank */
	buf_clear(&text);
	mta_quit(&m);
}
END_TEST

START_TEST(negotiation)
{
	struct mta m;

	open_mta(&m);
	ck_assert_uint_eq(m.actions,
	    MILTER_F_SETSYMLIST | MILTER_F_ADDHDRS | MILTER_F_CHGHDRS |
		MILTER_F_CHGBODY | MILTER_F_ADDRCPT | MILTER_F_DELRCPT |
		MILTER_F_CHGFROM | MILTER_F_QUARANTINE);
	ck_assert_uint_eq(m.protocol,
	    MILTER_P_NOUNKNOWN | MILTER_P_NODATA | MILTER_P_NR_HELO | MILTER_P_NR_HDR |
		MILTER_P_NR_BODY);
	/* sendmail: end of header and end of message together, at most 50 names */
	ck_assert_str_ne(m.macros[MILTER_STAGE_EOM], "");
	ck_assert_str_ne(m.macros[MILTER_STAGE_EOH], "");
	for (int i = 0; i < MILTER_STAGES; i++) {
		struct str rest = str_of(m.macros[i]), word;
		int n = 0;

		while (str_word(&rest, &word))
			n++;
		ck_assert_int_le(n, 50);
	}
	mta_quit(&m);
}
END_TEST

/* A server of the old days offers nothing: every step is answered, edits stay at home.
 */
START_TEST(poor_server)
{
	struct mta m;

	OK(mta_connect(&m, filter.socket, E));
	OK(mta_negotiate(&m, MILTER_F_ADDHDRS, 0, E));
	ck_assert_uint_eq(m.actions, MILTER_F_ADDHDRS);
	ck_assert_uint_eq(m.protocol, 0);
	OK(mta_client(&m, "mx.ok.example", "192.0.2.1", E));
	OK(mta_helo(&m, "mx", E));
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	OK(mta_mail(&m, "<a@ok.example>", E));
	OK(mta_rcpt(&m, "<edit@x.example>", E));
	OK(mta_step(&m, MILTER_DATA, STR(""), E));
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	OK(mta_header(&m, "Subject", "text", E));
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	OK(mta_eoh(&m, E));
	OK(mta_body(&m, STR("line\r\n"), E));
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	OK(mta_eom(&m, E));
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	ck_assert_uint_eq(m.n_edits, 3); /* the additions of headers alone */
	for (size_t i = 0; i < m.n_edits; i++)
		ck_assert(m.edits[i].cmd == MILTER_R_ADDHEADER ||
		    m.edits[i].cmd == MILTER_R_INSHEADER);
	mta_quit(&m);
}
END_TEST

static void
expect_facts(struct mta *m, const char *want)
{
	OK(mta_rcpt(m, "<facts@x.example>", E));
	ck_assert_msg(mta_replied(m, want), "%.*s\nwanted %s",
	    STR_ARG(buf_str(&m->payload)), want);
}

START_TEST(facts_and_macros)
{
	struct mta m;

	open_mta(&m);
	OK(mta_macros(&m, MILTER_CONNECT, E, "j", "mta.example", "{daemon_name}",
	    "incoming", NULL));
	OK(mta_client(&m, "mx.ok.example", "192.0.2.1", E));
	OK(mta_macros(&m, MILTER_HELO, E, "{tls_version}", "TLSv1.3", NULL));
	OK(mta_helo(&m, "helo.example", E));
	OK(mta_macros(&m, MILTER_MAIL, E, "{auth_authen}", "carol", "{auth_type}",
	    "PLAIN", "{mail_addr}", "a@ok.example", NULL));
	OK(mta_mail(&m, "<a@ok.example>", E));
	OK(mta_macros(&m, MILTER_RCPT, E, "{rcpt_mailer}", "local", NULL));
	expect_facts(&m,
	    "550 5.7.1 ip=192.0.2.1 port=2525 name=mx.ok.example ok=1 "
	    "helo=helo.example "
	    "auth=carol/PLAIN id= daemon=incoming mta=mta.example tls=TLSv1.3 "
	    "rcpt_mailer=local mail_addr=a@ok.example");
	/* Postfix: the id comes with the second recipient */
	OK(mta_macros(&m, MILTER_RCPT, E, "i", "4Q1", NULL));
	expect_facts(&m,
	    "550 5.7.1 ip=192.0.2.1 port=2525 name=mx.ok.example ok=1 "
	    "helo=helo.example "
	    "auth=carol/PLAIN id=4Q1 daemon=incoming mta=mta.example tls=TLSv1.3 "
	    "rcpt_mailer=- mail_addr=a@ok.example");
	/* the next message without an end of this one: nothing of it is left */
	OK(mta_macros(&m, MILTER_MAIL, E, "{mail_host}", "x", NULL));
	OK(mta_mail(&m, "<b@ok.example>", E));
	OK(mta_macros(&m, MILTER_RCPT, E, NULL));
	expect_facts(&m,
	    "550 5.7.1 ip=192.0.2.1 port=2525 name=mx.ok.example ok=1 "
	    "helo=helo.example "
	    "auth=/ id= daemon=incoming mta=mta.example tls=TLSv1.3 rcpt_mailer=- "
	    "mail_addr=-");
	mta_quit(&m);
}
END_TEST

static const struct {
	const char *host, *ip, *resolve, *want;
} clients[] = {
	{ "mx.ok.example", "192.0.2.1", "OK",
	    "ip=192.0.2.1 port=2525 name=mx.ok.example ok=1" },
	{ "mx.ok.example", "192.0.2.1", "FORGED",
	    "ip=192.0.2.1 port=2525 name=[192.0.2.1] ok=0" },
	{ "mx.ok.example", "192.0.2.1", "TEMP",
	    "ip=192.0.2.1 port=2525 name=[192.0.2.1] ok=0" },
	{ "[192.0.2.1]", "192.0.2.1", "FAIL",
	    "ip=192.0.2.1 port=2525 name=[192.0.2.1] ok=0" },
	{ "unknown", "192.0.2.1", "", "ip=192.0.2.1 port=2525 name=[192.0.2.1] ok=0" },
	{ "mx6.ok.example", "2001:db8::1", "OK",
	    "ip=2001:db8::1 port=2525 name=mx6.ok.example ok=1" },
	{ "[IPv6:2001:db8::1]", "2001:db8::1", "FAIL",
	    "ip=2001:db8::1 port=2525 name=[2001:db8::1] ok=0" },
	{ "mapped.ok.example", "::ffff:192.0.2.9", "OK",
	    "ip=192.0.2.9 port=2525 name=mapped.ok.example ok=1" },
	{ "localhost", NULL, "", "ip= port=0 name=localhost ok=1" },
};

START_TEST(client_names)
{
	struct mta m;
	char want[200];

	open_mta(&m);
	OK(mta_macros(
	    &m, MILTER_CONNECT, E, "{client_resolve}", clients[_i].resolve, NULL));
	OK(mta_client(&m, clients[_i].host, clients[_i].ip, E));
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	OK(mta_mail(&m, "<a@ok.example>", E));
	OK(mta_rcpt(&m, "<facts@x.example>", E));
	snprintf(want, sizeof(want), "550 5.7.1 %s helo=", clients[_i].want);
	ck_assert_msg(str_starts(buf_str(&m.payload), str_of(want)), "%.*s",
	    STR_ARG(buf_str(&m.payload)));
	mta_quit(&m);
}
END_TEST

#define BE(n) "\0\0\0" n
static const struct {
	char cmd;
	struct str payload;
} edit_order[] = {
	{ 'm', { BE("\3") "Received\0\0", 14 } },
	{ 'm', { BE("\2") "Received\0\0", 14 } },
	{ 'm', { BE("\1") "Subject\0changed\0", 20 } },
	{ 'i', { BE("\0") "X-First\0one\0", 16 } },
	{ 'i', { BE("\1") "X-Second\0two\0", 17 } },
	{ 'h', { "X-Added\0folded\n\tvalue\0", 22 } },
	{ '+', { "<new@x.example>\0", 16 } },
	{ '-', { "<edit@x.example>\0", 17 } },
	{ 'e', { "<>\0", 3 } },
};

START_TEST(edits_in_order)
{
	struct mta m;

	open_message(&m, "<a@ok.example>");
	OK(mta_rcpt(&m, "<body@x.example>", E));
	OK(mta_rcpt(&m, "<edit@x.example>", E));
	end_message(&m);
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	ck_assert_uint_ge(m.n_edits, (size_t)COUNT(edit_order) + 1);
	for (size_t i = 0; i < (size_t)COUNT(edit_order); i++) {
		ck_assert_int_eq(m.edits[i].cmd, edit_order[i].cmd);
		ck_assert_msg(
		    str_eq(buf_str(&m.edits[i].payload), edit_order[i].payload),
		    "edit %zu", i);
	}
	/* all of the body, in one row, last */
	size_t octets = 0;
	for (size_t i = COUNT(edit_order); i < m.n_edits; i++) {
		ck_assert_int_eq(m.edits[i].cmd, MILTER_R_REPLBODY);
		ck_assert_uint_le(m.edits[i].payload.len, 65535);
		octets += m.edits[i].payload.len;
	}
	ck_assert_uint_eq(octets, 300000);
	ck_assert(!log_says("edits are judged wrongly"));
	/* the next message of the connection begins without edits */
	OK(mta_mail(&m, "<a@ok.example>", E));
	OK(mta_rcpt(&m, "<plain@x.example>", E));
	end_message(&m);
	ck_assert_uint_eq(m.n_edits, 0);
	mta_quit(&m);
}
END_TEST

START_TEST(edits_forgotten_at_abort)
{
	struct mta m;

	open_message(&m, "<a@ok.example>");
	OK(mta_rcpt(&m, "<edit@x.example>", E));
	OK(mta_abort(&m, E));
	OK(mta_abort(&m, E)); /* Postfix does that */
	OK(mta_mail(&m, "<a@ok.example>", E));
	OK(mta_rcpt(&m, "<body@x.example>", E));
	OK(mta_mail(&m, "<a@ok.example>", E)); /* unfinished */
	OK(mta_rcpt(&m, "<plain@x.example>", E));
	end_message(&m);
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	ck_assert_uint_eq(m.n_edits, 0);
	mta_quit(&m);
}
END_TEST

START_TEST(empty_body)
{
	struct mta m;

	open_message(&m, "<a@ok.example>");
	OK(mta_rcpt(&m, "<empty@x.example>", E));
	end_message(&m);
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	ck_assert_uint_eq(m.n_edits, 1);
	ck_assert_int_eq(m.edits[0].cmd, MILTER_R_REPLBODY);
	ck_assert_uint_eq(m.edits[0].payload.len, 0);
	mta_quit(&m);
}
END_TEST

/* A spool that cannot be read: no edit at all has left, and the mail stays outside. */
START_TEST(unreadable_body)
{
	struct mta m;

	open_message(&m, "<a@ok.example>");
	OK(mta_rcpt(&m, "<edit@x.example>", E));
	OK(mta_rcpt(&m, "<badbody@x.example>", E));
	end_message(&m);
	ck_assert(mta_replied(&m, "451 4.3.0 internal error, try again later"));
	ck_assert_uint_eq(m.n_edits, 0);
	mta_quit(&m);
}
END_TEST

static const struct {
	const char *sender, *reply;
	char edit; /* the one edit that comes before */
} at_end[] = {
	{ "<eom-reject@ok.example>", "550 5.7.1 no, and that is final", 0 },
	{ "<eom-tempfail@ok.example>", "451 4.7.1 come back later", 0 },
	{ "<eom-discard@ok.example>", "d", 0 },
	{ "<eom-quarantine@ok.example>", "c", 'q' },
	{ "<eom-wait30@ok.example>", "c", 0 },
	{ "<eom-counts@ok.example>", "550 5.7.1 conns=1 messages=1 headers=1 octets=10",
	    0 },
};

START_TEST(verdicts_at_end)
{
	const char *want = at_end[_i].reply;
	struct mta m;

	open_message(&m, at_end[_i].sender);
	OK(mta_rcpt(&m, "<plain@x.example>", E));
	end_message(&m);
	if (want[1] == '\0')
		ck_assert_int_eq(m.cmd, want[0]);
	else
		ck_assert_msg(mta_replied(&m, want), "%c%.*s", m.cmd,
		    STR_ARG(buf_str(&m.payload)));
	ck_assert_uint_eq(m.n_edits, at_end[_i].edit == 0 ? 0 : 1);
	if (at_end[_i].edit != 0) {
		ck_assert_int_eq(m.edits[0].cmd, at_end[_i].edit);
		ck_assert(str_eq(buf_str(&m.edits[0].payload), STR("held??for you\0")));
	}
	mta_quit(&m);
}
END_TEST

START_TEST(refused_before_the_body)
{
	struct mta m;

	open_message(&m, "<eoh-reject@ok.example>");
	OK(mta_rcpt(&m, "<plain@x.example>", E));
	OK(mta_header(&m, "Subject", "text", E));
	OK(mta_eoh(&m, E));
	ck_assert(mta_replied(&m, "550 5.7.1 no, and that is final"));
	/* no MTA says anything more of it: the filter knows that it is over */
	OK(mta_mail(&m, "<b@ok.example>", E));
	OK(mta_rcpt(&m, "<counts@x.example>", E));
	ck_assert(mta_replied(&m, "550 5.7.1 conns=1 messages=1 headers=0 octets=0"));
	mta_quit(&m);
}
END_TEST

START_TEST(refused_at_mail)
{
	struct mta m;

	open_mta(&m);
	OK(mta_client(&m, "mx.ok.example", "192.0.2.1", E));
	OK(mta_helo(&m, "mx", E));
	OK(mta_mail(&m, "<reject@ok.example>", E));
	ck_assert(mta_replied(&m, "550 5.7.1 no, and that is final"));
	OK(mta_mail(&m, "<b@ok.example>", E));
	OK(mta_rcpt(&m, "<plain@x.example>", E));
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	mta_quit(&m);
}
END_TEST

START_TEST(discard_at_connect_is_no_verdict)
{
	struct mta m;

	open_mta(&m);
	OK(mta_client(&m, "bad.example", "192.0.2.66", E));
	ck_assert(mta_replied(&m, "451 4.3.0 internal error, try again later"));
	mta_quit(&m);
}
END_TEST

START_TEST(progress_at_end)
{
	struct mta m;

	open_message(&m, "<eom-wait4300@ok.example>");
	OK(mta_rcpt(&m, "<plain@x.example>", E));
	end_message(&m);
	ck_assert_int_eq(m.cmd, MILTER_R_CONTINUE);
	ck_assert_uint_eq(m.n_progress, 1);
	mta_quit(&m);
}
END_TEST

/* The figure that the pool alone turns into ten seconds. */
static const struct {
	const char *rcpt;
	int clients;
	int64_t limit_ms;
} waits[] = {
	{ "<wait1000@x.example>", 20, 1500 },
	{ "<wait1000@x.example>", 100, 3000 },
	{ "<wait20@x.example>", 50, 1000 },
};

START_TEST(waiting_callbacks)
{
	static struct mta m[100];
	int n = waits[_i].clients;

	for (int i = 0; i < n; i++)
		open_message(&m[i], "<a@ok.example>");
	struct buf path;
	buf_init(&path, 200);
	buf_add(&path, waits[_i].rcpt, strlen(waits[_i].rcpt) + 1);
	int64_t begin = clock_mono_ms();
	for (int i = 0; i < n; i++)
		OK(mta_send(&m[i], MILTER_RCPT, buf_str(&path), E));
	for (int i = 0; i < n; i++) {
		OK(mta_read_reply(&m[i], MILTER_RCPT, E));
		ck_assert_int_eq(m[i].cmd, MILTER_R_CONTINUE);
	}
	int64_t took = clock_mono_ms() - begin;
	printf("%d clients, %s: %lld ms\n", n, waits[_i].rcpt, (long long)took);
	ck_assert_msg(took < waits[_i].limit_ms, "%lld ms", (long long)took);
	buf_clear(&path);
	for (int i = 0; i < n; i++)
		mta_quit(&m[i]);
}
END_TEST

/* Resident kB of the worker, the only child of the supervisor. */
static long
worker_rss(void)
{
	char path[80], line[200];
	long pid = 0, kb = 0;

	snprintf(path, sizeof(path), "/proc/%ld/task/%ld/children", (long)filter.pid,
	    (long)filter.pid);
	FILE *f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%ld", &pid), 1);
	fclose(f);
	snprintf(path, sizeof(path), "/proc/%ld/status", pid);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "VmRSS:", 6) == 0)
			ck_assert_int_eq(sscanf(line + 6, "%ld", &kb), 1);
	fclose(f);
	return kb;
}

/* One aborted, one dropped and one whole message. */
static void
use_and_leave(int i)
{
	struct mta m;

	open_message(&m, "<a@ok.example>");
	OK(mta_rcpt(&m, i % 2 == 0 ? "<edit@x.example>" : "<plain@x.example>", E));
	OK(mta_abort(&m, E));
	OK(mta_mail(&m, "<a@ok.example>", E));
	OK(mta_rcpt(&m, "<plain@x.example>", E));
	if (i % 3 == 0)
		mta_drop(&m);
	else
		mta_quit(&m);
}

START_TEST(nothing_is_left_behind)
{
	const char *san = getenv("SAN");
	int64_t deadline = clock_mono_ms() + 20000;
	struct mta m;

	for (int i = 0; i < 1000; i++)
		use_and_leave(i);
	long before = worker_rss();
	for (int i = 0; i < 10000; i++)
		use_and_leave(i);
	long after = worker_rss();
	printf("worker after 1000 connections %ld kB, after 10000 more %ld kB\n",
	    before, after);
	/* a sanitizer keeps what was freed */
	if (san == NULL || san[0] == '\0')
		ck_assert_msg(
		    after < before + 1024, "%ld kB, then %ld kB", before, after);
	/* the last ones may still be on their way to close() */
	for (;;) {
		open_message(&m, "<a@ok.example>");
		OK(mta_rcpt(&m, "<counts@x.example>", E));
		bool clean =
		    mta_replied(&m, "550 5.7.1 conns=1 messages=1 headers=0 octets=0");
		mta_quit(&m);
		if (clean)
			break;
		ck_assert_msg(clock_mono_ms() < deadline, "contexts are left");
		pause_ms(10);
	}
}
END_TEST

static TCase *
add_case(Suite *s, const char *name, int timeout)
{
	TCase *t = tcase_create(name);

	tcase_set_timeout(t, timeout);
	tcase_add_unchecked_fixture(t, start_filter, stop_filter);
	suite_add_tcase(s, t);
	return t;
}

int
main(void)
{
	Suite *s = suite_create("milter_glue");
	TCase *t = add_case(s, "protocol", 30);

	tcase_add_loop_test(t, replies_at_rcpt, 0, COUNT(replies));
	tcase_add_test(t, long_text_has_lines);
	tcase_add_test(t, negotiation);
	tcase_add_test(t, poor_server);
	tcase_add_test(t, facts_and_macros);
	tcase_add_loop_test(t, client_names, 0, COUNT(clients));
	tcase_add_loop_test(t, verdicts_at_end, 0, COUNT(at_end));
	tcase_add_test(t, refused_before_the_body);
	tcase_add_test(t, refused_at_mail);
	tcase_add_test(t, discard_at_connect_is_no_verdict);
	tcase_add_test(t, progress_at_end);
	t = add_case(s, "edits", 30);
	tcase_add_test(t, edits_in_order);
	tcase_add_test(t, edits_forgotten_at_abort);
	tcase_add_test(t, empty_body);
	tcase_add_test(t, unreadable_body);
	t = add_case(s, "waits", 30);
	tcase_add_loop_test(t, waiting_callbacks, 0, COUNT(waits));
	t = add_case(s, "memory", 90);
	tcase_add_test(t, nothing_is_left_behind);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}
