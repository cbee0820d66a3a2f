/* SPDX-License-Identifier: BSD-2-Clause */
/* The spool on a simulated disk, cut at every operation.  Each story is what becomes of
 * accepted messages; it is told with a fault at operation N = 1, 2, ... until it runs
 * through.  After each, every legal state of the disk is started anew, and the ledger
 * is compared: what was acknowledged must be delivered, waiting byte-exact, bounced or
 * in quarantine; what was not may be there once.  The same bench must notice mutants
 * that acknowledge too early or do not sync: a test that cannot fail proves nothing. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "contrib/relay/bounce.h"
#include "contrib/relay/queue_recover.h"
#include "tests/lib/qio_sim.h"

enum { MESSAGES = 3, RCPTS = 2, FOUND_MAX = 16 };

static const char body[] = "Subject: kept\r\n\r\nevery octet counts\r\n.\r\n";

/* What the outside knows. */
struct ledger {
	bool acked[MESSAGES];
	bool held[MESSAGES];
	int sunk[MESSAGES][RCPTS]; /* taken by the next hop */
};

struct world {
	struct sim *sim;
	struct queue_disk disk;
	struct ledger ledger;
	char fault[800]; /* first violation */
	unsigned points; /* states that were judged */
	unsigned struck; /* operations that had a fault */
};

/* --- telling the story ---------------------------------------------------------------
 */

static void
name_of(int i, char id[MESSAGE_ID_MAX])
{
	snprintf(id, MESSAGE_ID_MAX, "MSG%d", i);
}

static int
source_of(int i, const char *hold)
{
	struct envelope e;
	struct err err;
	int message = memfd_create("message", MFD_CLOEXEC);
	int fd = memfd_create("record", MFD_CLOEXEC);

	envelope_init(&e);
	name_of(i, e.id);
	envelope_set(&e.sender, STR("sender@a.example"));
	envelope_set(&e.hold, str_of(hold));
	e.received = 1700000000;
	envelope_add_rcpt(&e, "r0@b.example");
	envelope_add_rcpt(&e, "r1@b.example");
	ck_assert_int_eq(write(message, body, sizeof(body) - 1), sizeof(body) - 1);
	ck_assert_int_eq(
	    record_write(fd, &e, STR(""), message, 0, sizeof(body) - 1, &err), 0);
	envelope_clear(&e);
	close(message);
	return fd;
}

/* Accept messages first..first+n-1 in one batch. */
static void
accept_batch(struct world *w, int first, int n, const char *hold)
{
	struct queue_commit commits[MESSAGES] = { 0 };
	struct queue_commit *list[MESSAGES];

	for (int i = 0; i < n; i++) {
		list[i] = &commits[i];
		name_of(first + i, commits[i].id);
		commits[i].source = source_of(first + i, hold);
	}
	queue_disk_commit(&w->disk, list, (size_t)n);
	for (int i = 0; i < n; i++) {
		/* A dead process says nothing. */
		if (commits[i].durable && !sim_crashed(w->sim)) {
			w->ledger.acked[first + i] = true;
			w->ledger.held[first + i] = hold[0] != '\0';
		}
		record_clear(&commits[i].record);
		close(commits[i].source);
	}
	if (!sim_crashed(w->sim))
		sim_acknowledged(w->sim);
}

static bool
activate(struct world *w, int i, enum queue_dir dir, struct queue_message *m)
{
	char id[MESSAGE_ID_MAX];
	struct err err;

	name_of(i, id);
	return w->ledger.acked[i] &&
	    queue_disk_activate(&w->disk, id, dir, m, &err) == QUEUE_LOADED;
}

/* The next hop takes it for recipient r, then we write that down. */
static void
deliver(struct world *w, int i, struct queue_message *m, uint16_t r)
{
	bool finished;
	struct err err;

	if (sim_crashed(w->sim))
		return;
	w->ledger.sunk[i][r]++;
	queue_disk_settle(&w->disk, m, &r, 1, SLOT_DELIVERED, &finished, &err);
}

