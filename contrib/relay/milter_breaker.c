/* SPDX-License-Identifier: BSD-2-Clause */
/* The breaker's table: one row per filter address of the configuration, for the life of
 * the process.  What a filter that may not be tried means for the mail is the chain's
 * business. */
#include "contrib/relay/milter_breaker.h"

#include <pthread.h>
#include <string.h>

#include "common/base/xalloc.h"

struct row {
	char *address;
	int failures; /* in a row */
	int64_t last_ms; /* the last try */
	struct row *next;
};

static struct {
	pthread_mutex_t lock; /* guards rows and what they hold */
	struct row *rows; /* few: as many as filters are configured */
} breaker = { .lock = PTHREAD_MUTEX_INITIALIZER };

static struct row *
row_of(const char *address)
{
	struct row *row = breaker.rows;

	while (row != NULL && strcmp(row->address, address) != 0)
		row = row->next;
	if (row != NULL)
		return row;
	row = xcalloc(1, sizeof(*row));
	row->address = xstrdup(address);
	row->next = breaker.rows;
	breaker.rows = row;
	return row;
}

bool
milter_breaker_may_try(const char *address, int64_t now_ms)
{
	pthread_mutex_lock(&breaker.lock);
	struct row *row = row_of(address);
	bool may = row->failures < MILTER_BREAKER_FAILURES ||
	    now_ms - row->last_ms >= MILTER_BREAKER_PAUSE_MS;

	if (may)
		row->last_ms = now_ms;
	pthread_mutex_unlock(&breaker.lock);
	return may;
}

void
milter_breaker_report(const char *address, bool opened)
{
	pthread_mutex_lock(&breaker.lock);
	struct row *row = row_of(address);

	if (opened)
		row->failures = 0;
	else if (row->failures < MILTER_BREAKER_FAILURES)
		row->failures++;
	pthread_mutex_unlock(&breaker.lock);
}
