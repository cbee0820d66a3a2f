/* SPDX-License-Identifier: BSD-2-Clause */
/* The tests' DNS server as a program: dnsd [-p PORT] -z ZONEFILE [-P PIDFILE].  Prints
 * the port on a line of its own once it answers; HUP reads the zone again, TERM ends
 * it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "tests/lib/dnsd.h"

static int
read_file(const char *path, struct buf *out, struct err *err)
{
	FILE *f = fopen(path, "re");
	char part[4096];
	size_t n;

	if (f == NULL)
		return err_errno(err, "%s", path);
	while ((n = fread(part, 1, sizeof(part), f)) > 0)
		buf_add(out, part, n);
	int bad = ferror(f);
	fclose(f);
	return bad || out->failed ? err_set(err, "%s: cannot be read", path) : 0;
}

static void
complain(const struct err *err)
{
	char text[640];

	fprintf(stderr, "dnsd: %s\n", err_str(err, text, sizeof(text)));
}

static int
serve(struct dnsd *d, const char *zonefile, const sigset_t *set)
{
	struct err err;
	int sig;

	for (;;) {
		if (sigwait(set, &sig) != 0)
			return 71;
		if (sig != SIGHUP)
			return 0;
		struct buf zone;
		buf_init(&zone, 16 << 20);
		if (read_file(zonefile, &zone, &err) != 0 ||
		    dnsd_zone(d, buf_str(&zone), &err) != 0)
			complain(&err);
		buf_clear(&zone);
	}
}

static int
write_pid(const char *path, struct err *err)
{
	FILE *f = fopen(path, "we");

	if (f == NULL)
		return err_errno(err, "%s", path);
	fprintf(f, "%ld\n", (long)getpid());
	return fclose(f) == 0 ? 0 : err_errno(err, "%s", path);
}

int
main(int argc, char **argv)
{
	const char *zonefile = NULL, *pidfile = NULL;
	uint64_t port = 0;
	struct err err = { 0 };
	struct buf zone;
	sigset_t set;
	int c;

	while ((c = getopt(argc, argv, "p:z:P:")) != -1) {
		if (c == 'z')
			zonefile = optarg;
		else if (c == 'P')
			pidfile = optarg;
		else if (c != 'p' || !str_to_uint(str_of(optarg), 0, 65535, &port))
			return 64;
	}
	if (zonefile == NULL || optind != argc) {
		fprintf(stderr, "usage: dnsd [-p PORT] -z ZONEFILE [-P PIDFILE]\n");
		return 64;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	buf_init(&zone, 16 << 20);
	struct dnsd *d = NULL;
	if (read_file(zonefile, &zone, &err) == 0)
		d = dnsd_start(buf_str(&zone), (uint16_t)port, &err);
	buf_clear(&zone);
	if (d == NULL || (pidfile != NULL && write_pid(pidfile, &err) != 0)) {
		complain(&err);
		dnsd_stop(d);
		return 78;
	}
	printf("%u\n", dnsd_port(d));
	fflush(stdout);
	int status = serve(d, zonefile, &set);
	dnsd_stop(d);
	return status;
}
