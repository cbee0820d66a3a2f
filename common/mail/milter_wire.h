/* SPDX-License-Identifier: BSD-2-Clause */
/* The milter protocol's packets, versions 2 to 6, both directions: u32 big-endian
 * length, one command octet, payload.  Knows no socket.  Used by the relay (MTA side),
 * the worker's self-ping, posternctl and the scripted MTA of the tests. */
#ifndef POSTERN_MAIL_MILTER_WIRE_H
#define POSTERN_MAIL_MILTER_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/base/str.h"

#define MILTER_PACKET_MAX                                                              \
	(1u << 20) /* accepted from a filter, command octet included */
#define MILTER_CHUNK_MAX 65535 /* body octets in one packet */
#define MILTER_VERSION 6

/* MTA to filter */
enum milter_cmd {
	MILTER_ABORT = 'A',
	MILTER_BODY = 'B',
	MILTER_CONNECT = 'C',
	MILTER_MACRO = 'D',
	MILTER_EOM = 'E',
	MILTER_HELO = 'H',
	MILTER_QUIT_NC = 'K',
	MILTER_HEADER = 'L',
	MILTER_MAIL = 'M',
	MILTER_EOH = 'N',
	MILTER_OPTNEG = 'O',
	MILTER_QUIT = 'Q',
	MILTER_RCPT = 'R',
	MILTER_DATA = 'T',
	MILTER_UNKNOWN = 'U',
};

/* filter to MTA */
enum milter_reply {
	MILTER_R_ADDRCPT = '+',
	MILTER_R_DELRCPT = '-',
	MILTER_R_ADDRCPT_PAR = '2',
	MILTER_R_SHUTDOWN = '4',
	MILTER_R_ACCEPT = 'a',
	MILTER_R_REPLBODY = 'b',
	MILTER_R_CONTINUE = 'c',
	MILTER_R_DISCARD = 'd',
	MILTER_R_CHGFROM = 'e',
	MILTER_R_CONNFAIL = 'f',
	MILTER_R_ADDHEADER = 'h',
	MILTER_R_INSHEADER = 'i',
	MILTER_R_CHGHEADER = 'm',
	MILTER_R_PROGRESS = 'p',
	MILTER_R_QUARANTINE = 'q',
	MILTER_R_REJECT = 'r',
	MILTER_R_SKIP = 's',
	MILTER_R_TEMPFAIL = 't',
	MILTER_R_REPLYCODE = 'y',
};

/* actions */
#define MILTER_F_ADDHDRS 0x001u
#define MILTER_F_CHGBODY 0x002u
#define MILTER_F_ADDRCPT 0x004u
#define MILTER_F_DELRCPT 0x008u
#define MILTER_F_CHGHDRS 0x010u
#define MILTER_F_QUARANTINE 0x020u
#define MILTER_F_CHGFROM 0x040u
#define MILTER_F_ADDRCPT_PAR 0x080u
#define MILTER_F_SETSYMLIST 0x100u
#define MILTER_F_ALL 0x1ffu
/* protocol */
#define MILTER_P_NOCONNECT 0x000001u
#define MILTER_P_NOHELO 0x000002u
#define MILTER_P_NOMAIL 0x000004u
#define MILTER_P_NORCPT 0x000008u
#define MILTER_P_NOBODY 0x000010u
#define MILTER_P_NOHDRS 0x000020u
#define MILTER_P_NOEOH 0x000040u
#define MILTER_P_NR_HDR 0x000080u
#define MILTER_P_NOUNKNOWN 0x000100u
#define MILTER_P_NODATA 0x000200u
#define MILTER_P_SKIP 0x000400u
#define MILTER_P_RCPT_REJ 0x000800u
#define MILTER_P_NR_CONN 0x001000u
#define MILTER_P_NR_HELO 0x002000u
#define MILTER_P_NR_MAIL 0x004000u
#define MILTER_P_NR_RCPT 0x008000u
#define MILTER_P_NR_DATA 0x010000u
#define MILTER_P_NR_UNKN 0x020000u
#define MILTER_P_NR_EOH 0x040000u
#define MILTER_P_NR_BODY 0x080000u
#define MILTER_P_HDR_LEADSPC 0x100000u
#define MILTER_P_ALL 0x1fffffu

/* Stages of macro lists; note that 5 and 6 are not in the order of time. */
enum milter_stage {
	MILTER_STAGE_CONNECT,
	MILTER_STAGE_HELO,
	MILTER_STAGE_MAIL,
	MILTER_STAGE_RCPT,
	MILTER_STAGE_DATA,
	MILTER_STAGE_EOM,
	MILTER_STAGE_EOH,
	MILTER_STAGES,
};

struct milter_packet {
	char cmd;
	struct str payload; /* borrows from the input */
};

/* Cut one packet off the stream.  max: limit of length including the command octet.
 * DONE: *used octets eaten.  ERROR: length 0 or over max. */
enum parse milter_packet_read(struct str in, uint32_t max, struct milter_packet *packet,
    size_t *used, struct err *err);

/* All writers append one whole packet and return 0; or append nothing and return -1,
 * when it passes max of out (out->failed is set) or a string holds a NUL. */
int milter_packet_write(struct buf *out, char cmd, struct str payload);

struct milter_optneg {
	uint32_t version, actions, protocol;
	bool has_list[MILTER_STAGES];
	struct str
	    macros[MILTER_STAGES]; /* names separated by blanks or commas; borrows */
};
/* -1: shorter than 12 octets, or a macro list that is broken or for no stage.  Which
 * versions and bits are acceptable is for the caller. */
int milter_optneg_read(struct str payload, struct milter_optneg *o, struct err *err);
int milter_optneg_write(struct buf *out, const struct milter_optneg *o);

/* The next NUL-terminated string off the front of *payload; -1: no NUL. */
int milter_string(struct str *payload, struct str *out);
/* A u32 off the front. */
int milter_u32(struct str *payload, uint32_t *out);

/* C: family '4' or '6' by ip; 'U' when ip is NULL or of no family (port is not sent
 * then).  'L' is read but never written: we have no clients on Unix sockets. */
int milter_connect_write(
    struct buf *out, struct str host, const struct ip *ip, uint16_t port);
struct milter_connect {
	struct str host;
	char family;
	uint16_t port;
	struct str address;
};
int milter_connect_read(struct str payload, struct milter_connect *c, struct err *err);

/* Packets whose payload is n strings, each with its NUL (H, M, R, L, U, D after its
 * command octet, h, +, -, e, 2, q). */
int milter_strings_write(
    struct buf *out, char cmd, const struct str *strings, size_t n);
/* i and m: index first. */
int milter_header_write(
    struct buf *out, char cmd, uint32_t index, struct str name, struct str value);
/* D for cmd: n pairs name, value = 2 * n strings. */
int milter_macros_write(struct buf *out, char cmd, const struct str *pairs, size_t n);

/* y: check "ddd x.y.z text" as Postfix does, un-double %%, drop a single %.  code and
 * the texts are set (enhanced "" when the filter gave none); text, reset by the caller,
 * gets the lines joined with LF, cut at its maximum.  -1: not a reply that may be sent.
 */
int milter_replycode_read(struct str payload, int *code, char enhanced[12],
    struct buf *text, struct err *err);

/* Is the step sent, and answered, under these protocol bits?  E is both always; A, D, K
 * and Q are sent and never answered. */
bool milter_step_sent(uint32_t protocol, char cmd);
bool milter_step_answered(uint32_t protocol, char cmd);

#endif
