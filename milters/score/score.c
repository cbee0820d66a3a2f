/* SPDX-License-Identifier: BSD-2-Clause */
/* Sums up what rules are worth and says what is to be done.  A rule whose value is not
 * known adds nothing: a message is never judged by a guess. */
#include "milters/score/score.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/xalloc.h"

#define LINE_WIDTH 76 /* of folded header lines */

struct evaluation {
	const struct rules *r;
	size_t set;
	struct meta_value *values;
	bool *never; /* metas that do not run at all */
	const struct rule *rule; /* the one that is being computed */
	bool uses_never;
};

/* What a rule that this program does not run may have as its value.  Rules of the
 * network and of Bayes count as not hit: these tests are off. */
static struct meta_value
value_not_run(const struct rule *rule)
{
	if (rule->tflags & (RULE_NET | RULE_LEARN))
		return META_NUMBER(0);
	return META_UNKNOWN(rule->tflags & RULE_MULTIPLE ? HUGE_VAL : 1);
}

static struct meta_value
simple_value(const struct rule *rule, size_t set, uint32_t hits)
{
	if (!rule_enabled(rule, set) || rule->type == RULE_NONE || rule->type == RULE_EMPTY)
		return META_NUMBER(0);
	if (rule->unsupported != NULL || hits == HITS_UNKNOWN)
		return value_not_run(rule);
	return META_NUMBER(hits);
}

static struct meta_value
name_value(void *arg, size_t name)
{
	struct evaluation *e = arg;
	size_t i = e->rule->uses[name];

	if (i == SIZE_MAX) /* no such rule: the flag of local tests, or 0 */
		return META_NUMBER(
		    strcmp(e->rule->meta->names[name], "local_tests_only") == 0);
	e->uses_never = e->uses_never || e->never[i];
	return e->values[i];
}

/* A meta whose score is 0 does not run, nor does any that depends on it. */
static void
meta_value_of(struct evaluation *e, size_t i)
{
	const struct rule *rule = &e->r->list[i];

	e->values[i] = META_NUMBER(0);
	e->never[i] = !rule_enabled(rule, e->set);
	if (e->never[i])
		return;
	e->rule = rule;
	e->uses_never = false;
	struct meta_value v = meta_eval(rule->meta, name_value, e);
	e->never[i] = e->uses_never;
	if (!e->uses_never)
		e->values[i] = v;
}

void
score_values(const struct rules *r, size_t set, const struct hits *h,
    struct meta_value *values)
{
	struct evaluation e = { .r = r, .set = set, .values = values };

	e.never = xcalloc(r->n + 1, sizeof(*e.never));
	for (size_t i = 0; i < r->n; i++)
		values[i] = simple_value(&r->list[i], set, h->hits[i]);
	for (size_t i = 0; i < r->n_metas; i++)
		meta_value_of(&e, r->metas[i]);
	free(e.never);
}

struct named {
	const char *name;
	size_t rule;
};

