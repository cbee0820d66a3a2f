/* SPDX-License-Identifier: BSD-2-Clause */
/* The process's one log.  A file, stderr, or the mail facility of syslog spoken directly
 * over its datagram socket: syslog(3) would wait for a reader that stands still, and then
 * mail would wait for its own log.  Here a full target drops the line and counts it. */
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define SYSLOG_PATH "/dev/log"

enum log_kind { LOG_TO_STDERR, LOG_TO_FILE, LOG_TO_SYSLOG };

/* The log is the one thing that every layer may use without being handed it; lock guards
 * all but the counters. */
static struct {
	pthread_mutex_t lock;
	enum log_kind kind;
	int fd;
	const char *ident;
	_Atomic int level;
	_Atomic uint64_t dropped;
	uint64_t dropped_told; /* how many of them a line has told already */
} the_log = { .lock = PTHREAD_MUTEX_INITIALIZER,
	.fd = STDERR_FILENO,
	.ident = "postern",
	.level = LOG_LEVEL_INFO };

static const char *const level_names[] = { "err", "warn", "info", "debug" };
static const int syslog_priority[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

bool
log_level_parse(struct str name, enum log_level *level)
{
	for (int i = 0; i <= LOG_LEVEL_DEBUG; i++)
		if (str_is(name, level_names[i])) {
			*level = (enum log_level)i;
			return true;
		}
	return false;
}

/* A connected datagram socket; -1 with errno. */
static int
syslog_connect(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	memcpy(sun.sun_path, SYSLOG_PATH, sizeof(SYSLOG_PATH));
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

int
log_open(const char *ident, const char *target, enum log_level level, struct err *err)
{
	enum log_kind kind = LOG_TO_FILE;
	int fd = STDERR_FILENO;

	if (strcmp(target, "stderr") == 0) {
		kind = LOG_TO_STDERR;
	} else if (strcmp(target, "syslog") == 0) {
		kind = LOG_TO_SYSLOG;
		fd = syslog_connect(); /* -1: tried again with every line */
	} else if (target[0] == '/') {
		fd = open(target,
		    O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		    0640);
		if (fd < 0)
			return err_errno(err, "cannot open the log %s", target);
	} else {
		return err_set(err,
		    "log is \"%s\", expected syslog, stderr or an absolute path", target);
	}
	pthread_mutex_lock(&the_log.lock);
	int old = the_log.kind == LOG_TO_STDERR ? -1 : the_log.fd;
	the_log.kind = kind;
	the_log.fd = fd;
	the_log.ident = ident;
	the_log.level = level;
	pthread_mutex_unlock(&the_log.lock);
	if (old >= 0)
		close(old);
	return 0;
}

uint64_t
log_dropped(void)
{
	return the_log.dropped;
}

/* Under the lock.  One write or nothing: half a line is worse than none. */
static bool
emit(enum log_level level, const char *text, size_t len)
{
	char line[sizeof(((struct logline *)NULL)->text) + 160];
	struct timespec ts;
	struct tm tm;
	int head;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (the_log.kind == LOG_TO_SYSLOG) {
		head = snprintf(line, sizeof(line), "<%d>%s[%ld]: ",
		    LOG_MAIL | syslog_priority[level], the_log.ident, (long)getpid());
	} else {
		gmtime_r(&ts.tv_sec, &tm);
		head = snprintf(line, sizeof(line),
		    "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s[%ld]: %s ",
		    tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
		    tm.tm_sec, ts.tv_nsec / 1000000, the_log.ident, (long)getpid(),
		    level_names[level]);
	}
	if (head < 0 || (size_t)head + len + 1 > sizeof(line))
		return false;
	memcpy(line + head, text, len);
	size_t total = (size_t)head + len;
	if (the_log.kind == LOG_TO_SYSLOG) {
		if (the_log.fd < 0)
			the_log.fd = syslog_connect();
		if (send(the_log.fd, line, total, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return true;
		/* A restarted syslog has a new socket behind the same name. */
		if (errno == EAGAIN || errno == ENOBUFS)
			return false;
		if (the_log.fd >= 0)
			close(the_log.fd);
		the_log.fd = syslog_connect();
		return send(the_log.fd, line, total, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
	}
	line[total++] = '\n';
	if (the_log.kind == LOG_TO_FILE)
		return write(the_log.fd, line, total) == (ssize_t)total;
	/* stderr is often somebody else's pipe: its flags are not ours to change, so a pipe
	 * or socket is asked for room first. */
	struct pollfd room = { .fd = the_log.fd, .events = POLLOUT };

	if (poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0)
		return false;
	return write(the_log.fd, line, total) == (ssize_t)total;
}

void
logline_init(struct logline *l, enum log_level level, const char *event)
{
	l->level = level;
	l->off = (int)level > the_log.level;
	l->cut = false;
	l->len = 0;
	if (!l->off)
		logline_cstr(l, "event", event);
}

static void
put(struct logline *l, const char *p, size_t len)
{
	if (l->len + len > sizeof(l->text)) {
		l->cut = true;
		return;
	}
	memcpy(l->text + l->len, p, len);
	l->len += len;
}

static bool
needs_quotes(struct str value)
{
	if (value.len == 0)
		return true;
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
			return true;
	}
	return false;
}

static void
put_escaped(struct logline *l, unsigned char c)
{
	char hex[8];

	if (c == '"' || c == '\\') {
		char pair[2] = { '\\', (char)c };

		put(l, pair, 2);
	} else if (c < ' ' || c >= 0x7f) {
		snprintf(hex, sizeof(hex), "\\x%02x", c);
		put(l, hex, 4);
	} else {
		put(l, (const char *)&c, 1);
	}
}

/* Long foreign values are cut, so that they cannot push the rest of the line out. */
#define LOG_VALUE_MAX 512

void
logline_str(struct logline *l, const char *key, struct str value)
{
	if (l->off || l->cut)
		return;
	size_t start = l->len;

	if (value.len > LOG_VALUE_MAX)
		value.len = LOG_VALUE_MAX;
	if (l->len > 0)
		put(l, " ", 1);
	put(l, key, strlen(key));
	put(l, "=", 1);
	if (!needs_quotes(value)) {
		put(l, value.p, value.len);
	} else {
		put(l, "\"", 1);
		for (size_t i = 0; i < value.len; i++)
			put_escaped(l, (unsigned char)value.p[i]);
		put(l, "\"", 1);
	}
	if (l->cut)
		l->len = start; /* a field is there whole or not at all */
}

void
logline_cstr(struct logline *l, const char *key, const char *value)
{
	if (!l->off)
		logline_str(l, key, str_of(value == NULL ? "" : value));
}

void
logline_int(struct logline *l, const char *key, int64_t value)
{
	char text[24];

	if (l->off)
		return;
	snprintf(text, sizeof(text), "%lld", (long long)value);
	logline_cstr(l, key, text);
}

void
logline_send(struct logline *l)
{
	char told[80];

	if (l->off)
		return;
	pthread_mutex_lock(&the_log.lock);
	if (the_log.dropped > the_log.dropped_told) {
		uint64_t lost = the_log.dropped;
		int n = snprintf(told, sizeof(told), "event=log-dropped lines=%llu",
		    (unsigned long long)lost);

		if (n > 0 && emit(LOG_LEVEL_WARN, told, (size_t)n))
			the_log.dropped_told = lost;
	}
	if (!emit(l->level, l->text, l->len))
		the_log.dropped++;
	pthread_mutex_unlock(&the_log.lock);
}

void
log_msg(enum log_level level, const char *event, const char *fmt, ...)
{
	struct logline l;
	char text[1000];
	va_list ap;

	logline_init(&l, level, event);
	if (l.off)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	logline_cstr(&l, "msg", text);
	logline_send(&l);
}

void
log_err(const char *event, const struct err *err)
{
	char text[640];

	log_msg(LOG_LEVEL_ERR, event, "%s", err_str(err, text, sizeof(text)));
}
