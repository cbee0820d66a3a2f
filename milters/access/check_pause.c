/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps the greeting back: both MTAs and our relay greet when the milter has answered for
 * the connection.  Who talks meanwhile is for others to notice.  It stands last in the
 * table, so that all lookups are on their way while it waits; it never finds anything. */
#include "milters/access/check_pause.h"

#include "common/base/clock.h"
#include "milters/access/access_control.h"

#define PAUSE_MAX_MS 20000 /* MTAs wait 30 s for a milter */

static void
ask(void *self, void *conn, enum check_phase phase, const struct check_facts *facts)
{
	(void)self;
	(void)conn;
	if (phase != CHECK_CONNECT)
		return;
	/* GreetPause: of the map goes before the setting, as in sendmail */
	long ms = access_greet_pause(
	    facts->access, (long)facts->view->access.greeting_pause_ms);
	if (ms <= 0)
		return;
	struct future *never = future_new(NULL);
	(void)check_wait(
	    facts, never, clock_mono_ms() + (ms < PAUSE_MAX_MS ? ms : PAUSE_MAX_MS));
	future_unref(never);
}

/* Clients that the map has a word for may have a pause there. */
const struct check_ops check_pause = { .name = "pause",
	.spares = CHECK_SPARE_LOCAL,
	.ask = ask };
