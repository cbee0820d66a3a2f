/* SPDX-License-Identifier: BSD-2-Clause */
/* The end-of-data decoder against the plain one, in fragments whose sizes the first
 * octet chooses; then what was decoded goes out through the encoder, in other
 * fragments, and must come back the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"
#include "common/mail/smtp_data.h"
#include "tests/lib/smtp_data_ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

/* Everything through the decoder in fragments; *used counts over all of them. */
static enum parse
decode(
    struct smtp_data *d, struct str in, size_t step, char *out, size_t *n, size_t *used)
{
	enum parse rc = PARSE_MORE;

	*n = *used = 0;
	smtp_data_init(d);
	while (rc == PARSE_MORE && *used < in.len) {
		size_t eaten, got;

		rc = smtp_data_decode(
		    d, str_sub(in, *used, *used + step), &eaten, out + *n, &got);
		*used += eaten;
		*n += got;
	}
	return rc;
}

static void
round_trip(struct str message, size_t step)
{
	char *wire = xmalloc(message.len * 2 + SMTP_DATA_END_MAX);
	char *back = xmalloc(message.len * 2 + SMTP_DATA_END_MAX + 1);
	struct smtp_data_out out;
	struct smtp_data in;
	size_t len = 0, n, used;

	smtp_data_out_init(&out);
	for (size_t at = 0; at < message.len; at += step)
		len +=
		    smtp_data_encode(&out, str_sub(message, at, at + step), wire + len);
	len += smtp_data_encode_end(&out, wire + len);
	must(decode(&in, (struct str){ wire, len }, step + 1, back, &n, &used) ==
	    PARSE_DONE);
	must(used == len && n >= message.len && n <= message.len + 2);
	must(message.len == 0 || memcmp(back, message.p, message.len) == 0);
	must(in.bare_lf == out.bare_lf && in.nul == out.nul &&
	    in.bare_cr == out.bare_cr);
	free(wire);
	free(back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct smtp_data_ref ref;
	struct smtp_data d;
	size_t n, used;

	if (size < 1)
		return 0;
	size_t step = (size_t)data[0] % 32 + 1;
	struct str in = { (const char *)data + 1, size - 1 };
	char *out = xmalloc(in.len + 1);
	enum parse rc = decode(&d, in, step, out, &n, &used);

	smtp_data_ref(in.p, in.len, &ref);
	must((rc == PARSE_DONE) == ref.ended);
	must(used == ref.used && n == ref.len && memcmp(out, ref.data, n) == 0);
	must(d.octets == n && d.longest <= n);
	must(d.bare_cr == ref.bare_cr && d.bare_lf == ref.bare_lf && d.nul == ref.nul);
	if (ref.ended)
		round_trip((struct str){ ref.data, ref.len }, step);
	free(ref.data);
	free(out);
	return 0;
}