static void
give_up(struct world *w, struct queue_message *m, uint16_t r, enum bounce_way way)
{
	struct bounce_rcpt why = { .rcpt = r, .code = 550, .text = "no such user" };
	struct bounce_source s = { .record = &m->record,
		.q = w->disk.q,
		.fd = m->fd,
		.host = "me.example",
		.now = 1700000100,
		.way = way };
	struct queue_failure f = { .message = m, .rcpts = &r, .n = 1 };
	struct err err;
	bool finished;

	f.record = bounce_record(&s, &why, 1, f.id, &err);
	if (f.record < 0)
		return;
	if (queue_disk_fail(&w->disk, &f, &finished, &err) == 0)
		sim_acknowledged(w->sim);
	record_clear(&f.commit.record);
	close(f.record);
}

static void
story_delivered(struct world *w)
{
	struct queue_message m;

	accept_batch(w, 0, 1, "");
	if (!activate(w, 0, QUEUE_INCOMING, &m))
		return;
	deliver(w, 0, &m, 0);
	deliver(w, 0, &m, 1);
	queue_message_clear(&w->disk, &m);
}

static void
story_deferred(struct world *w)
{
	struct queue_message m;
	struct err err;

	accept_batch(w, 0, 1, "");
	if (!activate(w, 0, QUEUE_INCOMING, &m))
		return;
	deliver(w, 0, &m, 0);
	queue_disk_defer(&w->disk, &m, 1700000500, 1, &err);
	enum queue_dir dir = m.dir;
	queue_message_clear(&w->disk, &m);
	if (!activate(w, 0, dir, &m))
		return;
	deliver(w, 0, &m, 1);
	queue_message_clear(&w->disk, &m);
}

static void
story_failed(struct world *w, enum bounce_way way)
{
	struct queue_message m;

	accept_batch(w, 0, 1, "");
	if (!activate(w, 0, QUEUE_INCOMING, &m))
		return;
	deliver(w, 0, &m, 0);
	give_up(w, &m, 1, way);
	queue_message_clear(&w->disk, &m);
}

static void
story_bounced(struct world *w)
{
	story_failed(w, BOUNCE_SEND);
}

static void
story_quarantined(struct world *w)
{
	story_failed(w, BOUNCE_QUARANTINE);
}

static void
story_held(struct world *w)
{
	accept_batch(w, 0, 1, "virus");
}

static void
story_batch(struct world *w)
{
	struct queue_message m;

	accept_batch(w, 0, 3, "");
	if (!activate(w, 1, QUEUE_INCOMING, &m))
		return;
	deliver(w, 1, &m, 0);
	deliver(w, 1, &m, 1);
	queue_message_clear(&w->disk, &m);
}

static const struct story {
	const char *name;
	void (*tell)(struct world *w);
} stories[] = {
	{ "delivered", story_delivered },
	{ "deferred", story_deferred },
	{ "bounced", story_bounced },
	{ "quarantined", story_quarantined },
	{ "held", story_held },
	{ "batch", story_batch },
};
enum { STORIES = sizeof(stories) / sizeof(stories[0]) };

/* --- the oracle ----------------------------------------------------------------------
 */

struct seen {
	char id[MESSAGE_ID_MAX];
	enum queue_dir dir;
};

struct census {
	struct seen list[FOUND_MAX];
	int n;
	int copies[MESSAGES]; /* whole files of it outside quarantine */
	bool open[MESSAGES][RCPTS];
	bool failed[MESSAGES][RCPTS]; /* a bounce or a quarantine copy tells of it */
	bool quarantined[MESSAGES];
	char fault[512];
};

