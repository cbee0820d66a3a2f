/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads scenarios with libyaml's documents and answers DNS questions from their zone.
 * A zone entry has one type and its data; TIMEOUT answers for every type that stands
 * nowhere before it.  Records of type SPF are TXT records too, unless the name has TXT
 * records of its own ("TXT: NONE": that it has none): so the suite is meant. */
#include "contrib/ctl/spf_suite.h"

#include <assert.h>
#include <stdlib.h>
#include <yaml.h>

#include "common/base/buf.h"
#include "common/base/ip.h"
#include "common/base/xalloc.h"

#define ALIASES_MAX 16
#define TEXT_MAX 65535

struct spf_suite {
	yaml_parser_t parser;
	yaml_document_t document;
	bool have_document;
	const char *file;
	const yaml_node_t *tests, *zone; /* mappings; NULL: the scenario has none */
	const char *scenario;
	unsigned number;
};

/* ---- nodes ---- */

static yaml_node_t *
node(const struct spf_suite *s, int index)
{
	/* libyaml's own accessor takes no const. */
	return yaml_document_get_node(
	    (yaml_document_t *)(uintptr_t)&s->document, index);
}

static struct str
scalar(const yaml_node_t *n)
{
	if (n == NULL || n->type != YAML_SCALAR_NODE)
		return (struct str){ "", 0 };
	return (
	    struct str){ (const char *)n->data.scalar.value, n->data.scalar.length };
}

static size_t
pairs(const yaml_node_t *map)
{
	if (map == NULL || map->type != YAML_MAPPING_NODE)
		return 0;
	return (size_t)(map->data.mapping.pairs.top - map->data.mapping.pairs.start);
}

static const yaml_node_t *
pair(const struct spf_suite *s, const yaml_node_t *map, size_t i, struct str *key)
{
	const yaml_node_pair_t *p = &map->data.mapping.pairs.start[i];

	*key = scalar(node(s, p->key));
	return node(s, p->value);
}

static const yaml_node_t *
value_of(const struct spf_suite *s, const yaml_node_t *map, const char *name)
{
	struct str key;

	for (size_t i = 0; i < pairs(map); i++) {
		const yaml_node_t *value = pair(s, map, i, &key);
		if (str_is(key, name))
			return value;
	}
	return NULL;
}

static const yaml_node_t *
item(const struct spf_suite *s, const yaml_node_t *seq, size_t i)
{
	if (seq == NULL || seq->type != YAML_SEQUENCE_NODE ||
	    i >=
		(size_t)(seq->data.sequence.items.top - seq->data.sequence.items.start))
		return NULL;
	return node(s, seq->data.sequence.items.start[i]);
}

/* ---- documents ---- */

struct spf_suite *
spf_suite_new(FILE *in, const char *file)
{
	struct spf_suite *s = xcalloc(1, sizeof(*s));

	s->file = file;
	if (yaml_parser_initialize(&s->parser) != 1) {
		free(s);
		return NULL;
	}
	yaml_parser_set_input_file(&s->parser, in);
	return s;
}

static void
drop_document(struct spf_suite *s)
{
	if (s->have_document)
		yaml_document_delete(&s->document);
	s->have_document = false;
	s->tests = s->zone = NULL;
}

void
spf_suite_free(struct spf_suite *s)
{
	if (s == NULL)
		return;
	drop_document(s);
	yaml_parser_delete(&s->parser);
	free(s);
}

int
spf_suite_next(struct spf_suite *s, struct err *err)
{
	drop_document(s);
	if (yaml_parser_load(&s->parser, &s->document) != 1)
		return err_at(err, s->file, (int)s->parser.problem_mark.line + 1,
		    "no YAML: %s", s->parser.problem != NULL ? s->parser.problem : "?");
	s->have_document = true;
	s->number++;
	const yaml_node_t *root = yaml_document_get_root_node(&s->document);
	if (root == NULL)
		return 0;
	s->tests = value_of(s, root, "tests");
	s->zone = value_of(s, root, "zonedata");
	s->scenario = scalar(value_of(s, root, "description")).p;
	if (root->type != YAML_MAPPING_NODE || s->tests == NULL ||
	    s->tests->type != YAML_MAPPING_NODE)
		return err_at(err, s->file, (int)root->start_mark.line + 1,
		    "document %u has no tests, expected \"tests:\" with a mapping",
		    s->number);
	return 1;
}

const char *
spf_suite_scenario(const struct spf_suite *s)
{
	return s->scenario;
}

bool
spf_suite_case(const struct spf_suite *s, size_t i, struct spf_case *out)
{
	struct str name;

	if (i >= pairs(s->tests))
		return false;
	const yaml_node_t *test = pair(s, s->tests, i, &name);
	*out = (struct spf_case){ .name = name.p,
		.helo = scalar(value_of(s, test, "helo")).p,
		.host = scalar(value_of(s, test, "host")).p,
		.mailfrom = scalar(value_of(s, test, "mailfrom")).p };
	return true;
}

