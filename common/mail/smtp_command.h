/* SPDX-License-Identifier: BSD-2-Clause */
/* SMTP command lines (RFC 5321 4.1): verb and arguments, paths with their parameters,
 * xtext (RFC 3461 4).  What the parts mean is the session's affair. */
#ifndef POSTERN_MAIL_SMTP_COMMAND_H
#define POSTERN_MAIL_SMTP_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"

#define SMTP_COMMAND_MAX 2048 /* octets with CRLF; RFC 5321 4.5.3.1.4: 512 */
#define SMTP_PARAMS_MAX 16

struct smtp_command {
	struct str verb; /* letters and digits; any case */
	struct str args; /* behind the blanks, without blanks at the end */
};

/* Take a line apart; without its CRLF.  Parts borrow from line.  -1: no verb, or an
 * octet that no command may hold (NUL, CR, LF); err says which. */
int smtp_command_read(struct str line, struct smtp_command *out, struct err *err);

struct smtp_param {
	struct str text; /* "SIZE=1000" */
	struct str key, value; /* value "" when there is no '=' */
	bool has_value;
};

struct smtp_path {
	struct str path; /* with <>, as typed */
	struct smtp_param params[SMTP_PARAMS_MAX];
	size_t n_params;
};

/* The arguments of MAIL and RCPT: `word` ("FROM:", any case), a path in <>, parameters
 * (RFC 5321 4.1.1.11).  Blanks after the colon are borne, a path without <> is not.
 * Parts borrow from args. */
int smtp_path_read(
    struct str args, struct str word, struct smtp_path *out, struct err *err);

/* Decode xtext strictly: "+" and two upper-case hex digits, else printable ASCII but
 * '+' and '='.  Decoded control octets are an error: nothing that we decode may break a
 * line.  Appends to out. */
int smtp_xtext_decode(struct str in, struct buf *out, struct err *err);

#endif