static bool
on_found(void *arg, const struct queue_found *f)
{
	struct census *c = arg;

	for (int i = 0; i < c->n; i++)
		if (strcmp(c->list[i].id, f->id) == 0)
			return false;
	ck_assert_int_lt(c->n, FOUND_MAX);
	snprintf(c->list[c->n].id, MESSAGE_ID_MAX, "%s", f->id);
	c->list[c->n++].dir = f->dir;
	return true;
}

static bool
same_body(const struct qio *q, int fd, const struct record *r)
{
	char got[sizeof(body)];

	return r->message_len == sizeof(body) - 1 &&
	    qio_read(q, fd, got, sizeof(body) - 1, r->message_offset) == 0 &&
	    memcmp(got, body, sizeof(body) - 1) == 0;
}

/* A bounce: it names the message and the recipient. */
static void
count_bounce(struct census *c, const struct qio *q, int fd, const struct record *r)
{
	char *text = xcalloc(1, (size_t)r->message_len + 1);
	char *id;

	ck_assert_str_eq(r->envelope.rcpts[0].address, "sender@a.example");
	ck_assert_int_eq(
	    qio_read(q, fd, text, (size_t)r->message_len, r->message_offset), 0);
	id = strstr(text, "X-Postern-Id: MSG");
	ck_assert_ptr_nonnull(id);
	int i = id[strlen("X-Postern-Id: MSG")] - '0';
	for (int j = 0; j < RCPTS; j++) {
		char line[64];

		snprintf(line, sizeof(line),
		    "Final-Recipient: rfc822; r%d@b.example\r\n", j);
		c->failed[i][j] |= strstr(text, line) != NULL;
	}
	free(text);
}

static void
count_quarantine(struct census *c, const struct record *r)
{
	int i = -1;

	if (sscanf(r->envelope.hold, "MSG%d failed", &i) != 1) {
		ck_assert_int_eq(sscanf(r->envelope.id, "MSG%d", &i), 1);
		c->quarantined[i] = true;
		return;
	}
	for (size_t k = 0; k < r->envelope.n_rcpts; k++)
		c->failed[i][r->envelope.rcpts[k].address[1] - '0'] = true;
}

static void
count_file(struct census *c, const struct qio *q, int fd, const struct record *r,
    bool in_quarantine)
{
	int i;

	if (r->envelope.sender[0] == '\0') {
		count_bounce(c, q, fd, r);
		return;
	}
	if (!same_body(q, fd, r)) {
		snprintf(
		    c->fault, sizeof(c->fault), "%s is not byte-exact", r->envelope.id);
		return;
	}
	if (in_quarantine) {
		count_quarantine(c, r);
		return;
	}
	ck_assert_int_eq(sscanf(r->envelope.id, "MSG%d", &i), 1);
	c->copies[i]++;
	for (int j = 0; j < RCPTS; j++)
		c->open[i][j] = r->slots[j] == SLOT_OPEN;
}

static void
take_name(void *arg, const char *name)
{
	struct census *c = arg;

	ck_assert_int_lt(c->n, FOUND_MAX);
	snprintf(c->list[c->n].id, MESSAGE_ID_MAX, "%s", name);
	c->list[c->n++].dir = QUEUE_QUARANTINE;
}

