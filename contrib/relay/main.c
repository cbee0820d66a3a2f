/* SPDX-License-Identifier: BSD-2-Clause */
/* postern-relay: the command line, and the steps before the processes start: the file
 * is read before anything is touched, ports are bound before root's rights are let go,
 * and all of it before the process leaves the foreground. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "common/run/listen.h"
#include "common/run/privs.h"
#include "common/run/ready.h"
#include "contrib/relay/tier.h"

#define LISTEN_MAX 32

struct options {
	const char *conf_path, *name;
	bool foreground, test;
};

static int
usage(void)
{
	fprintf(stderr, "usage: postern-relay [-ft] [-c file] name\n");
	return EX_USAGE;
}

static bool
parse_options(int argc, char **argv, struct options *o)
{
	int c;

	*o = (struct options){ .conf_path = POSTERN_CONF_DEFAULT };
	while ((c = getopt(argc, argv, "c:fn:t")) != -1) {
		switch (c) {
		case 'c':
			o->conf_path = optarg;
			break;
		case 'f':
			o->foreground = true;
			break;
		case 'n':
			o->name = optarg;
			break;
		case 't':
			o->test = true;
			break;
		default:
			return false;
		}
	}
	if (o->name == NULL && optind < argc)
		o->name = argv[optind++];
	return o->name != NULL && optind == argc;
}

static int
fail(int status, const struct err *err)
{
	char text[700];

	fprintf(stderr, "postern-relay: %s\n", err_str(err, text, sizeof(text)));
	return status;
}

static void
print_errs(struct errs *errs)
{
	char text[700];

	for (size_t i = 0; i < errs->n; i++)
		fprintf(stderr, "%s\n", err_str(&errs->list[i], text, sizeof(text)));
	if (errs->dropped > 0)
		fprintf(stderr, "and %zu more\n", errs->dropped);
	errs_clear(errs);
}

/* --- sockets --- */

/* "127.0.0.1:25" in the words of common/run/listen.h. */
static void
socket_spec(const char *listen, char out[120])
{
	struct ip ip;
	uint16_t port = 0;
	char text[IP_TEXT_MAX];

	(void)relay_listen_parse(str_of(listen), &ip, &port);
	if (ip.family == AF_INET6)
		(void)snprintf(out, 120, "inet6:%u@[%s]", port, ip_format(&ip, text));
	else if (ip.family == AF_INET)
		(void)snprintf(out, 120, "inet:%u@%s", port, ip_format(&ip, text));
	else /* takes IPv4, too */
		(void)snprintf(out, 120, "inet6:%u", port);
}

static int
open_sockets(const struct relay_conf *conf, int *fds, size_t *n, struct err *err)
{
	struct listener l;
	char spec[120];

	*n = 0;
	if (conf->listen.n > LISTEN_MAX)
		return err_set(err, "more than %d listen addresses", LISTEN_MAX);
	for (size_t i = 0; i < conf->listen.n; i++) {
		socket_spec(conf->listen.list[i], spec);
		if (listen_open(&l, spec, 0, NULL, err) < 0)
			return -1;
		fds[(*n)++] = l.fd;
		/* Several processes accept on it: whoever comes second must not wait.
		 */
		if (fcntl(l.fd, F_SETFL, O_NONBLOCK) < 0)
			return err_errno(err, "%s", spec);
	}
	return 0;
}

/* A queue that cannot be written would be found out by the first message only. */
static int
check_spool(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return err_errno(err, "spool %s", path);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, "spool %s is no directory", path);
	if (access(path, R_OK | W_OK | X_OK) < 0)
		return err_errno(err, "spool %s", path);
	return 0;
}

/* --- foreground and background --- */

/* The parent waits for one octet: all is up, and leaves; without it the child's exit
 * status is ours.  Returns the descriptor to write to; -1: error. */
static int
go_background(void)
{
	int ready[2], status = 0;
	char octet;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		return -1;
	if (pid == 0) {
		close(ready[0]);
		(void)setsid();
		if (chdir("/") < 0)
			fprintf(stderr, "/: %s\n", strerror(errno));
		return ready[1];
	}
	close(ready[1]);
	if (read(ready[0], &octet, 1) == 1)
		_exit(EX_OK);
	(void)waitpid(pid, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EX_OSERR);
}

static void
silence(int last)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = 0; fd >= 0 && i <= last; i++)
		(void)dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static const char *
or_null(const char *s)
{
	return s[0] == '\0' ? NULL : s;
}

static int
serve(struct tier *t, const struct options *o)
{
	const struct settings_run *run = &t->settings.common->run;
	int fds[LISTEN_MAX], status;
	char *path = realpath(o->conf_path, NULL);
	struct err err = { 0 };

	(void)umask(007);
	privs_raise_files();
	status = EX_UNAVAILABLE;
	if (path == NULL) {
		err_errno(&err, "%s", o->conf_path);
		goto out;
	}
	if (open_sockets(t->settings.relay, fds, &t->n_fds, &err) < 0)
		goto out;
	status = EX_OSERR;
	if (privs_drop(or_null(run->user), or_null(run->group), &err) < 0)
		goto out;
	status = EX_CANTCREAT;
	if (check_spool(t->settings.relay->spool, &err) < 0)
		goto out;
	status = EX_CONFIG;
	if (log_open("postern-relay", run->log, (enum log_level)run->log_level, &err) <
	    0)
		goto out;
	t->background_fd = -1;
	if (!o->foreground && !ready_supervised()) {
		status = EX_OSERR;
		t->background_fd = go_background();
		if (t->background_fd < 0) {
			err_errno(&err, "going to the background");
			goto out;
		}
		silence(strcmp(run->log, "stderr") == 0 ? 1 : 2);
	}
	t->conf_path = path;
	t->fds = fds;
	status = tier_run(t);
out:
	free(path);
	return err.text[0] == '\0' ? status : fail(status, &err);
}

int
main(int argc, char **argv)
{
	struct options o;
	struct tier t = { .background_fd = -1 };
	struct errs errs = { 0 };
	int status = EX_OK;

	if (!parse_options(argc, argv, &o))
		return usage();
	t.name = o.name;
	if (tier_load(o.conf_path, o.name, &t.settings, &errs) < 0) {
		print_errs(&errs);
		return EX_CONFIG;
	}
	if (!o.test)
		status = serve(&t, &o);
	tier_settings_clear(&t.settings);
	return status;
}
