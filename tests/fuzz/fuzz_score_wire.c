/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as the jail's answer: refused, or counts within their bounds for rules of the
 * right kind, which can be summed up and written into fields. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "milters/score/score.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] = "body A /a/\nheader B C =~ /d/\ntflags B multiple\nuri __U /u/\n"
			   "rawbody R /r/\nfull F /f/\nmeta M A + B * 2 > 3 || !__U\n"
			   "meta N M && R\nbody E eval:x()\nmeta O E || F\n";

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
use(const struct rules *r, const struct hits *h)
{
	static char words[] = "no", none[] = "";
	const struct settings_score set = {
		.tag = 5000, .reject = 15000, .text = words, .subject_tag = none
	};
	struct score s;
	struct buf b;

	must(h->n == r->n && h->n_domains <= HITS_DOMAINS_MAX);
	for (size_t i = 0; i < h->n; i++) {
		must(h->hits[i] <= RULES_HITS_MAX || h->hits[i] == HITS_UNKNOWN);
		must(h->hits[i] == 0 || r->list[i].type != RULE_META);
	}
	buf_init(&b, 100000);
	score_message(r, 0, h, &s);
	score_status(r, &set, SCORE_DONE, true, &s, &b);
	score_level(&s, &b);
	must(!b.failed);
	buf_clear(&b);
	score_clear(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rules *r;
	struct str in = { (const char *)data, size };
	struct errs errs = { 0 };
	struct hits h;
	struct err err;

	if (r == NULL)
		r = rules_from_text(str_of(text), "fuzz", &errs);
	must(r != NULL);
	if (hits_read(in, r, &h, &err) == 0) {
		use(r, &h);
		hits_clear(&h);
	}
	return 0;
}
