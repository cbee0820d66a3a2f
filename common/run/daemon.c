/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of every milter daemon, and the steps that come before the
 * supervisor: the configuration is read before anything is touched, the socket is bound
 * before root's rights are let go, and all of it before the process leaves the
 * foreground. */
#include "common/run/daemon.h"

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
#include "common/base/str.h"
#include "common/base/xalloc.h"
#include "common/run/listen.h"
#include "common/run/privs.h"
#include "common/run/ready.h"
#include "common/run/supervisor.h"
#include "common/run/worker.h"

struct options {
	const char *conf_path;
	bool foreground, test, version;
	int worker_link, worker_listen; /* -1: not a worker */
	const char *jail_address; /* of a worker; "": no jail */
};

void
daemon_conf_clear(struct daemon_conf *conf)
{
	free(conf->socket);
	free(conf->socket_group);
	free(conf->user);
	free(conf->group);
	free(conf->log_target);
	free(conf->metrics);
	*conf = (struct daemon_conf){ 0 };
}

static bool
parse_worker(const char *text, struct options *o)
{
	struct str rest = str_of(text), head;
	uint64_t link_fd, listen_fd;

	if (!str_cut(&rest, ',', &head) || !str_to_uint(head, 3, 65535, &link_fd) ||
	    !str_cut(&rest, ',', &head) || !str_to_uint(head, 3, 65535, &listen_fd) ||
	    rest.p == NULL)
		return false;
	o->jail_address = rest.p; /* to the end of the argument */
	o->worker_link = (int)link_fd;
	o->worker_listen = (int)listen_fd;
	return true;
}

static bool
parse_options(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "worker", required_argument, NULL, 'W' }, { 0 }
	};
	int c;

	*o = (struct options){ .worker_link = -1, .worker_listen = -1 };
	while ((c = getopt_long(argc, argv, "c:ftV", longs, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->conf_path = optarg;
			break;
		case 'f':
			o->foreground = true;
			break;
		case 't':
			o->test = true;
			break;
		case 'V':
			o->version = true;
			break;
		case 'W':
			if (!parse_worker(optarg, o))
				return false;
			break;
		default:
			return false;
		}
	}
	return optind == argc;
}

static void
print_errs(const struct errs *errs)
{
	char text[700];

	for (size_t i = 0; i < errs->n; i++)
		fprintf(stderr, "%s\n", err_str(&errs->list[i], text, sizeof(text)));
	if (errs->dropped > 0)
		fprintf(stderr, "and %zu more\n", errs->dropped);
}

static int
fail(const struct daemon_ops *ops, int status, const struct err *err)
{
	char text[700];

	fprintf(stderr, "%s: %s\n", ops->name, err_str(err, text, sizeof(text)));
	return status;
}

/* An empty text is as good as none; the metrics' path may name its kind. */
static void
tidy(struct daemon_conf *conf)
{
	char **texts[] = { &conf->socket_group, &conf->user, &conf->group,
		&conf->metrics };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (*texts[i] != NULL && *texts[i][0] == '\0') {
			free(*texts[i]);
			*texts[i] = NULL;
		}
	if (conf->metrics == NULL || strncmp(conf->metrics, "unix:", 5) != 0)
		return;
	char *path = xstrdup(conf->metrics + 5);
	free(conf->metrics);
	conf->metrics = path;
}

bool
daemon_load(const struct daemon_ops *ops, const char *path, struct daemon_conf *conf,
    struct errs *errs)
{
	struct err err = { 0 };

	if (!ops->load(path, conf, errs))
		return false;
	size_t before = errs->n;
	tidy(conf);
	if (conf->socket == NULL)
		errs_add(errs, path, 0, "no socket is named");
	else if (listen_check(conf->socket, &err) < 0)
		errs_add(errs, path, 0, "%s", err.text);
	if (conf->log_target == NULL)
		conf->log_target = xstrdup("stderr");
	if (errs->n == before)
		return true;
	ops->snapshot_unref(conf->snapshot);
	conf->snapshot = NULL;
	return false;
}

/* Read the file and what of it concerns processes.  Returns an exit status. */
static int
load(const struct daemon_ops *ops, const char *path, struct daemon_conf *conf)
{
	struct errs errs = { 0 };
	int status = EX_OK;

	if (daemon_load(ops, path, conf, &errs)) {
		ops->snapshot_unref(conf->snapshot);
		conf->snapshot = NULL;
	} else {
		status = EX_CONFIG;
	}
	print_errs(&errs);
	errs_clear(&errs);
	return status;
}

