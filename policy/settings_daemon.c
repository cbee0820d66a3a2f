/* SPDX-License-Identifier: BSD-2-Clause */
/* Every milter has the same four rows about its socket: they are found by name. */
#include "policy/settings_daemon.h"

#include <assert.h>
#include <string.h>

#include "common/base/xalloc.h"

static const void *
field(const struct settings *s, size_t section, const char *name)
{
	size_t n;
	const struct conf_setting *row =
	    conf_find(settings_tables(&n)[section], str_of(name));

	assert(row != NULL);
	return (const char *)settings_section(s, section) + row->offset;
}

static char *
text(const struct settings *s, size_t section, const char *name)
{
	return xstrdup(*(char *const *)field(s, section, name));
}

void
settings_daemon(
    const struct settings *s, const char *section, struct daemon_conf *conf)
{
	size_t n, i = 0;
	const struct conf_table *const *tables = settings_tables(&n);

	while (i < n && strcmp(tables[i]->section, section) != 0)
		i++;
	assert(i < n);
	conf->socket = text(s, i, "socket");
	conf->socket_mode = (unsigned)*(const int64_t *)field(s, i, "socket-mode");
	conf->socket_group = text(s, i, "socket-group");
	conf->metrics = text(s, i, "metrics");
	conf->user = xstrdup(s->run.user);
	conf->group = xstrdup(s->run.group);
	conf->log_target = xstrdup(s->run.log);
	conf->log_level = s->run.log_level;
	conf->drain = s->run.drain;
}
