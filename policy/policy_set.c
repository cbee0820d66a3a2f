/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads `list` and `policy` blocks.  Everything that can be wrong with a policy is
 * found here, with file:line: names, conditions, values, and settings that are read
 * before their condition is known.  Who matches is policy.c's. */
#include "policy/policy_set.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/xalloc.h"

struct reader {
	struct policy_set *set;
	const struct settings *base;
	struct errs *errs;
};

#define WORD_LEN(s) (int)((s).len < 80 ? (s).len : 80)

#define PLACE(section, field)                                                          \
	{                                                                              \
		section, offsetof(struct settings, field),                             \
		    offsetof(struct policy_view, field), offsetof(struct policy, field)  \
	}

const struct policy_place policy_places[POLICY_SECTIONS] = {
	[POLICY_GREYLIST] = PLACE(SECTION_GREYLIST, greylist),
	[POLICY_ACCESS] = PLACE(SECTION_ACCESS, access),
	[POLICY_MIME] = PLACE(SECTION_MIME, mime),
	[POLICY_SCORE] = PLACE(SECTION_SCORE, score),
};

const struct conf_table *
policy_table(enum policy_section section)
{
	return settings_table_list[policy_places[section].section];
}

void *
policy_values(struct policy *p, enum policy_section section)
{
	return (char *)p + policy_places[section].in_policy;
}

static int
cmp_list(const void *a, const void *b)
{
	const struct policy_list *x = a, *y = b;

	return str_cmp(x->name, y->name);
}

const struct policy_list *
policy_set_list(const struct policy_set *set, struct str name)
{
	struct policy_list key = { .name = name };

	if (set->n_lists == 0)
		return NULL;
	return bsearch(&key, set->lists, set->n_lists, sizeof(key), cmp_list);
}

/* The one name behind `list` or `policy`. */
static bool
block_name(
    const struct conf_node *node, const char *what, struct str *name, struct errs *errs)
{
	if (node->block && node->n_values == 1 && node->values[0].text.len > 0) {
		*name = node->values[0].text;
		return true;
	}
	errs_add(errs, node->name.file, node->name.line,
	    "%s: expected a name and a block, %s \"name\" { ... }", what, what);
	return false;
}

static void
read_entry(struct member_set *set, const struct conf_node *n, struct errs *errs)
{
	static const char *const names[] = { "address", "domain", "network", "file" };
	size_t kind = 0;

	while (kind < 4 && !str_is(n->name.text, names[kind]))
		kind++;
	if (kind == 4) {
		conf_unknown(&n->name, "entry of a list", names, 4, errs);
		return;
	}
	if (n->n_values == 0 || n->block) {
		errs_add(errs, n->name.file, n->name.line,
		    "%s: expected one or more values and \";\"", names[kind]);
		return;
	}
	for (size_t i = 0; i < n->n_values; i++) {
		const struct conf_word *word = &n->values[i];
		const char *wrong = NULL;

		if (kind == 3)
			member_add_file(set, word, errs);
		else
			wrong = kind == 0 ? member_add_address(set, word->text)
			    : kind == 1   ? member_add_domain(set, word->text)
					  : member_add_network(set, word->text);
		if (wrong != NULL)
			errs_add(errs, word->file, word->line,
			    "%s: \"%.*s\" cannot be read: expected %s", names[kind],
			    WORD_LEN(word->text), word->text.p, wrong);
	}
}

