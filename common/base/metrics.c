/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters and histograms: atomics in place, a linked list of those that were ever used. */
#include "common/base/metrics.h"

#include <stddef.h>
#include <string.h>

/* Head of the list; metrics live as long as the process. */
static _Atomic(struct metric *) all_metrics;

static void
link_in(struct metric *m)
{
	if (atomic_load_explicit(&m->linked, memory_order_relaxed) ||
	    atomic_exchange(&m->linked, true))
		return;
	struct metric *head = atomic_load(&all_metrics);

	do
		m->next = head;
	while (!atomic_compare_exchange_weak(&all_metrics, &head, m));
}

void
metric_add(struct metric *m, uint64_t n)
{
	link_in(m);
	atomic_fetch_add_explicit(&m->value, n, memory_order_relaxed);
}

void
metric_set(struct metric *m, uint64_t value)
{
	link_in(m);
	atomic_store_explicit(&m->value, value, memory_order_relaxed);
}

void
metric_observe_us(struct metric *m, int64_t us)
{
	uint64_t value = us < 0 ? 0 : (uint64_t)us;
	uint64_t bound = 100;
	int bucket = 0;

	link_in(m);
	while (bucket < METRIC_BUCKETS && value > bound) {
		bound *= 2;
		bucket++;
	}
	atomic_fetch_add_explicit(&m->buckets[bucket], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&m->value, value, memory_order_relaxed);
}

static void
render_histogram(const struct metric *m, struct buf *out)
{
	const char *labels = m->labels == NULL ? "" : m->labels;
	const char *comma = m->labels == NULL ? "" : ",";
	uint64_t sum = 0;
	double bound = 0.0001;

	for (int i = 0; i < METRIC_BUCKETS; i++, bound *= 2) {
		sum += atomic_load(&m->buckets[i]);
		buf_addf(out, "%s_bucket{%s%sle=\"%g\"} %llu\n", m->name, labels, comma,
		    bound, (unsigned long long)sum);
	}
	sum += atomic_load(&m->buckets[METRIC_BUCKETS]);
	buf_addf(out, "%s_bucket{%s%sle=\"+Inf\"} %llu\n", m->name, labels, comma,
	    (unsigned long long)sum);
	buf_addf(out, "%s_sum%s%s%s %g\n", m->name, m->labels == NULL ? "" : "{", labels,
	    m->labels == NULL ? "" : "}", (double)atomic_load(&m->value) / 1e6);
	buf_addf(out, "%s_count%s%s%s %llu\n", m->name, m->labels == NULL ? "" : "{",
	    labels, m->labels == NULL ? "" : "}", (unsigned long long)sum);
}

static void
render_one(const struct metric *m, struct buf *out)
{
	if (m->histogram)
		render_histogram(m, out);
	else if (m->labels == NULL)
		buf_addf(out, "%s %llu\n", m->name,
		    (unsigned long long)atomic_load(&m->value));
	else
		buf_addf(out, "%s{%s} %llu\n", m->name, m->labels,
		    (unsigned long long)atomic_load(&m->value));
}

/* Prometheus wants all rows of one name together, behind one HELP and TYPE. */
void
metrics_render(struct buf *out)
{
	for (const struct metric *m = all_metrics; m != NULL; m = m->next) {
		const struct metric *earlier = all_metrics;

		while (earlier != m && strcmp(earlier->name, m->name) != 0)
			earlier = earlier->next;
		if (earlier != m)
			continue;
		buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name,
		    m->histogram    ? "histogram"
			: m->gauge ? "gauge"
				   : "counter");
		for (const struct metric *row = m; row != NULL; row = row->next)
			if (strcmp(row->name, m->name) == 0)
				render_one(row, out);
	}
}
