/* SPDX-License-Identifier: BSD-2-Clause */
/* Statements of .cf files.  A line is a statement; '#' begins a comment unless a
 * backslash stands before it.  What a statement's pattern means is rules_pattern.c's,
 * conditions are rules_cond.c's. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/base/conf_tree.h"
#include "common/base/xalloc.h"
#include "milters/score/rules_cond.h"
#include "milters/score/rules_private.h"

struct reader {
	struct rules *r;
	struct rules_cond cond;
	const char *file;
	int line;
	unsigned depth; /* of includes */
	struct errs *errs;
};

static void read_path(struct reader *rd, const char *path);

#define FAIL(rd, ...) errs_add((rd)->errs, (rd)->file, (rd)->line, __VA_ARGS__)
#define SHOWN(s) (int)((s).len < 60 ? (s).len : 60), (s).p

static void
note(struct reader *rd, const char *kind, struct str name)
{
	char text[160];

	snprintf(text, sizeof(text), "%s %.*s", kind, SHOWN(name));
	rules_note(rd->r, str_of(text), rd->file, rd->line);
}

static bool
name_ok(struct str name)
{
	if (name.len == 0 || name.len > META_NAME_MAX || ascii_digit(name.p[0]))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!ascii_alnum(name.p[i]) && name.p[i] != '_')
			return false;
	return true;
}

/* The first word of *rest as a rule; NULL after telling why not. */
static struct rule *
rule_of(struct reader *rd, const char *statement, struct str *rest)
{
	struct str name;

	if (!str_word(rest, &name) || !name_ok(name)) {
		FAIL(rd, "%s: \"%.*s\" is no name of a rule: expected letters, digits and '_'",
		    statement, SHOWN(name));
		return NULL;
	}
	struct rule *rule = rules_get(rd->r, name);
	if (rule == NULL)
		FAIL(rd, "too many rules: expected at most %d", RULES_MAX);
	*rest = str_trim(*rest);
	return rule;
}

/* A new definition replaces an older one. */
static void
define(struct reader *rd, struct rule *rule, enum rule_type type)
{
	rule_undefine(rule);
	rule->type = type;
	rule->file = rd->file;
	rule->line = rd->line;
}

static bool
is_eval(struct reader *rd, struct rule *rule, struct str rest)
{
	struct str call = rest, function;

	if (!str_starts(rest, STR("eval:")))
		return false;
	define(rd, rule, RULE_EVAL);
	rule->unsupported = "eval rule";
	str_cut(&call, '(', &function);
	note(rd, "eval", str_sub(str_trim(function), 5, function.len));
	return true;
}

/* Rules that capture text for others (%{NAME}) need a state that we do not keep. */
static void
look_at_pattern(struct rule *rule)
{
	const char *p = rule->pattern;

	while ((p = strstr(p, "%{")) != NULL) {
		if (p[2] >= 'A' && p[2] <= 'Z')
			rule->unsupported = "captured text in the pattern";
		p += 2;
	}
}

static void
set_pattern(struct reader *rd, struct rule *rule, struct str text)
{
	struct err err;

	if (rules_pattern_parse(text, rule, &err) != 0) {
		FAIL(rd, "%s: %s", rule->name, err.text);
		rule_undefine(rule);
		return;
	}
	look_at_pattern(rule);
}

static void
read_text_rule(struct reader *rd, const char *statement, struct str rest, enum rule_type type)
{
	struct rule *rule = rule_of(rd, statement, &rest);

	if (rule == NULL || is_eval(rd, rule, rest))
		return;
	if (rest.len == 0) { /* a plugin's rule: it has a score, no test */
		define(rd, rule, RULE_EMPTY);
		return;
	}
	define(rd, rule, type);
	set_pattern(rd, rule, rest);
}

static void
on_body(struct reader *rd, struct str rest)
{
	read_text_rule(rd, "body", rest, RULE_BODY);
}

static void
on_rawbody(struct reader *rd, struct str rest)
{
	read_text_rule(rd, "rawbody", rest, RULE_RAWBODY);
}

static void
on_uri(struct reader *rd, struct str rest)
{
	read_text_rule(rd, "uri", rest, RULE_URI);
}

