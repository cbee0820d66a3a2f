/* SPDX-License-Identifier: BSD-2-Clause */
/* Fetches each daemon's metrics from its socket: Prometheus text as it comes, or as
 * JSON with one member per sample. */
#include "contrib/ctl/stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "contrib/ctl/command.h"
#include "contrib/ctl/common.h"
#include "contrib/ctl/dial.h"

#define ANSWER_MAX (8u << 20)

/* Everything that the daemon says; it ends by closing. */
static int
fetch(const char *spec, int64_t timeout_ms, struct buf *text, struct err *err)
{
	int64_t deadline = clock_mono_ms() + timeout_ms;
	int fd = dial(spec, deadline, err), n = 1;

	if (fd < 0)
		return -1;
	shutdown(fd, SHUT_WR); /* we ask nothing: it need not wait for a request */
	while (n > 0)
		n = dial_receive(fd, text, deadline, err);
	close(fd);
	return n;
}

/* "name{labels} value" per line; comments say type and help. */
static void
samples_json(struct buf *out, struct str text)
{
	struct str line;
	bool first = true;

	while (str_cut(&text, '\n', &line)) {
		ptrdiff_t blank = str_rindex(str_trim(line), ' ');

		if (line.len == 0 || line.p[0] == '#' || blank <= 0)
			continue;
		char *name = str_dup(str_sub(line, 0, (size_t)blank));
		char *value =
		    str_dup(str_trim(str_sub(line, (size_t)blank + 1, line.len)));
		uint64_t number;

		buf_add_cstr(out, first ? "" : ",");
		json_string(out, name);
		buf_add_char(out, ':');
		if (str_to_uint(str_of(value), 0, UINT64_MAX, &number))
			buf_add_cstr(out, value);
		else /* 0.25, +Inf: as they are written */
			json_string(out, value);
		first = false;
		free(name);
		free(value);
	}
}

static int
one(struct buf *out, const char *name, const char *spec, int64_t timeout_ms, bool json,
    bool first)
{
	struct buf text;
	struct err err;
	char told[640];

	buf_init(&text, ANSWER_MAX);
	int rc = fetch(spec, timeout_ms, &text, &err);
	if (rc != 0) {
		fprintf(stderr, "posternctl: %s: %s: %s\n", name, spec,
		    err_str(&err, told, sizeof(told)));
	} else if (json) {
		buf_addf(out, "%s\"%s\":{", first ? "" : ",", name);
		samples_json(out, buf_str(&text));
		buf_add_char(out, '}');
	} else {
		buf_addf(out, "# %s %s\n", name, spec);
		buf_add_str(out, buf_str(&text));
	}
	buf_clear(&text);
	return rc;
}

int
ctl_stats(int argc, char **argv)
{
	struct ctl_common common;
	const char *timeout = NULL;
	const struct ctl_option options[] = { { "--timeout", &timeout, NULL } };
	struct buf out;
	unsigned asked = 0, answered = 0;

	if (ctl_options(&argc, argv, &common, options, 1) != 0)
		return EX_USAGE;
	int64_t timeout_ms = ctl_timeout_ms("stats", timeout);
	if (timeout_ms < 0)
		return EX_USAGE;
	struct settings *s = ctl_settings(&common);
	if (s == NULL)
		return EX_CONFIG;
	const struct {
		const char *name, *spec;
	} daemons[] = {
		{ "access", s->access.metrics },
		{ "greylist", s->greylist.metrics },
		{ "mime", s->mime.metrics },
		{ "score", s->score.metrics },
	};
	buf_init(&out, CTL_OUTPUT_MAX);
	buf_add_cstr(&out, common.json ? "{" : "");
	for (size_t i = 0; i < sizeof(daemons) / sizeof(daemons[0]); i++) {
		if (daemons[i].spec[0] == '\0' ||
		    (argc > 1 && strcmp(argv[1], daemons[i].name) != 0))
			continue;
		asked++;
		answered += one(&out, daemons[i].name, daemons[i].spec, timeout_ms,
				common.json, answered == 0) == 0;
	}
	buf_add_cstr(&out, common.json ? "}\n" : "");
	settings_unref(s);
	if (asked == 0) {
		buf_clear(&out);
		fprintf(stderr,
		    "posternctl: no socket to ask: expected metrics in a milter's "
		    "block\n");
		return EX_CONFIG;
	}
	int written = ctl_output(&out);
	return answered < asked ? EX_UNAVAILABLE : written;
}
