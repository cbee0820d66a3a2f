/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the file exactly as the daemons do at their start, for all of them at once, and
 * the maps and rules that it names. */
#include "contrib/ctl/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "contrib/ctl/check_tiers.h"
#include "contrib/ctl/command.h"
#include "contrib/ctl/common.h"
#include "db/map.h"
#include "db/map_spec.h"
#include "milters/access/access_value.h"
#include "milters/score/rules.h"

static void
render(struct buf *out, const char *file, const struct errs *errs)
{
	buf_add_cstr(out, "{\"file\":");
	json_string_or_null(out, file);
	buf_addf(out, ",\"right\":%s,\"more\":%zu,\"errors\":[",
	    errs->n == 0 ? "true" : "false", errs->dropped);
	for (size_t i = 0; i < errs->n; i++) {
		const struct err *e = &errs->list[i];

		buf_addf(out, "%s{\"file\":", i == 0 ? "" : ",");
		json_string_or_null(out, e->file[0] == '\0' ? NULL : e->file);
		buf_addf(out, ",\"line\":%d,\"text\":", e->line);
		json_string(out, e->text);
		buf_add_char(out, '}');
	}
	buf_add_cstr(out, "]}\n");
}

static void
warn_lines(const struct errs *errs)
{
	char text[640];

	for (size_t i = 0; i < errs->n; i++)
		fprintf(stderr, "posternctl: warning: %s\n",
		    err_str(&errs->list[i], text, sizeof(text)));
}

/* A file that is missing or faulty keeps its daemon from starting; a line that is left out,
 * or a .db that was forgotten, does not. */
static void
check_map_file(const char *spec, const struct map_rules *rules, struct errs *errs)
{
	struct map *m = map_open_rules(spec, rules, errs);
	struct err err;

	if (m == NULL)
		return;
	struct map_table *t = map_table_ref(m);
	warn_lines(map_refused(t));
	warn_lines(map_said(t));
	map_table_unref(t);
	if (map_is_stale(m, &err))
		fprintf(stderr, "posternctl: warning: %s: %s\n", err.file, err.text);
	map_close(m);
}

/* Where a setting of block access stands, NULL where it does not. */
static const char *
access_where(const struct settings *s, const char *setting, int *line)
{
	size_t n, i = 0;
	const struct conf_table *const *tables = settings_tables(&n);
	const char *file = NULL;

	while (strcmp(tables[i]->section, "access") != 0)
		i++;
	for (size_t j = 0; file == NULL && j < tables[i]->n; j++)
		if (strcmp(tables[i]->settings[j].name, setting) == 0)
			file = settings_where(s, i, j, line);
	return file;
}

/* Servers are not asked: they may come later. */
static void
check_map_list(const struct settings *s, const char *setting,
    const struct conf_strings *maps, const struct map_rules *rules, struct errs *errs)
{
	const struct access_ldaps *ldaps = &s->access.ldaps;
	struct str name;
	int line = 0;
	const char *file = access_where(s, setting, &line);

	for (size_t i = 0; i < maps->n; i++) {
		const char *spec = maps->list[i];
		enum map_kind kind = map_spec_kind(str_of(spec), &name);
		size_t k = 0;

		if (kind == MAP_KIND_FILE)
			check_map_file(spec, rules, errs);
		while (k < ldaps->n && !str_is(name, ldaps->list[k].name))
			k++;
		if (kind == MAP_KIND_LDAP && k == ldaps->n)
			errs_add(errs, file, line,
			    "%s: %s: expected a block ldap \"%.*s\" { ... }", setting, spec,
			    STR_ARG(name));
	}
}

static void
check_maps(const struct settings *s, struct errs *errs)
{
	const struct map_rules rules = access_map_rules(s->access.extensions);
	const struct map_rules plain = { .check = NULL };
	const struct access_recipient_sets *sets = &s->access.recipient_sets;

	check_map_list(s, "maps", &s->access.maps, &rules, errs);
	for (size_t i = 0; i < sets->n; i++)
		check_map_list(s, "recipients", &sets->list[i].maps, &plain, errs);
}

/* The same goes for rules.  Expressions are the jail's to compile: posternctl test score
 * shows what became of them. */
static void
check_rules(const struct settings *s, struct errs *errs)
{
	rules_free(rules_load(
	    (const char *const *)s->score.rules.list, s->score.rules.n, errs));
}

/* What is missing at first and may come later: told, and no error. */
static void
warn_missing(const char *section, const char *setting, const char *path, int mode)
{
	if (access(path, mode) != 0)
		fprintf(stderr, "posternctl: warning: %s.%s: %s: %s\n", section, setting, path,
		    strerror(errno));
}

/* Secrets may be nobody's business who only checks: that they are there is enough. */
static void
warn_missing_secrets(const struct settings *s)
{
	const struct settings_access *a = &s->access;

	for (size_t i = 0; i < a->dnsbl_lists.n; i++)
		if (a->dnsbl_lists.list[i].key_file[0] != '\0')
			warn_missing("access", "dnsbl.key-file", a->dnsbl_lists.list[i].key_file, F_OK);
	for (size_t i = 0; i < a->ldaps.n; i++)
		if (a->ldaps.list[i].password_file[0] != '\0')
			warn_missing("access", "ldap.password-file",
			    a->ldaps.list[i].password_file, F_OK);
}

int
ctl_check(int argc, char **argv)
{
	struct ctl_common common;
	struct errs errs = { 0 };
	struct buf out;

	if (ctl_options(&argc, argv, &common, NULL, 0) != 0)
		return EX_USAGE;
	if (argc > 1)
		return ctl_usage("check", "expected no argument \"%s\"", argv[1]);
	const char *file = ctl_file(&common);
	struct settings *s = settings_load(file, &errs);
	if (s != NULL) {
		check_maps(s, &errs);
		check_rules(s, &errs);
		check_tiers(s, &errs);
		warn_missing_secrets(s);
	}
	if (s != NULL && ctl_has_block(s, "mime")) {
		warn_missing("mime", "signatures", s->mime.signatures, R_OK);
		warn_missing("mime", "quarantine", s->mime.quarantine, W_OK | X_OK);
		warn_missing("mime", "tmp", s->mime.tmp, W_OK | X_OK);
	}
	buf_init(&out, CTL_OUTPUT_MAX);
	if (common.json)
		render(&out, file, &errs);
	else if (errs.n > 0)
		ctl_print_errors(&errs);
	else if (file == NULL)
		buf_addf(&out, "%s does not exist: built-in settings are in force\n",
		    POSTERN_CONF_DEFAULT);
	else
		buf_addf(&out, "%s: configuration is right\n", file);
	int written = ctl_output(&out);
	int status = errs.n > 0 ? EX_CONFIG : written;
	settings_unref(s);
	errs_clear(&errs);
	return status;
}