static void
on_full(struct reader *rd, struct str rest)
{
	read_text_rule(rd, "full", rest, RULE_FULL);
}

/* ---- header ---- */

/* "From:addr" to name and part; other parts and the relay fields are not known here. */
static void
set_field(struct rule *rule, struct str field)
{
	static const struct {
		const char *name;
		enum rule_part part;
	} parts[] = { { "raw", RULE_RAW }, { "addr", RULE_ADDR }, { "name", RULE_NAME } };
	static const char *const foreign[] = { "X-Spam-Relays-", "ALL-TRUSTED",
		"ALL-UNTRUSTED", "ALL-INTERNAL", "ALL-EXTERNAL" };
	struct str name;

	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		if (str_starts_nocase(field, str_of(foreign[i])))
			rule->unsupported = "field of the relay parser";
	str_cut(&field, ':', &name);
	rule->field = str_dup(name);
	if (field.p == NULL)
		return;
	for (size_t i = 0; i < 3; i++) {
		if (str_is(field, parts[i].name)) {
			rule->part = parts[i].part;
			return;
		}
	}
	rule->unsupported = "form of the field's value";
}

/* Cut "[if-unset: text]" from the end of *rest. */
static void
take_if_unset(struct rule *rule, struct str *rest)
{
	static const struct str mark = { "[if-unset:", 10 };

	if (rest->len == 0 || rest->p[rest->len - 1] != ']')
		return;
	for (size_t i = rest->len; i-- > 0;) {
		if (!str_starts_nocase(str_sub(*rest, i, rest->len), mark))
			continue;
		rule->if_unset = str_dup(str_trim(str_sub(*rest, i + mark.len, rest->len - 1)));
		*rest = str_trim(str_sub(*rest, 0, i));
		return;
	}
}

static bool
field_name_ok(struct str s)
{
	if (s.len == 0 || s.len > 256)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return true;
}

static void
on_header(struct reader *rd, struct str rest)
{
	struct rule *rule = rule_of(rd, "header", &rest);
	struct str field, op;

	if (rule == NULL || is_eval(rd, rule, rest))
		return;
	if (rest.len == 0) {
		define(rd, rule, RULE_EMPTY);
		return;
	}
	define(rd, rule, RULE_HEADER);
	str_word(&rest, &field);
	if (str_starts(field, STR("exists:"))) {
		rule->exists = true;
		field = str_sub(field, 7, field.len);
	}
	if (!field_name_ok(field)) {
		FAIL(rd, "%s: \"%.*s\" is no header field", rule->name, SHOWN(field));
		rule_undefine(rule);
		return;
	}
	set_field(rule, field);
	if (rule->exists)
		return;
	rest = str_trim(rest);
	op = str_sub(rest, 0, 2);
	if (!str_is(op, "=~") && !str_is(op, "!~")) {
		FAIL(rd, "%s: \"%.*s\" cannot be read: expected =~ or !~ and a pattern",
		    rule->name, SHOWN(rest));
		rule_undefine(rule);
		return;
	}
	rule->negated = op.p[0] == '!';
	rest = str_trim(str_sub(rest, 2, rest.len));
	take_if_unset(rule, &rest);
	set_pattern(rd, rule, rest);
}

/* ---- what is said about rules ---- */

static void
on_meta(struct reader *rd, struct str rest)
{
	struct rule *rule = rule_of(rd, "meta", &rest);
	struct err err;

	if (rule == NULL)
		return;
	struct meta *meta = meta_parse(rest, &err);
	if (meta == NULL) {
		FAIL(rd, "meta %s: %s", rule->name, err.text);
		return;
	}
	define(rd, rule, RULE_META);
	rule->meta = meta;
}

/* "-2.5", "5" */
static bool
parse_score(struct str s, double *out)
{
	bool negative = s.len > 0 && s.p[0] == '-', dot = false, digit = false;
	double value = 0, unit = 1;

	if (s.len > 20)
		return false;
	for (size_t i = negative || (s.len > 0 && s.p[0] == '+') ? 1 : 0; i < s.len; i++) {
		if (s.p[i] == '.' && !dot) {
			dot = true;
		} else if (ascii_digit(s.p[i])) {
			value = value * 10 + (s.p[i] - '0');
			unit *= dot ? 10 : 1;
			digit = true;
		} else {
			return false;
		}
	}
	*out = (negative ? -value : value) / unit;
	return digit && value / unit <= 1e6;
}

