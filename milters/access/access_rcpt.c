/* SPDX-License-Identifier: BSD-2-Clause */
/* Decisions about recipients; nothing is asked or remembered here. */
#include "milters/access/access_rcpt.h"

#include <stdio.h>

const char access_rcpt_why_unknown[] = "unknown recipient";
const char access_rcpt_why_trouble[] = "recipient cannot be checked";

static bool
names_domain(const struct access_recipients *set, struct str domain)
{
	for (size_t i = 0; i < set->domains.n; i++) {
		struct str d = str_of(set->domains.list[i]);

		if (d.p[0] == '.' ? domain.len > d.len && str_ends_nocase(domain, d)
				  : str_eq_nocase(domain, d))
			return true;
	}
	return false;
}

const struct access_recipients *
access_rcpt_block(const struct access_recipient_sets *sets, struct str domain)
{
	for (size_t i = 0; i < sets->n; i++)
		if (names_domain(&sets->list[i], domain))
			return &sets->list[i];
	return NULL;
}

bool
access_rcpt_key(struct str local, struct str domain, unsigned i, char out[RCPT_KEY_MAX])
{
	ptrdiff_t plus = str_index(local, '+');

	if (i > 2 || domain.len > 255 || local.len > 256)
		return false;
	/* Without a detail the second key is the first once more. */
	if (i == 1 && plus > 0)
		local = str_sub(local, 0, (size_t)plus);
	if (i == 2)
		local = STR("");
	(void)snprintf(out, RCPT_KEY_MAX, "%.*s@%.*s", STR_ARG(local), STR_ARG(domain));
	for (char *p = out; *p != '\0'; p++)
		*p = ascii_lower(*p);
	return true;
}

bool
access_rcpt_value_known(struct str value)
{
	return !str_is_nocase(str_trim(value), "REJECT");
}

/* --- memory --- */

/* "yes 1700000000 250 2.1.5 text": words that are missing are "-". */
void
access_rcpt_note_write(const struct rcpt_memory *m, struct buf *out)
{
	const struct call_ahead_answer *a = &m->answer;
	size_t begin = out->len, room;

	(void)buf_addf(out, "%s %lld %d %s ", call_ahead_state_name(a->state),
	    (long long)m->when, a->code, a->enhanced[0] != '\0' ? a->enhanced : "-");
	room = STORE_NOTE_MAX - (out->len - begin);
	(void)buf_add_str(out, str_sub(str_of(a->text), 0, room));
}

bool
access_rcpt_note_read(struct str text, struct rcpt_memory *out)
{
	struct str word[4];
	uint64_t when, code;

	*out = (struct rcpt_memory){ .when = 0 };
	for (size_t i = 0; i < 4; i++)
		if (!str_word(&text, &word[i]))
			return false;
	if (!str_to_uint(word[1], 0, INT64_MAX, &when) ||
	    !str_to_uint(word[2], 0, 599, &code) ||
	    word[3].len >= sizeof(out->answer.enhanced))
		return false;
	if (str_is(word[0], "yes"))
		out->answer.state = CALL_AHEAD_YES;
	else if (str_is(word[0], "no"))
		out->answer.state = CALL_AHEAD_NO;
	else
		return false;
	out->when = (int64_t)when;
	out->answer.code = (int)code;
	if (!str_is(word[3], "-"))
		memcpy(out->answer.enhanced, word[3].p, word[3].len);
	text = str_sub(str_trim(text), 0, sizeof(out->answer.text) - 1);
	for (size_t i = 0; i < text.len; i++) /* it may have been written by others */
		out->answer.text[i] =
		    text.p[i] >= ' ' && text.p[i] <= '~' ? text.p[i] : '?';
	return true;
}

int64_t
access_rcpt_keep(const struct access_recipients *set, const struct call_ahead_answer *a)
{
	if (a->state == CALL_AHEAD_NO)
		return set->negative;
	return set->keep > set->positive ? set->keep : set->positive;
}

enum rcpt_age
access_rcpt_age(
    const struct access_recipients *set, const struct rcpt_memory *m, int64_t now)
{
	bool yes = m->answer.state == CALL_AHEAD_YES;
	int64_t age = now - m->when;

	if (age < 0) /* of a host whose clock is ahead */
		age = 0;
	if (age <= (yes ? set->positive : set->negative))
		return RCPT_FRESH;
	/* A recipient may be new since an old no; that an old one went is rarer. */
	return yes && age <= access_rcpt_keep(set, &m->answer) ? RCPT_OLD
							       : RCPT_UNKNOWN;
}

/* --- what is said --- */

struct verdict
access_rcpt_nobody(const struct access_recipients *set, struct str rcpt)
{
	if (set->text[0] != '\0')
		return verdict_refuse(
		    550, "5.1.1", access_rcpt_why_unknown, "%s", set->text);
	return verdict_refuse(550, "5.1.1", access_rcpt_why_unknown,
	    "Nobody has the address %.*s here: look at its spelling",
	    (int)(rcpt.len < 255 ? rcpt.len : 255), rcpt.p);
}

static struct verdict
server_says(const struct access_recipients *set, struct str rcpt,
    const struct call_ahead_answer *a)
{
	/* About the address, or no reason given: ours is the clearer text. */
	if (a->enhanced[0] == '\0' || strncmp(a->enhanced, "5.1.", 4) == 0)
		return access_rcpt_nobody(set, rcpt);
	return verdict_refuse(a->code, a->enhanced, access_rcpt_why_unknown,
	    "The recipient's server refuses it: %s", a->text);
}

struct verdict
access_rcpt_verdict(const struct access_recipients *set, struct str rcpt,
    const struct call_ahead_answer *now, const struct rcpt_memory *old)
{
	switch (now->state) {
	case CALL_AHEAD_YES:
		return verdict_continue("recipient");
	case CALL_AHEAD_NO:
		return server_says(set, rcpt, now);
	case CALL_AHEAD_TROUBLE:
	case CALL_AHEAD_DOWN:
		break;
	}
	if (old != NULL && old->answer.state == CALL_AHEAD_YES)
		return verdict_continue("recipient known before");
	if (set->trouble == RCPT_TROUBLE_ACCEPT)
		return verdict_continue("recipient not checked");
	if (now->state == CALL_AHEAD_TROUBLE && now->code >= 400 && now->code < 500 &&
	    now->code != 421 && now->enhanced[0] == '4')
		return verdict_refuse(now->code, now->enhanced, access_rcpt_why_trouble,
		    "The recipient's server says: %s", now->text);
	return verdict_refuse(451, "4.4.1", access_rcpt_why_trouble,
	    "The recipient cannot be checked just now, try again later");
}
