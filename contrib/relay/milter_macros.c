/* SPDX-License-Identifier: BSD-2-Clause */
/* Macros for filters.  The default lists are the union of both MTAs' (measured: what
 * filters rely on); a filter's own list holds for its stage alone, of any length. */
#include "contrib/relay/milter_macros.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/xalloc.h"

#define MACROS_MAX 64 /* names that we can have values for */
#define PAIRS_MAX 100 /* in one packet */
#define NAME_MAX_OCTETS 60

struct milter_macros {
	struct {
		char *name, *value;
	} list[MACROS_MAX];
	size_t n;
};

static const char *const defaults[] = {
	[MILTER_STAGE_CONNECT] =
	    "j _ {daemon_name} {daemon_addr} {daemon_port} {if_name} "
	    "{if_addr} v {client_addr} {client_name} {client_port} "
	    "{client_ptr} {client_resolve} {early_talker}",
	[MILTER_STAGE_HELO] = "{tls_version} {cipher} {cipher_bits} {cert_subject} "
			      "{cert_issuer}",
	[MILTER_STAGE_MAIL] = "i {auth_type} {auth_authen} {auth_ssf} {auth_author} "
			      "{mail_mailer} {mail_host} {mail_addr}",
	[MILTER_STAGE_RCPT] = "i {rcpt_mailer} {rcpt_host} {rcpt_addr}",
	[MILTER_STAGE_DATA] = "i",
	[MILTER_STAGE_EOM] = "i {msg_id} {msg_size} {nrcpts}",
	[MILTER_STAGE_EOH] = "i",
};
static_assert(sizeof(defaults) / sizeof(defaults[0]) == MILTER_STAGES,
    "a default list for every stage");

struct milter_macros *
milter_macros_new(void)
{
	return xcalloc(1, sizeof(struct milter_macros));
}

void
milter_macros_free(struct milter_macros *m)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->n; i++) {
		free(m->list[i].name);
		free(m->list[i].value);
	}
	free(m);
}

static size_t
find(const struct milter_macros *m, struct str name)
{
	size_t i = 0;

	while (i < m->n && !str_is(name, m->list[i].name))
		i++;
	return i;
}

void
milter_macros_set(struct milter_macros *m, const char *name, struct str value)
{
	size_t i = find(m, str_of(name));

	if (i == MACROS_MAX)
		return;
	if (i == m->n)
		m->list[m->n++].name = xstrdup(name);
	else
		free(m->list[i].value);
	char *copy = str_dup(str_sub(value, 0, MILTER_MACRO_VALUE_MAX));

	for (size_t k = 0; k < value.len && k < MILTER_MACRO_VALUE_MAX; k++) {
		if ((unsigned char)copy[k] < ' ' || copy[k] == 127)
			copy[k] = '?';
	}
	m->list[i].value = copy;
}

void
milter_macros_unset(struct milter_macros *m, const char *name)
{
	size_t i = find(m, str_of(name));

	if (i == m->n)
		return;
	free(m->list[i].value);
	m->list[i].value = NULL;
}

const char *
milter_macros_get(const struct milter_macros *m, const char *name)
{
	size_t i = find(m, str_of(name));

	return i < m->n ? m->list[i].value : NULL;
}

/* The next name of a list, without braces: "{x}", "x" and "{x}y" hold one, one and two
 * names. */
static bool
next_name(struct str *list, struct str *name)
{
	size_t at = 0, end;

	while (at < list->len && strchr(" ,\t{}", list->p[at]) != NULL)
		at++;
	end = at;
	while (end < list->len && strchr(" ,\t{}", list->p[end]) == NULL)
		end++;
	*name = str_sub(*list, at, end);
	*list = str_sub(*list, end, list->len);
	return name->len > 0;
}

void
milter_macros_write_stage(const struct milter_macros *m, struct buf *out, char cmd,
    enum milter_stage stage, const char *list)
{
	struct str names = str_of(list != NULL ? list : defaults[stage]), name;
	struct str pairs[2 * PAIRS_MAX];
	char braced[PAIRS_MAX][NAME_MAX_OCTETS];
	size_t n = 0;

	while (n < PAIRS_MAX && next_name(&names, &name)) {
		size_t i = find(m, name);

		if (i == m->n || m->list[i].value == NULL)
			continue;
		/* Both MTAs write one letter bare and all others in braces. */
		int len = snprintf(braced[n], sizeof(braced[n]),
		    name.len == 1 ? "%.*s" : "{%.*s}", STR_ARG(name));

		pairs[2 * n] = (struct str){ braced[n], (size_t)len };
		pairs[2 * n + 1] = str_of(m->list[i].value);
		n++;
	}
	/* 100 values of 1000 octets may pass what libmilter reads: the last ones go. */
	size_t before = out->len;

	while (milter_macros_write(out, cmd, pairs, n) == 0 &&
	    out->len - before > MILTER_CHUNK_MAX) {
		out->len = before;
		n /= 2;
	}
}
