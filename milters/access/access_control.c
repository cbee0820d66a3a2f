/* SPDX-License-Identifier: BSD-2-Clause */
/* Limits that stand in the access map.  They are searched by their tags alone; who
 * counts connections is not decided here. */
#include "milters/access/access_control.h"

#include <stdio.h>

#include "milters/access/access_search.h"

/* What is no number counts as 0, as in sendmail. */
static unsigned long
number_of(struct str value)
{
	struct str word;
	uint64_t n;

	if (!str_word(&value, &word) || !str_to_uint(word, 0, UINT32_MAX, &n))
		return 0;
	return (unsigned long)n;
}

long
access_greet_pause(const struct access *a, long fallback)
{
	const struct access_search s = { a, "GreetPause:", ACCESS_TAGGED };
	struct access_hit hit;

	if (access_search_host(&s, str_of(a->client.name), &hit) ||
	    access_search_addr(&s, str_of(a->client.addr), &hit))
		return (long)number_of(hit.entry.value);
	return fallback;
}

bool
access_limit_find(const struct access *a, enum access_limit limit,
    unsigned long *allowed, struct access_result *where)
{
	bool rate = limit == ACCESS_LIMIT_RATE;
	const struct access_search s = { a,
		rate ? "ClientRate:" : "ClientConn:", ACCESS_TAGGED };
	struct access_hit hit;

	*where =
	    (struct access_result){ .kind = ACCESS_NONE, .check = ACCESS_CHECK_RELAY };
	if (!access_search_addr(&s, str_of(a->client.addr), &hit) &&
	    !access_search_exact(&s, STR(""), &hit))
		return false;
	/* The client's own search in that map refuses the mail: nothing to count. */
	if (hit.entry.failed)
		return false;
	/* "0" is no limit; but a value that is no number limits to nothing, and so does
	 * SKIP where sendmail does not know it. */
	if (str_is(str_trim(hit.entry.value), "0") ||
	    (a->rules->skip && hit.value.word == ACCESS_WORD_SKIP))
		return false;
	*allowed = number_of(hit.entry.value);
	where->file = hit.entry.file;
	where->line = hit.entry.line;
	snprintf(where->key, sizeof(where->key), "%s", hit.key);
	return true;
}

struct access_result
access_check_limit(const struct access *a, enum access_limit limit, unsigned long count)
{
	bool rate = limit == ACCESS_LIMIT_RATE;
	struct access_result r, where;
	unsigned long allowed;

	if (!access_limit_find(a, limit, &allowed, &where) || count <= allowed)
		return (struct access_result){ .kind = ACCESS_NONE,
			.check = ACCESS_CHECK_RELAY };
	r = where;
	r.kind = ACCESS_REFUSED;
	r.verdict = verdict_refuse(452, "4.3.2",
	    rate ? "client rate" : "client connections", "%s",
	    rate ? "Connection rate limit exceeded." : "Too many open connections.");
	return r;
}
