/* SPDX-License-Identifier: BSD-2-Clause */
/* Compiles with PCRE2 on octets (no UTF, as the published rules are written) and walks a
 * message rule by rule, so that each rule's code stays in the processor's cache. */
#include "milters/score/match.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

#include "common/base/xalloc.h"
#include "milters/score/fields.h"
#include "milters/score/prefilter.h"

#define CHUNK_MIN 2048 /* of rawbody: pieces end at a blank between these */
#define CHUNK_MAX 4096

/* A form of a field that rules ask for: made once per message. */
struct source {
	const char *field;
	enum rule_part part;
	struct buf value;
	bool found, ready;
};

struct compiled {
	size_t rule;
	pcre2_code *code; /* NULL: exists rule, or refused */
	size_t source; /* of header rules */
	bool filtered; /* matches only where the prefilter found a word of it */
};

struct match {
	const struct rules *r;
	struct compiled *list;
	size_t n, n_codes;
	struct source *sources;
	size_t n_sources;
	pcre2_match_context *context;
	pcre2_jit_stack *stack;
	pcre2_match_data *data;
	struct fields *fields;
	struct prefilter *filters[RULE_TYPES]; /* of body, rawbody and uri */
	bool *wanted; /* by place in list */
	bool filtering;
};

/* ---- compiling ---- */

static pcre2_code *
compile_text(struct str text, uint32_t options, pcre2_compile_context *context, int *error)
{
	size_t at;

	return pcre2_compile(
	    (PCRE2_SPTR)text.p, text.len, options, error, &at, context);
}

static uint32_t
options_of(const struct rule *rule)
{
	return PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C |
	    (rule->flags & RULE_CASELESS ? PCRE2_CASELESS : 0) |
	    (rule->flags & RULE_MULTILINE ? PCRE2_MULTILINE : 0) |
	    (rule->flags & RULE_DOTALL ? PCRE2_DOTALL : 0) |
	    (rule->flags & RULE_EXTENDED ? PCRE2_EXTENDED : 0);
}

/* A pattern that is too large with its tags written out may fit with calls. */
static pcre2_code *
compile(const struct rules *r, const struct rule *rule, pcre2_compile_context *context,
    struct errs *notes)
{
	pcre2_code *code = NULL;
	PCRE2_UCHAR why[120] = "larger than its limit";
	struct buf text;
	int error = 0;

	buf_init(&text, RULES_PATTERN_MAX);
	if (rules_expand(r, rule, &text) == 0)
		code = compile_text(buf_str(&text), options_of(rule), context, &error);
	if (code == NULL && rule->tagged && (error == 0 || error == PCRE2_ERROR_PATTERN_TOO_LARGE)) {
		buf_reset(&text);
		if (rules_expand_define(r, rule, &text) == 0)
			code = compile_text(buf_str(&text), options_of(rule), context, &error);
	}
	buf_clear(&text);
	if (code == NULL) {
		if (error != 0)
			pcre2_get_error_message(error, why, sizeof(why));
		errs_add(notes, rule->file, rule->line, "%s: the pattern does not compile: %s",
		    rule->name, (const char *)why);
		return NULL;
	}
	/* where the processor has no code generator the interpreter does it */
	(void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
	return code;
}

/* What must stand in a text before the pattern is tried. */
static void
add_words(struct match *m, const struct rule *rule)
{
	struct compiled *c = &m->list[m->n];
	struct literals words;
	struct buf text;

	if (rule->type != RULE_BODY && rule->type != RULE_RAWBODY && rule->type != RULE_URI)
		return;
	buf_init(&text, RULES_PATTERN_MAX);
	if (rules_expand(m->r, rule, &text) == 0 &&
	    literals_of(buf_str(&text), (rule->flags & RULE_EXTENDED) != 0, &words)) {
		if (m->filters[rule->type] == NULL)
			m->filters[rule->type] = prefilter_new();
		prefilter_add(m->filters[rule->type], m->n, &words);
		c->filtered = true;
	}
	buf_clear(&text);
}

static size_t
source_of(struct match *m, const struct rule *rule)
{
	size_t i = 0;

	while (i < m->n_sources &&
	    (m->sources[i].part != rule->part ||
		strcmp(m->sources[i].field, rule->field) != 0)) /* MESSAGEID: by case */
		i++;
	if (i < m->n_sources)
		return i;
	m->sources = xreallocarray(m->sources, i + 1, sizeof(*m->sources));
	m->sources[m->n_sources++] = (struct source){ rule->field, rule->part, { 0 }, false, false };
	buf_init(&m->sources[i].value, FIELDS_FORM_MAX);
	return i;
}

static bool
is_matched(const struct rule *rule)
{
	switch (rule->type) {
	case RULE_HEADER:
	case RULE_BODY:
	case RULE_RAWBODY:
	case RULE_URI:
	case RULE_FULL:
		return true;
	case RULE_NONE:
	case RULE_EMPTY:
	case RULE_META:
	case RULE_EVAL:
	case RULE_TYPES:
		break;
	}
	return false;
}

struct match *
match_new(const struct rules *r, size_t set, struct errs *notes)
{
	struct match *m = xcalloc(1, sizeof(*m));
	pcre2_compile_context *context = pcre2_compile_context_create(NULL);

	m->r = r;
	m->list = xcalloc(r->n + 1, sizeof(*m->list));
	m->fields = xcalloc(1, sizeof(*m->fields));
	m->context = pcre2_match_context_create(NULL);
	m->stack = pcre2_jit_stack_create(32768, MATCH_JIT_STACK, NULL);
	m->data = pcre2_match_data_create(1, NULL); /* only where the match lies */
	if (context == NULL || m->context == NULL || m->stack == NULL || m->data == NULL)
		abort(); /* out of memory: as xmalloc */
	/* Perl takes an unknown escaped letter for itself */
	pcre2_set_compile_extra_options(context, PCRE2_EXTRA_BAD_ESCAPE_IS_LITERAL);
	pcre2_set_match_limit(m->context, MATCH_LIMIT);
	pcre2_set_heap_limit(m->context, MATCH_HEAP_KB);
	pcre2_jit_stack_assign(m->context, NULL, m->stack);
	for (size_t i = 0; i < r->n; i++) {
		const struct rule *rule = &r->list[i];
		struct compiled *c = &m->list[m->n];

		if (!is_matched(rule) || rule->unsupported != NULL || !rule_enabled(rule, set))
			continue;
		c->rule = i;
		if (rule->type == RULE_HEADER)
			c->source = source_of(m, rule);
		if (!rule->exists)
			c->code = compile(r, rule, context, notes);
		if (c->code != NULL)
			add_words(m, rule);
		m->n_codes += c->code != NULL;
		m->n++;
	}
	pcre2_compile_context_free(context);
	m->wanted = xcalloc(m->n + 1, sizeof(*m->wanted));
	m->filtering = true;
	return m;
}

void
match_free(struct match *m)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->n; i++)
		pcre2_code_free(m->list[i].code);
	for (size_t i = 0; i < m->n_sources; i++)
		buf_clear(&m->sources[i].value);
	pcre2_match_data_free(m->data);
	pcre2_match_context_free(m->context);
	pcre2_jit_stack_free(m->stack);
	for (size_t i = 0; i < RULE_TYPES; i++)
		prefilter_free(m->filters[i]);
	free(m->wanted);
	free(m->fields);
	free(m->sources);
	free(m->list);
	free(m);
}

