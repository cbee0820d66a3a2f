/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes one snapshot of all settings from a file: who owns which section, rules that
 * span several settings, where each value was read.  Rows are settings_table.c's,
 * policies are policy_set.c's. */
#include "policy/settings.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"
#include "policy/policy_set.h"
#include "policy/settings_table.h"

#define FOREIGN_MAX 16
#define FOREIGN_BLOCKS_MAX 64

/* Sections of programs that are not milters, known even where nobody registered them.
 */
static const char *const foreign_names[] = { "relay" };

static struct {
	pthread_mutex_t lock; /* of all below */
	struct {
		const char *section;
		bool (*check)(const struct conf_node *block, struct errs *errs);
	} list[FOREIGN_MAX];
	size_t n;
} foreign = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct settings_origin {
	struct conf_tree *tree; /* policies and places borrow from it */
	const struct conf_node **seen[SECTIONS]; /* by row; NULL: default */
	const struct conf_node
	    *foreign[FOREIGN_BLOCKS_MAX]; /* checked by their program */
	size_t n_foreign;
};

const struct conf_table *const *
settings_tables(size_t *n)
{
	*n = SECTIONS;
	return settings_table_list;
}

static void *
section_of(struct settings *s, size_t i)
{
	switch ((enum settings_section)i) {
	case SECTION_RUN:
		return &s->run;
	case SECTION_DNS:
		return &s->dns;
	case SECTION_STATE:
		return &s->state;
	case SECTION_GREYLIST:
		return &s->greylist;
	case SECTION_ACCESS:
		return &s->access;
	case SECTION_MIME:
		return &s->mime;
	case SECTION_SCORE:
		return &s->score;
	case SECTIONS:
		break;
	}
	return NULL;
}

const void *
settings_section(const struct settings *s, size_t i)
{
	static const size_t offsets[SECTIONS] = {
		[SECTION_RUN] = offsetof(struct settings, run),
		[SECTION_DNS] = offsetof(struct settings, dns),
		[SECTION_STATE] = offsetof(struct settings, state),
		[SECTION_GREYLIST] = offsetof(struct settings, greylist),
		[SECTION_ACCESS] = offsetof(struct settings, access),
		[SECTION_MIME] = offsetof(struct settings, mime),
		[SECTION_SCORE] = offsetof(struct settings, score),
	};

	return i < SECTIONS ? (const char *)s + offsets[i] : NULL;
}

const char *
settings_where(const struct settings *s, size_t i, size_t j, int *line)
{
	const struct conf_node *node = s->origin == NULL ? NULL : s->origin->seen[i][j];

	if (node == NULL)
		return NULL;
	*line = node->name.line;
	return node->name.file;
}

void
settings_register_foreign(const char *section,
    bool (*check)(const struct conf_node *block, struct errs *errs))
{
	pthread_mutex_lock(&foreign.lock);
	size_t i = 0;
	while (i < foreign.n && !str_is(str_of(section), foreign.list[i].section))
		i++;
	if (i < FOREIGN_MAX) {
		foreign.list[i].section = section;
		foreign.list[i].check = check;
		foreign.n = i == foreign.n ? i + 1 : foreign.n;
	}
	pthread_mutex_unlock(&foreign.lock);
}

/* false: nobody registered it. */
static bool
foreign_check(struct str name, bool (**check)(const struct conf_node *, struct errs *))
{
	bool found = false;

	pthread_mutex_lock(&foreign.lock);
	for (size_t i = 0; i < foreign.n && !found; i++) {
		found = str_is(name, foreign.list[i].section);
		*check = foreign.list[i].check;
	}
	pthread_mutex_unlock(&foreign.lock);
	return found;
}

bool
settings_foreign_section(struct str name)
{
	bool (*check)(const struct conf_node *, struct errs *);

	for (size_t i = 0; i < sizeof(foreign_names) / sizeof(foreign_names[0]); i++)
		if (str_is(name, foreign_names[i]))
			return true;
	return foreign_check(name, &check);
}

const struct conf_node *
settings_foreign_block(const struct settings *s, size_t i)
{
	return s->origin == NULL || i >= s->origin->n_foreign ? NULL : s->origin->foreign[i];
}

static struct settings *
settings_new(struct conf_tree *tree)
{
	struct settings *s = xcalloc(1, sizeof(*s));

	s->refs = 1;
	s->origin = xcalloc(1, sizeof(*s->origin));
	s->origin->tree = tree;
	for (size_t i = 0; i < SECTIONS; i++) {
		const struct conf_table *table = settings_table_list[i];

		conf_defaults(table, section_of(s, i));
		s->origin->seen[i] = xcalloc(table->n, sizeof(*s->origin->seen[i]));
	}
	return s;
}

