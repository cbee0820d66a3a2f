/* SPDX-License-Identifier: BSD-2-Clause */
/* SPF records and DNS answers of a stranger through a whole evaluation.  Lines: client,
 * HELO, sender, then the answers of DNS in the order in which they are asked for, each
 * behind its status letter: "o" records separated by 0x01, "n" none, "x" no such name,
 * "f" failure.  When they run out the first one of records is given again. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/auth/spf_eval.h"
#include "common/auth/spf_record.h"
#include "common/base/xalloc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
add_record(struct dns_answer *a, enum dns_type type, struct str data)
{
	struct dns_record r = { .text_len = data.len };

	if (a->n == DNS_RECORDS_MAX)
		return;
	if (type == DNS_TXT) {
		r.text = str_dup(data);
	} else if (type == DNS_A || type == DNS_AAAA) {
		r.ip.family = type == DNS_A ? AF_INET : AF_INET6;
		memcpy(r.ip.b, data.p, data.len < 16 ? data.len : 16);
	} else { /* as the reader of packets leaves names */
		r.name = str_dup_lower(str_sub(data, 0, 250));
		for (char *c = r.name; *c != '\0'; c++)
			if ((unsigned char)*c <= 0x20 || (unsigned char)*c > 0x7e)
				*c = 'x';
	}
	a->records = xreallocarray(a->records, a->n + 1, sizeof(*a->records));
	a->records[a->n++] = r;
	a->status = DNS_OK;
}

static struct dns_answer *
answer_of(struct str line, enum dns_type type)
{
	struct str data = str_sub(line, 1, line.len), one;
	struct dns_answer *a;

	switch (line.len > 0 ? line.p[0] : 'x') {
	case 'o':
		a = dns_answer_new(DNS_NODATA);
		while (str_cut(&data, '\1', &one))
			add_record(a, type, one);
		return a;
	case 'n':
		return dns_answer_new(DNS_NODATA);
	case 'f':
		return dns_answer_new(DNS_FAIL);
	default:
		return dns_answer_new(DNS_NXDOMAIN);
	}
}

/* What is promised about an answer. */
static void
check(const struct spf_answer *a)
{
	assert(a->result >= SPF_NONE && a->result <= SPF_PERMERROR);
	assert(!a->identity || a->result == SPF_PASS);
	assert(!a->explained || a->result == SPF_FAIL);
	assert(a->lookups <= SPF_LOOKUPS_MAX + 1 && a->voids <= SPF_VOIDS_MAX + 1);
	assert((a->problem[0] != '\0') ==
	    (a->result == SPF_TEMPERROR || a->result == SPF_PERMERROR));
	for (const char *c = a->explanation; *c != '\0'; c++)
		assert(*c >= 0x20 && *c <= 0x7e);
	for (const char *c = a->problem; *c != '\0'; c++)
		assert(*c >= 0x20 && *c <= 0x7e);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size }, line = { 0 }, first = { 0 };
	struct spf_question q = { .receiver = "mx.example", .now = 1 };
	struct spf_facts facts = { .n = 0 };
	struct spf_answer answer;
	struct spf_record record;

	if (size > 16384 || !str_cut(&in, '\n', &line) || !ip_parse(line, &q.client) ||
	    !str_cut(&in, '\n', &line))
		return 0;
	char *helo = str_dup(line);
	char *sender = str_dup(str_cut(&in, '\n', &line) ? line : STR(""));
	q.helo = helo;
	q.sender = sender;
	struct spf_matcher *matcher = spf_matcher_new();
	unsigned rounds = 0;
	while (!spf_eval(matcher, &q, &facts, &answer)) {
		assert(rounds++ <= SPF_FACTS_MAX);
		for (size_t i = 0; i < facts.n; i++) {
			if (facts.list[i].answer != NULL)
				continue;
			if (!str_cut(&in, '\n', &line))
				line = first;
			else if (first.len == 0)
				first = line;
			facts.list[i].answer = answer_of(line, facts.list[i].type);
		}
	}
	check(&answer);
	(void)spf_record_parse(first, &record, NULL);
	spf_record_clear(&record);
	spf_facts_clear(&facts);
	spf_matcher_free(matcher);
	free(helo);
	free(sender);
	return 0;
}
