/* SPDX-License-Identifier: BSD-2-Clause */
/* The set of rules as a whole: finding them by name, what they score, and the order in
 * which metas run.  How files are read is rules_read.c's. */
#include "milters/score/rules.h"

#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/base/xalloc.h"
#include "milters/score/rules_private.h"

#define SLOTS 65536 /* more than twice RULES_MAX: a power of two */

static const char *const type_names[] = { "none", "empty", "header", "body", "rawbody",
	"uri", "full", "meta", "eval" };
static_assert(sizeof(type_names) / sizeof(type_names[0]) == RULE_TYPES, "a name each");

const char *
rule_type_name(enum rule_type type)
{
	return type_names[type];
}

struct rules *
rules_new(void)
{
	struct rules *r = xcalloc(1, sizeof(*r));

	r->n_slots = SLOTS;
	r->slots = xcalloc(SLOTS, sizeof(*r->slots));
	return r;
}

static uint32_t *
slot_of(const struct rules *r, struct str name)
{
	size_t i = (size_t)XXH3_64bits(name.p, name.len) & (r->n_slots - 1);

	while (r->slots[i] != 0 && !str_is(name, r->list[r->slots[i] - 1].name))
		i = (i + 1) & (r->n_slots - 1);
	return &r->slots[i];
}

size_t
rules_find(const struct rules *r, struct str name)
{
	uint32_t at = *slot_of(r, name);

	return at == 0 ? SIZE_MAX : at - 1;
}

struct rule *
rules_get(struct rules *r, struct str name)
{
	uint32_t *slot = slot_of(r, name);

	if (*slot != 0)
		return &r->list[*slot - 1];
	if (r->n == RULES_MAX)
		return NULL;
	if (r->n % 256 == 0)
		r->list = xreallocarray(r->list, r->n + 256, sizeof(*r->list));
	r->list[r->n] = (struct rule){ .name = str_dup(name) };
	*slot = (uint32_t)++r->n;
	return &r->list[r->n - 1];
}

void
rule_undefine(struct rule *rule)
{
	free(rule->field);
	free(rule->if_unset);
	free(rule->pattern);
	meta_free(rule->meta);
	free(rule->uses);
	rule->field = rule->if_unset = rule->pattern = NULL;
	rule->meta = NULL;
	rule->uses = NULL;
	rule->exists = rule->negated = false;
	rule->part = RULE_VALUE;
	rule->flags = 0;
	rule->unsupported = NULL;
	rule->type = RULE_NONE;
}

void
rules_free(struct rules *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->n; i++) {
		rule_undefine(&r->list[i]);
		free(r->list[i].name);
		free(r->list[i].describe);
	}
	for (size_t k = 0; k < RULES_TAG_KINDS; k++) {
		for (size_t i = 0; i < r->n_tags[k]; i++) {
			free(r->tags[k][i].name);
			free(r->tags[k][i].text);
		}
		free(r->tags[k]);
	}
	for (size_t i = 0; i < r->n_notes; i++)
		free(r->notes[i].what);
	for (size_t i = 0; i < r->n_files; i++)
		free(r->files[i]);
	free(r->list);
	free(r->slots);
	free(r->metas);
	free(r->notes);
	free(r->files);
	free(r);
}

void
rules_note(struct rules *r, struct str what, const char *file, int line)
{
	for (size_t i = 0; i < r->n_notes; i++) {
		if (str_is(what, r->notes[i].what)) {
			r->notes[i].n++;
			return;
		}
	}
	if (r->n_notes == RULES_NOTES_MAX)
		return;
	r->notes = xreallocarray(r->notes, r->n_notes + 1, sizeof(*r->notes));
	r->notes[r->n_notes++] = (struct rules_note){ str_dup(what), 1, file, line };
}

bool
rule_is_sub(const struct rule *rule)
{
	return rule->name[0] == '_' && rule->name[1] == '_';
}

double
rule_score(const struct rule *rule, size_t set)
{
	if (rule_is_sub(rule))
		return 0;
	if (rule->scored)
		return rule->score[set];
	if (rule->tflags & RULE_NICE)
		return -1;
	return rule->name[0] == 'T' && rule->name[1] == '_' ? 0.01 : 1;
}

