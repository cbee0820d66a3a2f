/* SPDX-License-Identifier: BSD-2-Clause */
/* An answer that comes later (DNS, store, LDAP, jail).  Made by whoever asks on behalf of
 * the caller, set once by the thread that has the answer, waited for with an absolute
 * monotonic deadline or announced through a callback.  Reference-counted: whoever is not
 * interested any more just drops its reference. */
#ifndef POSTERN_BASE_FUTURE_H
#define POSTERN_BASE_FUTURE_H

#include <stdbool.h>
#include <stdint.h>

struct future;

/* free_value (may be NULL) gets the value when the last reference goes. */
struct future *future_new(void (*free_value)(void *value));
struct future *future_ref(struct future *f);
void future_unref(struct future *f); /* accepts NULL */

/* Settle it; takes value.  A second settling is ignored and frees its value. */
void future_set(struct future *f, void *value);

bool future_done(struct future *f);
/* Block until settled or deadline_ms (clock_mono_ms); true when settled.  In a milter
 * callback use milter_wait(), which knows of the pool. */
bool future_wait(struct future *f, int64_t deadline_ms);
/* NULL until settled; borrowed while the caller holds its reference. */
void *future_value(struct future *f);

/* Call cb(arg) once when settled: at once if it is already, else from the settling
 * thread.  One callback per future. */
void future_notify(struct future *f, void (*cb)(void *arg), void *arg);

#endif
