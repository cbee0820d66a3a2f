/* SPDX-License-Identifier: BSD-2-Clause */
/* The order of identities: see the header. */
#include "policy/greylist_identity.h"

#include <stdio.h>

#include "common/mail/address.h"
#include "policy/client_name.h"

_Static_assert(GREYLIST_IDENTITY_MAX > 253 && GREYLIST_IDENTITY_MAX > IP_TEXT_MAX + 4,
    "a domain name or a network fits");

const char *
greylist_identity_kind_name(enum greylist_identity_kind kind)
{
	switch (kind) {
	case GREYLIST_BY_SPF:
		return "spf";
	case GREYLIST_BY_HELO:
		return "helo";
	case GREYLIST_BY_NAME:
		return "name";
	case GREYLIST_BY_NETWORK:
		return "network";
	}
	return "?";
}

struct str
greylist_client_name(struct str name)
{
	name = str_trim(name);
	/* "[192.0.2.1]" and "unknown" are what MTAs say when there is none */
	if (name.len > 0 && name.p[name.len - 1] == '.')
		name.len--;
	return str_has(name, '.') && name.p[0] != '[' ? name : STR("");
}

/* Lower case, cut where no name could be longer. */
static void
take(struct greylist_identity *out, enum greylist_identity_kind kind, struct str name)
{
	size_t len =
	    name.len < sizeof(out->name) ? name.len : sizeof(out->name) - 1;

	out->kind = kind;
	for (size_t i = 0; i < len; i++)
		out->name[i] = ascii_lower(name.p[i]);
	out->name[len] = '\0';
}

static bool
by_spf(const struct greylist_client_facts *f, struct greylist_identity *out)
{
	struct str path = str_trim(f->sender), domain;
	struct address a;

	if (!f->spf_pass)
		return false;
	if (path.len > 0 && !str_is(path, "<>")) {
		if (address_parse(path, &a, NULL) != 0 || a.domain.len == 0 ||
		    a.domain.p[0] == '[' || str_has(a.domain, '\0'))
			return false;
		take(out, GREYLIST_BY_SPF, a.domain);
		return true;
	}
	struct str helo = str_trim(f->helo);
	if (f->suffixes == NULL ||
	    !suffixes_organisation(f->suffixes, helo, &domain) ||
	    client_name_generated(greylist_client_name(helo), domain, &f->ip))
		return false;
	take(out, GREYLIST_BY_HELO, domain);
	return true;
}

static bool
by_name(const struct greylist_client_facts *f, struct greylist_identity *out)
{
	struct str name = greylist_client_name(f->name), domain;

	if (f->suffixes == NULL ||
	    !suffixes_organisation(f->suffixes, name, &domain) ||
	    client_name_generated(name, domain, &f->ip))
		return false;
	take(out, GREYLIST_BY_NAME, domain);
	return true;
}

static void
by_network(const struct settings_greylist *set, const struct ip *ip,
    struct greylist_identity *out)
{
	struct ipnet net = ip_mask(
	    ip, (unsigned)(ip->family == AF_INET ? set->prefix4 : set->prefix6));
	char text[IP_TEXT_MAX + 4];

	take(out, GREYLIST_BY_NETWORK, str_of(ipnet_format(&net, text)));
}

void
greylist_identify(const struct settings_greylist *set,
    const struct greylist_client_facts *facts, struct greylist_identity *out)
{
	if (!by_spf(facts, out) && !by_name(facts, out))
		by_network(set, &facts->ip, out);
}
