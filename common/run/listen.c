/* SPDX-License-Identifier: BSD-2-Clause */
/* A UNIX socket is bound beside its name, gets mode and group, listens, and only then
 * is renamed into place: no MTA ever meets one that it may not open.  A lock file
 * beside it tells a second start, since rename() would quietly take the mail of the
 * first. */
#include "common/run/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/ip.h"
#include "common/base/str.h"
#include "common/base/xalloc.h"

#define LISTEN_BACKLOG 1024
#define LISTEN_FDS_START 3 /* sd_listen_fds(3) */
#define BIND_PATIENCE_MS 6000 /* a worker whose supervisor died lets go within 5 s */

enum family { SPEC_UNIX, SPEC_INET, SPEC_INET6 };

struct spec {
	enum family family;
	const char *path;
	struct ip ip;
	uint16_t port;
};

static int
parse_inet(struct str rest, struct spec *out, struct err *err)
{
	struct str port;
	uint64_t number;
	bool v6 = out->family == SPEC_INET6;

	str_cut(&rest, '@', &port);
	if (!str_to_uint(port, 1, 65535, &number))
		return err_set(
		    err, "port \"%.*s\", expected 1 to 65535", STR_ARG(port));
	out->port = (uint16_t)number;
	if (rest.len == 0)
		rest = v6 ? STR("::") : STR("0.0.0.0");
	if (!ip_parse(rest, &out->ip) || out->ip.family != (v6 ? AF_INET6 : AF_INET))
		return err_set(err, "address \"%.*s\", expected an IPv%d address",
		    STR_ARG(rest), v6 ? 6 : 4);
	return 0;
}

static int
parse_spec(const char *text, struct spec *out, struct err *err)
{
	struct str s = str_of(text);
	struct sockaddr_un sun;

	*out = (struct spec){ .family = SPEC_UNIX };
	if (strlen(text) > 300)
		return err_set(err, "socket name of %zu octets", s.len);
	if (str_starts(s, STR("inet:"))) {
		out->family = SPEC_INET;
		return parse_inet(str_sub(s, 5, s.len), out, err);
	}
	if (str_starts(s, STR("inet6:"))) {
		out->family = SPEC_INET6;
		return parse_inet(str_sub(s, 6, s.len), out, err);
	}
	out->path = text;
	if (str_starts(s, STR("unix:")) || str_starts(s, STR("local:")))
		out->path = strchr(text, ':') + 1;
	if (out->path[0] != '/')
		return err_set(err,
		    "socket \"%s\", expected unix:/path, inet:port@address or "
		    "inet6:port@[address]",
		    text);
	if (strlen(out->path) + strlen(".new") >= sizeof(sun.sun_path))
		return err_set(err, "socket path %s is longer than %zu octets",
		    out->path, sizeof(sun.sun_path) - 1 - strlen(".new"));
	return 0;
}

int
listen_check(const char *spec, struct err *err)
{
	struct spec s;

	return parse_spec(spec, &s, err);
}

/* Bind to path.new with all rights taken away but ours until they are set. */
static int
bind_unix(const char *path, unsigned mode, gid_t gid, int backlog, struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_errno(err, "socket");
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s.new", path);
	unlink(sun.sun_path);
	mode_t before = umask(0177);
	int r = bind(fd, (struct sockaddr *)&sun, sizeof(sun));
	umask(before);
	if (r < 0) {
		err_errno(err, "%s", sun.sun_path);
		close(fd);
		return -1;
	}
	if ((gid != (gid_t)-1 && chown(sun.sun_path, (uid_t)-1, gid) < 0) ||
	    chmod(sun.sun_path, mode) < 0 || listen(fd, backlog) < 0 ||
	    rename(sun.sun_path, path) < 0) {
		err_errno(err, "%s", path);
		unlink(sun.sun_path);
		close(fd);
		return -1;
	}
	return fd;
}

int
listen_unix_replace(const char *path, unsigned mode, int backlog, struct err *err)
{
	struct sockaddr_un sun;
	struct stat st;

	if (path[0] != '/' || strlen(path) + strlen(".new") >= sizeof(sun.sun_path))
		return err_set(err, "socket path %s is not absolute or too long", path);
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return err_set(err, "%s exists and is not a socket", path);
	return bind_unix(path, mode, (gid_t)-1, backlog, err);
}

