/* SPDX-License-Identifier: BSD-2-Clause */
/* Who matches which policy, and what is in force then.  Values were parsed when the
 * file was read (policy_set.c): here they are compared and copied, nothing is
 * allocated. */
#include "policy/policy.h"

#include <stdio.h>

#include "common/base/buf.h"
#include "policy/policy_set.h"

/* The facts, with the addresses in lower case. */
struct asked {
	const struct policy_facts *facts;
	struct member_name sender, recipient;
};

static void
asked_init(struct asked *a, const struct policy_facts *facts)
{
	a->facts = facts;
	member_fold(facts->stage >= STAGE_MAIL ? facts->sender : STR(""), &a->sender);
	member_fold(
	    facts->stage >= STAGE_RCPT ? facts->recipient : STR(""), &a->recipient);
}

static bool
client_holds(const struct policy_condition *c, const struct policy_facts *facts)
{
	if (c->node == NULL || (c->special && facts->authenticated))
		return true;
	if (c->members != NULL && member_has_ip(c->members, &facts->client))
		return true;
	for (size_t i = 0; i < c->n_lists; i++)
		if (member_has_ip(c->lists[i]->members, &facts->client))
			return true;
	return false;
}

static bool
name_holds(const struct policy_condition *c, bool known, const struct member_name *name,
    bool null)
{
	if (c->node == NULL)
		return true;
	if (!known)
		return false;
	if (c->special && null)
		return true;
	if (c->members != NULL && member_has_name(c->members, name))
		return true;
	for (size_t i = 0; i < c->n_lists; i++)
		if (member_has_name(c->lists[i]->members, name))
			return true;
	return false;
}

static bool
matches(const struct policy *p, const struct asked *a)
{
	const struct policy_facts *f = a->facts;

	return client_holds(&p->client, f) &&
	    name_holds(
		&p->sender, f->stage >= STAGE_MAIL, &a->sender, f->sender.len == 0) &&
	    name_holds(&p->recipient, f->stage >= STAGE_RCPT && f->recipient.len > 0,
		&a->recipient, false);
}

static void *
view_values(struct policy_view *v, enum policy_section section)
{
	return (char *)v + policy_places[section].in_view;
}

static const void *
view_const(const struct policy_view *v, enum policy_section section)
{
	return (const char *)v + policy_places[section].in_view;
}

static const void *
policy_values_const(const struct policy *p, enum policy_section section)
{
	return (const char *)p + policy_places[section].in_policy;
}

static const void *
base_values(const struct settings *s, enum policy_section section)
{
	return (const char *)s + policy_places[section].in_settings;
}

static void
copy_field(const struct conf_setting *row, void *to, const void *from)
{
	memcpy((char *)to + row->offset, (const char *)from + row->offset,
	    conf_field_size(row));
}

static void
view_init(struct policy_view *v, const struct settings *s)
{
	for (enum policy_section sec = 0; sec < POLICY_SECTIONS; sec++)
		memcpy(view_values(v, sec), base_values(s, sec), policy_table(sec)->size);
	v->observe = false;
}

void
policy_resolve(
    const struct settings *s, const struct policy_facts *facts, struct policy_view *out)
{
	struct asked a;
	uint64_t done[POLICY_SECTIONS] = { 0 };
	bool mode_done = false;

	view_init(out, s);
	asked_init(&a, facts);
	for (size_t i = 0; s->policies != NULL && i < s->policies->n_policies; i++) {
		const struct policy *p = &s->policies->policies[i];

		if (!matches(p, &a))
			continue;
		for (size_t k = 0; k < p->n_overrides; k++) {
			enum policy_section sec = p->overrides[k].section;
			const struct conf_setting *row = p->overrides[k].setting;
			uint64_t bit = (uint64_t)1
			    << (row - policy_table(sec)->settings);

			if ((done[sec] & bit) == 0)
				copy_field(row, view_values(out, sec),
				    policy_values_const(p, sec));
			done[sec] |= bit;
		}
		if (p->mode != NULL && !mode_done) {
			out->observe = p->observe;
			mode_done = true;
		}
	}
}

void
policy_view_clear(struct policy_view *v)
{
	*v = (struct policy_view){ 0 };
}

