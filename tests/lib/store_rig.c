/* SPDX-License-Identifier: BSD-2-Clause */
/* Fixtures and questions of the store's tests. */
#include "tests/lib/store_rig.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store_private.h"

const struct greylist_times rig_times = { .delay = 300,
	.window = 2 * RIG_DAY,
	.keep = 35 * RIG_DAY,
	.auto_whitelist = 3,
	.whitelist_keep = 30 * RIG_DAY };

char *rig_path;
static char *dir; /* of one test; the store is "<dir>/state" */

void
rig_directory_new(void)
{
	const char *tmp = getenv("TMPDIR");

	dir = xasprintf("%s/postern-store-XXXXXX", tmp != NULL ? tmp : "/tmp");
	ck_assert(mkdtemp(dir) != NULL);
	rig_path = xasprintf("%s/state", dir);
}

static int
remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(name);
}

void
rig_directory_remove(void)
{
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(rig_path);
	free(dir);
}

struct store_conf
rig_embedded_conf(void)
{
	return (struct store_conf){ .engine = "embedded",
		.path = rig_path,
		.size_max = 64 << 20,
		.sync_ms = 1000,
		.snapshot_s = 0 };
}

struct store *
rig_opened(const struct store_conf *conf, const char *boot_id)
{
	struct err err = { .text = "" };
	struct store *s = boot_id == NULL ? store_open(conf, &err)
					  : store_open_booted(conf, boot_id, &err);

	ck_assert_msg(s != NULL, "%s", err.text);
	return s;
}

struct greylist_answer
rig_greylist_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	struct greylist_answer a = *(struct greylist_answer *)future_value(f);
	future_unref(f);
	return a;
}

struct event_answer
rig_event_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	struct event_answer a = *(struct event_answer *)future_value(f);
	future_unref(f);
	return a;
}

struct rate_answer
rig_rate_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	struct rate_answer a = *(struct rate_answer *)future_value(f);
	future_unref(f);
	return a;
}

struct note_answer
rig_note_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	struct note_answer a = *(struct note_answer *)future_value(f);
	future_unref(f);
	return a;
}

struct hold_answer
rig_hold_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	struct hold_answer a = *(struct hold_answer *)future_value(f);
	future_unref(f);
	return a;
}

struct map_answer
rig_map_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	struct map_answer a = *(struct map_answer *)future_value(f);
	future_unref(f);
	return a;
}

struct delete_answer
rig_gone_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	struct delete_answer a = *(struct delete_answer *)future_value(f);
	future_unref(f);
	return a;
}

enum store_state
rig_state_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	enum store_state state = *(enum store_state *)future_value(f);
	future_unref(f);
	return state;
}

struct ipnet
rig_net(const char *text)
{
	struct ipnet n;

	ck_assert(ipnet_parse(str_of(text), &n));
	return n;
}

enum greylist_state
rig_try(struct store *s, const char *client, const char *key, int64_t now)
{
	struct greylist_answer a = rig_greylist_of(store_greylist_check(
	    s, NULL, str_of(client), str_of(key), &rig_times, now));

	ck_assert_int_eq(a.state, STORE_OK);
	return a.seen.state;
}

struct store_stats
rig_stats_of(struct store *s)
{
	struct store_stats st;
	struct err err = { .text = "" };

	ck_assert_msg(store_stats(s, &st, &err) == 0, "%s", err.text);
	return st;
}
