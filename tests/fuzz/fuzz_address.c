/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as an envelope address: what is taken is clean, lies in the input, and
 * means the same when it is put together and read again. */
#include <stdlib.h>

#include "common/mail/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool ok)
{
	if (!ok)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size };
	struct address a, again;
	char local[ADDRESS_MAX];
	size_t len;

	if (address_parse(in, &a, NULL) != 0)
		return 0;
	for (size_t i = 0; i < size; i++)
		must((unsigned char)in.p[i] >= ' ');
	must(a.null == (a.whole.len == 0) && a.whole.len <= ADDRESS_MAX);
	if (a.null)
		return 0;
	must(a.local.p == a.whole.p && a.local.len > 0);
	must(a.domain.len == 0 || a.whole.len == a.local.len + 1 + a.domain.len);
	must(a.domain.len == 0 || address_domain_ok(a.domain));
	/* "" is a local part without octets: RFC 5321 4.1.2 */
	must(address_local_unquote(a.local, local, sizeof(local), &len) && len <= a.local.len);
	must(address_parse(a.whole, &again, NULL) == 0);
	must(str_eq(again.whole, a.whole) && str_eq(again.local, a.local) &&
	    str_eq(again.domain, a.domain) && again.utf8 == a.utf8);
	return 0;
}
