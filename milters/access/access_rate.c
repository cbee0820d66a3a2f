/* SPDX-License-Identifier: BSD-2-Clause */
/* Names, moments and texts of rates.  Nothing is asked and nothing remembered here. */
#include "milters/access/access_rate.h"

#include <stdio.h>
#include <xxhash.h>

const char access_rate_why[] = "rate limit";
const char access_at_once_why[] = "too many at once";

static enum rate_when
when_known(int per)
{
	switch ((enum rate_per)per) {
	case RATE_PER_CLIENT:
	case RATE_PER_NETWORK:
		return RATE_AT_CONNECT;
	case RATE_PER_SENDER:
	case RATE_PER_SENDER_DOMAIN:
	case RATE_PER_USER:
		return RATE_AT_MAIL;
	case RATE_PER_RECIPIENT:
		break;
	}
	return RATE_AT_RCPT;
}

enum rate_when
access_rate_when(const struct access_rate *r)
{
	if (r->connections.number > 0)
		return RATE_AT_CONNECT;
	if (r->messages.number > 0)
		return RATE_AT_MAIL;
	return r->recipients.number > 0 ? RATE_AT_RCPT : RATE_NEVER;
}

enum rate_when
access_rate_at_once_when(const struct access_rate *r)
{
	return r->at_once > 0 ? when_known(r->per) : RATE_NEVER;
}

struct ipnet
access_rate_net(const struct ip *ip, int per)
{
	bool six = ip->family == AF_INET6;

	if (per == RATE_PER_NETWORK)
		return ip_mask(ip, six ? 48 : 24);
	return ip_mask(ip, six ? 64 : 32);
}

struct ipnet
access_event_net(const struct ip *ip)
{
	return ip_mask(ip, ip->family == AF_INET6 ? 64 : 24);
}

/* The text that is counted apart; len 0: not counted. */
static struct str
subject(
    const struct access_rate *r, const struct rate_facts *f, char net[IP_TEXT_MAX + 4])
{
	struct ipnet n;

	switch ((enum rate_per)r->per) {
	case RATE_PER_CLIENT:
	case RATE_PER_NETWORK:
		if (f->ip.family == 0 || ip_is_loopback(&f->ip))
			break;
		n = access_rate_net(&f->ip, r->per);
		return str_of(ipnet_format(&n, net));
	case RATE_PER_SENDER:
		return f->sender;
	case RATE_PER_SENDER_DOMAIN:
		return f->sender_domain;
	case RATE_PER_RECIPIENT:
		return f->recipient;
	case RATE_PER_USER:
		return str_of(f->user);
	}
	return (struct str){ NULL, 0 };
}

size_t
access_rate_key(
    const struct access_rate *r, const struct rate_facts *f, char out[RATE_KEY_MAX])
{
	char net[IP_TEXT_MAX + 4];
	struct str s = subject(r, f, net);
	size_t n, room;

	if (s.len == 0)
		return 0;
	n = (size_t)snprintf(out, RATE_KEY_MAX, "rate|%.64s|", r->name);
	room = RATE_KEY_MAX - 1 - n;
	if (s.len > room) {
		uint64_t hash = XXH3_64bits(s.p, s.len);

		n += (size_t)snprintf(
		    out + n, RATE_KEY_MAX - n, "%016llx|", (unsigned long long)hash);
		s = str_sub(s, 0, RATE_KEY_MAX - 1 - n);
	}
	for (size_t i = 0; i < s.len; i++)
		out[n++] = ascii_lower(s.p[i]);
	out[n] = '\0';
	return n;
}

struct rate_limit
access_rate_limit(const struct access_rate *r)
{
	const struct rate_amount *a = r->connections.number > 0 ? &r->connections
	    : r->messages.number > 0                            ? &r->messages
								: &r->recipients;
	struct rate_limit limit = { a->number, a->seconds,
		r->burst > 0 ? r->burst : a->number,
		a == &r->connections    ? "connections"
		    : a == &r->messages ? "messages"
					: "recipients" };

	return limit;
}

static struct verdict
refuse(const struct access_rate *r, bool connections, const char *why, const char *text)
{
	if (r->text[0] != '\0')
		text = r->text;
	/* 421 closes the connection: that is what there are too many of. */
	return connections ? verdict_refuse(421, "4.3.2", why, "%s", text)
			   : verdict_refuse(451, "4.7.1", why, "%s", text);
}

struct verdict
access_rate_verdict(const struct access_rate *r, int64_t wait)
{
	static const char *const of[] = { "from your host", "from your network",
		"from this sender", "from this sender's domain", "to this recipient",
		"from this user" };
	struct rate_limit l = access_rate_limit(r);
	char text[VERDICT_TEXT_MAX], later[60] = "later";
	struct verdict v;

	if (wait > 0)
		(void)snprintf(
		    later, sizeof(later), "in %lld seconds", (long long)wait);
	(void)snprintf(text, sizeof(text),
	    "Too many %s %s: %lld in %lld seconds are taken, try again %s",
	    r->per == RATE_PER_RECIPIENT ? "messages" : l.unit, of[r->per],
	    (long long)l.number, (long long)l.seconds, later);
	v = refuse(r, r->connections.number > 0, access_rate_why, text);
	v.wait = wait > 0 ? wait : 0;
	return v;
}

struct verdict
access_at_once_verdict(const struct access_rate *r)
{
	bool connections = when_known(r->per) == RATE_AT_CONNECT;
	char text[VERDICT_TEXT_MAX];

	(void)snprintf(text, sizeof(text),
	    "Too many %s at once: %lld are taken, try again later",
	    connections ? "connections" : "messages", (long long)r->at_once);
	return refuse(r, connections, access_at_once_why, text);
}
