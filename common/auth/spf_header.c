/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes what SPF came to: Authentication-Results' part (RFC 8601), Received-SPF (RFC
 * 7208 9.1), the text of a reply.  Everything that strangers chose is quoted. */
#include "common/auth/spf_header.h"

#include <stdio.h>

#define VALUE_MAX 320 /* octets of a stranger's value */

static bool
is_plain(char c)
{
	return ascii_alnum(c) ||
	    (c != '\0' && strchr("!#$%&'*+-/?^_`{|}~.@", c) != NULL);
}

/* RFC 5322's quoted-string, where it must be one; plain: more octets need no quotes. */
static void
add_value(struct buf *out, struct str s, bool at_too)
{
	bool quote = s.len == 0;

	s = str_sub(s, 0, VALUE_MAX);
	for (size_t i = 0; i < s.len; i++)
		quote = quote || !is_plain(s.p[i]) || (s.p[i] == '@' && !at_too);
	if (!quote) {
		buf_add_str(out, s);
		return;
	}
	buf_add_char(out, '"');
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '"' || c == '\\')
			buf_add_char(out, '\\');
		buf_add_char(out, c < 0x20 || c > 0x7e ? '?' : (char)c);
	}
	buf_add_char(out, '"');
}

/* Within a comment: what would end or begin one is left out. */
static void
add_comment(struct buf *out, struct str s)
{
	s = str_sub(s, 0, VALUE_MAX);
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 0x20 || c > 0x7e || c == '(' || c == ')' || c == '\\')
			c = '?';
		buf_add_char(out, (char)c);
	}
}

void
spf_header_result(
    const struct spf_question *q, const struct spf_answer *a, struct buf *out)
{
	buf_addf(out, "spf=%s", spf_result_name(a->result));
	if (a->problem[0] != '\0') {
		buf_add_cstr(out, "\n\treason=");
		add_value(out, str_of(a->problem), false);
		buf_add_cstr(out, "\n\t");
	} else {
		buf_add_char(out, ' ');
	}
	buf_add_cstr(out, a->helo ? "smtp.helo=" : "smtp.mailfrom=");
	add_value(out, str_of(a->helo ? q->helo : q->sender), true);
}

/* What is known to people of the result, as the RFC's own examples have it. */
static void
add_words(struct buf *out, const struct spf_question *q, const struct spf_answer *a)
{
	char ip[IP_TEXT_MAX];
	const char *from = a->helo ? q->helo : q->sender;

	ip_format(&q->client, ip);
	switch (a->result) {
	case SPF_PASS:
		buf_add_cstr(out, "domain of ");
		add_comment(out, str_of(from));
		buf_addf(out, " designates %s as permitted sender", ip);
		return;
	case SPF_FAIL:
	case SPF_SOFTFAIL:
		buf_add_cstr(out, a->result == SPF_SOFTFAIL ? "transitioning " : "");
		buf_add_cstr(out, "domain of ");
		add_comment(out, str_of(from));
		buf_addf(out, " does not designate %s as permitted sender", ip);
		return;
	case SPF_NEUTRAL:
		buf_addf(out, "%s is neither permitted nor denied by domain of ", ip);
		break;
	case SPF_NONE:
		buf_add_cstr(out, "no sender policy of the domain of ");
		break;
	case SPF_TEMPERROR:
	case SPF_PERMERROR:
		buf_add_cstr(out, "error in processing the policy of domain of ");
		break;
	}
	add_comment(out, str_of(from));
}

static void
add_key(struct buf *out, const char *key, struct str value)
{
	buf_addf(out, "\n\t%s=", key);
	add_value(out, value, false);
	buf_add_char(out, ';');
}

void
spf_header_received(const char *id, const struct spf_question *q,
    const struct spf_answer *a, struct buf *out)
{
	char ip[IP_TEXT_MAX];

	buf_addf(out, "%s (%s: ", spf_result_name(a->result), id);
	add_words(out, q, a);
	buf_add_char(out, ')');
	add_key(out, "client-ip", str_of(ip_format(&q->client, ip)));
	add_key(out, "envelope-from", str_of(q->sender));
	if (q->helo[0] != '\0')
		add_key(out, "helo", str_of(q->helo));
	add_key(out, "receiver", str_of(id));
	add_key(out, "identity", a->helo ? STR("helo") : STR("mailfrom"));
	if (a->mechanism[0] != '\0')
		add_key(out, "mechanism", str_of(a->mechanism));
	if (a->problem[0] != '\0')
		add_key(out, "problem", str_of(a->problem));
}

/* Replies bear no octet that ends them or that terminals would obey. */
static void
add_reply_name(struct buf *out, const char *s)
{
	struct str name = str_sub(str_of(s), 0, 120);

	for (size_t i = 0; i < name.len; i++)
		buf_add_char(
		    out, name.p[i] < 0x21 || name.p[i] > 0x7e ? '?' : name.p[i]);
}

void
spf_reply_text(
    const struct spf_question *q, const struct spf_answer *a, char *out, size_t size)
{
	char ip[IP_TEXT_MAX];
	struct buf text;

	ip_format(&q->client, ip);
	buf_init(&text, 1024);
	if (a->explained) {
		add_reply_name(&text, a->domain);
		buf_addf(&text, " explains: %s", a->explanation);
	} else if (a->result == SPF_TEMPERROR || a->result == SPF_PERMERROR) {
		buf_addf(&text, "SPF validation error, %s",
		    a->result == SPF_TEMPERROR
			? "please try again later: "
			: "please tell the domain's postmaster: ");
		buf_add_cstr(&text, a->problem);
	} else {
		buf_addf(&text, "SPF validation failed: %s may not send mail for ", ip);
		add_reply_name(&text, a->domain);
		buf_add_cstr(&text, "; see that domain's SPF record");
	}
	snprintf(out, size, "%s", buf_cstr(&text));
	buf_clear(&text);
}