/* Start on this disk and look at all that is there.  false: fault says why. */
static bool
take_census(struct sim *sim, struct census *c)
{
	const struct qio *q = sim_qio(sim);
	struct queue_disk d;
	struct queue_recovery sum, again;
	struct err err;
	struct census second = { 0 };

	*c = (struct census){ 0 };
	ck_assert_int_eq(queue_disk_open(&d, q, "spool", false, &err), 0);
	ck_assert_int_eq(queue_disk_recover(&d, on_found, c, &sum, &err), 0);
	if (sum.corrupt > 0 || sum.unreadable > 0)
		snprintf(c->fault, sizeof(c->fault), "%zu corrupt", sum.corrupt);
	ck_assert_int_eq(queue_disk_recover(&d, on_found, &second, &again, &err), 0);
	if (again.found != sum.found ||
	    again.discarded + again.finished + again.corrupt > 0)
		snprintf(
		    c->fault, sizeof(c->fault), "a second start finds something else");
	int found = c->n;
	q->list(q->ctx, d.dirs[QUEUE_QUARANTINE], take_name, c);
	for (int i = 0; i < c->n && c->fault[0] == '\0'; i++) {
		struct record r;
		int fd = qio_open(q, d.dirs[c->list[i].dir], c->list[i].id, O_RDONLY);
		int rc = record_load(q, fd, true, &r, &err);

		if (rc == 0)
			count_file(c, q, fd, &r, i >= found);
		else if (i < found)
			/* would be moved to corrupt/ when loaded; in quarantine: at
			 * release */
			snprintf(c->fault, sizeof(c->fault), "%s: %s", c->list[i].id,
			    err.text);
		if (rc == 0)
			record_clear(&r);
		q->close(q->ctx, fd);
	}
	queue_disk_close(&d);
	return c->fault[0] == '\0';
}

/* Is every message where the ledger wants it? */
static bool
judge(const struct ledger *l, const struct census *c, char *fault, size_t size)
{
	for (int i = 0; i < MESSAGES; i++) {
		if (c->copies[i] > 1 ||
		    (!l->acked[i] && c->copies[i] + c->quarantined[i] > 1)) {
			snprintf(fault, size, "MSG%d is there twice", i);
			return false;
		}
		for (int j = 0; j < RCPTS; j++) {
			bool safe = l->sunk[i][j] > 0 ||
			    (c->copies[i] == 1 && c->open[i][j]) || c->failed[i][j] ||
			    c->quarantined[i];

			if (l->acked[i] && !safe) {
				snprintf(fault, size, "MSG%d for r%d is lost", i, j);
				return false;
			}
			if (l->sunk[i][j] > 1) {
				snprintf(
				    fault, size, "MSG%d for r%d was sent twice", i, j);
				return false;
			}
		}
	}
	return true;
}

static bool
judge_disk(struct world *w, struct sim *disk)
{
	struct census c;
	char why[256] = "";
	bool ok = take_census(disk, &c) && judge(&w->ledger, &c, why, sizeof(why));

	w->points++;
	if (!ok && w->fault[0] == '\0')
		snprintf(w->fault, sizeof(w->fault), "%s%s", c.fault, why);
	sim_free(disk);
	return ok;
}

/* Every state in which the next start may find the disk. */
static void
judge_all(struct world *w)
{
	unsigned cuts = sim_cuts(w->sim);

	judge_disk(w, sim_after_kill(w->sim));
	for (unsigned i = 0; i < cuts && w->fault[0] == '\0'; i++)
		judge_disk(w, sim_after_cut(w->sim, i));
}

/* --- the sweep -----------------------------------------------------------------------
 */

static const struct fault_row {
	const char *name;
	enum sim_fault fault;
	bool sticky;
} faults[] = {
	{ "crash before", SIM_CRASH, false },
	{ "crash in the middle", SIM_CRASH_HALF, false },
	{ "EIO once", SIM_EIO, false },
	{ "EIO from there on", SIM_EIO, true },
	{ "ENOSPC once", SIM_ENOSPC, false },
	{ "ENOSPC from there on", SIM_ENOSPC, true },
	{ "short write once", SIM_SHORT, false },
	{ "short writes from there on", SIM_SHORT, true },
	{ "EINTR", SIM_EINTR, false },
};
enum { FAULTS = sizeof(faults) / sizeof(faults[0]) };

/* One story with one fault at operation n.  Returns false when n lies behind its end.
 */
static bool
run_point(const struct story *story, const struct fault_row *f, unsigned n,
    enum sim_mutant mutant, struct world *w)
{
	struct err err;

