/* SPDX-License-Identifier: BSD-2-Clause */
/* Every kind of check: a row here is all that makes it one. */
#include "milters/access/check_table.h"

#include <assert.h>

#include "milters/access/check_client.h"
#include "milters/access/check_dnsbl.h"
#include "milters/access/check_events.h"
#include "milters/access/check_helo.h"
#include "milters/access/check_pause.h"
#include "milters/access/check_rate.h"
#include "milters/access/check_rcpt.h"
#include "milters/access/check_sender.h"
#include "milters/access/check_spf.h"

const struct check_ops *const check_table[] = {
	&check_dnsbl,
	&check_penalty,
	&check_client_rate,
	&check_rate,
	&check_client,
	&check_helo,
	&check_sender,
	&check_spf,
	&check_recipient,
	&check_pause, /* keeps all waiting: the last */
};

const size_t check_table_n = sizeof(check_table) / sizeof(check_table[0]);

static_assert(sizeof(check_table) / sizeof(check_table[0]) <= CHECKS_MAX, "CHECKS_MAX");
