/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is exempt, who the client is, and the key of a triple.  A triple's retry must
 * make the same key, and no two triples may share one by the way their parts meet. */
#include "milters/greylist/greylist.h"

#include <stdio.h>
#include <time.h>

#include "common/base/err.h"

#define EVENT_PREFIX4 24
#define EVENT_PREFIX6 64

const char *
greylist_identity_kind_name(enum greylist_identity_kind kind)
{
	switch (kind) {
	case GREYLIST_BY_NETWORK:
		return "network";
	}
	return "?";
}

bool
greylist_null_sender(struct str path)
{
	path = str_trim(path);
	return path.len == 0 || str_is(path, "<>");
}

size_t
greylist_address(struct str path, char out[ADDRESS_MAX])
{
	struct address a;
	size_t domain_at;

	if (greylist_null_sender(path))
		return 0;
	if (address_parse(path, &a, NULL) != 0) {
		/* The MTA took it, so it is somebody: any octets do for telling it from
		 * others. */
		size_t len = path.len < ADDRESS_MAX ? path.len : ADDRESS_MAX;

		memcpy(out, path.p, len);
		return len;
	}
	size_t len = a.whole.len < ADDRESS_MAX ? a.whole.len : ADDRESS_MAX;
	if (len > 0)
		memcpy(out, a.whole.p, len);
	/* The local part belongs to its own host (RFC 5321 2.4): its case is kept. */
	domain_at = a.domain.len < len ? len - a.domain.len : 0;
	for (size_t i = domain_at; a.domain.len > 0 && i < len; i++)
		out[i] = ascii_lower(out[i]);
	return len;
}

static bool
client_inside(const struct greylist_facts *facts)
{
	return facts->client.family == 0 || ip_is_loopback(&facts->client);
}

static const char *
exemption(const struct settings_greylist *set, const struct greylist_facts *facts)
{
	if (facts->authenticated)
		return "authenticated";
	if (client_inside(facts))
		return "local";
	if (set->when == GREYLIST_NEVER)
		return "policy";
	return NULL;
}

/* The order of identities; further kinds come before the network. */
static void
identify(const struct settings_greylist *set, const struct greylist_facts *facts,
    struct greylist_identity *out)
{
	bool v4 = facts->client.family == AF_INET;
	struct ipnet net =
	    ip_mask(&facts->client, (unsigned)(v4 ? set->prefix4 : set->prefix6));
	char text[IP_TEXT_MAX + 4];

	out->kind = GREYLIST_BY_NETWORK;
	snprintf(out->name, sizeof(out->name), "%s", ipnet_format(&net, text));
}

static void
key_part(struct greylist_query *q, const char *p, size_t len)
{
	q->key[q->key_len++] = (char)(len >> 8 & 0xff);
	q->key[q->key_len++] = (char)(len & 0xff);
	if (len > 0)
		memcpy(q->key + q->key_len, p, len);
	q->key_len += len;
}

void
greylist_want(const struct settings_greylist *set, const struct greylist_facts *facts,
    struct greylist_query *out)
{
	char address[ADDRESS_MAX];

	memset(out, 0, sizeof(*out));
	out->exempt = exemption(set, facts);
	out->inside = facts->authenticated || client_inside(facts);
	if (out->exempt != NULL)
		return;
	out->times = (struct greylist_times){ .delay = set->delay,
		.window = set->window,
		.keep = set->keep,
		.auto_whitelist = set->auto_whitelist,
		.whitelist_keep = set->whitelist_keep };
	identify(set, facts, &out->identity);
	out->network = ip_mask(&facts->client,
	    facts->client.family == AF_INET ? EVENT_PREFIX4 : EVENT_PREFIX6);
	size_t name = strlen(out->identity.name);
	out->client[0] = (char)out->identity.kind;
	memcpy(out->client + 1, out->identity.name, name);
	out->client_len = 1 + name;
	key_part(out, out->client, out->client_len);
	key_part(out, address, greylist_address(facts->sender, address));
	key_part(out, address, greylist_address(facts->recipient, address));
}

void
greylist_outcome_add(struct greylist_outcome *o, const struct verdict *v,
    const struct greylist_answer *answer, bool observed, int64_t now)
{
	struct greylist_outcome mine = { .why = v->why };

	if (v->action == ACTION_TEMPFAIL && !observed)
		return; /* that recipient is no part of the message */
	mine.would = v->action == ACTION_TEMPFAIL;
	if (answer != NULL && answer->state == STORE_OK &&
	    answer->seen.state == GREYLIST_RETRIED) {
		mine.delayed = true;
		mine.seconds = now > answer->seen.first ? now - answer->seen.first : 0;
	}
	if (o->why == NULL ||
	    (mine.delayed && (!o->delayed || mine.seconds > o->seconds)))
		*o = mine;
}

/* RFC 5322 3.3, in UTC and in English whatever the locale. */
static void
add_date(int64_t now, struct buf *out)
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri",
		"Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
		"Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t)now;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL)
		return;
	buf_addf(out, "; %s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday],
	    tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
	    tm.tm_sec);
}

void
greylist_header(
    const struct greylist_outcome *o, const char *host, int64_t now, struct buf *out)
{
	if (o->delayed)
		buf_addf(out, "delayed %lld seconds by %s (postern-greylist)",
		    (long long)o->seconds, host);
	else if (o->would)
		buf_addf(out,
		    "not delayed by %s (postern-greylist): observing, would be %s",
		    host, o->why);
	else
		buf_addf(out, "not delayed by %s (postern-greylist): %s", host, o->why);
	add_date(now, out);
}
