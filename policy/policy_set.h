/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists and policies as they were read: what settings_load() makes and policy.c asks.
 * Internal to policy/. */
#ifndef POSTERN_POLICY_POLICY_SET_H
#define POSTERN_POLICY_POLICY_SET_H

#include <stddef.h>

#include "policy/member.h"
#include "policy/policy.h"
#include "policy/settings.h"
#include "policy/settings_table.h"

#define POLICY_LISTS_MAX 1000
#define POLICY_POLICIES_MAX 1000

/* Sections whose settings a policy may give. */
enum policy_section { POLICY_GREYLIST, POLICY_ACCESS, POLICY_MIME, POLICY_SCORE,
	POLICY_SECTIONS };

/* Where the struct of such a section stands. */
struct policy_place {
	enum settings_section section;
	size_t in_settings, in_view, in_policy; /* offsets */
};
extern const struct policy_place policy_places[POLICY_SECTIONS];

struct policy_list {
	struct str name;
	const struct conf_node *node;
	struct member_set *members;
};

/* Nothing set: no condition of this kind, holds always. */
struct policy_condition {
	const struct conf_node *node; /* the first statement; NULL: none */
	struct member_set *members; /* written out in the policy; NULL: none */
	const struct policy_list **lists;
	size_t n_lists;
	bool special; /* client: authenticated; sender: null */
};

/* One setting that a policy gives. */
struct policy_override {
	enum policy_section section;
	const struct conf_setting *setting;
	const struct conf_node *node;
};

struct policy {
	struct str name;
	char *label; /* the same, with a NUL */
	const struct conf_node *node;
	struct policy_condition client, sender, recipient;
	struct policy_override *overrides;
	size_t n_overrides;
	uint64_t mask[POLICY_SECTIONS]; /* bit i: row i is overridden */
	struct settings_greylist greylist; /* of these, only overridden fields are set */
	struct settings_access access;
	struct settings_mime mime;
	struct settings_score score;
	const struct conf_node *mode; /* NULL: not given */
	bool observe;
};

struct policy_set {
	struct policy_list *lists; /* sorted by name */
	size_t n_lists;
	struct policy *policies; /* in the file's order */
	size_t n_policies;
};

/* Read all `list` and `policy` blocks among the statements; faults go to errs.  Borrows
 * from the tree.  Never NULL. */
struct policy_set *policy_set_new(
    const struct conf_node *root, const struct settings *base, struct errs *errs);
void policy_set_free(struct policy_set *set);

const struct policy_list *policy_set_list(const struct policy_set *set, struct str name);

/* The table of a section, and its struct. */
const struct conf_table *policy_table(enum policy_section section);
void *policy_values(struct policy *p, enum policy_section section);

#endif