bool
rule_enabled(const struct rule *rule, size_t set)
{
	double score = rule_score(rule, set);

	return rule_is_sub(rule) || score < 0 || score > 0;
}

/* ---- the order of metas ---- */

enum mark { MARK_NEW, MARK_OPEN, MARK_DONE };

struct visit {
	size_t rule;
	size_t next; /* of its uses */
};

struct sorter {
	struct rules *r;
	unsigned char *marks;
	struct visit *stack; /* a meta uses a meta: at most r->n deep */
	size_t depth;
	struct errs *errs;
};

static void
enter(struct sorter *s, size_t rule)
{
	s->marks[rule] = MARK_OPEN;
	s->stack[s->depth++] = (struct visit){ rule, 0 };
}

static void
cycle(const struct sorter *s, size_t used)
{
	const struct rule *by = &s->r->list[s->stack[s->depth - 1].rule],
			  *rule = &s->r->list[used];

	errs_add(s->errs, by->file, by->line, "meta %s depends on itself through %s (%s:%d)",
	    by->name, rule->name, rule->file, rule->line);
}

static void
visit_all(struct sorter *s, size_t from)
{
	enter(s, from);
	while (s->depth > 0) {
		struct visit *v = &s->stack[s->depth - 1];
		const struct rule *rule = &s->r->list[v->rule];

		if (v->next == rule->meta->n_names) {
			s->marks[v->rule] = MARK_DONE;
			s->r->metas[s->r->n_metas++] = v->rule;
			s->depth--;
			continue;
		}
		size_t used = rule->uses[v->next++];
		if (used == SIZE_MAX || s->r->list[used].type != RULE_META)
			continue;
		if (s->marks[used] == MARK_OPEN)
			cycle(s, used);
		else if (s->marks[used] == MARK_NEW)
			enter(s, used);
	}
}

void
rules_finish(struct rules *r, struct errs *errs)
{
	struct sorter s = { .r = r, .errs = errs };

	s.marks = xcalloc(r->n + 1, sizeof(*s.marks));
	s.stack = xcalloc(r->n + 1, sizeof(*s.stack));
	r->metas = xcalloc(r->n + 1, sizeof(*r->metas));
	for (size_t i = 0; i < r->n; i++) {
		struct rule *rule = &r->list[i];

		if (rule->type != RULE_META)
			continue;
		rule->uses = xcalloc(rule->meta->n_names + 1, sizeof(*rule->uses));
		for (size_t k = 0; k < rule->meta->n_names; k++)
			rule->uses[k] = rules_find(r, str_of(rule->meta->names[k]));
	}
	for (size_t i = 0; i < r->n; i++)
		if (r->list[i].type == RULE_META && s.marks[i] == MARK_NEW)
			visit_all(&s, i);
	free(s.marks);
	free(s.stack);
}

/* ---- loading ---- */

/* The generic test for unsolicited bulk mail: everybody's way to see that a filter works.
 * Written in pieces, so that this source does not match it. */
static const char built_in[] = "body GTUBE /XJS\\*C4JDBQADN1\\.NSBN3\\*2IDNEN\\*"
			       "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL\\*C\\.34X/\n"
			       "describe GTUBE Generic test for unsolicited bulk mail\n"
			       "score GTUBE 1000\n"
			       "tflags GTUBE userconf noautolearn\n";

static struct rules *
finish(struct rules *r, size_t before, struct errs *errs)
{
	if (errs->n + errs->dropped == before)
		rules_finish(r, errs);
	if (errs->n + errs->dropped == before)
		return r;
	rules_free(r);
	return NULL;
}

struct rules *
rules_load(const char *const *paths, size_t n, struct errs *errs)
{
	struct rules *r = rules_new();
	size_t before = errs->n + errs->dropped;

	rules_read_text(r, str_of(built_in), "built-in", errs);
	rules_read_paths(r, paths, n, errs);
	return finish(r, before, errs);
}

struct rules *
rules_from_text(struct str text, const char *name, struct errs *errs)
{
	struct rules *r = rules_new();
	size_t before = errs->n + errs->dropped;

	rules_read_text(r, str_of(built_in), "built-in", errs);
	rules_read_text(r, text, name, errs);
	return finish(r, before, errs);
}
