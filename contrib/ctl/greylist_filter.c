/* SPDX-License-Identifier: BSD-2-Clause */
/* Names as an administrator gives them against names as the store keeps them. */
#include "contrib/ctl/greylist_filter.h"

#include "policy/greylist_sender.h"

static void
client_add(struct greylist_filter *f, const struct store *s, struct str client)
{
	char hidden[STORE_HIDDEN_NAME];
	struct str kept = store_entry_name(s, client, hidden);

	memcpy(f->client[f->n], kept.p, kept.len);
	f->client_len[f->n++] = kept.len;
}

static void
network_add(struct greylist_filter *f, const struct store *s, const struct ipnet *net)
{
	char client[1 + IP_TEXT_MAX + 4];

	client[0] = GREYLIST_BY_NETWORK;
	ipnet_format(net, client + 1);
	client_add(f, s, str_of(client));
}

/* A domain is meant whatever says that it is the client's. */
static void
domain_add(struct greylist_filter *f, const struct store *s, struct str domain)
{
	static const char letters[] = { GREYLIST_BY_SPF, GREYLIST_BY_HELO,
		GREYLIST_BY_NAME };
	char client[GREYLIST_CLIENT_MAX];

	for (size_t i = 0; i < sizeof(letters); i++) {
		client[0] = letters[i];
		for (size_t j = 0; j < domain.len; j++)
			client[1 + j] = ascii_lower(domain.p[j]);
		client_add(f, s, (struct str){ client, 1 + domain.len });
	}
}

static int
client_read(struct greylist_filter *f, const struct store *s,
    const struct settings_greylist *set, struct str text, struct err *err)
{
	char client[GREYLIST_CLIENT_MAX];
	size_t len;

	f->clients = true;
	if (ip_parse(text, &f->ip)) {
		f->net = ip_mask(&f->ip,
		    (unsigned)(f->ip.family == AF_INET ? set->prefix4 : set->prefix6));
		network_add(f, s, &f->net);
		return 0;
	}
	f->ip.family = 0;
	if (ipnet_parse(text, &f->net)) {
		network_add(f, s, &f->net);
		return 0;
	}
	f->net.ip.family = 0;
	len = greylist_client_read(text, client);
	if (len > 0) {
		client_add(f, s, (struct str){ client, len });
		return 0;
	}
	if (text.len == 0 || text.len >= GREYLIST_IDENTITY_MAX || str_has(text, '/') ||
	    str_has(text, ':') || str_has(text, '@'))
		return err_set(err,
		    "--client %.*s: expected an IP address, a network, a domain, or spf:, "
		    "helo:, name:, network: and a name",
		    (int)(text.len < 200 ? text.len : 200), text.p);
	domain_add(f, s, text);
	return 0;
}

/* An address that a walk of a hidden store gave stays as it is. */
static size_t
address_keep(const struct store *s, struct str address, char out[ADDRESS_MAX])
{
	char hidden[STORE_HIDDEN_NAME];
	struct str kept = store_entry_name(s, address, hidden);

	memmove(out, kept.p, kept.len);
	return kept.len;
}

int
greylist_filter_read(struct greylist_filter *f, const struct store *s,
    const struct settings_greylist *set, const char *client, const char *from,
    const char *to, struct err *err)
{
	char address[ADDRESS_MAX];
	size_t len;

	*f = (struct greylist_filter){ 0 };
	if (client != NULL && client_read(f, s, set, str_of(client), err) != 0)
		return -1;
	if (from != NULL) {
		f->sender = true;
		len = greylist_sender(str_of(from), address);
		f->from_len = address_keep(s,
		    from[0] == '#' ? str_sub(str_of(from), 0, ADDRESS_MAX)
				   : (struct str){ address, len },
		    f->from);
	}
	if (to != NULL) {
		f->recipient = true;
		len = greylist_address(str_of(to), address);
		f->to_len = address_keep(s, (struct str){ address, len }, f->to);
	}
	return 0;
}

bool
greylist_filter_any(const struct greylist_filter *f)
{
	return !f->clients && !f->sender && !f->recipient;
}

struct str
greylist_filter_client(const struct greylist_filter *f, size_t i)
{
	return (struct str){ f->client[i], f->client_len[i] };
}

/* A network that the client is in, whatever prefix it was kept with. */
static bool
network_has(const struct greylist_filter *f, struct str client)
{
	struct ipnet net;

	return f->ip.family != 0 && client.len > 1 &&
	    client.p[0] == GREYLIST_BY_NETWORK &&
	    ipnet_parse(str_sub(client, 1, client.len), &net) &&
	    ipnet_contains(&net, &f->ip);
}

static bool
client_has(const struct greylist_filter *f, struct str client)
{
	for (size_t i = 0; i < f->n; i++)
		if (str_eq(client, greylist_filter_client(f, i)))
			return true;
	return !f->clients || network_has(f, client);
}

/* An event's network and the one that is asked about have hosts in common. */
static bool
event_has(const struct greylist_filter *f, const struct ipnet *network)
{
	return !f->clients ||
	    (f->net.ip.family != 0 &&
		(f->ip.family != 0
			? ipnet_contains(network, &f->ip)
			: ipnet_contains(network, &f->net.ip) ||
			    ipnet_contains(&f->net, &network->ip)));
}

bool
greylist_filter_has(const struct greylist_filter *f, const struct store_entry *e)
{
	struct str part[3];

	if (e->kind == STORE_EVENT)
		return !f->sender && !f->recipient && event_has(f, &e->network);
	if (e->kind == STORE_CLIENT)
		return !f->sender && !f->recipient && client_has(f, e->client);
	if (!client_has(f, e->client))
		return false;
	if (!f->sender && !f->recipient)
		return true;
	return greylist_key_parts(e->key, part) &&
	    (!f->sender || str_eq(part[1], (struct str){ f->from, f->from_len })) &&
	    (!f->recipient || str_eq(part[2], (struct str){ f->to, f->to_len }));
}