	w->sim = sim_new();
	w->ledger = (struct ledger){ 0 };
	ck_assert_int_eq(
	    queue_disk_open(&w->disk, sim_qio(w->sim), "spool", false, &err), 0);
	/* The mutants and faults are those of work, not of making the directories. */
	sim_set_mutant(w->sim, mutant);
	sim_set_fault(w->sim, f->fault, sim_ops(w->sim) + n, f->sticky);
	unsigned before = sim_ops(w->sim);
	story->tell(w);
	bool reached = sim_ops(w->sim) - before >= n;
	judge_all(w);
	queue_disk_close(&w->disk);
	sim_free(w->sim);
	return reached;
}

/* Counts operations struck and states judged; fault: the first violation. */
static struct world
sweep(const struct story *story, const struct fault_row *f, enum sim_mutant mutant,
    char *fault, size_t size)
{
	struct world w = { .points = 0 };

	for (unsigned n = 1; n < 1000 && w.fault[0] == '\0'; n++) {
		bool reached = run_point(story, f, n, mutant, &w);

		if (w.fault[0] != '\0')
			snprintf(fault, size, "%s, %s at operation %u: %s", story->name,
			    f->name, n, w.fault);
		if (!reached)
			break;
		w.struck = n;
		ck_assert_uint_lt(n, 999);
	}
	return w;
}

static void
quiet_log(void)
{
	struct err err;

	/* What recovery tells of each torn file is thousands of lines here. */
	if (log_open("test", "/dev/null", LOG_LEVEL_ERR, &err) != 0)
		abort();
}

START_TEST(nothing_is_lost)
{
	const struct story *story = &stories[_i / FAULTS];
	const struct fault_row *f = &faults[_i % FAULTS];
	char fault[1000] = "";

	struct world w = sweep(story, f, SIM_RIGHT, fault, sizeof(fault));
	ck_assert_msg(fault[0] == '\0', "%s", fault);
	ck_assert_uint_ge(w.struck, 4);
	ck_assert_uint_gt(w.points, 5);
	printf("sweep: %s, %s: %u operations struck, %u states judged\n", story->name,
	    f->name, w.struck, w.points);
}
END_TEST

static const struct mutant_row {
	const char *name;
	enum sim_mutant mutant;
} mutants[] = {
	{ "no fsync", SIM_NO_FSYNC },
	{ "no fsync of the directory", SIM_NO_DIR_FSYNC },
	{ "250 before fsync", SIM_LATE_FSYNC },
	{ "a failed fsync tried again", SIM_RETRY_FSYNC },
	{ "a failed fsync ignored", SIM_DEAF },
};

/* Each story by itself must notice, where it commits anything. */
START_TEST(mutants_are_caught)
{
	const struct mutant_row *m = &mutants[_i];
	char fault[1000];

	for (int s = 0; s < STORIES; s++) {
		fault[0] = '\0';
		for (int f = 0; f < FAULTS && fault[0] == '\0'; f++)
			sweep(&stories[s], &faults[f], m->mutant, fault, sizeof(fault));
		ck_assert_msg(fault[0] != '\0', "%s: story %s notices nothing", m->name,
		    stories[s].name);
	}
}
END_TEST

/* A crash in the middle of a start's own work, at every operation: the next start does
 * the rest. */
