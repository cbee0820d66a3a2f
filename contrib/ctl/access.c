/* SPDX-License-Identifier: BSD-2-Clause */
/* Edits a shared access map in the store.  What would be left out when a daemon reads the
 * map is refused here, with the same words. */
#include "contrib/ctl/access.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/future.h"
#include "common/base/xalloc.h"
#include "contrib/ctl/command.h"
#include "contrib/ctl/common.h"
#include "contrib/ctl/replay.h"
#include "db/map.h"
#include "db/map_spec.h"
#include "db/store.h"
#include "milters/access/access_value.h"

#define WAIT_MS 5000
#define LOG_LINES 20 /* that log prints unless told otherwise */

/* What every subcommand has. */
struct work {
	struct ctl_common common;
	const char *map_option, *expires, *note, *count;
	struct settings *settings;
	struct store *store;
	char map[65];
};

/* ---- which map, which store ---- */

/* The shared map that is meant: --map, or the only one that access.maps names. */
static int
pick_map(struct work *w)
{
	const struct conf_strings *maps = &w->settings->access.maps;
	struct str name, found = { NULL, 0 };
	size_t n = 0;

	if (w->map_option != NULL) {
		char *spec = xasprintf("shared:%s", w->map_option);
		bool good = map_spec_wrong(str_of(spec)) == NULL;

		free(spec);
		if (!good)
			return ctl_usage("access", "--map %s: expected a name",
				   w->map_option),
			       -1;
		snprintf(w->map, sizeof(w->map), "%s", w->map_option);
		return 0;
	}
	for (size_t i = 0; i < maps->n; i++)
		if (map_spec_kind(str_of(maps->list[i]), &name) == MAP_KIND_SHARED) {
			found = name;
			n++;
		}
	if (n != 1)
		return ctl_usage("access",
			   "access.maps names %zu shared maps: expected --map NAME", n),
		       -1;
	snprintf(w->map, sizeof(w->map), "%.*s", STR_ARG(found));
	return 0;
}

static int
work_open(struct work *w)
{
	struct err err = { .text = "" };

	w->settings = ctl_settings(&w->common);
	if (w->settings == NULL)
		return EX_CONFIG;
	if (pick_map(w) != 0)
		return EX_USAGE;
	const struct store_conf conf = settings_store(&w->settings->state);
	w->store = store_open(&conf, &err);
	if (w->store == NULL) {
		fprintf(stderr, "posternctl access: %s\n", err.text);
		return EX_TEMPFAIL;
	}
	return EX_OK;
}

static void
work_close(struct work *w)
{
	if (w->store != NULL)
		store_close(w->store);
	settings_unref(w->settings);
}

/* Who edits: the person behind sudo, at which host. */
static char *
editor(const struct settings *s)
{
	const char *sudo = getenv("SUDO_USER");
	const struct passwd *pw = getpwuid(getuid());

	return xasprintf("%s@%s",
	    sudo != NULL && sudo[0] != '\0' ? sudo
		: pw != NULL                ? pw->pw_name
					    : "unknown",
	    s->run.host);
}

/* ---- add, del ---- */

/* NULL: told on stderr. */
static char *
entry_value(const struct work *w, const char *key, const char *value)
{
	char *note = xasprintf("%s%s%s%s", w->expires != NULL ? "expires " : "",
	    w->expires != NULL ? w->expires : "",
	    w->expires != NULL && w->note != NULL ? " " : "",
	    w->note != NULL ? w->note : "");
	struct str text, tag;
	struct ipnet net;
	struct err err = { .text = "" };
	int64_t expires;
	char *out = NULL;

	if (key[0] == '\0' || strlen(key) > MAP_KEY_MAX || strpbrk(key, " \t\r\n") != NULL)
		err_set(&err, "key: expected 1 to %d octets without blanks", MAP_KEY_MAX);
	else if (access_key_is_foreign(str_of(key), &tag))
		err_set(&err, "%.*s is left to the MTA: expected an entry of ours",
		    STR_ARG(tag));
	else if (map_net_parse(str_of(key), &tag, &net, &err) < 0 ||
	    access_value_check(str_of(value), &err) != 0)
		; /* err says it */
	else if (value[0] == '\0' || strlen(value) > MAP_LINE_MAX ||
	    strpbrk(value, "\r\n") != NULL || strpbrk(note, "\r\n") != NULL)
		err_set(&err, "value and note: expected one line each");
	else if (map_note_parse(str_of(note), &expires, &text, &err))
		out = note[0] != '\0' ? xasprintf("#: %s\n%s", note, value)
				      : xstrdup(value);
	free(note);
	if (out == NULL)
		fprintf(stderr, "posternctl access: %s: %s\n", key, err.text);
	return out;
}

