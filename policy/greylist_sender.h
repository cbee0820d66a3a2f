/* SPDX-License-Identifier: BSD-2-Clause */
/* Which envelope senders are the same for greylisting: what changes from one message of a
 * sender to the next, or from one try to the next, is taken out, and people stay apart.
 * In this order, as often as something can be unwrapped, at most four times:
 *
 *   BATV   prvs=TAG=local, prvs=local=TAG, prvs=local/TAG, btv1==TAG==local,
 *          msprvs1=TAG=local                        -> local
 *   SRS    SRS0=HASH=TIME=host=local@forwarder, SRS1=HASH=forwarder==HASH=TIME=host=local
 *                                                   -> local@host
 * then
 *   +      local+detail                             -> local
 *   case   of the whole address                     -> lower
 *   words  of senders that are programs, below      -> # for what is counted
 *
 * A sender is a program when a word of its local part is one of bounce, return, list, news,
 * noreply ..., or a label of its domain one of bounces, lists, mailer ... (the tables in
 * greylist_sender.c), when a UUID or a word of 12 hexadecimal digits and letters stands in
 * it, or when it begins with one letter and a number (b-1234-).  Of a program's sender
 *   - the encoded recipient of VERP (user=dom.example at the end) becomes =,
 *   - a word of digits, or 8 hexadecimal digits and letters, or one in which digits and
 *     letters alternate, or letters in which the case alternates, or 20 letters: #,
 *   - digits in another word: # (m12 -> m#).
 * Of everybody else only a number of 6 digits or more beside another word, but not beside a
 * dot, becomes #: user1 and user2, s1234567, 12345678, anna-1984 and anna.19840312 are
 * people. */
#ifndef POSTERN_POLICY_GREYLIST_SENDER_H
#define POSTERN_POLICY_GREYLIST_SENDER_H

#include "common/base/str.h"
#include "common/mail/address.h"

/* path: as typed, with or without <>.  Returns the length; 0: the null sender.  What is no
 * address is taken as it is, cut at ADDRESS_MAX octets. */
size_t greylist_sender(struct str path, char out[ADDRESS_MAX]);

#endif
