/* SPDX-License-Identifier: BSD-2-Clause */
/* What tests of the store share: a directory per test, opening, and asking with a wait.
 * Whatever does not come out as it must ends the test (Check). */
#ifndef POSTERN_TESTS_STORE_RIG_H
#define POSTERN_TESTS_STORE_RIG_H

#include "db/store.h"

#define RIG_T0 INT64_C(1800000000) /* a moment of 2027 */
#define RIG_DAY INT64_C(86400)
#define RIG_WAIT_MS 20000

/* 5 minutes, 2 days, 35 days; 3 confirmations whitelist for 30 days. */
extern const struct greylist_times rig_times;

/* Checked fixtures: a fresh temporary directory; rig_path is a name in it that does not
 * exist yet. */
extern char *rig_path;
void rig_directory_new(void);
void rig_directory_remove(void);

/* An embedded store at rig_path, 64 MB, no snapshots. */
struct store_conf rig_embedded_conf(void);
/* boot_id NULL: the kernel's. */
struct store *rig_opened(const struct store_conf *conf, const char *boot_id);

/* Wait for the answer and drop the future. */
struct greylist_answer rig_greylist_of(struct future *f);
struct event_answer rig_event_of(struct future *f);
struct rate_answer rig_rate_of(struct future *f);
struct note_answer rig_note_of(struct future *f);
struct hold_answer rig_hold_of(struct future *f);
struct map_answer rig_map_of(struct future *f);
struct delete_answer rig_gone_of(struct future *f);
enum store_state rig_state_of(struct future *f);

struct ipnet rig_net(const char *text);
/* One try of a triple outside any network; the store must answer. */
enum greylist_state rig_try(
    struct store *s, const char *client, const char *key, int64_t now);
struct store_stats rig_stats_of(struct store *s);

#endif