/* value NULL: remove. */
static int
set_entry(struct work *w, const char *key, const char *value)
{
	struct str v = { NULL, 0 };
	char *folded = str_dup_lower(str_of(key)), *who = editor(w->settings);

	if (value != NULL)
		v = str_of(value);
	struct future *f = store_map_set(w->store, str_of(w->map), str_of(folded), v,
	    str_of(who), store_now(w->store));
	bool came = future_wait(f, clock_mono_ms() + WAIT_MS);
	const struct map_answer *a = came ? future_value(f) : NULL;
	int status = EX_OK;
	if (a == NULL || a->state != STORE_OK) {
		fprintf(stderr, "posternctl access: the store %s\n",
		    a != NULL && a->state == STORE_FULL ? "is full"
							: "does not answer");
		status = EX_TEMPFAIL;
	} else if (value == NULL && !a->found) {
		fprintf(stderr, "posternctl access: %s: no such entry in shared:%s\n", key,
		    w->map);
		status = EX_NOTFOUND;
	}
	future_unref(f);
	free(folded);
	free(who);
	return status;
}

static int
do_add(struct work *w, int argc, char **argv)
{
	struct buf text;

	if (argc < 3)
		return ctl_usage("access", "add: expected KEY VALUE");
	buf_init(&text, MAP_LINE_MAX);
	for (int i = 2; i < argc; i++) /* as in the file: the value has blanks */
		buf_addf(&text, "%s%s", i > 2 ? " " : "", argv[i]);
	int status = work_open(w);
	char *value =
	    status == EX_OK ? entry_value(w, argv[1], buf_cstr(&text)) : NULL;
	if (status == EX_OK)
		status = value != NULL ? set_entry(w, argv[1], value) : EX_DATAERR;
	free(value);
	buf_clear(&text);
	return status;
}

static int
do_del(struct work *w, int argc, char **argv)
{
	if (argc != 2)
		return ctl_usage("access", "del: expected KEY");
	int status = work_open(w);
	return status == EX_OK ? set_entry(w, argv[1], NULL) : status;
}

/* ---- list ---- */

struct listed {
	char *key, *value;
};

struct list {
	struct listed *entries;
	size_t n, cap;
	const char *pattern;
};

static bool
list_add(void *arg, struct str key, struct str value)
{
	struct list *l = arg;

	if (l->pattern != NULL &&
	    memmem(key.p, key.len, l->pattern, strlen(l->pattern)) == NULL)
		return true;
	if (l->n == l->cap) {
		l->cap = l->cap == 0 ? 64 : l->cap * 2;
		l->entries = xreallocarray(l->entries, l->cap, sizeof(*l->entries));
	}
	l->entries[l->n++] = (struct listed){ str_dup(key), str_dup(value) };
	return true;
}

static int
list_order(const void *a, const void *b)
{
	return strcmp(((const struct listed *)a)->key, ((const struct listed *)b)->key);
}

/* "#: ..." and its line feed, or nothing; *value moves behind it. */
static struct str
cut_note(const char **value)
{
	const char *lf = strchr(*value, '\n');
	struct str note = { NULL, 0 };

	if (strncmp(*value, "#:", 2) == 0 && lf != NULL) {
		note = str_trim((struct str){ *value + 2, (size_t)(lf - *value) - 2 });
		*value = lf + 1;
	}
	return note;
}

static void
json_entry(struct buf *out, const char *key, const char *value, struct str note)
{
	char *text = str_dup(note);

	buf_add_cstr(out, "{\"key\":");
	json_string(out, key);
	buf_add_cstr(out, ",\"value\":");
	json_string(out, value);
	buf_add_cstr(out, ",\"note\":");
	json_string_or_null(out, note.len > 0 ? text : NULL);
	buf_add_char(out, '}');
	free(text);
}

/* The text has the form of a map file with extensions. */
static void
list_print(const struct list *l, int64_t version, bool json, struct buf *out)
{
	if (json)
		buf_addf(out, "{\"version\":%lld,\"entries\":[", (long long)version);
	for (size_t i = 0; i < l->n; i++) {
		const char *value = l->entries[i].value;
		struct str note = cut_note(&value);

		if (json) {
			buf_add_cstr(out, i > 0 ? "," : "");
			json_entry(out, l->entries[i].key, value, note);
			continue;
		}
		if (note.len > 0)
			buf_addf(out, "#: %.*s\n", STR_ARG(note));
		buf_addf(out, "%s\t%s\n", l->entries[i].key, value);
	}
	buf_add_cstr(out, json ? "]}\n" : "");
}