void
match_set_filtering(struct match *m, bool on)
{
	m->filtering = on;
}

size_t
match_filtered(const struct match *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++)
		n += m->list[i].filtered;
	return n;
}

size_t
match_compiled(const struct match *m)
{
	return m->n_codes;
}

/* ---- matching ---- */

struct run {
	struct match *m;
	const struct match_input *in;
	const struct compiled *c;
	const struct rule *rule;
	uint32_t hits; /* of this rule so far */
	bool over;
};

static bool
is_over(struct run *run)
{
	run->over = run->over || (run->in->over != NULL && run->in->over(run->in->arg));
	return run->over;
}

static bool
enough(const struct run *run)
{
	if ((run->rule->tflags & RULE_MULTIPLE) == 0)
		return run->hits > 0;
	return run->hits >= (run->rule->maxhits > 0 ? run->rule->maxhits : RULES_HITS_MAX);
}

/* Count the hits in one piece of text.  false: the rule is done, or cannot be. */
static bool
match_piece(struct run *run, struct str s)
{
	uint32_t options = 0;
	size_t at = 0;

	if (s.p == NULL)
		s.p = "";
	while (!enough(run)) {
		int rc = pcre2_match(run->c->code, (PCRE2_SPTR)s.p, s.len, at, options,
		    run->m->data, run->m->context);

		if (rc == PCRE2_ERROR_NOMATCH)
			return true;
		if (rc < 0 || (run->hits % 64 == 63 && is_over(run))) {
			run->hits = HITS_UNKNOWN;
			return false;
		}
		const size_t *where = pcre2_get_ovector_pointer(run->m->data);
		run->hits++;
		/* behind an empty match the next one must not be the same */
		options = where[1] == where[0] ? PCRE2_NOTEMPTY_ATSTART : 0;
		if (where[1] < at) /* \K in a look-behind: never backwards */
			return true;
		at = where[1];
	}
	return false;
}

static void
match_lines(struct run *run, struct str text, bool with_lf)
{
	while (text.len > 0) {
		const char *lf = memchr(text.p, '\n', text.len);
		size_t len = lf == NULL ? text.len : (size_t)(lf - text.p) + 1;
		size_t shown = lf != NULL && !with_lf ? len - 1 : len;

		if (!match_piece(run, str_sub(text, 0, shown)))
			return;
		text = str_sub(text, len, text.len);
	}
}