static void
read_lists(struct reader *r, const struct conf_node *root)
{
	struct policy_set *set = r->set;
	size_t n = 0;

	for (const struct conf_node *node = root; node != NULL; node = node->next)
		n += str_is(node->name.text, "list");
	set->lists = xcalloc(n + 1, sizeof(*set->lists));
	for (const struct conf_node *node = root; node != NULL; node = node->next) {
		struct str name;

		if (!str_is(node->name.text, "list") || !node->block ||
		    !block_name(node, "list", &name, r->errs))
			continue;
		if (set->n_lists == POLICY_LISTS_MAX) {
			errs_add(r->errs, node->name.file, node->name.line,
			    "too many lists: expected at most %d", POLICY_LISTS_MAX);
			break;
		}
		struct policy_list *list = &set->lists[set->n_lists++];
		*list = (struct policy_list){ name, node, member_set_new() };
		for (const struct conf_node *c = node->children; c != NULL; c = c->next)
			read_entry(list->members, c, r->errs);
	}
	if (set->n_lists > 1)
		qsort(set->lists, set->n_lists, sizeof(*set->lists), cmp_list);
	for (size_t i = 1; i < set->n_lists; i++) {
		const struct conf_node *a = set->lists[i - 1].node,
				       *b = set->lists[i].node;

		if (str_eq(set->lists[i - 1].name, set->lists[i].name))
			errs_add(r->errs, b->name.file, b->name.line,
			    "list \"%.*s\" stands twice: expected one, the other is in "
			    "%s:%d",
			    WORD_LEN(set->lists[i].name), set->lists[i].name.p,
			    a->name.file, a->name.line);
	}
}

static void
unknown_list(const struct reader *r, const struct conf_word *word)
{
	if (r->errs->n == ERRS_MAX) { /* only counted: hints cost more than a line */
		r->errs->dropped++;
		return;
	}
	const char **names = xcalloc(r->set->n_lists + 1, sizeof(*names));
	for (size_t i = 0; i < r->set->n_lists; i++)
		names[i] = str_dup(r->set->lists[i].name);
	if (conf_nearest(word->text, names, r->set->n_lists) != NULL)
		conf_unknown(word, "list", names, r->set->n_lists, r->errs);
	else
		errs_add(r->errs, word->file, word->line,
		    "\"%.*s\" is no list: expected the name of one, list \"%.*s\" { "
		    "... }",
		    WORD_LEN(word->text), word->text.p, WORD_LEN(word->text),
		    word->text.p);
	for (size_t i = 0; i < r->set->n_lists; i++) {
		char *owned;

		memcpy(&owned, &names[i], sizeof(owned));
		free(owned);
	}
	free(names);
}

/* in LIST...: lists may stand behind the policy in the file. */
static void
read_in(struct reader *r, struct policy_condition *c, const struct conf_node *n,
    bool networks)
{
	if (n->n_values < 2)
		errs_add(r->errs, n->name.file, n->name.line,
		    "%.*s in: expected the name of a list", STR_ARG(n->name.text));
	c->lists = xreallocarray(c->lists, c->n_lists + n->n_values, sizeof(*c->lists));
	for (size_t i = 1; i < n->n_values; i++) {
		const struct conf_word *word = &n->values[i];
		const struct policy_list *list = policy_set_list(r->set, word->text);

		if (list == NULL) {
			unknown_list(r, word);
			continue;
		}
		c->lists[c->n_lists++] = list;
		size_t fit = networks ? member_networks(list->members)
				      : member_names(list->members);
		size_t other = networks ? member_names(list->members)
					: member_networks(list->members);
		if (fit == 0 && other > 0)
			errs_add(r->errs, word->file, word->line,
			    "list \"%.*s\" has only %s: expected %s for a condition on "
			    "the %.*s",
			    WORD_LEN(word->text), word->text.p,
			    networks ? "addresses and domains" : "networks",
			    networks ? "networks" : "addresses or domains",
			    STR_ARG(n->name.text));
	}
}

static void
read_members(struct reader *r, struct policy_condition *c, const struct conf_node *n,
    size_t from, const char *special,
    const char *(*add)(struct member_set *, struct str))
{
	if (c->members == NULL)
		c->members = member_set_new();
	if (from == n->n_values)
		errs_add(r->errs, n->name.file, n->name.line,
		    "%.*s: expected one or more values", STR_ARG(n->name.text));
	for (size_t i = from; i < n->n_values; i++) {
		const struct conf_word *word = &n->values[i];

		if (special != NULL && !word->quoted && str_is(word->text, special)) {
			c->special = true;
			continue;
		}
		const char *wrong = add(c->members, word->text);
		if (wrong != NULL)
			errs_add(r->errs, word->file, word->line,
			    "%.*s: \"%.*s\" cannot be read: expected %s%s",
			    STR_ARG(n->name.text), WORD_LEN(word->text), word->text.p,
			    wrong,
			    add == member_add_address && !str_has(word->text, '@')
				? ", or: domain, then the domain"
				: "");
	}
}