static int
do_list(struct work *w, int argc, char **argv)
{
	struct list l = { 0 };
	struct err err = { .text = "" };
	int64_t version = 0;
	struct buf out;

	if (argc > 2)
		return ctl_usage("access", "list: expected at most a part of keys");
	int status = work_open(w);
	if (status != EX_OK)
		return status;
	char *pattern = argc == 2 ? str_dup_lower(str_of(argv[1])) : NULL;
	l.pattern = pattern;
	if (store_map_read(w->store, str_of(w->map), &version, list_add, &l, &err) != 0) {
		fprintf(stderr, "posternctl access: %s\n", err.text);
		status = EX_TEMPFAIL;
	} else {
		if (l.n > 0)
			qsort(l.entries, l.n, sizeof(*l.entries), list_order);
		buf_init(&out, CTL_OUTPUT_MAX);
		list_print(&l, version, w->common.json, &out);
		status = ctl_output(&out);
	}
	for (size_t i = 0; i < l.n; i++) {
		free(l.entries[i].key);
		free(l.entries[i].value);
	}
	free(l.entries);
	free(pattern);
	return status;
}

/* ---- log ---- */

struct changes {
	struct buf out;
	bool json, any;
};

static bool
print_change(void *arg, const struct map_change *c)
{
	struct changes *to = arg;
	time_t when = (time_t)c->when;
	char *key = str_dup(c->key), *whole = str_dup(c->value), *who = str_dup(c->who);
	const char *value = whole;
	char date[32];
	struct tm tm;

	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&when, &tm));
	struct str note = cut_note(&value);
	if (to->json) {
		buf_addf(&to->out, "%s{\"when\":\"%s\",\"who\":", to->any ? "," : "", date);
		json_string(&to->out, who);
		buf_addf(&to->out, ",\"removed\":%s,\"entry\":",
		    c->removed ? "true" : "false");
		json_entry(&to->out, key, c->removed ? "" : value, note);
		buf_add_char(&to->out, '}');
	} else {
		buf_addf(&to->out, "%s %s %s %s", date, who, c->removed ? "del" : "add", key);
		if (!c->removed)
			buf_addf(&to->out, "\t%s", value);
		if (note.len > 0)
			buf_addf(&to->out, "\t#: %.*s", STR_ARG(note));
		buf_add_char(&to->out, '\n');
	}
	to->any = true;
	free(key);
	free(whole);
	free(who);
	return !to->out.failed;
}

static int
do_log(struct work *w, int argc, char **argv)
{
	struct changes to = { .json = w->common.json };
	struct err err = { .text = "" };
	uint64_t n = LOG_LINES;

	if (argc > 1)
		return ctl_usage("access", "log: expected no argument \"%s\"", argv[1]);
	if (w->count != NULL && !str_to_uint(str_of(w->count), 1, 1000, &n))
		return ctl_usage("access", "-n %s: expected 1 to 1000", w->count);
	int status = work_open(w);
	if (status != EX_OK)
		return status;
	buf_init(&to.out, CTL_OUTPUT_MAX);
	buf_add_cstr(&to.out, to.json ? "[" : "");
	if (store_map_log(
		w->store, str_of(w->map), (size_t)n, print_change, &to, &err) != 0) {
		fprintf(stderr, "posternctl access: %s\n", err.text);
		buf_clear(&to.out);
		return EX_TEMPFAIL;
	}
	buf_add_cstr(&to.out, to.json ? "]\n" : "");
	return ctl_output(&to.out);
}

int
ctl_access(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(struct work *w, int argc, char **argv);
	} verbs[] = { { "add", do_add }, { "del", do_del }, { "list", do_list },
		{ "log", do_log } };
	struct work w = { .store = NULL };
	const struct ctl_option options[] = {
		{ "--map", &w.map_option, NULL },
		{ "--expires", &w.expires, NULL },
		{ "--note", &w.note, NULL },
		{ "-n", &w.count, NULL },
	};
	int status = -1;

	if (argc > 1 && strcmp(argv[1], "replay") == 0)
		return ctl_access_replay(argc - 1, argv + 1);
	if (ctl_options(&argc, argv, &w.common, options, 4) != 0)
		return EX_USAGE;
	for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strcmp(argv[1], verbs[i].name) == 0)
			status = verbs[i].run(&w, argc - 1, argv + 1);
	work_close(&w);
	return status >= 0
	    ? status
	    : ctl_usage("access", "expected add, del, list, log or replay");
}
