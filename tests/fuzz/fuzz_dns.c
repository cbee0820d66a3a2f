/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS answers as a stranger may send them.  First octet: which type was asked. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/net/dns_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum dns_type types[] = { DNS_A, DNS_NS, DNS_CNAME, DNS_SOA,
		DNS_PTR, DNS_MX, DNS_TXT, DNS_AAAA };
	struct err err = { 0 };

	if (size < 1)
		return 0;
	enum dns_type type = types[data[0] % (sizeof(types) / sizeof(types[0]))];
	struct str msg = { (const char *)data + 1, size - 1 };
	struct dns_answer *a = dns_answer_parse(msg, STR("a.example"), type, &err);
	assert(a->n <= DNS_RECORDS_MAX);
	assert((a->status == DNS_OK) == (a->n > 0));
	assert(a->status != DNS_FAIL || err.text[0] != '\0');
	for (size_t i = 0; i < a->n; i++) {
		assert(a->records[i].name == NULL || strlen(a->records[i].name) < 1024);
		assert(a->records[i].text == NULL ||
		    a->records[i].text[a->records[i].text_len] == '\0');
	}
	dns_answer_unref(a);
	return 0;
}