static int
cmp_name(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

/* A rule with `multiple` adds its score each time it hits; a meta once, whatever its
 * value. */
static double
worth(const struct rule *rule, size_t set, double value)
{
	bool times = rule->type != RULE_META && (rule->tflags & RULE_MULTIPLE) != 0;

	return rule_score(rule, set) * (times ? value : 1);
}

void
score_message(const struct rules *r, size_t set, const struct hits *h, struct score *out)
{
	struct meta_value *values = xcalloc(r->n + 1, sizeof(*values));
	struct named *names = xcalloc(r->n + 1, sizeof(*names));
	double sum = 0;

	*out = (struct score){ .points = 0 };
	score_values(r, set, h, values);
	for (size_t i = 0; i < r->n; i++) {
		const struct rule *rule = &r->list[i];
		bool hit = meta_true(values[i]);

		out->unknown += h->hits[i] == HITS_UNKNOWN;
		out->undecided += rule->type == RULE_META && !hit && !meta_false(values[i]);
		if (!hit || rule_is_sub(rule))
			continue;
		names[out->n++] = (struct named){ rule->name, i };
		sum += worth(rule, set, values[i].lo);
	}
	qsort(names, out->n, sizeof(*names), cmp_name);
	out->tests = xcalloc(out->n + 1, sizeof(*out->tests));
	out->values = xcalloc(out->n + 1, sizeof(*out->values));
	for (size_t i = 0; i < out->n; i++) {
		out->tests[i] = names[i].rule;
		out->values[i] = values[names[i].rule].lo;
	}
	/* beyond any threshold: what is larger says no more */
	out->points = (int64_t)llround(fmax(fmin(sum, 1e9), -1e9) * 1000);
	free(names);
	free(values);
}

void
score_clear(struct score *s)
{
	free(s->tests);
	free(s->values);
	*s = (struct score){ .points = 0 };
}

struct score_decision
score_decide(
    const struct settings_score *set, enum score_state state, const struct score *s)
{
	struct score_decision d = { .verdict = verdict_continue("score") };

	if (state == SCORE_FAILED) {
		d.verdict.why = "failed";
		if (set->on_failure == SCORE_FAILURE_TEMPFAIL)
			d.verdict = verdict_refuse(451, "4.7.1", "failed",
			    "The message cannot be examined now, please try again later");
		return d;
	}
	d.tag = s->points >= set->tag;
	if (s->points >= set->reject)
		d.verdict = verdict_refuse(550, "5.7.1", "spam", "%s", set->text);
	else if (d.tag)
		d.verdict.why = "tagged";
	return d;
}

/* ---- headers ---- */

void
score_print_points(int64_t points, struct buf *out)
{
	buf_addf(out, "%.1f", (double)points / 1000);
}

void
score_tests(const struct rules *r, const struct score *s, struct buf *out)
{
	if (s->n == 0)
		buf_add_cstr(out, "none");
	for (size_t i = 0; i < s->n; i++)
		buf_addf(out, "%s%s", i == 0 ? "" : ",", r->list[s->tests[i]].name);
}

/* Where the next word would be too long the line is folded: *column counts. */
static void
add_word(const char *word, const char *before, size_t *column, struct buf *out)
{
	size_t len = strlen(word);

	if (*column + 1 + len > LINE_WIDTH) {
		buf_add_cstr(out, "\n\t");
		*column = 8;
	} else {
		buf_add_cstr(out, before);
		*column += strlen(before);
	}
	buf_add_cstr(out, word);
	*column += len;
}

void
score_status(const struct rules *r, const struct settings_score *set,
    enum score_state state, bool tag, const struct score *s, struct buf *out)
{
	size_t begin = out->len;

	buf_add_cstr(out, tag ? "Yes, score=" : "No, score=");
	if (state == SCORE_FAILED)
		buf_add_cstr(out, "failed");
	else
		score_print_points(s->points, out);
	buf_add_cstr(out, " required=");
	score_print_points(set->tag, out);
	buf_add_cstr(out, " tests=");
	size_t column = sizeof("X-Spam-Status: ") + out->len - begin;
	if (state == SCORE_FAILED || s->n == 0)
		add_word("none", "", &column, out);
	for (size_t i = 0; state != SCORE_FAILED && i < s->n; i++) {
		char *word =
		    xasprintf("%s%s", r->list[s->tests[i]].name, i + 1 < s->n ? "," : "");

		add_word(word, "", &column, out);
		free(word);
	}
	if (state == SCORE_PARTLY)
		add_word("partly=yes", " ", &column, out);
	add_word("autolearn=disabled", " ", &column, out);
	add_word("version=postern-1", " ", &column, out);
}

void
score_level(const struct score *s, struct buf *out)
{
	for (int64_t i = 1000; i <= s->points && i <= SCORE_LEVEL_MAX * 1000; i += 1000)
		buf_add_char(out, '*');
}

/* What a client says about itself may not end a word or a line. */
static void
add_atom(const char *text, struct buf *out)
{
	for (size_t i = 0; text[i] != '\0' && i < 255; i++) {
		bool ok = text[i] > ' ' && text[i] <= '~' && strchr("()[]<>;\\\"", text[i]) == NULL;

		buf_add_char(out, ok ? text[i] : '?');
	}
}

void
score_received(const struct score_hop *hop, int64_t now, struct buf *out)
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul",
		"Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t)now;
	struct tm tm;

	buf_add_cstr(out, "from ");
	add_atom(hop->helo[0] != '\0' ? hop->helo : "unknown", out);
	buf_add_cstr(out, " (");
	add_atom(hop->name[0] != '\0' && hop->name[0] != '[' ? hop->name : "unknown", out);
	if (hop->ip[0] != '\0')
		buf_addf(out, " [%s%s]", strchr(hop->ip, ':') != NULL ? "IPv6:" : "", hop->ip);
	buf_add_cstr(out, ")\n\tby ");
	add_atom(hop->host, out);
	buf_add_cstr(out, hop->authenticated ? " (Postern) with ESMTPA" : " (Postern) with ESMTP");
	if (hop->id[0] != '\0') {
		buf_add_cstr(out, " id ");
		add_atom(hop->id, out);
	}
	if (gmtime_r(&t, &tm) != NULL)
		buf_addf(out, ";\n\t%s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday],
		    tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
		    tm.tm_sec);
}
