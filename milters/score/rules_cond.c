/* SPDX-License-Identifier: BSD-2-Clause */
/* Which parts of a rule file are read.  plugin(), can(), version and their like are
 * written out as numbers first; then the condition is an expression like a meta's. */
#include "milters/score/rules_cond.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"
#include "milters/score/meta.h"

#define CONDITION_MAX 2000

/* Loaded by default in 4.0.1, behind "Mail::SpamAssassin::Plugin::". */
static const char *const default_plugins[] = { "AskDNS", "AutoLearnThreshold", "Bayes",
	"BodyEval", "Check", "DKIM", "DMARC", "DNSEval", "FreeMail", "HTMLEval",
	"HTTPSMismatch", "HashBL", "HeaderEval", "ImageInfo", "MIMEEval", "MIMEHeader", "Pyzor",
	"Razor2", "RelayEval", "ReplaceTags", "SPF", "SpamCop", "URIDNSBL", "URIDetail",
	"URIEval", "VBounce", "WLBLEval", "WelcomeListSubject", "WhiteListSubject" };
static const char prefix[] = "Mail::SpamAssassin::Plugin::";

void
rules_cond_init(struct rules_cond *c)
{
	*c = (struct rules_cond){ .n = 0 };
}

void
rules_cond_clear(struct rules_cond *c)
{
	for (size_t i = 0; i < c->n_plugins; i++)
		free(c->plugins[i]);
	free(c->plugins);
	c->plugins = NULL;
	c->n_plugins = 0;
}

bool
rules_cond_skip(const struct rules_cond *c)
{
	return c->n > 0 && !(c->stack[c->n - 1].holds && c->stack[c->n - 1].outer);
}

unsigned
rules_cond_depth(const struct rules_cond *c)
{
	return c->n;
}

int
rules_cond_open(const struct rules_cond *c)
{
	return c->n == 0 ? 0 : c->stack[c->n - 1].line;
}

void
rules_cond_cut(struct rules_cond *c, unsigned depth)
{
	c->n = c->n > depth ? depth : c->n;
}

static bool
has_plugin(const struct rules_cond *c, struct str name)
{
	for (size_t i = 0; i < c->n_plugins; i++)
		if (str_is(name, c->plugins[i]))
			return true;
	if (!str_starts(name, str_of(prefix)))
		return false;
	name = str_sub(name, sizeof(prefix) - 1, name.len);
	for (size_t i = 0; i < sizeof(default_plugins) / sizeof(default_plugins[0]); i++)
		if (str_is(name, default_plugins[i]))
			return true;
	return false;
}

void
rules_cond_plugin(struct rules_cond *c, struct str name)
{
	if (has_plugin(c, name) || c->n_plugins == RULES_COND_PLUGINS_MAX)
		return;
	c->plugins = xreallocarray(c->plugins, c->n_plugins + 1, sizeof(*c->plugins));
	c->plugins[c->n_plugins++] = str_dup(name);
}

/* can(Module::Plugin::Name::feature): a feature of 4.0.1's core, or of a plugin that is
 * there. */
static bool
can(const struct rules_cond *c, struct str name)
{
	ptrdiff_t colon = str_rindex(name, ':');

	if (str_starts(name, STR("Mail::SpamAssassin::Conf::")))
		return true;
	return colon > 1 && has_plugin(c, str_sub(name, 0, (size_t)colon - 1));
}

static bool
word_octet(char ch)
{
	return ascii_alnum(ch) || ch == '_' || ch == ':' || ch == '.';
}

/* One name of the condition as a number.  *rest stands behind it. */
static int
write_name(const struct rules_cond *c, struct str word, struct str *rest, struct buf *out,
    struct err *err)
{
	struct str argument;

