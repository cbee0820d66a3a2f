/* SPDX-License-Identifier: BSD-2-Clause */
/* A configuration file as octets: grammar, tables, policies, and what explain prints of
 * them.  Includes are refused in a text without a file, so nothing else is read. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/conf.h"
#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every word lies in the text and has a line of it. */
static void
walk(const struct conf_node *n, unsigned depth, int lines)
{
	assert(n == NULL || depth <= CONF_DEPTH_MAX);
	for (; n != NULL; n = n->next) {
		assert(
		    n->name.text.len > 0 && n->name.line >= 1 && n->name.line <= lines);
		for (size_t i = 0; i < n->n_values; i++)
			assert(n->values[i].line >= n->name.line &&
			    (n->values[i].text.len == 0 ||
				memchr(n->values[i].text.p, '\0',
				    n->values[i].text.len) == NULL));
		walk(n->children, depth + 1, lines);
	}
}

static void
explain(const struct settings *s)
{
	struct policy_facts facts = { .stage = STAGE_EOM,
		.authenticated = true,
		.sender = STR("a@sub.partner.example"),
		.recipient = STR("b@new.example") };
	struct buf out;

	ip_parse(STR("192.0.2.1"), &facts.client);
	buf_init(&out, 64u << 20);
	policy_explain(s, &facts, &out);
	assert(out.len > 0 && !out.failed);
	buf_clear(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = { (const char *)data, size };
	struct errs errs = { 0 };
	int lines = 1;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	struct conf_tree *tree = conf_parse_text_all(text, NULL, &errs);
	walk(conf_root(tree), 0, lines);
	bool good = errs.n == 0;
	errs_clear(&errs);
	conf_free(tree);

	tree = conf_parse_text(text, NULL, &errs);
	assert((tree != NULL) == good && good == (errs.n == 0));
	conf_free(tree);
	errs_clear(&errs);

	struct settings *s = settings_from_text(text, NULL, &errs);
	assert((s == NULL) == (errs.n > 0));
	for (size_t i = 0; i < errs.n; i++)
		assert(errs.list[i].text[0] != '\0' && errs.list[i].line <= lines);
	if (s != NULL)
		explain(s);
	settings_unref(s);
	errs_clear(&errs);
	return 0;
}
