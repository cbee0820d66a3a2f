/* SPDX-License-Identifier: BSD-2-Clause */
/* A stream of packets from a filter or an MTA: every packet is taken apart by all the
 * readers, and what a reader understood is written and read again. */
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/mail/milter_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool ok)
{
	if (!ok)
		abort();
}

static void
read_optneg(struct str payload)
{
	struct milter_optneg o, back;
	struct buf b;

	if (milter_optneg_read(payload, &o, NULL) != 0)
		return;
	buf_init(&b, MILTER_PACKET_MAX);
	must(milter_optneg_write(&b, &o) == 0);
	must(milter_optneg_read(str_sub(buf_str(&b), 5, b.len), &back, NULL) == 0);
	for (int s = 0; s < MILTER_STAGES; s++)
		must(o.has_list[s] == back.has_list[s] &&
		    str_eq(o.macros[s], back.macros[s]));
	buf_clear(&b);
}

static void
read_texts(struct str payload)
{
	struct milter_connect c;
	struct str s;
	struct buf text;
	char enhanced[12];
	uint32_t v;
	int code;

	buf_init(&text, 500);
	if (milter_replycode_read(payload, &code, enhanced, &text, NULL) == 0)
		must(code >= 400 && code <= 599 &&
		    (enhanced[0] == '\0' || enhanced[0] - '0' == code / 100));
	buf_clear(&text);
	(void)milter_connect_read(payload, &c, NULL);
	(void)milter_u32(&payload, &v);
	while (milter_string(&payload, &s) == 0)
		must(!str_has(s, '\0'));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size };
	struct milter_packet packet;
	struct err err;
	size_t used;

	while (milter_packet_read(in, 4096, &packet, &used, &err) == PARSE_DONE) {
		must(used >= 5 && used <= in.len && packet.payload.len < 4096);
		read_optneg(packet.payload);
		read_texts(packet.payload);
		(void)milter_step_sent(MILTER_P_ALL, packet.cmd);
		(void)milter_step_answered(MILTER_P_ALL, packet.cmd);
		in = str_sub(in, used, in.len);
	}
	return 0;
}
