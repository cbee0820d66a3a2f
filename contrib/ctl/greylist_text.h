/* SPDX-License-Identifier: BSD-2-Clause */
/* Entries of the greylist's state as text: who a client is, addresses with any octet in
 * them, and the table that `posternctl greylist export` writes and `import` reads.  Pure.
 *
 * A client is "spf:example.org", "helo:example.org", "name:example.org",
 * "network:192.0.2.0/24", or in privacy mode its hash.  The null sender is "<>".  Octets
 * that are no printable ASCII, blanks and backslashes are \xHH.
 *
 * The table: columns separated by tabs, the first line names them; "-" where a kind has
 * no such column.  Times are seconds since 1970.
 *
 *     kind client sender recipient state first last tries confirmed voided weight keep
 *     expires
 *
 * kind: triple, client, event.  state of a triple: pending, known; of an event: what
 * happened.  The client of an event is a network. */
#ifndef POSTERN_CTL_GREYLIST_TEXT_H
#define POSTERN_CTL_GREYLIST_TEXT_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "policy/greylist.h"

/* An entry and what it points to. */
struct greylist_entry {
	struct store_entry entry;
	char client[GREYLIST_CLIENT_MAX];
	char key[GREYLIST_KEY_MAX];
};
/* Who it is, and for a triple what its key is made of. */
void greylist_entry_client(struct greylist_entry *e, struct str client);
void greylist_entry_key(struct greylist_entry *e, struct str sender, struct str recipient);

/* Client, sender, recipient; false: the key is not of these parts. */
bool greylist_key_parts(struct str key, struct str part[3]);

/* Append a client, an address, any octets. */
void greylist_client_text(struct buf *out, struct str client);
void greylist_address_text(struct buf *out, struct str address);
/* "spf:example.org" -> the client as it is kept; out: GREYLIST_CLIENT_MAX octets.  0: it
 * is none. */
size_t greylist_client_read(struct str text, char *out);

#define GREYLIST_COLUMNS 13
void greylist_table_head(struct buf *out); /* with line end */
/* false: an entry that cannot be written (cut, or of another form): nothing is added. */
bool greylist_table_row(struct buf *out, const struct store_entry *e);
/* -1: err says why. */
int greylist_table_read(struct str line, struct greylist_entry *out, struct err *err);

#endif
