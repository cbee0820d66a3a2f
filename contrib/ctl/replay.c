/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads `event=envelope` lines of postern-access and judges each envelope anew, by another
 * configuration or map.  Map and settings are asked as the daemon asks them; of the checks
 * the findings stand as they were logged: what DNS said that day cannot be asked again.
 * Answers of DNS lists are weighed anew, as this configuration weighs them. */
#include "contrib/ctl/replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/future.h"
#include "common/base/xalloc.h"
#include "common/net/dnsbl.h"
#include "contrib/ctl/command.h"
#include "contrib/ctl/common.h"
#include "contrib/ctl/logged.h"
#include "db/map_spec.h"
#include "milters/access/access_case.h"
#include "milters/access/access_combine.h"
#include "policy/store_opener.h"

#define LINE_MAX_OCTETS (64 << 10)

/* ---- findings of the checks ---- */

/* What the logged findings come to. */
struct weighed {
	int64_t points;
	bool rejects, tempfails;
	/* Of the DNS lists, which count for nothing where one of them welcomes the client. */
	int64_t listed;
	bool lists_reject, welcome;
};

static bool
is_observed(const struct settings_access *set, const char *check)
{
	for (size_t i = 0; i < set->observe.n; i++)
		if (strcmp(set->observe.list[i], check) == 0)
			return true;
	return false;
}

/* "bl.example=127.0.0.2" as this configuration's list of that zone takes it. */
static void
weigh_list(const struct settings_access *set, struct str detail, struct weighed *w)
{
	struct dns_record record = { .preference = 0 };
	struct dns_answer answer = { .status = DNS_OK, .records = &record, .n = 1 };
	ptrdiff_t equals = str_rindex(detail, '=');

	if (equals < 0 || is_observed(set, "dnsbl") || !set->dnsbl ||
	    !ip_parse(str_sub(detail, (size_t)equals + 1, detail.len), &record.ip))
		return;
	for (size_t i = 0; i < set->dnsbl_lists.n; i++) {
		const struct dnsbl *list = &set->dnsbl_lists.list[i];

		if (!str_is_nocase(str_sub(detail, 0, (size_t)equals), list->zone) ||
		    list->observe)
			continue;
		struct dnsbl_result r = dnsbl_judge(list, &answer, NULL);
		if (r.state != DNSBL_LISTED)
			continue;
		w->welcome = w->welcome || (list->allow && r.refuses);
		w->lists_reject = w->lists_reject || (!list->allow && r.refuses);
		w->listed += r.points;
	}
}

/* "2.5", "-1" in thousandths. */
static int64_t
read_points(struct str s)
{
	bool minus = s.len > 0 && s.p[0] == '-';
	int64_t points = 0, unit = 1000;
	bool fraction = false;

	for (size_t i = minus ? 1 : 0; i < s.len; i++) {
		if (s.p[i] == '.') {
			fraction = true;
		} else if (ascii_digit(s.p[i]) && points < INT32_MAX) {
			points = fraction ? points + (unit /= 10) * (s.p[i] - '0')
					  : points * 10 + 1000 * (s.p[i] - '0');
		}
	}
	return minus ? -points : points;
}

/* One "check:detail(what)". */
static void
weigh_finding(const struct settings_access *set, struct str token, struct weighed *w)
{
	bool observed = token.len > 0 && token.p[0] == '?';

	if (observed)
		token = str_sub(token, 1, token.len);
	ptrdiff_t open = str_rindex(token, '('), colon = str_index(token, ':');
	if (open < 0 || token.len < 2)
		return;
	bool detailed = colon >= 0 && colon < open;
	struct str name = str_sub(token, 0, (size_t)(detailed ? colon : open));
	struct str what = str_sub(token, (size_t)open + 1, token.len - 1);
	if (str_is(name, "dnsbl")) {
		weigh_list(set,
		    detailed ? str_sub(token, (size_t)colon + 1, (size_t)open) : STR(""), w);
		return;
	}
	char check[40];
	snprintf(check, sizeof(check), "%.*s", (int)(name.len < 39 ? name.len : 39), name.p);
	if (observed || is_observed(set, check))
		return;
	if (str_is(what, "reject"))
		w->rejects = true;
	else if (str_is(what, "tempfail"))
		w->tempfails = true;
	else
		w->points += read_points(what);
}

