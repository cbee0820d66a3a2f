/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as a HELO name, as a client's name, as a domain for a DNS list and as a key:
 * what is found good has the form that it must have. */
#include <stdlib.h>

#include "common/net/dnsbl.h"
#include "milters/access/access_names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool ok)
{
	if (!ok)
		abort();
}

static void
helo(struct str in)
{
	static const char *const names[] = { "gate.example", "192.0.2.1" };
	const struct ip ips[] = { { AF_INET, { 192, 0, 2, 2 } } };
	const struct helo_own own = { names, 2, ips, 1 };
	enum helo_fault f = access_helo(in, &own, "");

	if (f == HELO_SYNTAX)
		return;
	must(in.len > 0 && in.len <= 256);
	for (size_t i = 0; i < in.len; i++)
		must(in.p[i] > ' ' && in.p[i] < 0x7f);
	if (f == HELO_UNQUALIFIED)
		must(str_index(in, '.') < 0 || in.p[in.len - 1] == '.');
	if (str_is_nocase(in, "gate.example"))
		must(f == HELO_FORGED);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size };
	char zone[] = "bl.example", name[256];
	const struct dnsbl list = { .zone = zone };
	const struct ip four = { AF_INET, { 203, 0, 113, 9 } };
	const struct ip six = { AF_INET6, { 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 1, 2, 3 } };

	helo(in);
	char *text = str_dup(in);
	(void)access_name_is_generic(text, &four);
	(void)access_name_is_generic(text, &six);
	if (dnsbl_query_name(&list, NULL, in, name) == 0) {
		must(strlen(name) <= 253 && str_ends_nocase(str_of(name), STR(".bl.example")));
		must(str_has(in, '.') && !str_has(in, ' ') && !str_has(in, '\0'));
	}
	if (dnsbl_key_wrong(in) == NULL)
		must(size <= DNSBL_KEY_MAX && dnsbl_query_keyed(&list, text, &four, name) == 0);
	free(text);
	return 0;
}
