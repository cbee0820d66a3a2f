/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as what a client says of itself: the question stays in its bounds, an identity
 * is a name of one known kind without a NUL, senders stay what they became, and the same
 * facts make the same key.  Input: 16 octets of address, one of switches, then client name,
 * HELO, sender and recipient in lines. */
#include <stdlib.h>

#include "policy/greylist.h"
#include "policy/greylist_sender.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool ok)
{
	if (!ok)
		abort();
}

static const struct suffixes *
suffixes(void)
{
	static struct suffixes *list; /* one thread, once */
	struct err err;

	if (list == NULL)
		list = suffixes_open("", &err);
	must(list != NULL);
	return list;
}

static struct str
line(struct str *rest)
{
	struct str head;

	return str_cut(rest, '\n', &head) ? head : STR("");
}

static void
senders(struct str path)
{
	char once[ADDRESS_MAX], twice[ADDRESS_MAX];
	struct address a;
	size_t len = greylist_sender(path, once);

	must(len <= ADDRESS_MAX);
	must((len == 0) == greylist_null_sender(path));
	/* what is an address still is one; what was cut or is none is taken as it is */
	if (address_parse(path, &a, NULL) == 0 && a.whole.len < ADDRESS_MAX && len > 0)
		must(greylist_sender((struct str){ once, len }, twice) > 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct greylist_query a, b;
	struct greylist_facts f = { .moment = GREYLIST_AT_RCPT };
	struct settings_greylist set = { .prefix4 = 24, .prefix6 = 64, .delay = 300,
		.block = 60, .block_spam = 3, .correspondents = true };
	char name[GREYLIST_CORRESPONDENT_MAX];

	if (size < 17)
		return 0;
	f.client.ip.family = (data[16] & 1) != 0 ? AF_INET : AF_INET6;
	memcpy(f.client.ip.b, data, f.client.ip.family == AF_INET ? 4 : 16);
	f.client.spf_pass = (data[16] & 2) != 0;
	f.client.suffixes = (data[16] & 4) != 0 ? NULL : suffixes();
	set.trap = (data[16] & 8) != 0;
	struct str rest = { (const char *)data + 17, size - 17 };
	f.client.name = line(&rest);
	f.client.helo = line(&rest);
	f.client.sender = line(&rest);
	f.recipient = line(&rest);
	greylist_want(&set, &f, 1000, &a);
	greylist_want(&set, &f, 1000, &b);
	must(a.key_len <= sizeof(a.key) && a.client_len <= sizeof(a.client));
	must(a.key_len == b.key_len && memcmp(a.key, b.key, a.key_len) == 0);
	must(a.key_len <= STORE_NAME_MAX);
	must(a.ask == (a.exempt == NULL && a.blocked == 0));
	if (a.exempt == NULL) {
		must(strcmp(greylist_identity_kind_name(a.identity.kind), "?") != 0);
		must(a.identity.name[0] != '\0');
	}
	must(!a.ask || a.client_len == 1 + strlen(a.identity.name));
	senders(f.client.sender);
	senders(f.recipient);
	must(greylist_correspondent_name(f.recipient, f.client.sender, name) <=
	    sizeof(name));
	return 0;
}
