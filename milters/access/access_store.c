/* SPDX-License-Identifier: BSD-2-Clause */
/* When the store is opened; how is decided in policy/store_opener. */
#include "milters/access/access_store.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "policy/store_opener.h"

struct access_store {
	pthread_mutex_t lock;
	struct settings *settings;
	struct store_opener *opener; /* NULL: not asked for yet */
	bool failed; /* no thread for it: said once, not tried again */
};

static bool
is_needed(const struct settings_access *set)
{
	return set->rates.n > 0 || set->penalties.n > 0 || set->recipient_sets.n > 0;
}

struct access_store *
access_store_new(struct settings *s, struct err *err)
{
	struct access_store *a = xcalloc(1, sizeof(*a));

	pthread_mutex_init(&a->lock, NULL);
	a->settings = settings_ref(s);
	if (is_needed(&s->access) && (a->opener = store_opener_new(s, err)) == NULL) {
		access_store_free(a);
		return NULL;
	}
	return a;
}

void
access_store_free(struct access_store *a)
{
	if (a == NULL)
		return;
	store_opener_free(a->opener);
	settings_unref(a->settings);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

struct store *
access_store_get(struct access_store *a)
{
	struct err err;

	if (a == NULL)
		return NULL;
	pthread_mutex_lock(&a->lock);
	if (a->opener == NULL && !a->failed) {
		a->opener = store_opener_new(a->settings, &err);
		a->failed = a->opener == NULL;
		if (a->failed)
			log_err("store", &err);
	}
	struct store_opener *opener = a->opener;
	pthread_mutex_unlock(&a->lock);
	return store_opener_get(opener);
}
