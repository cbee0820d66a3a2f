/* SPDX-License-Identifier: BSD-2-Clause */
/* One row per setting of the milters' sections.  Internal to policy/; everybody else asks
 * settings_tables(). */
#ifndef POSTERN_POLICY_SETTINGS_TABLE_H
#define POSTERN_POLICY_SETTINGS_TABLE_H

#include "common/base/conf.h"

enum settings_section {
	SECTION_RUN,
	SECTION_DNS,
	SECTION_STATE,
	SECTION_GREYLIST,
	SECTION_ACCESS,
	SECTION_MIME,
	SECTION_SCORE,
	SECTIONS,
};

extern const struct conf_table *const settings_table_list[SECTIONS];

/* Where greylist.exempt is not set: read the list that is shipped, if it is installed. */
struct settings_greylist;
void settings_greylist_shipped(struct settings_greylist *set, struct errs *errs);

#endif
