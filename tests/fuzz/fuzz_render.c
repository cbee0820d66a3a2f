/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as a message: what rules see is valid UTF-8 and inside its limits. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mail/charset.h"
#include "common/mail/render.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str message = { (const char *)data, size };
	struct render r;
	struct buf text;
	struct mime m;

	mime_read(message, &m);
	for (size_t i = 0; i < m.n_views; i++) {
		render_message(message, &m.views[i], &r);
		must(utf8_valid(buf_str(&r.body)));
		must(r.n_uris <= RENDER_URIS_MAX && r.body.len <= RENDER_TOTAL_MAX);
		render_clear(&r);
	}
	mime_clear(&m);
	buf_init(&text, 1u << 20);
	render_header(message, &text);
	must(utf8_valid(buf_str(&text)) || text.failed);
	buf_clear(&text);
	return 0;
}
