/* SPDX-License-Identifier: BSD-2-Clause */
/* Block `mime`.  Strings are never NULL: "" where nothing is set. */
#ifndef POSTERN_POLICY_SETTINGS_MIME_H
#define POSTERN_POLICY_SETTINGS_MIME_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/conf.h"

/* What happens to content; a later one is sterner and wins over an earlier one. */
enum mime_action { MIME_PASS, MIME_STRIP, MIME_QUARANTINE, MIME_REJECT, MIME_TEMPFAIL };

struct settings_mime { /* block `mime` */
	char *socket;
	int64_t socket_mode;
	char *socket_group;
	char *metrics;
	char *signatures; /* file or folder of ClamAV's */
	char *tmp; /* where the jail's workers have their directories */
	char *quarantine; /* folder */
	int64_t workers; /* scans at once */
	uint64_t worker_memory; /* octets beyond what all share */
	int64_t scan_time_ms; /* of one scan, libclamav's own limit */
	int64_t budget_ms; /* of one message on one worker; then the worker is killed */
	uint64_t message_size; /* larger ones are not scanned: `limit` applies */
	uint64_t scan_size; /* decoded octets of one message */
	int64_t archive_depth, archive_members;
	struct conf_strings forbidden_names, forbidden_types; /* endings; types */
	int infected, forbidden, limit, encrypted, ambiguous; /* enum mime_action */
	bool keep_copies; /* of what is refused, in quarantine */
	bool header; /* write X-Virus-Scanned */
	char *notify; /* address; "" nobody */
	char *notify_via; /* SMTP server that takes the notice: address:port */
};

#endif
