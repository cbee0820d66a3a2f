/* SPDX-License-Identifier: BSD-2-Clause */
/* What every engine of the store must do: the same tests for each. */
#ifndef POSTERN_TESTS_STORE_CONFORMANCE_H
#define POSTERN_TESTS_STORE_CONFORMANCE_H

#include <stdbool.h>

#include <check.h>

#include "db/store.h"

struct store_subject {
	struct store_conf (*fresh)(void); /* of a store that is empty */
	bool sweeps; /* forgets by the callers' clock, not by a clock of its own */
};

/* Adds the tests; returns how many cases they are.  One subject per program. */
int store_conformance_add(Suite *suite, const struct store_subject *s);

#endif