static void
settings_free(struct settings *s)
{
	policy_set_free(s->policies);
	for (size_t i = 0; i < SECTIONS; i++) {
		conf_clear(settings_table_list[i], section_of(s, i));
		free(s->origin->seen[i]);
	}
	conf_free(s->origin->tree);
	free(s->origin);
	free(s);
}

struct settings *
settings_ref(struct settings *s)
{
	s->refs++;
	return s;
}

void
settings_unref(struct settings *s)
{
	if (s != NULL && --s->refs == 0)
		settings_free(s);
}

/* A statement outside blocks: of `run`; where it belongs to a block, say so. */
static void
read_statement(struct settings *s, const struct conf_node *node, struct errs *errs)
{
	const struct conf_table *run = settings_table_list[SECTION_RUN];

	if (str_is(node->name.text, "list") || str_is(node->name.text, "policy"))
		return; /* policy_set.c says what is missing */
	for (size_t i = SECTION_RUN + 1; i < SECTIONS; i++) {
		const struct conf_table *table = settings_table_list[i];

		if (str_is(node->name.text, table->section)) {
			errs_add(errs, node->name.file, node->name.line,
			    "%s stands alone: expected a block, %s { ... }",
			    table->section, table->section);
			return;
		}
		if (conf_find(run, node->name.text) == NULL &&
		    conf_find(table, node->name.text) != NULL) {
			errs_add(errs, node->name.file, node->name.line,
			    "\"%.*s\" outside a block: expected it inside %s { ... }",
			    STR_ARG(node->name.text), table->section);
			return;
		}
	}
	conf_apply_node(run, node, &s->run, s->origin->seen[SECTION_RUN], errs);
}

static void
unknown_block(const struct conf_node *node, struct errs *errs)
{
	const char *names[SECTIONS + 2 +
	    sizeof(foreign_names) / sizeof(foreign_names[0])] = { "list", "policy" };
	size_t n = 2;

	for (size_t i = 0; i < SECTIONS; i++)
		names[n++] = settings_table_list[i]->section;
	for (size_t i = 0; i < sizeof(foreign_names) / sizeof(foreign_names[0]); i++)
		names[n++] = foreign_names[i];
	conf_unknown(&node->name, "section", names, n, errs);
}

static bool
same_label(const struct conf_node *a, const struct conf_node *b)
{
	return str_eq(a->name.text, b->name.text) && a->n_values == b->n_values &&
	    (a->n_values == 0 || str_eq(a->values[0].text, b->values[0].text));
}

/* A block of a program that is not a milter: its own check, and one block per name. */
static void
read_foreign(struct settings *s, const struct conf_node *node,
    bool (*check)(const struct conf_node *, struct errs *), struct errs *errs)
{
	struct settings_origin *o = s->origin;

	for (size_t i = 0; i < o->n_foreign; i++) {
		if (same_label(o->foreign[i], node)) {
			errs_add(errs, node->name.file, node->name.line,
			    "%.*s stands twice under this name: expected one, the "
			    "other is in "
			    "%s:%d",
			    STR_ARG(node->name.text), o->foreign[i]->name.file,
			    o->foreign[i]->name.line);
			break;
		}
	}
	if (o->n_foreign == FOREIGN_BLOCKS_MAX)
		errs_add(errs, node->name.file, node->name.line,
		    "too many blocks of %.*s: expected at most %d",
		    STR_ARG(node->name.text), FOREIGN_BLOCKS_MAX);
	else
		o->foreign[o->n_foreign++] = node;
	check(node, errs);
}

static void
read_block(struct settings *s, const struct conf_node *node, struct errs *errs)
{
	bool (*check)(const struct conf_node *, struct errs *) = NULL;

	for (size_t i = 0; i < SECTIONS; i++) {
		const struct conf_table *table = settings_table_list[i];

		if (!str_is(node->name.text, table->section))
			continue;
		if (node->n_values > 0)
			errs_add(errs, node->name.file, node->name.line,
			    "%s takes no name: expected %s { ... }", table->section,
			    table->section);
		for (const struct conf_node *n = node->children; n != NULL; n = n->next)
			conf_apply_node(
			    table, n, section_of(s, i), s->origin->seen[i], errs);
		return;
	}
	if (str_is(node->name.text, "list") || str_is(node->name.text, "policy"))
		return; /* when all sections are known */
	if (foreign_check(node->name.text, &check))
		read_foreign(s, node, check, errs);
	else if (!settings_foreign_section(node->name.text))
		unknown_block(node, errs);
}

