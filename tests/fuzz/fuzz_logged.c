/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as a line of a log: every field that is found lies within the line and ends
 * there.  And what the log writes is read back as it was. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "contrib/ctl/logged.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
any_line(const uint8_t *data, size_t size)
{
	char *line = xmemdup0(data, size);
	struct logged l;

	(void)logged_read(line, &l);
	for (size_t i = 0; i < l.n; i++)
		if (l.list[i].key < line || l.list[i].value < line ||
		    l.list[i].key + strlen(l.list[i].key) > line + size ||
		    l.list[i].value + strlen(l.list[i].value) > line + size)
			abort();
	free(line);
}

/* A blank for NUL: values are C strings when they are read. */
static void
back_and_forth(const uint8_t *data, size_t size)
{
	char *wanted = xmemdup0(data, size < 500 ? size : 500), *line;
	struct logline out;
	struct logged l;

	size = size < 500 ? size : 500;
	logline_init(&out, LOG_LEVEL_ERR, "envelope");
	logline_cstr(&out, "client", "192.0.2.1");
	logline_str(&out, "from", (struct str){ wanted, size });
	logline_cstr(&out, "end", "here");
	line = xmemdup0(out.text, out.len);
	for (size_t i = 0; i < size; i++)
		if (wanted[i] == '\0')
			wanted[i] = ' ';
	if (!out.cut &&
	    (!logged_read(line, &l) || strcmp(logged_get(&l, "from", ""), wanted) != 0 ||
		strcmp(logged_get(&l, "end", ""), "here") != 0))
		abort();
	free(line);
	free(wanted);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	any_line(data, size);
	back_and_forth(data, size);
	return 0;
}
