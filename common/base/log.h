/* SPDX-License-Identifier: BSD-2-Clause */
/* Logging as logfmt lines (key=value).  A line is never waited for: where the socket or
 * pipe is full the line is dropped and counted.  err = a human must act, warn = we coped,
 * info = a decision, debug = a trace.  No bodies, passwords or keys. */
#ifndef POSTERN_BASE_LOG_H
#define POSTERN_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

enum log_level { LOG_LEVEL_ERR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Open the process's one log.  ident: program name, static text.  target: "syslog"
 * (the mail facility), "stderr", or a file's absolute path (appended).  Called again at a
 * reload.  Before the first call lines go to stderr. */
int log_open(const char *ident, const char *target, enum log_level level,
    struct err *err);
bool log_level_parse(struct str name, enum log_level *level);

/* Lines lost since the start. */
uint64_t log_dropped(void);

/* A line in the making, on the caller's stack. */
struct logline {
	enum log_level level;
	bool off; /* below the level: additions cost nothing */
	bool cut; /* something did not fit */
	size_t len;
	char text[1800];
};

/* event: static text, the first field: `event=...`. */
void logline_init(struct logline *l, enum log_level level, const char *event);
/* Values are quoted and escaped where they need it, so foreign text cannot forge a
 * field or a line. */
void logline_str(struct logline *l, const char *key, struct str value);
void logline_cstr(struct logline *l, const char *key, const char *value);
void logline_int(struct logline *l, const char *key, int64_t value);
void logline_send(struct logline *l);

/* A one-field line: `event=... msg="..."`. */
void log_msg(enum log_level level, const char *event, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void log_err(const char *event, const struct err *err);

#endif
