/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters and histograms of this process, written out in Prometheus' text format 0.0.4.
 * A metric is a static variable where it is counted and links itself in at its first use,
 * so that nobody keeps a list by hand.  All operations are thread-safe and lock-free
 * after the first. */
#ifndef POSTERN_BASE_METRICS_H
#define POSTERN_BASE_METRICS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"

#define METRIC_BUCKETS 16

struct metric {
	const char *name; /* postern_greylist_decisions_total */
	const char *labels; /* "verdict=\"pass\"" or NULL */
	const char *help;
	bool histogram; /* of microseconds, buckets 100 us * 2^n */
	bool gauge; /* metric_set(): goes up and down */
	atomic_bool linked;
	struct metric *next;
	_Atomic uint64_t value; /* counter, or sum of microseconds */
	_Atomic uint64_t buckets[METRIC_BUCKETS + 1];
};

#define METRIC_COUNTER(var, metric_name, metric_labels, metric_help) \
	static struct metric var = { .name = metric_name, \
		.labels = metric_labels, \
		.help = metric_help }
#define METRIC_HISTOGRAM(var, metric_name, metric_labels, metric_help) \
	static struct metric var = { .name = metric_name, \
		.labels = metric_labels, \
		.help = metric_help, \
		.histogram = true }

void metric_add(struct metric *m, uint64_t n);
void metric_set(struct metric *m, uint64_t value);
void metric_observe_us(struct metric *m, int64_t us);
void metrics_render(struct buf *out);

#endif