/* What the logged findings come to under these settings; NULL: nothing. */
static const char *
judge_findings(const struct settings_access *set, const char *text)
{
	struct str rest = str_of(text);
	struct weighed w = { .points = 0 };

	while (rest.len > 0) {
		const char *end = memmem(rest.p, rest.len, ") ", 2);
		size_t len = end != NULL ? (size_t)(end - rest.p) + 1 : rest.len;

		weigh_finding(set, str_sub(rest, 0, len), &w);
		rest = str_sub(rest, len + 1, rest.len);
	}
	if (!w.welcome) {
		w.points += w.listed;
		w.rejects = w.rejects || w.lists_reject;
	}
	if (w.rejects || (set->reject_points > 0 && w.points >= set->reject_points))
		return "reject";
	return w.tempfails ? "tempfail" : NULL;
}

/* ---- judging ---- */

struct replay {
	struct settings *settings;
	struct access_maps *maps;
	struct access_maps_view *view;
	bool json;
	struct buf out;
	size_t envelopes, differ;
};

static struct access_case
case_of(const struct logged *l)
{
	const char *resolve = logged_get(l, "resolve", "FAIL");
	struct access_case c = { .name = logged_get(l, "name", ""),
		.resolve = access_resolve_of(resolve, strcmp(resolve, "OK") == 0),
		.helo = logged_get(l, "helo", ""),
		.mta = logged_get(l, "mta", ""),
		.mailer = logged_get(l, "mailer", ""),
		.authenticated = logged_get(l, "auth", NULL) != NULL,
		.from = logged_get(l, "from", ""),
		.to = logged_get(l, "to", NULL) };

	(void)ip_parse(str_of(logged_get(l, "client", "")), &c.ip);
	return c;
}

static void
put_text(struct replay *r, const char *where, unsigned long line, const struct logged *l,
    const char *was, const char *is, const struct access_judged *j)
{
	buf_addf(&r->out, "%s:%lu: %s -> %s client=%s from=%s", where, line, was, is,
	    logged_get(l, "client", ""), logged_get(l, "from", ""));
	if (logged_get(l, "to", NULL) != NULL)
		buf_addf(&r->out, " to=%s", logged_get(l, "to", ""));
	if (j->result.kind == ACCESS_REFUSED)
		buf_addf(&r->out, " reply=\"%d %s %s\"", j->result.verdict.code,
		    j->result.verdict.enhanced, j->result.verdict.text);
	if (j->result.key[0] != '\0')
		buf_addf(&r->out, " entry=%s", j->result.key);
	if (j->result.file != NULL)
		buf_addf(&r->out, " map=%s:%d", j->result.file, j->result.line);
	buf_add_char(&r->out, '\n');
}

static void
put_json(struct replay *r, const char *where, unsigned long line, const struct logged *l,
    const char *was, const char *is, const struct access_judged *j)
{
	static const char *const names[] = { "client", "name", "from", "to" };

	buf_addf(&r->out, "%s{\"file\":", r->differ > 1 ? "," : "");
	json_string(&r->out, where);
	buf_addf(&r->out, ",\"line\":%lu,\"was\":", line);
	json_string(&r->out, was);
	buf_add_cstr(&r->out, ",\"is\":");
	json_string(&r->out, is);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		buf_addf(&r->out, ",\"%s\":", names[i]);
		json_string_or_null(&r->out, logged_get(l, names[i], NULL));
	}
	buf_add_cstr(&r->out, ",\"entry\":");
	json_string_or_null(&r->out, j->result.key[0] != '\0' ? j->result.key : NULL);
	buf_add_cstr(&r->out, ",\"map\":");
	json_string_or_null(&r->out, j->result.file);
	buf_addf(&r->out, ",\"map_line\":%d,\"code\":%d}", j->result.line,
	    j->result.kind == ACCESS_REFUSED ? j->result.verdict.code : 0);
}

static void
judge_line(struct replay *r, const char *where, unsigned long line, const struct logged *l)
{
	const struct access_case c = case_of(l);
	const char *was = logged_get(l, "action", logged_get(l, "would", "continue"));
	struct access_judged j;
	char old_reply[64], new_reply[64] = "";

	access_case_judge(r->settings, r->view, &c, &j);
	const char *is = access_result_name(&j.result);
	if (j.result.kind == ACCESS_REFUSED) {
		snprintf(new_reply, sizeof(new_reply), "%d %s", j.result.verdict.code,
		    j.result.verdict.enhanced);
	} else if (!j.in_map) {
		const char *by =
		    judge_findings(&j.view.access, logged_get(l, "findings", ""));

		if (by != NULL)
			is = by;
	}
	snprintf(old_reply, sizeof(old_reply), "%s %s", logged_get(l, "code", ""),
	    logged_get(l, "status", ""));
	r->envelopes++;
	/* Findings keep the reply that they had: only the map's own is compared. */
	bool differs = strcmp(was, is) != 0 ||
	    (new_reply[0] != '\0' && old_reply[0] != ' ' &&
		strcmp(old_reply, new_reply) != 0);
	if (differs) {
		r->differ++;
		(r->json ? put_json : put_text)(r, where, line, l, was, is, &j);
	}
	policy_view_clear(&j.view);
}