/* Name the later of two places that contradict each other. */
static void
contradiction(const struct settings *s, enum settings_section section, const char *a,
    const char *b, const char *text, struct errs *errs)
{
	const struct conf_table *table = settings_table_list[section];
	const struct conf_node *place = NULL;

	for (size_t j = 0; j < table->n; j++) {
		const struct conf_node *node = s->origin->seen[section][j];

		if (node != NULL &&
		    (str_is(node->name.text, a) || str_is(node->name.text, b)) &&
		    (place == NULL || node->name.line > place->name.line))
			place = node;
	}
	errs_add(errs, place == NULL ? NULL : place->name.file,
	    place == NULL ? 0 : place->name.line, "%s", text);
}

static bool
is_set(const struct settings *s, enum settings_section section, const char *name)
{
	const struct conf_table *table = settings_table_list[section];
	const struct conf_setting *row = conf_find(table, str_of(name));

	return s->origin->seen[section][row - table->settings] != NULL;
}

static bool
is_written(const struct settings *s, enum settings_section section, const char *name)
{
	const struct conf_table *table = settings_table_list[section];

	for (size_t j = 0; j < table->n; j++)
		if (strcmp(table->settings[j].name, name) == 0)
			return s->origin->seen[section][j] != NULL;
	return false;
}

/* One server, a master with sentinels, or a cluster. */
static void
check_servers(const struct settings *s, struct errs *errs)
{
	const struct settings_state *state = &s->state;

	if (state->sentinels.n > 0 && state->cluster.n > 0)
		contradiction(s, SECTION_STATE, "sentinel", "cluster",
		    "state: a cluster has no sentinels: expected one of sentinel and "
		    "cluster",
		    errs);
	if (state->sentinels.n > 0 && !is_written(s, SECTION_STATE, "master"))
		contradiction(s, SECTION_STATE, "sentinel", "sentinel",
		    "state: sentinels know masters by name: expected master as well",
		    errs);
	if (!is_written(s, SECTION_STATE, "sentinel") && state->master[0] != '\0')
		contradiction(s, SECTION_STATE, "master", "master",
		    "state: sentinels know masters by name: expected sentinel as well",
		    errs);
	if (is_written(s, SECTION_STATE, "redis") &&
	    (state->sentinels.n > 0 || state->cluster.n > 0))
		contradiction(s, SECTION_STATE, "redis",
		    state->cluster.n > 0 ? "cluster" : "sentinel",
		    "state: the server is found otherwise: expected one of redis, "
		    "sentinel and cluster",
		    errs);
	if (state->cluster.n > 0 && state->database != 0)
		contradiction(s, SECTION_STATE, "database", "cluster",
		    "state: a cluster has one database: expected database 0", errs);
	if (state->sentinel_user[0] != '\0' && state->sentinel_password_file[0] == '\0')
		contradiction(s, SECTION_STATE, "sentinel-user", "sentinel-user",
		    "state: a user has a password: expected sentinel-password-file as "
		    "well",
		    errs);
}

static void
check_together(const struct settings *s, struct errs *errs)
{
	check_servers(s, errs);
	if (s->greylist.window <= s->greylist.delay)
		contradiction(s, SECTION_GREYLIST, "window", "delay",
		    "greylist: no retry could ever pass: expected window longer than "
		    "delay",
		    errs);
	if (s->dns.deadline_ms < s->dns.timeout_ms)
		contradiction(s, SECTION_DNS, "deadline", "timeout",
		    "dns: no try could ever end: expected deadline not shorter than "
		    "timeout",
		    errs);
	if (s->state.user[0] != '\0' && s->state.password_file[0] == '\0')
		contradiction(s, SECTION_STATE, "user", "user",
		    "state: a user has a password: expected password-file as well",
		    errs);
	if (strcmp(s->greylist.socket, s->access.socket) == 0)
		contradiction(s, SECTION_ACCESS, "socket", "socket",
		    "access: socket is greylist's too: expected one for each milter",
		    errs);
	if (strcmp(s->mime.socket, s->access.socket) == 0 ||
	    strcmp(s->mime.socket, s->greylist.socket) == 0)
		contradiction(s, SECTION_MIME, "socket", "socket",
		    "mime: socket is another milter's too: expected one for each milter",
		    errs);
	if (strcmp(s->score.socket, s->access.socket) == 0 ||
	    strcmp(s->score.socket, s->greylist.socket) == 0 ||
	    strcmp(s->score.socket, s->mime.socket) == 0)
		contradiction(s, SECTION_SCORE, "socket", "socket",
		    "score: socket is another milter's too: expected one for each milter",
		    errs);
	if (s->mime.notify[0] != '\0' && s->mime.notify_via[0] == '\0')
		contradiction(s, SECTION_MIME, "notify", "notify",
		    "mime: nobody takes the notices: expected notify-via as well", errs);
}

