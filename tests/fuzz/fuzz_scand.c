/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as a message, inspected without the engine: the answer is always one that
 * the reader takes, parts stand in the message, and each part of the plain view can be
 * cut out. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/mail/mime.h"
#include "common/run/jail.h"
#include "milters/mime/scand/inspect.h"
#include "milters/mime/scand/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct inspect_limits limits = { .decoded = 1 << 20, .depth = 4 };

static void
must(bool holds)
{
	if (!holds)
		abort();
}

/* What stands in front of the part stays, and so does what stands behind it. */
static void
cut(struct str message, const struct inspected_part *p)
{
	struct buf request, out;
	struct err err;
	size_t body;

	buf_init(&request, 100);
	buf_init(&out, message.len + 1000);
	buf_add_u32(&request, (unsigned long)p->top);
	buf_add_u16(&request, 4);
	buf_add_cstr(&request, "gone");
	must(rewrite_message(buf_str(&request), message, &out, &body, &err) == 0);
	struct str behind = str_sub(message, p->body_end, message.len);
	must(out.len >= behind.len);
	must(str_eq(str_sub(buf_str(&out), out.len - behind.len, out.len), behind));
	must(p->top == 0 ||
	    str_starts(buf_str(&out), str_sub(message, 0, p->head)));
	must(body <= out.len);
	buf_clear(&request);
	buf_clear(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str message = { (const char *)data, size };
	struct inspection found;
	struct buf reply;
	struct err err;
	int cuts = 0;

	buf_init(&reply, JAIL_REPLY_MAX);
	inspect_message(message, NULL, &limits, &reply);
	must(!reply.failed);
	must(inspection_read(buf_str(&reply), size, &found, &err) == 0);
	must(found.n_views >= 1 && found.n_views <= MIME_VIEWS_MAX);
	for (size_t i = 0; i < found.n_parts && cuts < 10; i++)
		if (found.parts[i].top == (int)i) {
			cut(message, &found.parts[i]);
			cuts++;
		}
	inspection_clear(&found);
	buf_clear(&reply);
	return 0;
}