static int
replay_file(struct replay *r, const char *path)
{
	bool standard = strcmp(path, "-") == 0;
	FILE *f = standard ? stdin : fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	unsigned long number = 0;
	struct logged l;
	ssize_t len;

	if (f == NULL) {
		fprintf(stderr, "posternctl access replay: %s: %s\n", path,
		    strerror(errno));
		return EX_NOINPUT;
	}
	while ((len = getline(&line, &size, f)) > 0) {
		number++;
		if (len < LINE_MAX_OCTETS && logged_read(line, &l))
			judge_line(r, path, number, &l);
	}
	int status = ferror(f) ? EX_NOINPUT : EX_OK;
	free(line);
	if (!standard)
		fclose(f);
	return status;
}

/* ---- the command ---- */

static struct store *
the_store(void *arg)
{
	return store_opener_get(arg);
}

static bool
wait_here(void *arg, struct future *f, int64_t deadline_ms)
{
	(void)arg;
	return future_wait(f, deadline_ms);
}

struct access_maps *
ctl_open_maps(struct settings *s, struct store_opener **opener)
{
	struct err err = { .text = "" };
	struct access_maps *maps = NULL;

	*opener = NULL;
	if (access_maps_need_store(&s->access))
		*opener = store_opener_new(s, &err);
	if (*opener != NULL || !access_maps_need_store(&s->access))
		maps = access_maps_open(s, the_store, *opener, &err);
	if (maps == NULL) {
		char text[640];

		fprintf(stderr, "posternctl: %s\n", err_str(&err, text, sizeof(text)));
	}
	return maps;
}

struct access_maps_view *
ctl_view_maps(struct access_maps *maps)
{
	return access_maps_view_new(maps, wait_here, NULL);
}

static int
replay_all(struct replay *r, int argc, char **argv)
{
	int status = EX_OK;

	buf_init(&r->out, CTL_OUTPUT_MAX);
	buf_add_cstr(&r->out, r->json ? "{\"differences\":[" : "");
	for (int i = 1; i < argc && status == EX_OK; i++)
		status = replay_file(r, argv[i]);
	if (r->json)
		buf_addf(&r->out, "],\"envelopes\":%zu,\"differ\":%zu}\n", r->envelopes,
		    r->differ);
	else
		buf_addf(&r->out, "%zu envelopes, %zu would be judged differently\n",
		    r->envelopes, r->differ);
	int written = ctl_output(&r->out);
	if (status == EX_OK)
		status = written;
	return status == EX_OK && r->differ > 0 ? CTL_DIFFERS : status;
}

int
ctl_access_replay(int argc, char **argv)
{
	struct ctl_common common;
	const char *map = NULL;
	const struct ctl_option options[] = { { "--map", &map, NULL } };
	struct store_opener *opener = NULL;
	struct replay r = { .settings = NULL };
	int status = EX_CONFIG;

	if (ctl_options(&argc, argv, &common, options, 1) != 0)
		return EX_USAGE;
	if (argc < 2)
		return ctl_usage("access", "replay: expected log files, or - for input");
	if (map != NULL && map_spec_wrong(str_of(map)) != NULL)
		return ctl_usage(
		    "access", "--map %s: expected %s", map, map_spec_wrong(str_of(map)));
	r.settings = ctl_settings(&common);
	r.json = common.json;
	if (r.settings == NULL)
		return EX_CONFIG;
	struct conf_strings *maps = &r.settings->access.maps, own = *maps;
	char *one = map != NULL ? xstrdup(map) : NULL;
	if (map != NULL)
		*maps = (struct conf_strings){ .list = &one, .n = 1 };
	r.maps = ctl_open_maps(r.settings, &opener);
	if (r.maps != NULL) {
		r.view = ctl_view_maps(r.maps);
		status = replay_all(&r, argc, argv);
		access_maps_view_free(r.view);
		access_maps_close(r.maps);
	}
	store_opener_free(opener);
	*maps = own;
	free(one);
	settings_unref(r.settings);
	return status;
}