struct store_conf
settings_store(const struct settings_state *state)
{
	return (struct store_conf){
		.engine = state->engine == STATE_REDIS ? "redis" : "embedded",
		.path = state->path,
		.size_max = state->size,
		.sync_ms = state->sync_ms,
		.snapshot_s = state->snapshot,
		.address = state->redis,
		.sentinels = (const char *const *)state->sentinels.list,
		.n_sentinels = state->sentinels.n,
		.master = state->master,
		.sentinel_user = state->sentinel_user,
		.sentinel_password_file = state->sentinel_password_file,
		.cluster = (const char *const *)state->cluster.list,
		.n_cluster = state->cluster.n,
		.user = state->user,
		.password_file = state->password_file,
		.secret_file = state->secret_file,
		.prefix = state->prefix,
		.database = state->database,
		.connections = state->connections,
		.deadline_ms = state->deadline_ms,
	};
}

struct resolver_conf
settings_resolver(const struct settings_dns *dns)
{
	return (struct resolver_conf){
		.servers = (const char *const *)dns->servers.list,
		.n_servers = dns->servers.n,
		.timeout_ms = dns->timeout_ms,
		.deadline_ms = dns->deadline_ms,
		.tries = (unsigned)dns->tries,
		.cache_entries = (size_t)dns->cache_entries,
	};
}

static void
set_host(struct settings *s)
{
	char name[256];

	if (s->run.host[0] != '\0' || gethostname(name, sizeof(name)) != 0)
		return;
	name[sizeof(name) - 1] = '\0';
	free(s->run.host);
	s->run.host = xstrdup(name[0] == '\0' ? "localhost" : name);
}

struct place {
	struct err err;
	size_t order;
};

static int
cmp_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int files = strcmp(x->err.file, y->err.file);

	if (files != 0)
		return files;
	if (x->err.line != y->err.line)
		return x->err.line < y->err.line ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

/* Faults come from several passes; people read a file from its top. */
static void
sort_errors(struct errs *errs, size_t from)
{
	size_t n = errs->n - from;
	struct place *places = n < 2 ? NULL : xcalloc(n, sizeof(*places));

	if (places == NULL)
		return;
	for (size_t i = 0; i < n; i++)
		places[i] = (struct place){ errs->list[from + i], i };
	qsort(places, n, sizeof(*places), cmp_place);
	for (size_t i = 0; i < n; i++)
		errs->list[from + i] = places[i].err;
	free(places);
}

/* Takes the tree. */
static struct settings *
settings_read(struct conf_tree *tree, size_t kept, size_t before, struct errs *errs)
{
	struct settings *s = settings_new(tree);

	for (const struct conf_node *n = conf_root(tree); n != NULL; n = n->next) {
		if (n->block)
			read_block(s, n, errs);
		else
			read_statement(s, n, errs);
	}
	if (!is_set(s, SECTION_GREYLIST, "exempt"))
		settings_greylist_shipped(&s->greylist, errs);
	check_together(s, errs);
	set_host(s);
	s->policies = policy_set_new(conf_root(tree), s, errs);
	if (errs->n + errs->dropped == before)
		return s;
	sort_errors(errs, kept);
	settings_unref(s);
	return NULL;
}

struct settings *
settings_load(const char *path, struct errs *errs)
{
	size_t kept = errs->n, before = errs->n + errs->dropped;
	struct conf_tree *tree = path == NULL ? conf_parse_text_all(STR(""), NULL, errs)
					      : conf_parse_file_all(path, errs);

	return settings_read(tree, kept, before, errs);
}

struct settings *
settings_from_text(struct str text, const char *name, struct errs *errs)
{
	size_t kept = errs->n, before = errs->n + errs->dropped;

	return settings_read(conf_parse_text_all(text, name, errs), kept, before, errs);
}

void
settings_restart_needed(
    const struct settings *from, const struct settings *to, struct errs *errs)
{
	struct buf old, fresh;

	buf_init(&old, CONF_FILE_MAX);
	buf_init(&fresh, CONF_FILE_MAX);
	for (size_t i = 0; i < SECTIONS; i++) {
		const struct conf_table *table = settings_table_list[i];

		for (size_t j = 0; j < table->n; j++) {
			const struct conf_setting *row = &table->settings[j];
			int line = 0;

			if (row->stage != STAGE_START)
				continue;
			buf_reset(&old);
			buf_reset(&fresh);
			conf_print(row, settings_section(from, i), &old);
			conf_print(row, settings_section(to, i), &fresh);
			if (str_eq(buf_str(&old), buf_str(&fresh)))
				continue;
			const char *file = settings_where(to, i, j, &line);
			errs_add(errs, file, line,
			    "%s.%s is %.100s now: %.100s needs a restart",
			    table->section, row->name, buf_cstr(&old),
			    buf_cstr(&fresh));
		}
	}
	buf_clear(&old);
	buf_clear(&fresh);
}
