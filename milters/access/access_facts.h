/* SPDX-License-Identifier: BSD-2-Clause */
/* What the mail server told, in the words of the map's engine and of the checks. */
#ifndef POSTERN_ACCESS_FACTS_H
#define POSTERN_ACCESS_FACTS_H

#include "common/run/milter.h"
#include "milters/access/access_case.h"
#include "milters/access/access_map.h"
#include "milters/access/access_maps.h"
#include "milters/access/check.h"

/* Of a connection: filled by main.c as it learns. */
struct access_known {
	struct settings *settings;
	struct access_maps_view *maps;
	char addr[64]; /* as the map's keys have it */
	char own_names[2][256]; /* class w: the host by its setting and by the MTA */
	bool in_map; /* the map has a word for the client: lists are spared */
	bool have_sender, authenticated; /* of the message */
	struct access_addr sender;
};

/* Everything that map and checks want, on the caller's stack. */
struct access_facts {
	struct access access;
	struct access_rules rules;
	const char *local[3];
	struct check_facts check;
};

/* rcpt: NULL but at RCPT.  All is borrowed: f must not move. */
void access_facts_init(struct access_facts *f, struct milter_session *s,
    const struct access_known *known, const struct policy_view *view,
    const struct access_addr *rcpt);

/* postmaster and abuse (RFC 5321 4.5.1, RFC 2142 4), with or without a domain.  Whose
 * domain it is need not be known: what is not ours the MTA does not relay. */
bool access_facts_is_postmaster(const struct access_addr *rcpt);

#endif
