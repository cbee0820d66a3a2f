/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as the scanner's answer: refused, or everything in it stays within the
 * message and the answer; and what is decided from it can be carried out. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/run/jail.h"
#include "milters/mime/content.h"

#define MESSAGE_LEN 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
inside(struct str text, struct str raw)
{
	must(text.len <= INSPECTION_TEXT_MAX);
	must(text.len == 0 || (text.p >= raw.p && text.p + text.len <= raw.p + raw.len));
}

static void
check_part(const struct inspected_part *p, struct str raw)
{
	must(p->top >= -1 && p->head <= p->body && p->body <= p->body_end);
	must(p->body_end <= MESSAGE_LEN && p->state <= SCAN_ERROR);
	must(p->n_own_names <= p->n_names && p->n_names <= INSPECTION_NAMES_MAX);
	inside(p->virus, raw);
	inside(p->type, raw);
	inside(p->sniffed, raw);
	for (size_t i = 0; i < p->n_names; i++)
		inside(p->names[i], raw);
}

static void
check_decision(const struct content_decision *d)
{
	struct buf text;

	must(d->n_strips <= CONTENT_STRIPS_MAX);
	must(d->verdict.action == ACTION_CONTINUE || d->n_strips == 0);
	buf_init(&text, JAIL_REQUEST_MAX);
	for (size_t i = 0; i < d->n_strips; i++) {
		must(d->strips[i].part >= 0);
		must(i == 0 || d->strips[i].part > d->strips[i - 1].part);
		content_explain(&d->strips[i], "mx.example", &text);
	}
	must(!text.failed);
	buf_clear(&text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct settings *settings;
	struct str raw = { (const char *)data, size };
	struct content_decision d;
	struct inspection found;
	struct errs errs = { 0 };
	struct err err;

	if (settings == NULL)
		settings = settings_load(NULL, &errs);
	must(settings != NULL);
	if (inspection_read(raw, MESSAGE_LEN, &found, &err) != 0)
		return 0;
	must(found.n_parts > 0 && found.n_parts <= INSPECTION_PARTS_MAX);
	for (size_t i = 0; i < found.n_parts; i++)
		check_part(&found.parts[i], raw);
	content_decide(&settings->mime, &found, &d);
	check_decision(&d);
	inspection_clear(&found);
	return 0;
}
