/* SPDX-License-Identifier: BSD-2-Clause */
/* A recorded milter dialogue (tests/vectors/milter, format in its README) as a
 * list of events.  Payloads that the recording abridges are rebuilt and proved by their
 * SHA-256. */
#ifndef POSTERN_TESTS_MILTER_TAPE_H
#define POSTERN_TESTS_MILTER_TAPE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"

enum tape_kind {
	TAPE_OPEN, /* the MTA connected to the filter */
	TAPE_TO_FILTER, /* cmd, payload */
	TAPE_FROM_FILTER, /* cmd, payload */
	TAPE_RAW, /* payload: octets from the filter that are no packet */
	TAPE_SLEEP, /* seconds */
	TAPE_CLOSE, /* the filter closes */
	TAPE_EOF, /* the MTA closed */
	TAPE_CLIENT, /* text: SMTP line; message: payload */
	TAPE_SERVER, /* code: the last line of a reply */
	TAPE_TLS,
	TAPE_DROP, /* the client goes */
};

struct tape_event {
	enum tape_kind kind;
	int filter; /* 0 A, 1 B */
	char cmd;
	bool message; /* CLIENT: payload is a message, not a line */
	bool raw; /* CLIENT: several lines at once */
	bool abridged; /* payload unknown: len and sha only */
	struct str payload;
	char sha[65]; /* of an abridged payload */
	size_t len;
	int seconds, code;
	char *text;
};

/* A message as it was delivered. */
struct tape_mail {
	struct buf sender, rcpts; /* without <>; recipients divided by blanks */
	struct buf text; /* LF line ends */
	bool abridged; /* the text has a gap */
};

#define TAPE_MAILS_MAX 4

struct tape {
	char *scenario; /* "edit-headers" */
	bool postfix;
	char *notes; /* the "# ..." lines in front */
	struct tape_event *events;
	size_t n;
	struct tape_mail mails[TAPE_MAILS_MAX];
	size_t n_mails;
	char *memory[4000]; /* payloads */
	size_t n_memory;
};

/* Ends the program on a file that is not of the format. */
void tape_read(struct tape *t, const char *path);
void tape_clear(struct tape *t);

#endif
