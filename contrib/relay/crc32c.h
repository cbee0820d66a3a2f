/* SPDX-License-Identifier: BSD-2-Clause */
/* CRC-32C (Castagnoli, as in RFC 3720 B.4): what tells a whole record from a torn one.
 */
#ifndef POSTERN_RELAY_CRC32C_H
#define POSTERN_RELAY_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Add octets to a checksum; start with 0.  crc32c(crc32c(0, a), b) is that of a and b.
 */
uint32_t crc32c(uint32_t crc, const void *p, size_t len);

#endif
