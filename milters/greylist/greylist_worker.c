/* SPDX-License-Identifier: BSD-2-Clause */
/* Start, reload and end of postern-greylist's worker.  A store that cannot be opened does
 * not stop it: mail passes, marked, until store_opener.c has opened it. */
#include "milters/greylist/greylist_worker.h"

#include <pthread.h>

#include "policy/settings_daemon.h"

static struct {
	pthread_mutex_t lock; /* of settings */
	struct settings *settings;
	struct judge_env env;
} worker = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct settings *
greylist_worker_settings(void)
{
	pthread_mutex_lock(&worker.lock);
	struct settings *s = settings_ref(worker.settings);
	pthread_mutex_unlock(&worker.lock);
	return s;
}

const struct judge_env *
greylist_worker_env(void)
{
	return &worker.env;
}

bool
greylist_worker_load(const char *path, struct daemon_conf *conf, struct errs *errs)
{
	struct settings *s = settings_load(path, errs);

	if (s == NULL)
		return false;
	settings_daemon(s, "greylist", conf);
	conf->snapshot = s;
	return true;
}

void
greylist_worker_snapshot_unref(void *snapshot)
{
	settings_unref(snapshot);
}

int
greylist_worker_start(void *snapshot, struct err *err)
{
	worker.settings = snapshot;
	return judge_env_open(&worker.env, worker.settings, err);
}

void
greylist_worker_reload(void *snapshot, struct errs *errs)
{
	pthread_mutex_lock(&worker.lock);
	struct settings *old = worker.settings;
	settings_restart_needed(old, snapshot, errs);
	worker.settings = snapshot;
	pthread_mutex_unlock(&worker.lock);
	settings_unref(old);
}

void
greylist_worker_stop(void)
{
	judge_env_close(&worker.env);
	settings_unref(worker.settings);
}
