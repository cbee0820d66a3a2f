/* SPDX-License-Identifier: BSD-2-Clause */
/* Authentication-Results and Received-SPF as a stranger may write them. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "common/auth/auth_results.h"

#define ME "mx.example.org"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size };
	struct err err = { 0 };
	struct auth_results r;

	if (size > 65536)
		return 0;
	int rc = auth_results_parse(in, &r, &err);
	bool ours = auth_results_claims(in, ME);
	assert(rc == 0 || err.text[0] != '\0');
	assert(r.n <= AUTH_RESULTS_MAX);
	/* What the strict reader takes for ours the loose one does not miss. */
	if (rc == 0)
		assert(ours || strcmp(r.id, ME) != 0);
	for (size_t i = 0; rc == 0 && i < r.n; i++) {
		assert(r.list[i].method != NULL && r.list[i].result != NULL);
		assert(r.list[i].n <= AUTH_PROPERTIES_MAX);
		for (size_t k = 0; k < r.list[i].n; k++)
			assert(r.list[i].properties[k].value != NULL);
	}
	auth_results_clear(&r);
	(void)received_spf_claims(in, ME);
	return 0;
}