START_TEST(recovery_is_restartable)
{
	const struct story *story = &stories[_i];
	struct world w = { .points = 0 };
	struct err err;

	for (unsigned n = 1; n < 200; n++) {
		w.sim = sim_new();
		w.ledger = (struct ledger){ 0 };
		ck_assert_int_eq(
		    queue_disk_open(&w.disk, sim_qio(w.sim), "spool", false, &err), 0);
		sim_set_fault(w.sim, SIM_CRASH_HALF, sim_ops(w.sim) + n, false);
		story->tell(&w);
		queue_disk_close(&w.disk);
		bool reached = sim_crashed(w.sim);
		for (unsigned k = 1; k < 20; k++) {
			struct sim *next = sim_after_kill(w.sim);
			struct queue_recovery sum;
			struct census ignored = { 0 };

			sim_set_fault(next, SIM_CRASH, k, false);
			if (queue_disk_open(
				&w.disk, sim_qio(next), "spool", false, &err) == 0) {
				queue_disk_recover(
				    &w.disk, on_found, &ignored, &sum, &err);
				queue_disk_close(&w.disk);
			}
			bool crashed = sim_crashed(next);
			judge_disk(&w, sim_after_kill(next));
			for (unsigned i = 0; i < sim_cuts(next); i++)
				judge_disk(&w, sim_after_cut(next, i));
			sim_free(next);
			if (!crashed)
				break;
		}
		sim_free(w.sim);
		ck_assert_msg(
		    w.fault[0] == '\0', "%s at %u: %s", story->name, n, w.fault);
		if (!reached)
			break;
	}
	ck_assert_uint_gt(w.points, 5);
}
END_TEST

/* What a start makes of files that somebody damaged or moved about. */
static void
put_file(
    struct queue_disk *d, enum queue_dir dir, const char *name, int source, size_t cut)
{
	char octets[1024];
	ssize_t n = pread(source, octets, sizeof(octets), 0);
	int fd = qio_open(d->q, d->dirs[dir], name, O_RDWR | O_CREAT);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(
	    qio_write(d->q, fd, octets, (size_t)n > cut ? (size_t)n - cut : 0, 0), 0);
	d->q->close(d->q->ctx, fd);
}

static const struct leftover {
	const char *name; /* of the case */
	enum queue_dir dir;
	const char *file;
	size_t cut; /* octets missing at the end */
	size_t found, discarded, corrupt, dup_risk;
} leftovers[] = {
	{ "whole in incoming", QUEUE_INCOMING, "MSG0", 0, 1, 0, 0, 0 },
	{ "whole in active", QUEUE_ACTIVE, "MSG0", 0, 1, 0, 0, 2 },
	{ "whole in deferred", QUEUE_DEFERRED, "MSG0", 0, 1, 0, 0, 0 },
	{ "torn in incoming", QUEUE_INCOMING, "MSG0", 1, 0, 1, 0, 0 },
	{ "empty in incoming", QUEUE_INCOMING, "MSG0", 2000, 0, 1, 0, 0 },
	{ "torn in active", QUEUE_ACTIVE, "MSG0", 1, 0, 0, 1, 0 },
	{ "torn in deferred", QUEUE_DEFERRED, "MSG0", 1, 0, 0, 1, 0 },
	{ "torn in quarantine", QUEUE_QUARANTINE, "MSG0", 1, 0, 1, 0, 0 },
	{ "temporary file", QUEUE_DEFERRED, "MSG0.tmp", 0, 0, 0, 0, 0 },
	{ "other name", QUEUE_DEFERRED, "COPY", 0, 1, 0, 0, 0 },
	{ "hidden name", QUEUE_INCOMING, ".MSG0", 0, 1, 0, 0, 0 },
	{ "corrupt is not looked at", QUEUE_CORRUPT, "MSG0", 1, 0, 0, 0, 0 },
	{ "a person's note", QUEUE_QUARANTINE, "read.me", 1, 0, 0, 0, 0 },
};

START_TEST(leftovers_are_judged)
{
	const struct leftover *l = &leftovers[_i];
	struct sim *sim = sim_new();
	struct queue_disk d;
	struct queue_recovery sum;
	struct census c = { 0 };
	struct err err;
	int source = source_of(0, "");

	ck_assert_int_eq(queue_disk_open(&d, sim_qio(sim), "spool", false, &err), 0);
	put_file(&d, l->dir, l->file, source, l->cut);
	ck_assert_int_eq(queue_disk_recover(&d, on_found, &c, &sum, &err), 0);
	ck_assert_uint_eq(sum.found, l->found);
	ck_assert_uint_eq(sum.discarded, l->discarded);
	ck_assert_uint_eq(sum.corrupt, l->corrupt);
	ck_assert_uint_eq(sum.dup_risk, l->dup_risk);
	ck_assert_int_eq(c.n, (int)l->found);
	if (l->found > 0)
		ck_assert_str_eq(c.list[0].id, "MSG0");
	close(source);
	queue_disk_close(&d);
	sim_free(sim);
}
END_TEST

