/* SPDX-License-Identifier: BSD-2-Clause */
/* Entries of the greylist's state for people and, as JSON, for programs. */
#ifndef POSTERN_CTL_GREYLIST_PRINT_H
#define POSTERN_CTL_GREYLIST_PRINT_H

#include "contrib/ctl/greylist_text.h"

struct greylist_print {
	const struct settings_greylist *set;
	int64_t now;
	bool json;
	bool whole; /* show: all that is known, a line each */
};

void greylist_print_head(struct buf *out, const struct greylist_print *p);
/* n: how many were printed before. */
void greylist_print_entry(struct buf *out, const struct greylist_print *p,
    const struct store_entry *e, uint64_t n);

/* In a word: waits, may pass, known; whitelisted, confirmed; blocked, voids, noted. */
const char *greylist_print_state(
    const struct greylist_print *p, const struct store_entry *e);

#endif