/* <0, 0, >0; only of types that have an order. */
static int
compare(const struct conf_setting *row, const void *a, const void *b)
{
	const char *x = (const char *)a + row->offset,
		   *y = (const char *)b + row->offset;
	int64_t m, n;

	switch (row->type) {
	case CONF_BOOL:
		return *(const bool *)x - *(const bool *)y;
	case CONF_ENUM:
		return (*(const int *)x > *(const int *)y) -
		    (*(const int *)x < *(const int *)y);
	case CONF_INT:
	case CONF_TIME:
	case CONF_TIME_MS:
	case CONF_DECIMAL:
	case CONF_SIZE: /* sizes of rows end well below 2^63 */
		m = *(const int64_t *)x;
		n = *(const int64_t *)y;
		return (m > n) - (m < n);
	case CONF_STRING:
		return strcmp(*(char *const *)x, *(char *const *)y);
	case CONF_LIST:
	case CONF_NET_LIST:
	case CONF_CUSTOM: /* borrowed: the same list is the same pointer */
		break;
	}
	return memcmp(x, y, conf_field_size(row));
}

static void
merge_row(const struct settings *s, const struct policy_view *views, size_t n,
    enum policy_section sec, const struct conf_setting *row, struct policy_view *out)
{
	const void *best = view_const(&views[0], sec);
	bool differ = false;

	for (size_t i = 1; i < n; i++) {
		const void *next = view_const(&views[i], sec);
		int order = compare(row, next, best);

		differ = differ || order != 0;
		if ((row->merge == MERGE_MIN && order < 0) ||
		    (row->merge == MERGE_MAX && order > 0))
			best = next;
	}
	if (row->merge == MERGE_ALL && differ)
		best = base_values(s, sec);
	copy_field(row, view_values(out, sec), best);
}

void
policy_merge(const struct settings *s, const struct policy_view *views, size_t n,
    struct policy_view *out)
{
	struct policy_view merged;

	view_init(&merged, s);
	for (enum policy_section sec = 0; sec < POLICY_SECTIONS; sec++)
		for (size_t j = 0; j < policy_table(sec)->n; j++)
			merge_row(
			    s, views, n, sec, &policy_table(sec)->settings[j], &merged);
	merged.observe = true;
	for (size_t i = 0; i < n; i++)
		merged.observe = merged.observe && views[i].observe;
	*out = merged;
}

/* The first matching policy that gives row (NULL: mode), and the statement. */
static const struct policy *
giver(const struct settings *s, const struct asked *a, const struct conf_setting *row,
    const struct conf_node **node)
{
	for (size_t i = 0; s->policies != NULL && i < s->policies->n_policies; i++) {
		const struct policy *p = &s->policies->policies[i];

		*node = row == NULL ? p->mode : NULL;
		for (size_t k = 0; row != NULL && k < p->n_overrides; k++)
			if (p->overrides[k].setting == row)
				*node = p->overrides[k].node;
		if (*node != NULL && matches(p, a))
			return p;
	}
	return NULL;
}

const char *
policy_source(
    const struct settings *s, const struct policy_facts *facts, struct str key)
{
	struct asked a;
	const struct conf_node *node;
	const struct policy *p = NULL;
	struct str name = key, head;

	asked_init(&a, facts);
	if (str_is(key, "mode"))
		p = giver(s, &a, NULL, &node);
	str_cut(&name, '.', &head);
	for (enum policy_section sec = 0; name.p != NULL && sec < POLICY_SECTIONS;
	     sec++) {
		const struct conf_setting *row = conf_find(policy_table(sec), name);

		if (str_is(head, policy_table(sec)->section) && row != NULL)
			p = giver(s, &a, row, &node);
	}
	return p == NULL ? NULL : p->label;
}

/* Places of one row of a section. */
static void
each_place_of(const struct settings *s, enum policy_section sec,
    const struct conf_setting *row,
    void (*fn)(const void *values, const char *file, int line, void *arg), void *arg)
{
	const struct policy_set *set = s->policies;
	size_t section = policy_places[sec].section;
	int line = 0;
	const char *file = settings_where(
	    s, section, (size_t)(row - policy_table(sec)->settings), &line);

	if (file != NULL)
		fn(settings_section(s, section), file, line, arg);
	for (size_t i = 0; set != NULL && i < set->n_policies; i++) {
		struct policy *p = &set->policies[i];

		for (size_t k = 0; k < p->n_overrides; k++)
			if (p->overrides[k].setting == row)
				fn(policy_values(p, sec), p->overrides[k].node->name.file,
				    p->overrides[k].node->name.line, arg);
	}
}