static void
read_condition(struct reader *r, struct policy *p, const struct conf_node *n)
{
	bool client = str_is(n->name.text, "client");
	bool sender = str_is(n->name.text, "sender");
	struct policy_condition *c = client ? &p->client
	    : sender                        ? &p->sender
					    : &p->recipient;
	struct str first =
	    n->n_values > 0 && !n->values[0].quoted ? n->values[0].text : STR("");

	if (c->node == NULL)
		c->node = n;
	if (n->block)
		errs_add(r->errs, n->name.file, n->name.line,
		    "%.*s has a block: expected values and \";\"",
		    STR_ARG(n->name.text));
	else if (str_is(first, "in"))
		read_in(r, c, n, client);
	else if (str_is(first, "domain") && !client)
		read_members(r, c, n, 1, NULL, member_add_domain);
	else
		read_members(r, c, n, 0,
		    client       ? "authenticated"
			: sender ? "null"
				 : NULL,
		    client ? member_add_network : member_add_address);
}

/* Tell a name that no policy knows, with the nearest of those that one may use. */
static void
unknown_setting(struct reader *r, const struct conf_word *word)
{
	const char *names[4 + POLICY_SECTIONS * 64] = { "client", "sender", "recipient",
		"mode" };
	char texts[POLICY_SECTIONS * 64][48];
	size_t n = 0;

	if (r->errs->n == ERRS_MAX) {
		r->errs->dropped++;
		return;
	}
	for (enum policy_section i = 0; i < POLICY_SECTIONS; i++) {
		const struct conf_table *table = policy_table(i);

		for (size_t j = 0; j < table->n; j++) {
			if (table->settings[j].block ||
			    table->settings[j].stage == STAGE_START)
				continue;
			snprintf(texts[n], sizeof(texts[n]), "%s.%s", table->section,
			    table->settings[j].name);
			names[4 + n] = texts[n];
			n++;
		}
	}
	conf_unknown(word, "condition or setting of a policy", names, 4 + n, r->errs);
}

/* "greylist.delay" to its row; NULL after telling why not. */
static const struct conf_setting *
find_setting(struct reader *r, const struct conf_node *n, enum policy_section *section)
{
	struct str name = n->name.text, head;

	str_cut(&name, '.', &head);
	if (name.p == NULL) {
		unknown_setting(r, &n->name);
		return NULL;
	}
	for (*section = 0; *section < POLICY_SECTIONS; (*section)++) {
		const struct conf_table *table = policy_table(*section);
		const struct conf_setting *row = conf_find(table, name);

		if (str_is(head, table->section) && row != NULL)
			return row;
	}
	for (size_t i = 0; i < SECTIONS; i++) {
		if (str_is(head, settings_table_list[i]->section) &&
		    conf_find(settings_table_list[i], name) != NULL) {
			errs_add(r->errs, n->name.file, n->name.line,
			    "%.*s is the same for everybody: expected a setting of a "
			    "milter",
			    WORD_LEN(n->name.text), n->name.text.p);
			return NULL;
		}
	}
	unknown_setting(r, &n->name);
	return NULL;
}

