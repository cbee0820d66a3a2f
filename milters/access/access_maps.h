/* SPDX-License-Identifier: BSD-2-Clause */
/* The access maps of the daemon: opened once, read anew when they change, and for each
 * connection a view that stays as it began. */
#ifndef POSTERN_ACCESS_MAPS_H
#define POSTERN_ACCESS_MAPS_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/future.h"
#include "db/store.h"
#include "milters/access/access_map.h"
#include "policy/settings.h"

#define ACCESS_MAPS_MAX 16

struct access_maps;
/* store(arg): the store for shared maps, NULL while it is not open; the function may be
 * NULL where no map is shared.  NULL: err has the first fault, the further ones are
 * logged. */
struct access_maps *access_maps_open(const struct settings *s,
    struct store *(*store)(void *arg), void *arg, struct err *err);
void access_maps_refresh(struct access_maps *m, struct errs *errs); /* at a reload */
void access_maps_close(struct access_maps *m); /* accepts NULL */
/* The blocks `ldap` as db/map_set wants them, borrowed from s; returns their number. */
size_t access_maps_ldaps(
    const struct settings *s, struct map_ldap_conf out[MAP_LDAPS_MAX]);
/* Are there shared maps, for which a store must be opened? */
bool access_maps_need_store(const struct settings_access *set);

struct access_maps_view;
/* wait(arg, ...) waits for a directory's answer in the thread that looks up. */
struct access_maps_view *access_maps_view_new(struct access_maps *m,
    bool (*wait)(void *arg, struct future *f, int64_t deadline_ms), void *arg);
void access_maps_view_free(struct access_maps_view *v); /* accepts NULL */
/* A message ended: the next one asks again what could not be asked. */
void access_maps_view_fresh(struct access_maps_view *v);

/* Let a look up in view v, and fetch in one go what judging it (at RCPT: rcpt) will ask of
 * directories. */
void access_maps_bind(
    struct access_maps_view *v, struct access *a, const struct access_addr *rcpt);
/* What bind sets; arg: the view. */
access_lookup access_maps_lookup;
access_lookup_net access_maps_lookup_net;

#endif