	if (ascii_digit(word.p[0]))
		return buf_add_str(out, word);
	if (str_is(word, "version"))
		return buf_add_cstr(out, "4.000001");
	if (str_is(word, "perl_version"))
		return buf_add_cstr(out, "5.036000");
	if (str_is(word, "local_tests_only"))
		return buf_add_cstr(out, "1");
	if (rest->len == 0 || rest->p[0] != '(')
		return err_set(err, "\"%.*s\" is not known in a condition",
		    (int)(word.len < 60 ? word.len : 60), word.p);
	*rest = str_sub(*rest, 1, rest->len);
	str_cut(rest, ')', &argument);
	if (rest->p == NULL)
		return err_set(err, "'(' without ')' in a condition");
	argument = str_trim(argument);
	if (str_is(word, "plugin"))
		return buf_add_cstr(out, has_plugin(c, argument) ? "1" : "0");
	if (str_is(word, "can") || str_is(word, "has"))
		return buf_add_cstr(out, can(c, argument) ? "1" : "0");
	return err_set(err, "\"%.*s(\" is not known in a condition: expected plugin or can",
	    (int)(word.len < 60 ? word.len : 60), word.p);
}

static int
write_numbers(
    const struct rules_cond *c, struct str rest, struct buf *out, struct err *err)
{
	while (rest.len > 0) {
		size_t len = 0;

		while (len < rest.len && word_octet(rest.p[len]))
			len++;
		if (len == 0) {
			buf_add_char(out, rest.p[0]);
			rest = str_sub(rest, 1, rest.len);
			continue;
		}
		struct str word = str_sub(rest, 0, len);
		rest = str_sub(rest, len, rest.len);
		if (write_name(c, word, &rest, out, err) != 0)
			return -1;
	}
	return out->failed ? err_set(err, "condition over %d octets", CONDITION_MAX) : 0;
}

static struct meta_value
no_value(void *arg, size_t name)
{
	(void)arg;
	(void)name;
	return META_NUMBER(0);
}

static int
evaluate(const struct rules_cond *c, struct str text, bool *holds, struct err *err)
{
	struct buf numbers;
	struct meta *m = NULL;

	buf_init(&numbers, CONDITION_MAX);
	if (write_numbers(c, text, &numbers, err) == 0)
		m = meta_parse(buf_str(&numbers), err);
	if (m != NULL)
		*holds = meta_true(meta_eval(m, no_value, NULL));
	meta_free(m);
	buf_clear(&numbers);
	return m == NULL ? -1 : 0;
}

static int
open_condition(struct rules_cond *c, struct str word, struct str rest, int line,
    struct err *err)
{
	bool outer = !rules_cond_skip(c), holds = false;

	if (c->n == RULES_COND_MAX)
		return err_set(err, "conditions inside conditions deeper than %d",
		    RULES_COND_MAX);
	int rc = 1;
	if (str_is_nocase(word, "ifplugin"))
		holds = has_plugin(c, rest);
	else if (outer && evaluate(c, rest, &holds, err) != 0)
		rc = -1; /* still opened: its endif will come */
	c->stack[c->n].holds = holds;
	c->stack[c->n].outer = outer;
	c->stack[c->n].else_seen = false;
	c->stack[c->n++].line = line;
	return rc;
}

int
rules_cond_statement(
    struct rules_cond *c, struct str word, struct str rest, int line, struct err *err)
{
	/* "if(...)" without a blank */
	if (str_starts_nocase(word, STR("if(")))
		return open_condition(c, STR("if"),
		    (struct str){ word.p + 2, (size_t)(rest.p + rest.len - word.p) - 2 }, line,
		    err);
	if (str_is_nocase(word, "if") || str_is_nocase(word, "ifplugin"))
		return open_condition(c, word, rest, line, err);
	if (str_is_nocase(word, "endif")) {
		if (c->n == 0)
			return err_set(err, "endif without if");
		c->n--;
		return 1;
	}
	if (!str_is_nocase(word, "else"))
		return 0;
	if (c->n == 0 || c->stack[c->n - 1].else_seen)
		return err_set(err, "else without if");
	c->stack[c->n - 1].else_seen = true;
	c->stack[c->n - 1].holds = !c->stack[c->n - 1].holds;
	return 1;
}
