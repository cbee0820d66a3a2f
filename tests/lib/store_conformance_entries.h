/* SPDX-License-Identifier: BSD-2-Clause */
/* The part of the conformance suite that is about entries as tools see them. */
#ifndef POSTERN_TESTS_STORE_CONFORMANCE_ENTRIES_H
#define POSTERN_TESTS_STORE_CONFORMANCE_ENTRIES_H

#include <check.h>

#include "db/store.h"

/* Adds the tests to tc; returns how many cases they are.  fresh: an empty store. */
int store_conformance_entries_add(TCase *tc, struct store *(*fresh)(void));

#endif