START_TEST(same_id_twice)
{
	int different = source_of(0, "another record");
	struct sim *sim = sim_new();
	struct queue_disk d;
	struct queue_recovery sum;
	struct census c = { 0 };
	struct err err;
	int source = source_of(0, "");

	ck_assert_int_eq(queue_disk_open(&d, sim_qio(sim), "spool", false, &err), 0);
	put_file(&d, QUEUE_INCOMING, "MSG0", source, 0);
	put_file(&d, QUEUE_DEFERRED, "MSG0", source, 0);
	put_file(&d, QUEUE_DEFERRED, "OTHER", source, 0);
	put_file(&d, QUEUE_ACTIVE, "MSG0", different, 0);
	ck_assert_int_eq(queue_disk_recover(&d, on_found, &c, &sum, &err), 0);
	ck_assert_uint_eq(sum.found, 1);
	ck_assert_uint_eq(sum.finished, 1); /* incoming/, half of a rename */
	ck_assert_uint_eq(sum.corrupt, 2); /* OTHER, and the different one */
	close(different);
	close(source);
	queue_disk_close(&d);
	sim_free(sim);
}
END_TEST

/* The cost that the design promises: one fsync per file and one per batch. */
START_TEST(fsyncs_per_message)
{
	struct world w = { .sim = sim_new() };
	struct err err;

	ck_assert_int_eq(
	    queue_disk_open(&w.disk, sim_qio(w.sim), "spool", false, &err), 0);
	unsigned before = sim_fsyncs(w.sim);
	accept_batch(&w, 0, 3, "");
	ck_assert(w.ledger.acked[0] && w.ledger.acked[1] && w.ledger.acked[2]);
	ck_assert_uint_eq(sim_fsyncs(w.sim) - before, 3 + 1);
	queue_disk_close(&w.disk);
	sim_free(w.sim);
}
END_TEST

START_TEST(probe_tells_the_truth)
{
	struct sim *sim = sim_new();
	struct queue_disk d;
	struct err err;

	ck_assert_int_eq(queue_disk_open(&d, sim_qio(sim), "spool", false, &err), 0);
	ck_assert_int_eq(queue_disk_probe(&d, &err), 0);
	for (unsigned n = 1; n <= 4;
	     n++) { /* create, write, fsync, fsync of the directory */
		sim_set_fault(sim, SIM_EIO, sim_ops(sim) + n, false);
		ck_assert_msg(queue_disk_probe(&d, &err) == -1, "operation %u", n);
		sim_set_fault(sim, SIM_NONE, 0, false);
		ck_assert_int_eq(queue_disk_probe(&d, &err), 0);
	}
	queue_disk_close(&d);
	sim_free(sim);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("queue_sweep");
	TCase *sweeps = tcase_create("sweep");
	TCase *rest = tcase_create("recovery");

	quiet_log();
	tcase_set_timeout(sweeps, 60);
	tcase_add_loop_test(sweeps, nothing_is_lost, 0, STORIES * FAULTS);
	tcase_add_loop_test(sweeps, mutants_are_caught, 0, COUNT(mutants));
	tcase_add_loop_test(sweeps, recovery_is_restartable, 0, STORIES);
	tcase_add_loop_test(rest, leftovers_are_judged, 0, COUNT(leftovers));
	tcase_add_test(rest, same_id_twice);
	tcase_add_test(rest, fsyncs_per_message);
	tcase_add_test(rest, probe_tells_the_truth);
	suite_add_tcase(s, sweeps);
	suite_add_tcase(s, rest);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