void
policy_each_place(const struct settings *s, struct str key,
    void (*fn)(const void *values, const char *file, int line, void *arg), void *arg)
{
	struct str name = key, head;

	str_cut(&name, '.', &head);
	for (enum policy_section sec = 0; name.p != NULL && sec < POLICY_SECTIONS; sec++) {
		const struct conf_setting *row = conf_find(policy_table(sec), name);

		if (row != NULL && str_is(head, policy_table(sec)->section))
			each_place_of(s, sec, row, fn, arg);
	}
}

struct each {
	const struct settings *s;
	struct asked asked;
	const struct policy_view *view;
	void (*fn)(const struct policy_item *item, void *arg);
	void *arg;
};

static void
each_row(const struct each *e, size_t i, size_t j, struct buf *value)
{
	const struct conf_table *table = settings_table_list[i];
	const struct conf_setting *row = &table->settings[j];
	const void *from = settings_section(e->s, i);
	const struct conf_node *node = NULL;
	const struct policy *p = NULL;

	for (enum policy_section sec = 0; sec < POLICY_SECTIONS; sec++)
		if (policy_places[sec].section == i) {
			from = view_const(e->view, sec);
			p = giver(e->s, &e->asked, row, &node);
		}
	buf_reset(value);
	conf_print(row, from, value);
	struct policy_item item = { table->section, row->name, buf_cstr(value),
		p == NULL ? NULL : p->label, NULL, 0 };
	if (p != NULL) {
		item.file = node->name.file;
		item.line = node->name.line;
	} else {
		item.file = settings_where(e->s, i, j, &item.line);
	}
	e->fn(&item, e->arg);
}

void
policy_each(const struct settings *s, const struct policy_facts *facts,
    void (*fn)(const struct policy_item *item, void *arg), void *arg)
{
	struct policy_view view;
	struct each e = { .s = s, .view = &view, .fn = fn, .arg = arg };
	const struct conf_node *node = NULL;
	struct buf value;

	policy_resolve(s, facts, &view);
	asked_init(&e.asked, facts);
	buf_init(&value, CONF_FILE_MAX);
	const struct policy *p = giver(s, &e.asked, NULL, &node);
	struct policy_item mode = { "", "mode", view.observe ? "observe" : "enforce",
		p == NULL ? NULL : p->label, p == NULL ? NULL : node->name.file,
		p == NULL ? 0 : node->name.line };
	fn(&mode, arg);
	for (size_t i = 0; i < SECTIONS; i++)
		for (size_t j = 0; j < settings_table_list[i]->n; j++)
			each_row(&e, i, j, &value);
	buf_clear(&value);
	policy_view_clear(&view);
}

void
policy_each_match(const struct settings *s, const struct policy_facts *facts,
    void (*fn)(const char *name, const char *file, int line, void *arg), void *arg)
{
	struct asked a;

	asked_init(&a, facts);
	for (size_t i = 0; s->policies != NULL && i < s->policies->n_policies; i++) {
		const struct policy *p = &s->policies->policies[i];

		if (matches(p, &a))
			fn(p->label, p->node->name.file, p->node->name.line, arg);
	}
}

static void
explain_match(const char *name, const char *file, int line, void *arg)
{
	buf_addf(arg, "policy \"%s\" matches (%s:%d)\n", name, file, line);
}

static void
explain_item(const struct policy_item *item, void *arg)
{
	char key[80];

	snprintf(key, sizeof(key), "%s%s%s", item->section, item->section[0] ? "." : "",
	    item->name);
	buf_addf(arg, "%-28s %-36s ", key, item->value);
	if (item->policy != NULL)
		buf_addf(arg, "policy \"%s\" (%s:%d)\n", item->policy, item->file,
		    item->line);
	else if (item->file != NULL)
		buf_addf(arg, "%s:%d\n", item->file, item->line);
	else
		buf_add_cstr(arg, "default\n");
}

void
policy_explain(
    const struct settings *s, const struct policy_facts *facts, struct buf *out)
{
	size_t before = out->len;

	policy_each_match(s, facts, explain_match, out);
	if (out->len == before)
		buf_add_cstr(out, "no policy matches\n");
	policy_each(s, facts, explain_item, out);
}

bool
policy_list_has_client(
    const struct settings *s, struct str list, const struct ip *client)
{
	const struct policy_list *l =
	    s->policies == NULL ? NULL : policy_set_list(s->policies, list);

	return l != NULL && member_has_ip(l->members, client);
}
