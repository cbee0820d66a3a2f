/* SPDX-License-Identifier: BSD-2-Clause */
/* Sets of addresses, domains and networks as one hash table of octets; the first octet
 * says what the rest means.  For networks the lengths in use are noted, so that a
 * client is looked up once per length. */
#include "policy/member.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"

#define KEYS_MAX (64u << 20) /* octets of all keys of one set */
#define LABEL_MAX 63 /* RFC 1035 2.3.4 */
#define DOMAIN_MAX 253

enum kind {
	KIND_ADDRESS = 'a',
	KIND_DOMAIN = 'd',
	KIND_SUBDOMAINS = 's',
	KIND_NET = 'n'
};

struct slot {
	uint32_t hash; /* upper half, to spare most comparisons */
	uint32_t at; /* of the key, + 1; 0: free */
	uint32_t len;
};

struct member_set {
	struct buf keys;
	struct slot *slots;
	size_t n, cap; /* cap: power of two */
	size_t names, networks;
	size_t subdomain_max; /* octets of the longest ".d" */
	bool prefixes[2][129]; /* in use, of IPv4 and IPv6 */
};

struct key {
	size_t len;
	char octets[MEMBER_NAME_MAX + 1];
};

const char *
member_domain_wrong(struct str s)
{
	static const char expected[] = "a domain name like example.org";
	size_t label = 0;

	if (s.len == 0 || s.len > DOMAIN_MAX)
		return expected;
	for (size_t i = 0; i < s.len; i++) {
		if ((unsigned char)s.p[i] >= 0x80)
			return "a domain name in ASCII (xn--...)";
		if (s.p[i] == '.') {
			if (label == 0)
				return expected;
			label = 0;
			continue;
		}
		if (!ascii_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_')
			return expected;
		if (++label > LABEL_MAX)
			return expected;
	}
	return label == 0 ? expected : NULL;
}

struct member_set *
member_set_new(void)
{
	struct member_set *set = xcalloc(1, sizeof(*set));

	buf_init(&set->keys, KEYS_MAX);
	return set;
}

void
member_set_free(struct member_set *set)
{
	if (set == NULL)
		return;
	buf_clear(&set->keys);
	free(set->slots);
	free(set);
}

size_t
member_names(const struct member_set *set)
{
	return set->names;
}

size_t
member_networks(const struct member_set *set)
{
	return set->networks;
}

static bool
key_name(struct key *key, enum kind kind, struct str name)
{
	if (name.len > MEMBER_NAME_MAX)
		return false;
	key->octets[0] = (char)kind;
	for (size_t i = 0; i < name.len; i++)
		key->octets[i + 1] = ascii_lower(name.p[i]);
	key->len = name.len + 1;
	return true;
}

static void
key_net(struct key *key, const struct ipnet *net)
{
	size_t len = net->ip.family == AF_INET6 ? 16 : 4;

	key->octets[0] = (char)KIND_NET;
	key->octets[1] = (char)len;
	key->octets[2] = (char)net->prefix;
	memcpy(key->octets + 3, net->ip.b, len);
	key->len = len + 3;
}

/* The slot that holds the key, or the free one where it belongs. */
static struct slot *
find(const struct member_set *set, const char *octets, size_t len)
{
	uint64_t hash = XXH3_64bits(octets, len);
	size_t i = (size_t)hash & (set->cap - 1);

	for (;; i = (i + 1) & (set->cap - 1)) {
		struct slot *slot = &set->slots[i];

		if (slot->at == 0 ||
		    (slot->hash == (uint32_t)(hash >> 32) && slot->len == len &&
			memcmp(set->keys.p + slot->at - 1, octets, len) == 0))
			return slot;
	}
}

static bool
has(const struct member_set *set, const struct key *key)
{
	return set->n > 0 && find(set, key->octets, key->len)->at != 0;
}

static void
grow(struct member_set *set)
{
	struct slot *old = set->slots;
	size_t old_cap = set->cap;

	set->cap = old_cap == 0 ? 16 : old_cap * 2;
	set->slots = xcalloc(set->cap, sizeof(*set->slots));
	for (size_t i = 0; i < old_cap; i++)
		if (old[i].at != 0)
			*find(set, set->keys.p + old[i].at - 1, old[i].len) = old[i];
	free(old);
}

/* An entry that is there already counts once. */
static const char *
add(struct member_set *set, const struct key *key, size_t *count)
{
	if (set->n + set->n / 2 >= set->cap)
		grow(set);
	struct slot *slot = find(set, key->octets, key->len);
	if (slot->at != 0)
		return NULL;
	size_t at = set->keys.len;
	if (set->n == MEMBER_ENTRIES_MAX ||
	    buf_add(&set->keys, key->octets, key->len) != 0)
		return "a smaller list: this one is full";
	*slot = (struct slot){ (uint32_t)(XXH3_64bits(key->octets, key->len) >> 32),
		(uint32_t)at + 1, (uint32_t)key->len };
	set->n++;
	(*count)++;
	return NULL;
}

const char *
member_add_address(struct member_set *set, struct str address)
{
	struct key key;
	ptrdiff_t at = str_rindex(address, '@');

	if (at <= 0)
		return "an address like user@example.org";
	for (size_t i = 0; i < address.len; i++)
		if ((unsigned char)address.p[i] < ' ' ||
		    strchr("<>", address.p[i]) != NULL)
			return "an address like user@example.org, without <>";
	const char *wrong =
	    member_domain_wrong(str_sub(address, (size_t)at + 1, address.len));
	if (wrong != NULL)
		return wrong;
	if (!key_name(&key, KIND_ADDRESS, address))
		return "an address of at most 512 octets";
	return add(set, &key, &set->names);
}

const char *
member_add_domain(struct member_set *set, struct str domain)
{
	struct key key;
	bool below = domain.len > 0 && domain.p[0] == '.';
	struct str name = str_sub(domain, below ? 1 : 0, domain.len);
	const char *wrong = member_domain_wrong(name);

	if (wrong != NULL)
		return wrong;
	key_name(&key, below ? KIND_SUBDOMAINS : KIND_DOMAIN, name);
	if (below && name.len > set->subdomain_max)
		set->subdomain_max = name.len;
	return add(set, &key, &set->names);
}

const char *
member_add_network(struct member_set *set, struct str network)
{
	struct key key;
	struct ipnet net;

	if (!ipnet_parse(network, &net))
		return "an address or network like 192.0.2.0/24, host bits zero";
	key_net(&key, &net);
	set->prefixes[net.ip.family == AF_INET6][net.prefix] = true;
	return add(set, &key, &set->networks);
}

static const char *
add_line(struct member_set *set, struct str line)
{
	struct ipnet net;

	if (str_has(line, '@'))
		return member_add_address(set, line);
	if (ipnet_parse(line, &net))
		return member_add_network(set, line);
	if (str_has(line, '/') || str_has(line, ':'))
		return "an address or network like 192.0.2.0/24, host bits zero";
	return member_add_domain(set, line);
}

void
member_add_file(struct member_set *set, const struct conf_word *by, struct errs *errs)
{
	char *path = conf_relative(by->file, by->text);
	size_t len = 0;
	struct err err;
	char *text = conf_read_file(path, &len, &err);
	struct str rest = { text, len }, line;

	if (text == NULL)
		errs_add(errs, by->file, by->line, "file \"%s\" %s", path, err.text);
	for (int n = 1; text != NULL && str_cut(&rest, '\n', &line); n++) {
		struct str entry;

		str_cut(&line, '#', &entry);
		entry = str_trim(entry);
		if (entry.len == 0)
			continue;
		const char *wrong = add_line(set, entry);
		if (wrong != NULL)
			errs_add(errs, path, n, "\"%.*s\" cannot be read: expected %s",
			    (int)(entry.len < 80 ? entry.len : 80), entry.p, wrong);
	}
	free(text);
	free(path);
}

void
member_fold(struct str address, struct member_name *out)
{
	/* the root's dot says nothing new: a.example. is a.example */
	if (address.len > 0 && address.p[address.len - 1] == '.')
		address.len--;
	out->address = out->domain = (struct str){ out->text, 0 };
	if (address.len > sizeof(out->text))
		return;
	for (size_t i = 0; i < address.len; i++)
		out->text[i] = ascii_lower(address.p[i]);
	out->address.len = address.len;
	ptrdiff_t at = str_rindex(out->address, '@');
	if (at >= 0)
		out->domain = str_sub(out->address, (size_t)at + 1, address.len);
}

bool
member_has_name(const struct member_set *set, const struct member_name *name)
{
	struct key key;
	struct str rest = name->domain, label;

	if (set->names == 0)
		return false;
	if (key_name(&key, KIND_ADDRESS, name->address) && has(set, &key))
		return true;
	if (key_name(&key, KIND_DOMAIN, name->domain) && has(set, &key))
		return true;
	while (
	    set->subdomain_max > 0 && str_cut(&rest, '.', &label) && rest.p != NULL) {
		/* the address is a stranger's: a thousand labels must not cost a
		 * thousand hashes */
		if (rest.len > set->subdomain_max)
			continue;
		if (key_name(&key, KIND_SUBDOMAINS, rest) && has(set, &key))
			return true;
	}
	return false;
}

bool
member_has_ip(const struct member_set *set, const struct ip *ip)
{
	struct key key;
	bool v6 = ip->family == AF_INET6;

	if (set->networks == 0 || ip->family == 0)
		return false;
	for (unsigned prefix = 0; prefix <= (v6 ? 128u : 32u); prefix++) {
		if (!set->prefixes[v6][prefix])
			continue;
		struct ipnet net = ip_mask(ip, prefix);

		key_net(&key, &net);
		if (has(set, &key))
			return true;
	}
	return false;
}
