/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks the policies as the daemons do, for facts given by hand, and prints each setting
 * with its value and the place that gave it. */
#include "contrib/ctl/explain.h"

#include "common/mail/address.h"
#include "contrib/ctl/command.h"
#include "contrib/ctl/common.h"
#include "contrib/ctl/explain_access.h"
#include "policy/policy.h"

struct given {
	const char *client, *name, *from, *to;
	bool authenticated;
};

static int
read_address(const char *text, const char *option, bool null_ok, struct str *out)
{
	struct address address;
	struct err err;

	if (text[0] == '\0' && null_ok) { /* --from '' is what a shell makes of <> */
		*out = STR("");
		return 0;
	}
	if (address_parse(str_of(text), &address, &err) != 0)
		return ctl_usage("explain", "%s %s: %s", option, text, err.text), -1;
	if (address.null && !null_ok)
		return ctl_usage("explain", "%s: expected an address", option), -1;
	*out = address.whole;
	return 0;
}

/* What is given decides how far the transaction is. */
static int
read_facts(const struct given *given, struct policy_facts *facts)
{
	*facts = (struct policy_facts){ .stage = STAGE_CONNECT,
		.authenticated = given->authenticated };
	if (given->client != NULL && !ip_parse(str_of(given->client), &facts->client))
		return ctl_usage("explain", "--client %s: expected an IP address",
			   given->client),
		       -1;
	if (given->to != NULL && given->from == NULL)
		return ctl_usage(
			   "explain", "--to needs --from (\"<>\": the null sender)"),
		       -1;
	if (given->from != NULL) {
		facts->stage = STAGE_MAIL;
		if (read_address(given->from, "--from", true, &facts->sender) != 0)
			return -1;
	}
	if (given->to != NULL) {
		facts->stage = STAGE_EOM;
		if (read_address(given->to, "--to", false, &facts->recipient) != 0)
			return -1;
	}
	return 0;
}

static void
separate(struct buf *out)
{
	if (out->len > 0 && out->p[out->len - 1] != '[')
		buf_add_char(out, ',');
}

static void
json_place(struct buf *out, const char *file, int line)
{
	buf_add_cstr(out, ",\"file\":");
	json_string_or_null(out, file);
	buf_addf(out, ",\"line\":%d}", line);
}

static void
json_match(const char *name, const char *file, int line, void *arg)
{
	separate(arg);
	buf_add_cstr(arg, "{\"name\":");
	json_string(arg, name);
	json_place(arg, file, line);
}

static void
json_item(const struct policy_item *item, void *arg)
{
	separate(arg);
	buf_addf(arg, "{\"name\":\"%s%s%s\",\"value\":", item->section,
	    item->section[0] == '\0' ? "" : ".", item->name);
	json_string(arg, item->value);
	buf_add_cstr(arg, ",\"policy\":");
	json_string_or_null(arg, item->policy);
	json_place(arg, item->file, item->line);
}

int
ctl_explain(int argc, char **argv)
{
	struct ctl_common common;
	struct given given = { 0 };
	struct policy_facts facts;
	struct buf out;
	const struct ctl_option options[] = {
		{ "--client", &given.client, NULL },
		{ "--name", &given.name, NULL },
		{ "--from", &given.from, NULL },
		{ "--to", &given.to, NULL },
		{ "--auth", NULL, &given.authenticated },
	};

	if (ctl_options(&argc, argv, &common, options, 5) != 0)
		return EX_USAGE;
	if (argc > 1)
		return ctl_usage("explain", "expected no argument \"%s\"", argv[1]);
	if (read_facts(&given, &facts) != 0)
		return EX_USAGE;
	struct settings *s = ctl_settings(&common);
	if (s == NULL)
		return EX_CONFIG;
	buf_init(&out, CTL_OUTPUT_MAX);
	if (common.json) {
		buf_add_cstr(&out, "{\"policies\":[");
		policy_each_match(s, &facts, json_match, &out);
		buf_add_cstr(&out, "],\"settings\":[");
		policy_each(s, &facts, json_item, &out);
		buf_add_cstr(&out, "],\"access_maps\":");
	} else {
		policy_explain(s, &facts, &out);
	}
	bool maps = s->access.maps.n > 0 && given.client != NULL &&
	    ctl_explain_access(s, &facts, given.name, common.json, &out);
	if (common.json)
		buf_add_cstr(&out, maps ? "}\n" : "null}\n");
	settings_unref(s);
	return ctl_output(&out);
}