static int
find_group(const char *name, gid_t *gid, struct err *err)
{
	*gid = (gid_t)-1;
	if (name == NULL)
		return 0;
	errno = 0;
	struct group *g = getgrnam(name);
	if (g == NULL)
		return err_set(err, "group \"%s\" does not exist", name);
	*gid = g->gr_gid;
	return 0;
}

/* The lock file stays: removing it would let two starters lock two different files. */
static int
lock_path(const char *path, struct err *err)
{
	char *name = xasprintf("%s.lock", path);
	int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		err_errno(err, "%s", name);
	if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			err_set(err, "%s is served by another process", path);
		else
			err_errno(err, "%s", name);
		close(fd);
		fd = -1;
	}
	free(name);
	return fd;
}

static int
open_unix(struct listener *l, const char *path, unsigned mode, const char *group,
    struct err *err)
{
	struct stat st;
	gid_t gid;

	if (find_group(group, &gid, err) < 0)
		return -1;
	if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return err_set(err, "%s exists and is not a socket", path);
	l->lock_fd = lock_path(path, err);
	if (l->lock_fd < 0)
		return -1;
	l->fd = bind_unix(path, mode, gid, LISTEN_BACKLOG, err);
	if (l->fd < 0)
		return -1;
	l->path = xstrdup(path);
	if (lstat(path, &st) == 0) {
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	return 0;
}

static int
open_inet(struct listener *l, const struct spec *spec, struct err *err)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	struct sockaddr_storage sa;
	socklen_t len = ip_to_sockaddr(&spec->ip, spec->port, &sa);
	int64_t deadline = clock_mono_ms() + BIND_PATIENCE_MS;
	int on = 1;

	l->fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return err_errno(err, "socket");
	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Small packets that wait for each other's answer; accept() inherits it. */
	setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	while (bind(l->fd, (struct sockaddr *)&sa, len) < 0 ||
	    listen(l->fd, LISTEN_BACKLOG) < 0) {
		if (errno != EADDRINUSE || clock_mono_ms() >= deadline)
			return err_errno(err, "port %u", spec->port);
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* sd_listen_fds(3): one descriptor, ours by LISTEN_PID.  1: taken, 0: none. */
static int
take_activated(struct listener *l, struct err *err)
{
	const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
	uint64_t number;
	int on = 0;
	socklen_t len = sizeof(on);

	if (pid == NULL || n == NULL)
		return 0;
	if (!str_to_uint(str_of(pid), 1, INT32_MAX, &number) ||
	    (pid_t)number != getpid())
		return 0;
	if (!str_to_uint(str_of(n), 1, 1, &number))
		return err_set(err, "LISTEN_FDS=%s, expected one socket", n);
	if (getsockopt(LISTEN_FDS_START, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) < 0 ||
	    on == 0)
		return err_set(
		    err, "the socket from the service manager does not listen");
	fcntl(LISTEN_FDS_START, F_SETFD, FD_CLOEXEC);
	l->fd = LISTEN_FDS_START;
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return 1;
}

int
listen_open(struct listener *l, const char *spec_text, unsigned mode, const char *group,
    struct err *err)
{
	struct spec spec;

	*l = (struct listener){ .fd = -1, .lock_fd = -1 };
	int r = take_activated(l, err);
	if (r != 0)
		return r < 0 ? -1 : 0;
	if (parse_spec(spec_text, &spec, err) < 0)
		return -1;
	r = spec.family == SPEC_UNIX ? open_unix(l, spec.path, mode, group, err)
				     : open_inet(l, &spec, err);
	if (r < 0)
		listen_close(l);
	return r;
}

void
listen_close(struct listener *l)
{
	struct stat st;

	if (l->path != NULL && lstat(l->path, &st) == 0 && st.st_dev == l->dev &&
	    st.st_ino == l->ino)
		unlink(l->path);
	free(l->path);
	if (l->fd >= 0)
		close(l->fd);
	if (l->lock_fd >= 0)
		close(l->lock_fd);
	*l = (struct listener){ .fd = -1, .lock_fd = -1 };
}
