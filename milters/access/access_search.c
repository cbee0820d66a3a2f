/* SPDX-License-Identifier: BSD-2-Clause */
/* Searches in the access map.  Decides which keys are asked in which order; what a
 * value means to the one who searched is decided there. */
#include "milters/access/access_search.h"

#include <stdio.h>
#include <string.h>

#include "common/base/ip.h"

static bool
ask(const struct access_search *s, const char *tag, struct str key,
    struct access_hit *hit)
{
	int n =
	    snprintf(hit->key, sizeof(hit->key), "%s%.*s", tag, (int)key.len, key.p);

	if (n < 0 || (size_t)n >= sizeof(hit->key))
		return false;
	struct str whole = { hit->key, (size_t)n };
	hit->entry = (struct access_entry){ 0 };
	if (!s->access->lookup(s->access->lookup_arg, whole, &hit->entry))
		return false;
	access_value_read(hit->entry.value, whole, &hit->value);
	return true;
}

bool
access_search_exact(
    const struct access_search *s, struct str key, struct access_hit *hit)
{
	return ask(s, s->tag, key, hit) ||
	    (s->keys == ACCESS_TAGGED_OR_BARE && ask(s, "", key, hit));
}

static bool
is_skip(const struct access_search *s, const struct access_hit *hit)
{
	return s->access->rules->skip && hit->value.word == ACCESS_WORD_SKIP;
}

/* Without the last ".n", ":n" or "::n" (drop brackets first); "": nothing is left. */
static struct str
shorter_addr(struct str addr)
{
	ptrdiff_t dot = str_rindex(addr, '.'), colon = str_rindex(addr, ':');
	ptrdiff_t cut = dot > colon ? dot : colon;

	if (cut < 0)
		return str_sub(addr, 0, 0);
	if (cut > 0 && addr.p[cut] == ':' && addr.p[cut - 1] == ':')
		cut--;
	return str_sub(addr, 0, (size_t)cut);
}

static bool
search_literal(const struct access_search *s, struct str host, struct access_hit *hit)
{
	char key[ACCESS_KEY_MAX];
	struct str inside = str_sub(host, 1, host.len - 1);

	while (inside.len > 0) {
		int n = snprintf(key, sizeof(key), "[%.*s]", (int)inside.len, inside.p);
		if (n < 0 || (size_t)n >= sizeof(key))
			return false;
		struct str whole = { key, (size_t)n };
		ptrdiff_t dot = str_index(whole, '.');
		if (access_search_exact(s, whole, hit) ||
		    (s->access->rules->lookup_dot && dot >= 0 &&
			access_search_exact(
			    s, str_sub(whole, (size_t)dot, whole.len), hit)))
			return !is_skip(s, hit);
		inside = shorter_addr(inside);
	}
	return false;
}

bool
access_search_host(
    const struct access_search *s, struct str host, struct access_hit *hit)
{
	if (host.len > 2 && host.p[0] == '[' && host.p[host.len - 1] == ']')
		return search_literal(s, host, hit);
	while (host.len > 0) {
		ptrdiff_t dot = str_index(host, '.');
		if (access_search_exact(s, host, hit) ||
		    (s->access->rules->lookup_dot && dot >= 0 &&
			access_search_exact(
			    s, str_sub(host, (size_t)dot, host.len), hit)))
			return !is_skip(s, hit);
		host = dot < 0 ? str_sub(host, 0, 0)
			       : str_sub(host, (size_t)dot + 1, host.len);
	}
	return false;
}

static bool
ask_net(const struct access_search *s, const char *tag, const struct ip *ip,
    unsigned bits, struct access_hit *hit)
{
	char text[IP_TEXT_MAX + 4];
	struct ipnet net;

	hit->entry = (struct access_entry){ 0 };
	if (!s->access->lookup_net(
		s->access->lookup_arg, str_of(tag), ip, bits, &hit->entry))
		return false;
	net = ip_mask(ip, bits);
	int n = snprintf(hit->key, sizeof(hit->key), "%s%s%s", tag,
	    ip->family == AF_INET6 ? "IPv6:" : "", ipnet_format(&net, text));
	access_value_read(
	    hit->entry.value, (struct str){ hit->key, (size_t)n }, &hit->value);
	return true;
}

/* The bits that this many parts of an address say: "10.1" 16, "IPv6:2001:db8" 32. */
static unsigned
key_bits(struct str addr, bool v6)
{
	unsigned marks = 0;

	for (size_t i = 0; i < addr.len; i++)
		marks += addr.p[i] == (v6 ? ':' : '.');
	return addr.len == 0 ? 0 : v6 ? 16 * marks : 8 * (marks + 1);
}

/* Networks of `bits` and fewer bits, down to those that the next shorter key says; a key
 * of sendmail's of the same length was asked before. */
static bool
search_nets(const struct access_search *s, const struct ip *ip, struct str addr,
    struct access_hit *hit)
{
	bool v6 = ip->family == AF_INET6;
	struct str shorter = shorter_addr(addr);
	unsigned bits = key_bits(addr, v6), stop = key_bits(shorter, v6);

	for (; bits > stop || (shorter.len == 0 && bits == 0); bits--) {
		if (ask_net(s, s->tag, ip, bits, hit) ||
		    (s->keys == ACCESS_TAGGED_OR_BARE && ask_net(s, "", ip, bits, hit)))
			return true;
		if (bits == 0)
			return false;
	}
	return false;
}

bool
access_search_addr(
    const struct access_search *s, struct str addr, struct access_hit *hit)
{
	bool nets = s->access->lookup_net != NULL;
	struct ip ip;

	/* Facts bear all groups of an address; what is cut at "::" counts differently. */
	nets = nets && ip_parse(addr, &ip) && memmem(addr.p, addr.len, "::", 2) == NULL;
	for (; addr.len > 0; addr = shorter_addr(addr))
		if (access_search_exact(s, addr, hit) ||
		    (nets && search_nets(s, &ip, addr, hit)))
			return !is_skip(s, hit);
	return false;
}

/* local@domain, where the local part has a detail also user+*@ and user@. */
static bool
search_forms(const struct access_search *s, const char *local, const char *domain,
    struct access_hit *hit)
{
	const char *plus = strchr(local, '+');
	int user = plus != NULL ? (int)(plus - local) : 0;
	char key[ACCESS_KEY_MAX];

	for (int form = 0; form < (user > 0 ? 3 : 1); form++) {
		int n = form == 0 ? snprintf(key, sizeof(key), "%s@%s", local, domain)
		    : form == 1
		    ? snprintf(key, sizeof(key), "%.*s+*@%s", user, local, domain)
		    : snprintf(key, sizeof(key), "%.*s@%s", user, local, domain);
		if (n > 0 && (size_t)n < sizeof(key) &&
		    access_search_exact(s, (struct str){ key, (size_t)n }, hit))
			return true;
	}
	return false;
}

bool
access_search_full(const struct access_search *s, const struct access_addr *a,
    const char *domain, struct access_hit *hit)
{
	return search_forms(s, a->local, domain, hit);
}

bool
access_search_user(
    const struct access_search *s, const struct access_addr *a, struct access_hit *hit)
{
	return search_forms(s, a->local, "", hit);
}
