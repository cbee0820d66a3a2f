/* SPDX-License-Identifier: BSD-2-Clause */
/* A line of postern-access's log, taken apart. */
#ifndef POSTERN_CTL_LOGGED_H
#define POSTERN_CTL_LOGGED_H

#include <stdbool.h>
#include <stddef.h>

#define LOGGED_FIELDS_MAX 40 /* further ones are not read */

struct logged {
	struct {
		char *key, *value; /* in the line's own octets */
	} list[LOGGED_FIELDS_MAX];
	size_t n;
};

/* Find `event=envelope` in a line, behind whatever syslog put in front, and its fields.
 * line is written to and must outlive l.  false: a line of something else, or one without
 * client and sender. */
bool logged_read(char *line, struct logged *l);
/* The first field of that key; none where there is none. */
const char *logged_get(const struct logged *l, const char *key, const char *none);

#endif
