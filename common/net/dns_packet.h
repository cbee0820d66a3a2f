/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS messages (RFC 1035 4) octet by octet: a bounded reader for what strangers send
 * and a writer for questions and the tests' server.  No allocation, no recursion. */
#ifndef POSTERN_NET_DNS_PACKET_H
#define POSTERN_NET_DNS_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"

#define DNS_HEADER_LEN 12
#define DNS_NAME_MAX 253 /* octets of a name as text, no final dot */
/* Text of any name that can stand in a message, with NUL: 255 octets, each at worst
 * written "\ddd". */
#define DNS_NAME_TEXT 1024
#define DNS_UDP_SIZE 1232 /* what our questions offer by EDNS: no fragments */

#define DNS_FLAG_QR 0x8000u
#define DNS_FLAG_AA 0x0400u
#define DNS_FLAG_TC 0x0200u
#define DNS_FLAG_RD 0x0100u
#define DNS_FLAG_RA 0x0080u
#define DNS_FLAG_AD 0x0020u
#define DNS_RCODE(flags) ((flags)&0x000fu)
enum dns_rcode {
	DNS_RCODE_OK = 0,
	DNS_RCODE_FORMERR = 1,
	DNS_RCODE_SERVFAIL = 2,
	DNS_RCODE_NXDOMAIN = 3,
	DNS_RCODE_NOTIMP = 4,
	DNS_RCODE_REFUSED = 5
};
#define DNS_CLASS_IN 1u
#define DNS_TYPE_OPT 41u

struct dns_header {
	uint16_t id, flags;
	uint16_t n_questions, n_answers, n_authority, n_additional;
};

struct dns_question {
	char name[DNS_NAME_TEXT];
	uint16_t type, class;
};

struct dns_rr {
	char name[DNS_NAME_TEXT]; /* lower case, no final dot; "" = root */
	uint16_t type, class;
	uint32_t ttl; /* as sent, except that values above 2^31-1 are 0 (RFC 2181 8) */
	size_t data, data_len; /* where the RDATA stands in the message */
};

/* A place in a message.  msg is borrowed; begin with at = 0. */
struct dns_reader {
	struct str msg;
	size_t at;
};

/* Each reads one thing and moves on, or returns -1 with the reason in err. */
int dns_read_header(struct dns_reader *r, struct dns_header *out, struct err *err);
int dns_read_question(struct dns_reader *r, struct dns_question *out, struct err *err);
int dns_read_rr(struct dns_reader *r, struct dns_rr *out, struct err *err);
/* A name, with compression (RFC 1035 4.1.4; pointers only backwards), in lower case;
 * octets that are no plain part of a label come out as "\ddd" and "\." */
int dns_read_name(struct dns_reader *r, char out[DNS_NAME_TEXT], struct err *err);
int dns_read_u16(struct dns_reader *r, uint16_t *out, struct err *err);
int dns_read_u32(struct dns_reader *r, uint32_t *out, struct err *err);

/* May this be asked?  Labels of 1 to 63 octets 0x21..0x7e except '\', at most
 * DNS_NAME_MAX octets; no final dot, not the root. */
bool dns_name_ok(struct str name);

/* 0, or -1 when out is full or the name is none (a final dot is allowed). */
int dns_write_header(struct buf *out, const struct dns_header *h);
int dns_write_name(struct buf *out, struct str name);
int dns_write_question(struct buf *out, struct str name, unsigned type);
/* Everything of a record but its data: those data_len octets follow. */
int dns_write_rr(
    struct buf *out, struct str name, unsigned type, uint32_t ttl, size_t data_len);

/* A whole question with EDNS (RFC 6891): recursion desired; ad asks the server to tell
 * whether it validated (RFC 6840 5.7). */
int dns_write_query(
    struct buf *out, uint16_t id, struct str name, unsigned type, bool ad);

#endif