/* ---- the zone ---- */

static const yaml_node_t *
entries_of(const struct spf_suite *s, struct str name)
{
	struct str key;

	for (size_t i = 0; i < pairs(s->zone); i++) {
		const yaml_node_t *value = pair(s, s->zone, i, &key);
		if (key.len > 0 && key.p[key.len - 1] == '.')
			key.len--;
		if (str_eq_nocase(key, name))
			return value;
	}
	return NULL;
}

/* Does entry hold a record of that type?  Its data. */
static const yaml_node_t *
data_of(const struct spf_suite *s, const yaml_node_t *entry, const char *type)
{
	return entry->type == YAML_MAPPING_NODE ? value_of(s, entry, type) : NULL;
}

static char *
name_dup(struct str name)
{
	if (name.len > 0 && name.p[name.len - 1] == '.')
		name.len--;
	return str_dup_lower(name);
}

/* TXT data: one string, or a list of those to be joined. */
static void
read_text(const struct spf_suite *s, const yaml_node_t *data, struct dns_record *out)
{
	struct buf text;

	buf_init(&text, TEXT_MAX);
	if (data->type == YAML_SEQUENCE_NODE)
		for (size_t i = 0; item(s, data, i) != NULL; i++)
			buf_add_str(&text, scalar(item(s, data, i)));
	else
		buf_add_str(&text, scalar(data));
	out->text_len = text.len;
	out->text = buf_take(&text);
}

static void
add_record(const struct spf_suite *s, struct dns_answer *a, enum dns_type type,
    const yaml_node_t *data)
{
	struct dns_record r = { .preference = 0 };
	uint64_t preference = 0;

	switch (type) {
	case DNS_A:
	case DNS_AAAA:
		if (!ip_parse(scalar(data), &r.ip))
			return;
		break;
	case DNS_MX:
		if (!str_to_uint(scalar(item(s, data, 0)), 0, 65535, &preference))
			return;
		r.preference = (uint16_t)preference;
		r.name = name_dup(scalar(item(s, data, 1)));
		break;
	case DNS_TXT:
		read_text(s, data, &r);
		break;
	default:
		r.name = name_dup(scalar(data));
		break;
	}
	a->records = xreallocarray(a->records, a->n + 1, sizeof(*a->records));
	a->records[a->n++] = r;
	a->status = DNS_OK;
}

/* Records of one name.  true: these answer; false: a TIMEOUT came first. */
static bool
collect(const struct spf_suite *s, const yaml_node_t *entries, const char *word,
    enum dns_type type, struct dns_answer *a)
{
	bool timeout = false;

	for (size_t i = 0; item(s, entries, i) != NULL; i++) {
		const yaml_node_t *entry = item(s, entries, i);
		const yaml_node_t *data = data_of(s, entry, word);

		if (data != NULL && !str_is(scalar(data), "NONE"))
			add_record(s, a, type, data);
		timeout = timeout || str_is(scalar(entry), "TIMEOUT");
	}
	return a->n > 0 || !timeout;
}

static bool
has_entry(const struct spf_suite *s, const yaml_node_t *entries, const char *word)
{
	for (size_t i = 0; item(s, entries, i) != NULL; i++)
		if (data_of(s, item(s, entries, i), word) != NULL)
			return true;
	return false;
}

static const char *
alias_of(const struct spf_suite *s, const yaml_node_t *entries)
{
	for (size_t i = 0; item(s, entries, i) != NULL; i++) {
		const yaml_node_t *to = data_of(s, item(s, entries, i), "CNAME");
		if (to != NULL)
			return scalar(to).p;
	}
	return NULL;
}

static struct str
without_dot(struct str name)
{
	if (name.len > 0 && name.p[name.len - 1] == '.')
		name.len--;
	return name;
}

struct dns_answer *
spf_suite_lookup(const struct spf_suite *s, struct str name, enum dns_type type)
{
	struct dns_answer *a = dns_answer_new(DNS_NXDOMAIN);
	const yaml_node_t *entries = entries_of(s, without_dot(name));
	const char *alias, *word = dns_type_name(type);

	for (int hops = 0; entries != NULL; hops++) {
		if (hops == ALIASES_MAX) {
			a->status = DNS_FAIL;
			break;
		}
		alias = alias_of(s, entries);
		if (alias != NULL) {
			entries = entries_of(s, without_dot(str_of(alias)));
			continue;
		}
		if (type == DNS_TXT && !has_entry(s, entries, "TXT"))
			word = "SPF";
		a->status = DNS_NODATA;
		if (!collect(s, entries, word, type, a))
			a->status = DNS_TIMEOUT;
		break;
	}
	return a;
}