/* One value for all sets, or one each; in brackets: added to what it was. */
static void
on_score(struct reader *rd, struct str rest)
{
	struct rule *rule = rule_of(rd, "score", &rest);
	double values[RULE_SETS];
	bool relative[RULE_SETS];
	struct str word;
	size_t n = 0;

	if (rule == NULL)
		return;
	for (; n <= RULE_SETS && str_word(&rest, &word); n++) {
		bool inside = word.len > 2 && word.p[0] == '(' && word.p[word.len - 1] == ')';

		if (n == RULE_SETS)
			continue;
		relative[n] = inside;
		if (!parse_score(inside ? str_sub(word, 1, word.len - 1) : word, &values[n])) {
			FAIL(rd, "score %s: \"%.*s\" is no number", rule->name, SHOWN(word));
			return;
		}
	}
	if (n != 1 && n != RULE_SETS) {
		FAIL(rd, "score %s: expected one value or four", rule->name);
		return;
	}
	for (size_t i = 0; i < RULE_SETS; i++) {
		size_t k = n == 1 ? 0 : i;

		rule->score[i] =
		    values[k] + (relative[k] ? rule_score(rule, i) : 0);
	}
	rule->scored = true;
}

static void
on_describe(struct reader *rd, struct str rest)
{
	struct rule *rule = rule_of(rd, "describe", &rest);

	if (rule == NULL)
		return;
	free(rule->describe);
	rule->describe = str_dup(rest);
}

static void
on_tflags(struct reader *rd, struct str rest)
{
	static const struct {
		const char *word;
		unsigned flag;
	} words[] = { { "nice", RULE_NICE }, { "multiple", RULE_MULTIPLE }, { "net", RULE_NET },
		{ "learn", RULE_LEARN }, { "nosubject", RULE_NOSUBJECT } };
	struct rule *rule = rule_of(rd, "tflags", &rest);
	struct str word;
	uint64_t n;

	if (rule == NULL)
		return;
	rule->tflags = 0;
	rule->maxhits = 0;
	while (str_word(&rest, &word)) {
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (str_is(word, words[i].word))
				rule->tflags |= words[i].flag;
		if (!str_starts(word, STR("maxhits=")))
			continue; /* others steer learning and publishing only */
		if (str_to_uint(str_sub(word, 8, word.len), 0, RULES_HITS_MAX, &n))
			rule->maxhits = (uint32_t)n;
		else
			FAIL(rd, "tflags %s: \"%.*s\": expected a number of hits",
			    rule->name, SHOWN(word));
	}
}

static void
add_tag(struct reader *rd, enum rules_tags kind, struct str rest)
{
	struct rules *r = rd->r;
	struct str name;

	if (!str_word(&rest, &name)) {
		FAIL(rd, "a replace tag has no name");
		return;
	}
	rest = str_trim(rest);
	for (size_t i = 0; i < r->n_tags[kind]; i++) {
		if (str_is(name, r->tags[kind][i].name)) {
			free(r->tags[kind][i].text);
			r->tags[kind][i].text = str_dup(rest);
			return;
		}
	}
	if (r->n_tags[kind] == RULES_TAGS_MAX) {
		FAIL(rd, "too many replace tags: expected at most %d", RULES_TAGS_MAX);
		return;
	}
	r->tags[kind] =
	    xreallocarray(r->tags[kind], r->n_tags[kind] + 1, sizeof(*r->tags[kind]));
	r->tags[kind][r->n_tags[kind]++] = (struct rules_tag){ str_dup(name), str_dup(rest) };
}

static void
on_replace_tag(struct reader *rd, struct str rest)
{
	add_tag(rd, RULES_TAG, rest);
}

static void
on_replace_pre(struct reader *rd, struct str rest)
{
	add_tag(rd, RULES_PRE, rest);
}

