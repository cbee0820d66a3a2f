/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads ldap "name" { uri ...; base ...; ... }: a directory that a map may name. */
#include "policy/settings_ldap.h"

#include <stdlib.h>

#include "common/base/xalloc.h"
#include "db/map_spec.h"
#include "policy/settings_row.h"

static const char *
uri_wrong(struct str s)
{
	struct str rest = s, word;

	while (str_word(&rest, &word))
		if (!str_starts_nocase(word, STR("ldap://")) &&
		    !str_starts_nocase(word, STR("ldaps://")) &&
		    !str_starts_nocase(word, STR("ldapi://")))
			return "ldap://host:port, ldaps:// or ldapi://, several within "
			       "one pair of quotes";
	return NULL;
}

#define LDAP_AT(field) offsetof(struct map_ldap_conf, field)

static const struct conf_setting rows[] = {
	STRING_ROW("uri", LDAP_AT(uri), "ldap://127.0.0.1", STAGE_START, uri_wrong,
	    "where the directory is"),
	STRING_ROW("base", LDAP_AT(base), NULL, STAGE_START, NULL, "where to search"),
	STRING_ROW(
	    "bind-dn", LDAP_AT(bind_dn), NULL, STAGE_START, NULL, "as whom to bind"),
	STRING_ROW("password-file", LDAP_AT(password_file), NULL, STAGE_START,
	    settings_path_wrong, "file with the password of bind-dn"),
	STRING_ROW("cluster", LDAP_AT(cluster), NULL, STAGE_START, NULL,
	    "sendmailMTACluster of the entries"),
	STRING_ROW("host", LDAP_AT(host), NULL, STAGE_START, NULL,
	    "sendmailMTAHost of the entries; default: our own name"),
	STRING_ROW("map", LDAP_AT(map_name), "access", STAGE_START, NULL,
	    "sendmailMTAMapName of the entries"),
	CONF_ROW("timeout", CONF_TIME_MS, LDAP_AT(timeout_ms), "3s", 50, 60000, NULL,
	    STAGE_START, MERGE_OWN, "longest wait for an answer"),
	CONF_ROW("keep", CONF_TIME, LDAP_AT(keep), "60s", 0, 7 * DAY, NULL, STAGE_START,
	    MERGE_OWN, "how long a value is kept"),
	CONF_ROW("keep-none", CONF_TIME, LDAP_AT(keep_none), "60s", 0, 7 * DAY, NULL,
	    STAGE_START, MERGE_OWN, "how long is kept that there is no value"),
	CONF_ROW("cache-entries", CONF_INT, LDAP_AT(cache_entries), "20000", 4, 10000000,
	    NULL, STAGE_START, MERGE_OWN, "most keys that are kept"),
	CONF_ROW("connections", CONF_INT, LDAP_AT(connections), "2", 1, 16, NULL,
	    STAGE_START, MERGE_OWN, "connections to the directory"),
};

static const struct conf_table table = { "ldap", rows, sizeof(rows) / sizeof(rows[0]),
	sizeof(struct map_ldap_conf) };

void
settings_ldap_clear(void *field)
{
	struct access_ldaps *ldaps = field;

	for (size_t i = 0; i < ldaps->n; i++) {
		free(ldaps->list[i].name); /* no row's, and clearing wipes it */
		conf_clear(&table, &ldaps->list[i]);
	}
	free(ldaps->list);
	*ldaps = (struct access_ldaps){ 0 };
}

void
settings_ldap_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct access_ldaps *ldaps = field;
	const struct conf_word *name = node->values;
	struct map_ldap_conf conf;
	char *spec = NULL;

	if (node->n_values == 1)
		spec = xasprintf("ldap:%.*s", STR_ARG(name->text));
	bool named = spec != NULL && map_spec_wrong(str_of(spec)) == NULL;
	free(spec);
	if (!named) {
		errs_add(errs, node->name.file, node->name.line,
		    "ldap: expected a name, as in ldap \"directory\" { ... }");
		return;
	}
	for (size_t i = 0; i < ldaps->n; i++)
		if (str_is(name->text, ldaps->list[i].name))
			errs_add(errs, name->file, name->line,
			    "ldap \"%s\" stands twice: expected each name once",
			    ldaps->list[i].name);
	if (ldaps->n == MAP_LDAPS_MAX) {
		errs_add(errs, name->file, name->line,
		    "too many blocks of ldap: expected at most %d", MAP_LDAPS_MAX);
		return;
	}
	memset(&conf, 0, sizeof(conf));
	conf_defaults(&table, &conf);
	conf_apply(&table, node, &conf, errs);
	if (conf.bind_dn[0] != '\0' && conf.password_file[0] == '\0')
		errs_add(errs, node->name.file, node->name.line,
		    "ldap: bind-dn without password: expected password-file as well");
	conf.name = str_dup(name->text);
	ldaps->list = xreallocarray(ldaps->list, ldaps->n + 1, sizeof(*ldaps->list));
	ldaps->list[ldaps->n++] = conf;
}

void
settings_ldap_print(const void *field, struct buf *out)
{
	const struct access_ldaps *ldaps = field;

	for (size_t i = 0; i < ldaps->n; i++) {
		const struct map_ldap_conf *l = &ldaps->list[i];

		buf_addf(out, "%s%s { uri ", i == 0 ? "" : " ", l->name);
		conf_print_word(str_of(l->uri), out);
		buf_add_cstr(out, "; base ");
		conf_print_word(str_of(l->base), out);
		buf_add_cstr(out, "; map ");
		conf_print_word(str_of(l->map_name), out);
		buf_add_cstr(out, "; }");
	}
}
