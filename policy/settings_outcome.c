/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads and prints what follows from a finding. */
#include "policy/settings_outcome.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "policy/settings_word.h"

#define POINTS_MAX 1000000 /* thousandths */

struct number {
	int64_t points;
};
static const struct conf_setting points_row = { .name = "points",
	.type = CONF_DECIMAL,
	.offset = offsetof(struct number, points),
	.max = POINTS_MAX };

static void
refuse(const struct conf_node *node, struct errs *errs)
{
	errs_add(errs, node->name.file, node->name.line,
	    "%.*s: expected off, reject, tempfail or points like 2.5, and a reply's text "
	    "in quotes",
	    STR_ARG(node->name.text));
}

static bool
read_points(const struct conf_node *node, int64_t *points)
{
	struct conf_node one = *node;
	struct errs errs = { 0 };
	struct number n = { 0 };
	bool good;

	one.n_values = 1;
	good = conf_set(&points_row, &one, &n, &errs);
	errs_clear(&errs);
	*points = n.points;
	return good;
}

void
settings_outcome_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct outcome *o = field;

	if (node->block || node->n_values == 0 || node->n_values > 2) {
		refuse(node, errs);
		return;
	}
	struct str word = node->values[0].text;
	if (str_is(word, "off") && node->n_values == 1)
		o->kind = OUTCOME_OFF;
	else if (str_is(word, "reject"))
		o->kind = OUTCOME_REJECT;
	else if (str_is(word, "tempfail"))
		o->kind = OUTCOME_TEMPFAIL;
	else if (read_points(node, &o->points))
		o->kind = OUTCOME_POINTS;
	else
		refuse(node, errs);
	if (node->n_values < 2 || o->kind == OUTCOME_OFF)
		return;
	const struct conf_word *text = &node->values[1];
	const char *wrong = settings_text_wrong(text->text);
	if (wrong != NULL || !text->quoted)
		errs_add(errs, text->file, text->line, "%.*s: expected %s, in quotes",
		    STR_ARG(node->name.text), wrong != NULL ? wrong : "the reply's text");
	else
		o->text = str_dup(text->text);
}

void
settings_outcome_clear(void *field)
{
	struct outcome *o = field;

	free(o->text);
	*o = (struct outcome){ .kind = OUTCOME_OFF };
}

void
settings_outcome_print(const void *field, struct buf *out)
{
	static const char *const words[] = { "off", "", "tempfail", "reject" };
	const struct outcome *o = field;
	const struct number n = { o->points };

	if (o->kind == OUTCOME_POINTS)
		conf_print(&points_row, &n, out);
	else
		buf_add_cstr(out, words[o->kind]);
	if (o->text != NULL) {
		struct str text = str_of(o->text);

		/* a text stands in quotes whether it needs them or not */
		size_t before = out->len;
		buf_add_char(out, ' ');
		conf_print_word(text, out);
		if (out->p != NULL && out->len > before + 1 && out->p[before + 1] != '"') {
			out->len = before;
			buf_addf(out, " \"%s\"", o->text);
		}
	}
}