static void
on_replace_inter(struct reader *rd, struct str rest)
{
	add_tag(rd, RULES_INTER, rest);
}

static void
on_replace_post(struct reader *rd, struct str rest)
{
	add_tag(rd, RULES_POST, rest);
}

static void
on_replace_rules(struct reader *rd, struct str rest)
{
	while (str_trim(rest).len > 0) {
		struct rule *rule = rule_of(rd, "replace_rules", &rest);

		if (rule == NULL)
			return;
		rule->tagged = true;
	}
}

static void
on_include(struct reader *rd, struct str rest)
{
	char *name = str_dup(rest);
	char *path = conf_relative(rd->file, rest);

	if (name[0] == '\0')
		FAIL(rd, "include: expected a file");
	else if (rd->depth == RULES_INCLUDE_MAX)
		FAIL(rd, "include \"%s\": files inside files deeper than %d", name,
		    RULES_INCLUDE_MAX);
	else
		read_path(rd, path);
	free(path);
	free(name);
}

/* A rule that only its plugin can run. */
static void
plugin_rule(struct reader *rd, const char *statement, struct str rest)
{
	struct rule *rule = rule_of(rd, statement, &rest);

	if (rule == NULL)
		return;
	define(rd, rule, RULE_EVAL);
	rule->unsupported = "rule of a plugin";
	note(rd, "statement", str_of(statement));
}

static void
on_mimeheader(struct reader *rd, struct str rest)
{
	plugin_rule(rd, "mimeheader", rest);
}

static void
on_uri_detail(struct reader *rd, struct str rest)
{
	plugin_rule(rd, "uri_detail", rest);
}

static void
on_askdns(struct reader *rd, struct str rest)
{
	plugin_rule(rd, "askdns", rest);
}

static void
on_nothing(struct reader *rd, struct str rest)
{
	(void)rd;
	(void)rest;
}

static void
on_loadplugin(struct reader *rd, struct str rest)
{
	struct str name;

	if (str_word(&rest, &name))
		rules_cond_plugin(&rd->cond, name);
}

static void
on_required_score(struct reader *rd, struct str rest)
{
	(void)rest;
	/* the thresholds stand in postern.conf, where policies can give them */
	note(rd, "statement", STR("required_score"));
}

static const struct {
	const char *name;
	void (*run)(struct reader *rd, struct str rest);
} statements[] = {
	{ "body", on_body },
	{ "header", on_header },
	{ "rawbody", on_rawbody },
	{ "uri", on_uri },
	{ "full", on_full },
	{ "meta", on_meta },
	{ "score", on_score },
	{ "describe", on_describe },
	{ "tflags", on_tflags },
	{ "replace_tag", on_replace_tag },
	{ "replace_pre", on_replace_pre },
	{ "replace_inter", on_replace_inter },
	{ "replace_post", on_replace_post },
	{ "replace_rules", on_replace_rules },
	{ "mimeheader", on_mimeheader },
	{ "uri_detail", on_uri_detail },
	{ "askdns", on_askdns },
	{ "include", on_include },
	{ "loadplugin", on_loadplugin },
	{ "required_score", on_required_score },
	{ "required_hits", on_required_score },
	{ "priority", on_nothing }, /* the order changes no result here */
	{ "lang", on_nothing }, /* descriptions in other languages */
	{ "test", on_nothing }, /* samples for the rules' own test suite */
	{ "require_version", on_nothing },
};

static void
read_statement(struct reader *rd, struct str line)
{
	struct str word;
	char name[64];
	struct err err;

	if (!str_word(&line, &word))
		return;
	int cond = rules_cond_statement(&rd->cond, word, str_trim(line), rd->line, &err);
	if (cond < 0)
		FAIL(rd, "%s", err.text);
	if (cond != 0 || rules_cond_skip(&rd->cond))
		return;
	size_t len = word.len < sizeof(name) - 1 ? word.len : sizeof(name) - 1;
	for (size_t i = 0; i < len; i++)
		name[i] = word.p[i] == '-' ? '_' : ascii_lower(word.p[i]);
	name[len] = '\0';
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
		if (strcmp(name, statements[i].name) == 0) {
			statements[i].run(rd, str_trim(line));
			return;
		}
	}
	note(rd, "statement", str_of(name));
}

