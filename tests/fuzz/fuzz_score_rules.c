/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as a rule file: it is read or refused, and what was read can be expanded,
 * compiled and computed.  A line that begins with 0x01 separates a message from it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"
#include "milters/score/score.h"
#include "milters/score/work.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

/* A name with a file must not lead the fuzzer to the host's files. */
static bool
includes(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (str_starts_nocase(str_sub(s, i, s.len), STR("include")))
			return true;
	return false;
}

static void
run(struct rules *r, struct str message)
{
	struct errs notes = { 0 };
	struct work w = { .rules = r, .match = match_new(r, 0, &notes) };
	struct hits hits;
	struct score score;
	struct buf wire;
	struct err err;

	work_message(&w, message, (struct str){ NULL, 0 }, &hits);
	buf_init(&wire, 16 << 20);
	hits_write(&hits, r, &wire);
	score_message(r, 0, &hits, &score);
	must(score.n <= r->n);
	score_clear(&score);
	hits_clear(&hits);
	/* passing rules over for want of their words changes nothing that is known */
	struct hits every;
	match_set_filtering(w.match, false);
	work_message(&w, message, (struct str){ NULL, 0 }, &every);
	must(!wire.failed && hits_read(buf_str(&wire), r, &hits, &err) == 0);
	must(hits.foreign == 0);
	for (size_t i = 0; i < r->n; i++)
		must(every.over || hits.over || every.hits[i] == HITS_UNKNOWN ||
		    every.hits[i] == hits.hits[i]);
	hits_clear(&every);
	hits_clear(&hits);
	buf_clear(&wire);
	match_free(w.match);
	errs_clear(&notes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str text = { (const char *)data, size }, rules;
	struct errs errs = { 0 };

	str_cut(&text, 1, &rules);
	if (size > 20000 || includes(rules))
		return 0;
	struct rules *r = rules_from_text(rules, "fuzz", &errs);
	must((r == NULL) == (errs.n > 0));
	if (r != NULL)
		run(r, text);
	rules_free(r);
	errs_clear(&errs);
	return 0;
}
