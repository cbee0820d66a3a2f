/* SPDX-License-Identifier: BSD-2-Clause */
/* CRC-32C by the processor's instruction where it has one, else by a table of one
 * octet. */
#include "contrib/relay/crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */

static uint32_t table[256]; /* written once, under pthread_once */
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void
table_make(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
		table[i] = c;
	}
}

static uint32_t
by_table(uint32_t c, const unsigned char *p, size_t len)
{
	pthread_once(&table_once, table_make);
	for (size_t i = 0; i < len; i++)
		c = c >> 8 ^ table[(c ^ p[i]) & 0xff];
	return c;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t
by_processor(uint32_t c, const unsigned char *p, size_t len)
{
	uint64_t wide = c;

	for (; len >= 8; len -= 8, p += 8) {
		uint64_t word;

		memcpy(&word, p, 8);
		wide = __builtin_ia32_crc32di(wide, word);
	}
	c = (uint32_t)wide;
	for (; len > 0; len--, p++)
		c = __builtin_ia32_crc32qi(c, *p);
	return c;
}
#endif

uint32_t
crc32c(uint32_t crc, const void *p, size_t len)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("sse4.2"))
		return ~by_processor(~crc, p, len);
#endif
	return ~by_table(~crc, p, len);
}