static void
read_override(struct reader *r, struct policy *p, const struct conf_node *n)
{
	enum policy_section section;
	const struct conf_setting *row = find_setting(r, n, &section);

	if (row == NULL)
		return;
	size_t i = (size_t)(row - policy_table(section)->settings);
	for (size_t k = 0; k < p->n_overrides; k++) {
		const struct conf_node *first = p->overrides[k].node;

		if (p->overrides[k].setting == row) {
			errs_add(r->errs, n->name.file, n->name.line,
			    "%.*s is set again: expected it once, it stands in %s:%d",
			    STR_ARG(n->name.text), first->name.file, first->name.line);
			return;
		}
	}
	if (n->block || row->stage == STAGE_START) {
		errs_add(r->errs, n->name.file, n->name.line,
		    n->block ? "%.*s has a block: expected a value and \";\""
			     : "%.*s is read when the program starts: expected a "
			       "setting that a "
			       "policy can give",
		    STR_ARG(n->name.text));
		return;
	}
	if (!conf_set(row, n, policy_values(p, section), r->errs))
		return;
	p->mask[section] |= (uint64_t)1 << i;
	p->overrides[p->n_overrides++] = (struct policy_override){ section, row, n };
}

static void
read_mode(struct reader *r, struct policy *p, const struct conf_node *n)
{
	struct str value = n->n_values == 1 ? n->values[0].text : STR("");

	if (p->mode != NULL)
		errs_add(r->errs, n->name.file, n->name.line,
		    "mode is set again: expected it once, it stands in %s:%d",
		    p->mode->name.file, p->mode->name.line);
	p->mode = n;
	p->observe = str_is(value, "observe");
	if (n->block || (!p->observe && !str_is(value, "enforce")))
		errs_add(r->errs, n->name.file, n->name.line,
		    "mode: expected observe or enforce");
}

static const char *
stage_name(enum stage stage)
{
	static const char *const names[] = { "start", "CONNECT", "MAIL", "RCPT",
		"end of message" };

	return names[stage];
}

/* A setting that is read before the condition is known would silently not be given. */
static void
check_stage(struct reader *r, const struct policy *p, const struct policy_condition *c,
    enum stage known)
{
	for (size_t i = 0; c->node != NULL && i < p->n_overrides; i++) {
		const struct policy_override *o = &p->overrides[i];

		if (o->setting->stage < known)
			errs_add(r->errs, o->node->name.file, o->node->name.line,
			    "policy \"%.*s\": %.*s is read at %s, but %.*s (%s:%d) is "
			    "known at "
			    "%s only: expected a condition known by then",
			    WORD_LEN(p->name), p->name.p, STR_ARG(o->node->name.text),
			    stage_name(o->setting->stage), STR_ARG(c->node->name.text),
			    c->node->name.file, c->node->name.line, stage_name(known));
	}
}

/* delay and window may come from different places. */
static void
check_window(struct reader *r, const struct policy *p)
{
	int64_t delay = r->base->greylist.delay, window = r->base->greylist.window;
	const struct conf_node *place = NULL;

	for (size_t i = 0; i < p->n_overrides; i++) {
		const struct policy_override *o = &p->overrides[i];

		if (o->section != POLICY_GREYLIST)
			continue;
		if (strcmp(o->setting->name, "delay") == 0) {
			delay = p->greylist.delay;
			place = o->node;
		} else if (strcmp(o->setting->name, "window") == 0) {
			window = p->greylist.window;
			place = o->node;
		}
	}
	if (place != NULL && window <= delay)
		errs_add(r->errs, place->name.file, place->name.line,
		    "policy \"%.*s\": no retry could ever pass: expected "
		    "greylist.window "
		    "longer than greylist.delay",
		    WORD_LEN(p->name), p->name.p);
}

