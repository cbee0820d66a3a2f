/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as a message: every view stays inside it, parts stand in their parents, and
 * decoding stays inside its maximum. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mail/mime.h"

#define DECODE_LIMIT 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
check_part(struct str message, const struct mime_view *v, size_t i)
{
	const struct mime_part *p = &v->parts[i];
	struct buf out;

	must(p->head <= p->head_end && p->head_end <= p->body && p->body <= p->body_end);
	must(p->body_end <= message.len);
	must(i == 0 ? p->parent == -1 : p->parent >= 0 && (size_t)p->parent < i);
	must(p->depth < MIME_DEPTH_MAX && p->n_names <= MIME_NAMES_MAX);
	if (p->parent >= 0)
		must(p->head >= v->parts[p->parent].body);
	buf_init(&out, DECODE_LIMIT);
	for (int mode = DECODE_STOP; mode <= DECODE_RESYNC; mode++) {
		buf_reset(&out);
		unsigned seen = mime_decode(message, p, (enum decode_mode)mode, &out);

		must(out.len <= DECODE_LIMIT);
		must(out.failed == ((seen & DECODED_FULL) != 0) || p->cte == MIME_UU);
	}
	buf_clear(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str message = { (const char *)data, size };
	struct mime m;

	mime_read(message, &m);
	must(m.n_views >= 1 && m.n_views <= MIME_VIEWS_MAX);
	for (size_t v = 0; v < m.n_views; v++)
		for (size_t i = 0; i < m.views[v].n_parts; i++)
			check_part(message, &m.views[v], i);
	mime_clear(&m);
	return 0;
}