/* The parent waits for one octet: the first worker serves, and leaves.  Without it the
 * child's exit status is ours.  Returns the descriptor to write to; -1: an error. */
static int
go_background(void)
{
	int ready[2];
	char octet;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -1;
	pid_t pid = fork();
	if (pid < 0)
		return -1;
	if (pid == 0) {
		close(ready[0]);
		setsid();
		if (chdir("/") < 0) /* keeps a file system busy at worst */
			fprintf(stderr, "/: %s\n", strerror(errno));
		return ready[1];
	}
	close(ready[1]);
	if (read(ready[0], &octet, 1) == 1)
		_exit(EX_OK);
	int status = 0;
	waitpid(pid, &status, 0);
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EX_OSERR);
}

static void
silence(int from, int to)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	for (int i = from; i <= to; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
}

static int
supervise(
    const struct daemon_ops *ops, const struct options *o, struct daemon_conf *conf)
{
	struct supervisor_conf sup = { .name = ops->name,
		.log_target = conf->log_target,
		.log_level = conf->log_level,
		.drain = conf->drain,
		.background_fd = -1 };
	struct listener l = { .fd = -1, .lock_fd = -1 };
	struct err err = { 0 };
	char program[4096], jail[4200];
	bool foreground = o->foreground || ready_supervised();

	ssize_t len = readlink("/proc/self/exe", program, sizeof(program) - 1);
	if (len < 0)
		return fail(ops, EX_OSERR, (err_errno(&err, "/proc/self/exe"), &err));
	program[len] = '\0';
	sup.program = program;
	/* The jail's program lies beside ours, installed or in the build folder. */
	char *slash = strrchr(program, '/');
	if (ops->jail != NULL && slash != NULL) {
		snprintf(jail, sizeof(jail), "%.*s/%s", (int)(slash - program), program,
		    ops->jail);
		if (access(jail, X_OK) != 0)
			return fail(ops, EX_OSERR, (err_errno(&err, "%s", jail), &err));
		sup.jail_program = jail;
	}
	/* A worker of a later day starts from the directory that we have left. */
	if (o->conf_path != NULL && (sup.conf_path = realpath(o->conf_path, NULL)) == NULL)
		return fail(ops, EX_CONFIG, (err_errno(&err, "%s", o->conf_path), &err));
	umask(007);
	privs_raise_files();
	supervisor_hold_signals();
	int status = EX_UNAVAILABLE;
	if (listen_open(
		&l, conf->socket, conf->socket_mode, conf->socket_group, &err) < 0)
		goto out;
	status = EX_OSERR;
	if (privs_drop(conf->user, conf->group, &err) < 0)
		goto out;
	status = EX_CONFIG;
	if (log_open(
		ops->name, conf->log_target, (enum log_level)conf->log_level, &err) < 0)
		goto out;
	if (!foreground) {
		sup.background_fd = go_background();
		if (sup.background_fd < 0) {
			status = EX_OSERR;
			err_errno(&err, "going to the background");
			goto out;
		}
		silence(0, strcmp(conf->log_target, "stderr") == 0 ? 1 : 2);
	}
	status = supervisor_run(&sup, &l);
out:
	if (err.text[0] != '\0')
		fail(ops, status, &err);
	listen_close(&l);
	free(sup.conf_path);
	return status;
}

int
daemon_main(int argc, char **argv, const struct daemon_ops *ops)
{
	struct daemon_conf conf = { 0 };
	struct options o;

	if (!parse_options(argc, argv, &o)) {
		fprintf(stderr, "usage: %s [-ftV] [-c file]\n", ops->name);
		return EX_USAGE;
	}
	if (o.version) {
		printf("%s %s\n", ops->name, ops->version);
		return EX_OK;
	}
	if (o.worker_link >= 0)
		worker_run(ops, o.conf_path, o.worker_link, o.worker_listen,
		    o.jail_address);
	int status = load(ops, o.conf_path, &conf);
	if (status == EX_OK && !o.test)
		status = supervise(ops, &o, &conf);
	daemon_conf_clear(&conf);
	return status;
}