static void
read_policy(struct reader *r, struct policy *p)
{
	size_t n_statements = 0, before = r->errs->n + r->errs->dropped;

	for (const struct conf_node *n = p->node->children; n != NULL; n = n->next)
		n_statements++;
	p->overrides = xcalloc(n_statements + 1, sizeof(*p->overrides));
	for (const struct conf_node *n = p->node->children; n != NULL; n = n->next) {
		if (str_is(n->name.text, "client") || str_is(n->name.text, "sender") ||
		    str_is(n->name.text, "recipient"))
			read_condition(r, p, n);
		else if (str_is(n->name.text, "mode"))
			read_mode(r, p, n);
		else
			read_override(r, p, n);
	}
	check_stage(r, p, &p->client, p->client.special ? STAGE_MAIL : STAGE_CONNECT);
	check_stage(r, p, &p->sender, STAGE_MAIL);
	check_stage(r, p, &p->recipient, STAGE_RCPT);
	check_window(r, p);
	if (p->n_overrides == 0 && p->mode == NULL &&
	    r->errs->n + r->errs->dropped == before)
		errs_add(r->errs, p->node->name.file, p->node->name.line,
		    "policy \"%.*s\" sets nothing: expected a setting or mode",
		    WORD_LEN(p->name), p->name.p);
}

static void
policy_name_check(struct reader *r, const struct policy *p)
{
	for (const struct policy *q = r->set->policies; q < p; q++)
		if (str_eq(q->name, p->name))
			errs_add(r->errs, p->node->name.file, p->node->name.line,
			    "policy \"%.*s\" stands twice: expected one, the other is "
			    "in %s:%d",
			    WORD_LEN(p->name), p->name.p, q->node->name.file,
			    q->node->name.line);
}

static void
read_policies(struct reader *r, const struct conf_node *root)
{
	struct policy_set *set = r->set;
	size_t n = 0;

	for (const struct conf_node *node = root; node != NULL; node = node->next)
		n += str_is(node->name.text, "policy");
	n = n < POLICY_POLICIES_MAX ? n : POLICY_POLICIES_MAX;
	set->policies = xcalloc(n + 1, sizeof(*set->policies));
	for (const struct conf_node *node = root; node != NULL; node = node->next) {
		struct str name;

		if (!str_is(node->name.text, "policy") || !node->block ||
		    !block_name(node, "policy", &name, r->errs))
			continue;
		if (set->n_policies == n) {
			errs_add(r->errs, node->name.file, node->name.line,
			    "too many policies: expected at most %d",
			    POLICY_POLICIES_MAX);
			break;
		}
		struct policy *p = &set->policies[set->n_policies++];
		p->name = name;
		p->label = str_dup(name);
		p->node = node;
		policy_name_check(r, p);
		read_policy(r, p);
	}
}

/* `list x;` and `policy x;` without a block. */
static void
check_blocks(const struct conf_node *root, struct errs *errs)
{
	struct str name;

	for (const struct conf_node *n = root; n != NULL; n = n->next) {
		if (!n->block && str_is(n->name.text, "list"))
			block_name(n, "list", &name, errs);
		if (!n->block && str_is(n->name.text, "policy"))
			block_name(n, "policy", &name, errs);
	}
}

struct policy_set *
policy_set_new(
    const struct conf_node *root, const struct settings *base, struct errs *errs)
{
	struct policy_set *set = xcalloc(1, sizeof(*set));
	struct reader r = { set, base, errs };

	for (enum policy_section i = 0; i < POLICY_SECTIONS; i++)
		if (policy_table(i)->n >
		    64) /* masks are 64 bits: the tests hold the tables to it */
			abort();
	check_blocks(root, errs);
	read_lists(&r, root);
	read_policies(&r, root);
	return set;
}

static void
condition_clear(struct policy_condition *c)
{
	member_set_free(c->members);
	free(c->lists);
}

void
policy_set_free(struct policy_set *set)
{
	if (set == NULL)
		return;
	for (size_t i = 0; i < set->n_policies; i++) {
		struct policy *p = &set->policies[i];

		condition_clear(&p->client);
		condition_clear(&p->sender);
		condition_clear(&p->recipient);
		free(p->overrides);
		free(p->label);
		for (enum policy_section sec = 0; sec < POLICY_SECTIONS; sec++)
			conf_clear(policy_table(sec), policy_values(p, sec));
	}
	for (size_t i = 0; i < set->n_lists; i++)
		member_set_free(set->lists[i].members);
	free(set->policies);
	free(set->lists);
	free(set);
}
