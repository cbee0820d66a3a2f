/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads logfmt as common/base/log.c writes it: key=value, values with blanks, quotes or
 * odd octets in double quotes, where \" \\ and \xNN stand for these.  What a field means
 * is the caller's business. */
#include "contrib/ctl/logged.h"

#include <stdlib.h>
#include <string.h>

/* A quoted value, unescaped in place; returns what is behind it, NULL: no end. */
static char *
unquote(char *p, char **value)
{
	char *out = p;

	*value = p;
	while (*p != '"') {
		char hex[3] = "";
		char c = *p++;

		if (c == '\0')
			return NULL;
		if (c == '\\' && *p == 'x' && p[1] != '\0' && p[2] != '\0') {
			hex[0] = p[1];
			hex[1] = p[2];
			c = (char)strtoul(hex, NULL, 16);
			p += 3;
		} else if (c == '\\' && *p != '\0') {
			c = *p++;
		}
		*out++ = c == '\0' ? ' ' : c;
	}
	*out = '\0';
	return p + 1;
}

/* key=value ... from p on; what is in front (syslog's own) was cut off. */
static void
read_fields(char *p, struct logged *l)
{
	l->n = 0;
	while (p != NULL && l->n < LOGGED_FIELDS_MAX) {
		p += strspn(p, " \r\n");
		char *equals = strchr(p, '=');
		if (*p == '\0' || equals == NULL)
			return;
		char **value = &l->list[l->n].value;
		l->list[l->n++].key = p;
		*equals = '\0';
		p = equals + 1;
		if (*p == '"') {
			p = unquote(p + 1, value);
			continue;
		}
		*value = p;
		p += strcspn(p, " \r\n");
		if (*p != '\0')
			*p++ = '\0';
	}
}

const char *
logged_get(const struct logged *l, const char *key, const char *none)
{
	for (size_t i = 0; i < l->n; i++)
		if (strcmp(l->list[i].key, key) == 0)
			return l->list[i].value;
	return none;
}

bool
logged_read(char *line, struct logged *l)
{
	static const char mark[] = "event=envelope ";
	char *p = strstr(line, mark);

	l->n = 0;
	if (p == NULL || (p > line && p[-1] != ' '))
		return false;
	read_fields(p, l);
	return logged_get(l, "client", NULL) != NULL &&
	    logged_get(l, "from", NULL) != NULL;
}