/* Without its comment, and "\#" as '#'. */
static void
clean_line(struct str line, struct buf *out)
{
	for (size_t i = 0; i < line.len; i++) {
		if (line.p[i] == '\\' && i + 1 < line.len && line.p[i + 1] == '#')
			i++;
		else if (line.p[i] == '#')
			break;
		buf_add_char(out, line.p[i]);
	}
}

static void
read_lines(struct reader *rd, struct str text)
{
	struct str line;
	struct buf clean;
	unsigned depth = rules_cond_depth(&rd->cond);

	buf_init(&clean, RULES_LINE_MAX);
	while (str_cut(&text, '\n', &line)) {
		rd->line++;
		buf_reset(&clean);
		if (line.len > RULES_LINE_MAX) {
			FAIL(rd, "line over %d octets", RULES_LINE_MAX);
			continue;
		}
		clean_line(line, &clean);
		if (memchr(clean.p == NULL ? "" : clean.p, '\0', clean.len) != NULL)
			FAIL(rd, "NUL in a statement");
		else
			read_statement(rd, str_trim(buf_str(&clean)));
	}
	if (rules_cond_depth(&rd->cond) > depth)
		errs_add(rd->errs, rd->file, rules_cond_open(&rd->cond),
		    "the condition has no endif");
	rules_cond_cut(&rd->cond, depth);
	buf_clear(&clean);
}

/* ---- files ---- */

static const char *
keep_file(struct reader *rd, const char *path)
{
	struct rules *r = rd->r;

	if (r->n_files == RULES_FILES_MAX) {
		FAIL(rd, "too many files: expected at most %d", RULES_FILES_MAX);
		return NULL;
	}
	r->files = xreallocarray(r->files, r->n_files + 1, sizeof(*r->files));
	return r->files[r->n_files++] = xstrdup(path);
}

static void
read_file(struct reader *rd, const char *path)
{
	struct err err;
	size_t len;
	const char *file = rd->file, *kept = keep_file(rd, path);
	int line = rd->line;

	if (kept == NULL)
		return;
	char *text = conf_read_file(path, &len, &err);
	if (text == NULL) {
		/* where it was asked for is the place to look */
		errs_add(rd->errs, file == NULL ? path : file, line, "rule file \"%s\" %s", path,
		    err.text);
		return;
	}
	rd->file = kept;
	rd->line = 0;
	rd->depth++;
	read_lines(rd, (struct str){ text, len });
	rd->depth--;
	rd->file = file;
	rd->line = line;
	free(text);
}

static int
not_hidden(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static void
read_folder(struct reader *rd, const char *path)
{
	static const char *const endings[] = { ".pre", ".cf" };
	struct dirent **list = NULL;
	int n = scandir(path, &list, not_hidden, alphasort);

	if (n < 0)
		errs_add(rd->errs, path, 0, "the folder of rules cannot be read");
	for (size_t e = 0; e < 2; e++) {
		for (int i = 0; i < n; i++) {
			if (!str_ends_nocase(str_of(list[i]->d_name), str_of(endings[e])))
				continue;
			char *file = xasprintf("%s/%s", path, list[i]->d_name);
			read_file(rd, file);
			free(file);
		}
	}
	for (int i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static void
read_path(struct reader *rd, const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		read_folder(rd, path);
	else
		read_file(rd, path);
}

void
rules_read_paths(
    struct rules *r, const char *const *paths, size_t n, struct errs *errs)
{
	struct reader rd = { .r = r, .errs = errs };

	rules_cond_init(&rd.cond);
	for (size_t i = 0; i < n; i++)
		read_path(&rd, paths[i]);
	rules_cond_clear(&rd.cond);
}

void
rules_read_text(struct rules *r, struct str text, const char *name, struct errs *errs)
{
	struct reader rd = { .r = r, .errs = errs, .line = 0 };

	rd.file = keep_file(&rd, name);
	rules_cond_init(&rd.cond);
	read_lines(&rd, text);
	rules_cond_clear(&rd.cond);
}
