/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens the maps that the settings name and looks keys up in them, in order.  What an
 * entry means is decided in access_map.c. */
#include "milters/access/access_maps.h"

#include <stdlib.h>

#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "db/map.h"
#include "milters/access/access_value.h"

struct access_maps {
	struct map *maps[ACCESS_MAPS_MAX];
	size_t n;
};

struct access_maps_view {
	struct map_table *tables[ACCESS_MAPS_MAX];
	size_t n;
};

struct access_maps *
access_maps_open(const struct settings_access *set, struct err *err)
{
	struct access_maps *m = xcalloc(1, sizeof(*m));
	struct errs errs = { 0 };

	for (; m->n < set->maps.n && m->n < ACCESS_MAPS_MAX; m->n++) {
		m->maps[m->n] =
		    map_open(set->maps.list[m->n], access_line_check, &errs);
		if (m->maps[m->n] != NULL)
			continue;
		*err = errs.list[0];
		for (size_t k = 1; k < errs.n; k++)
			log_err("map", &errs.list[k]);
		goto fail;
	}
	if (m->n > 0 && map_watch(m->maps, m->n, err) != 0)
		goto fail;
	errs_clear(&errs);
	return m;
fail:
	errs_clear(&errs);
	access_maps_close(m);
	return NULL;
}

void
access_maps_refresh(struct access_maps *m, struct errs *errs)
{
	for (size_t i = 0; i < m->n; i++)
		(void)map_refresh(m->maps[i], errs);
}

void
access_maps_close(struct access_maps *m)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->n; i++)
		map_close(m->maps[i]);
	free(m);
}

struct access_maps_view *
access_maps_view_new(struct access_maps *m)
{
	struct access_maps_view *v = xcalloc(1, sizeof(*v));

	for (; v->n < m->n; v->n++)
		v->tables[v->n] = map_table_ref(m->maps[v->n]);
	return v;
}

void
access_maps_view_free(struct access_maps_view *v)
{
	if (v == NULL)
		return;
	for (size_t i = 0; i < v->n; i++)
		map_table_unref(v->tables[i]);
	free(v);
}

bool
access_maps_lookup(void *arg, struct str key, struct access_entry *out)
{
	const struct access_maps_view *v = arg;

	for (size_t i = 0; i < v->n; i++) {
		const struct map_entry *e = map_get(v->tables[i], key);

		if (e == NULL)
			continue;
		*out = (struct access_entry){
			e->value, map_path(v->tables[i]), e->line
		};
		return true;
	}
	return false;
}