/* Where a piece that begins here ends: behind the first line end, else tag, else word,
 * that is 2 to 4 kB away. */
static size_t
chunk_length(struct str text)
{
	static const char ends[] = "\n> ";

	if (text.len <= CHUNK_MAX)
		return text.len;
	for (size_t i = 0; i < sizeof(ends) - 1; i++) {
		const char *end = memchr(text.p + CHUNK_MIN, ends[i], CHUNK_MAX - CHUNK_MIN);

		if (end != NULL)
			return (size_t)(end - text.p) + 1;
	}
	return CHUNK_MIN + 1;
}

static void
match_chunks(struct run *run, struct str text)
{
	while (text.len > 0) {
		size_t len = chunk_length(text);

		if (!match_piece(run, str_sub(text, 0, len)))
			return;
		text = str_sub(text, len, text.len);
	}
}

static void
match_header(struct run *run)
{
	struct source *s = &run->m->sources[run->c->source];
	const struct rule *rule = run->rule;

	if (!s->ready) {
		buf_reset(&s->value);
		s->found = fields_form(
		    run->m->fields, s->field, s->part, run->in->sender, &s->value);
		s->ready = true;
	}
	if (rule->exists) {
		run->hits = s->found;
		return;
	}
	struct str value = s->found ? buf_str(&s->value)
	    : rule->if_unset != NULL ? str_of(rule->if_unset)
				     : STR("");
	match_piece(run, value);
	if (rule->negated && run->hits != HITS_UNKNOWN)
		run->hits = run->hits == 0;
}

static void
match_body(struct run *run)
{
	struct str text = buf_str(&run->in->text->body), subject;

	if (run->rule->tflags & RULE_NOSUBJECT)
		str_cut(&text, '\n', &subject);
	match_lines(run, text, true);
}

static uint32_t
match_rule(struct run *run)
{
	run->hits = 0;
	if (run->c->code == NULL && !run->rule->exists)
		return HITS_UNKNOWN;
	switch (run->rule->type) {
	case RULE_HEADER:
		match_header(run);
		break;
	case RULE_BODY:
		match_body(run);
		break;
	case RULE_RAWBODY:
		match_chunks(run, buf_str(&run->in->text->rawbody));
		break;
	case RULE_URI:
		match_lines(run, buf_str(&run->in->text->uris), false);
		break;
	case RULE_FULL:
		match_piece(run, run->in->message);
		break;
	case RULE_NONE:
	case RULE_EMPTY:
	case RULE_META:
	case RULE_EVAL:
	case RULE_TYPES:
		return HITS_UNKNOWN;
	}
	return run->hits;
}

/* ---- domains of links ---- */

static struct str
host_of(struct str uri)
{
	for (size_t i = 0; i + 2 < uri.len; i++) {
		if (uri.p[i] != ':' || uri.p[i + 1] != '/' || uri.p[i + 2] != '/')
			continue;
		uri = str_sub(uri, i + 3, uri.len);
		size_t end = 0;
		while (end < uri.len && strchr("/?#\\", uri.p[end]) == NULL)
			end++;
		uri = str_sub(uri, 0, end);
		ptrdiff_t at = str_rindex(uri, '@');
		uri = str_sub(uri, (size_t)(at + 1), uri.len);
		ptrdiff_t colon = str_rindex(uri, ':');
		return colon < 0 ? uri : str_sub(uri, 0, (size_t)colon);
	}
	return STR("");
}

static void
look_for_words(struct match *m, const struct render *text)
{
	const struct str texts[RULE_TYPES] = { [RULE_BODY] = buf_str(&text->body),
		[RULE_RAWBODY] = buf_str(&text->rawbody),
		[RULE_URI] = buf_str(&text->uris) };

	memset(m->wanted, !m->filtering, m->n * sizeof(*m->wanted));
	for (size_t i = 0; m->filtering && i < RULE_TYPES; i++)
		if (m->filters[i] != NULL)
			prefilter_run(m->filters[i], texts[i], m->wanted);
}

void
match_run(struct match *m, const struct match_input *in, struct hits *out)
{
	struct run run = { .m = m, .in = in };
	struct str uris = buf_str(&in->text->uris), uri;

	hits_init(out, m->r);
	fields_read(in->message, m->fields);
	for (size_t i = 0; i < m->n_sources; i++)
		m->sources[i].ready = false;
	look_for_words(m, in->text);
	for (size_t i = 0; i < m->n; i++) {
		run.c = &m->list[i];
		if (run.c->filtered && !m->wanted[i])
			continue; /* cannot match */
		run.rule = &m->r->list[run.c->rule];
		out->hits[run.c->rule] = is_over(&run) ? HITS_UNKNOWN : match_rule(&run);
	}
	out->over = run.over;
	out->cut = in->text->cut || m->fields->cut;
	while (out->n_domains < HITS_DOMAINS_MAX && str_cut(&uris, '\n', &uri))
		hits_add_domain(out, host_of(uri));
}
