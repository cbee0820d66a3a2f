/* SPDX-License-Identifier: BSD-2-Clause */
/* Judges one envelope with the maps that are in force, and names the entry that decided. */
#include "contrib/ctl/explain_access.h"

#include <stdio.h>
#include <stdlib.h>

#include "contrib/ctl/common.h"
#include "contrib/ctl/replay.h"
#include "milters/access/access_case.h"
#include "policy/store_opener.h"

static const char *
stage_name(enum stage stage)
{
	return stage == STAGE_CONNECT ? "connect" : stage == STAGE_MAIL ? "MAIL" : "RCPT";
}

static void
put_text(const struct access_judged *j, struct buf *out)
{
	const struct access_result *r = &j->result;

	buf_addf(out, "access maps: %s%s", j->observe ? "observed, would be " : "",
	    r->kind == ACCESS_OK ? "OK" : access_result_name(r));
	if (r->kind != ACCESS_NONE)
		buf_addf(out, " at %s", stage_name(j->stage));
	if (r->kind == ACCESS_REFUSED)
		buf_addf(out, ": %d %s %s", r->verdict.code, r->verdict.enhanced,
		    r->verdict.text);
	if (r->kind == ACCESS_QUARANTINE)
		buf_addf(out, ": %s", r->verdict.text);
	if (r->key[0] != '\0')
		buf_addf(out, "; entry %s", r->key);
	if (r->file != NULL && r->line > 0)
		buf_addf(out, " (%s:%d)", r->file, r->line);
	else if (r->file != NULL)
		buf_addf(out, " (%s)", r->file);
	if (r->note.len > 0)
		buf_addf(out, "; %.*s", STR_ARG(r->note));
	buf_add_cstr(out, r->kind == ACCESS_NONE ? "; no entry decides\n" : "\n");
}

static void
put_json(const struct access_judged *j, struct buf *out)
{
	const struct access_result *r = &j->result;
	char *note = str_dup(r->note);

	buf_addf(out, "{\"action\":\"%s\",\"stage\":\"%s\",\"observe\":%s,\"entry\":",
	    r->kind == ACCESS_OK ? "ok" : access_result_name(r), stage_name(j->stage),
	    j->observe ? "true" : "false");
	json_string_or_null(out, r->key[0] != '\0' ? r->key : NULL);
	buf_add_cstr(out, ",\"file\":");
	json_string_or_null(out, r->file);
	buf_addf(out, ",\"line\":%d,\"note\":", r->line);
	json_string_or_null(out, r->note.len > 0 ? note : NULL);
	buf_addf(out, ",\"code\":%d,\"status\":", r->verdict.code);
	json_string_or_null(out, r->verdict.code != 0 ? r->verdict.enhanced : NULL);
	buf_add_cstr(out, ",\"text\":");
	json_string_or_null(out, r->verdict.text[0] != '\0' ? r->verdict.text : NULL);
	buf_add_char(out, '}');
	free(note);
}

bool
ctl_explain_access(struct settings *s, const struct policy_facts *facts,
    const char *name, bool json, struct buf *out)
{
	char *from = str_dup(facts->sender), *to = str_dup(facts->recipient);
	char literal[IP_TEXT_MAX + 10], addr[64];
	struct store_opener *opener;
	struct access_judged j;

	access_facts_addr(&facts->client, addr);
	snprintf(literal, sizeof(literal), "[%.*s]", (int)sizeof(literal) - 3, addr);
	const struct access_case c = { .ip = facts->client,
		.name = name != NULL ? name : literal,
		.resolve = name != NULL ? ACCESS_RESOLVE_OK : ACCESS_RESOLVE_FAIL,
		.helo = "",
		.mta = "",
		.mailer = "local",
		.authenticated = facts->authenticated,
		.from = facts->stage >= STAGE_MAIL ? from : NULL,
		.to = facts->stage >= STAGE_RCPT ? to : NULL };
	struct access_maps *maps = ctl_open_maps(s, &opener);
	if (maps != NULL) {
		struct access_maps_view *view = ctl_view_maps(maps);

		access_case_judge(s, view, &c, &j);
		(json ? put_json : put_text)(&j, out);
		policy_view_clear(&j.view);
		access_maps_view_free(view);
	}
	access_maps_close(maps);
	store_opener_free(opener);
	free(from);
	free(to);
	return maps != NULL;
}
