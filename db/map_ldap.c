/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks a directory.  Questions wait in a queue for one of the threads, which do one
 * synchronous search at a time on a connection of their own; whoever asked waits for the
 * future, not for the thread.  A directory that is out is not asked again for a moment,
 * so that a queue of questions does not take a timeout each. */
#include "db/map_ldap.h"

#include <errno.h>
#include <fcntl.h>
#include <ldap.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"

METRIC_COUNTER(answered_total, "postern_map_ldap_questions_total", "result=\"answered\"",
    "Questions to directories that hold maps, by what came of them");
METRIC_COUNTER(failed_total, "postern_map_ldap_questions_total", "result=\"failed\"",
    "Questions to directories that hold maps, by what came of them");

#define THREADS_MAX 16
#define OUT_MS 1000 /* a directory that failed rests so long */
#define PASSWORD_MAX 1024
#define FILTER_MAX (1 << 20)
#define CACHE_PROBE 4 /* slots that a key may use */

struct job {
	struct job *next;
	struct future *answer;
	int64_t deadline_ms;
	size_t n;
	struct map_ldap_pair pairs[];
};

struct kept {
	char *key; /* NULL: free */
	char *value; /* NULL: there is none */
	int64_t until_ms;
};

struct map_ldap {
	struct map_ldap_conf conf;
	char *password;
	pthread_t thread[THREADS_MAX];
	size_t n_threads;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t work;
	struct job *first, **last;
	bool stop, out;
	int64_t rest_until_ms;
	struct kept *cache;
	uint64_t seed;
};

/* ---- the filter ---- */

/* RFC 4515 3: these would be read as part of the filter. */
static void
filter_value(struct buf *out, struct str value)
{
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (c == '*' || c == '(' || c == ')' || c == '\\' || c < ' ' || c >= 0x7f)
			buf_addf(out, "\\%02x", c);
		else
			buf_add_char(out, (char)c);
	}
}

static void
filter_equal(struct buf *out, const char *attribute, struct str value)
{
	if (value.len == 0)
		return;
	buf_addf(out, "(%s=", attribute);
	filter_value(out, value);
	buf_add_char(out, ')');
}

char *
map_ldap_filter(const struct map_ldap_conf *conf, const struct str *keys, size_t n)
{
	struct buf out;

	buf_init(&out, FILTER_MAX);
	buf_add_cstr(&out, "(&(objectClass=sendmailMTAMapObject)");
	if (conf->cluster[0] != '\0' || conf->host[0] != '\0') {
		buf_add_cstr(&out, "(|");
		filter_equal(&out, "sendmailMTACluster", str_of(conf->cluster));
		filter_equal(&out, "sendmailMTAHost", str_of(conf->host));
		buf_add_char(&out, ')');
	}
	filter_equal(&out, "sendmailMTAMapName", str_of(conf->map_name));
	if (n > 1)
		buf_add_cstr(&out, "(|");
	for (size_t i = 0; i < n; i++)
		filter_equal(&out, "sendmailMTAKey", keys[i]);
	buf_add_cstr(&out, n > 1 ? "))" : ")");
	return buf_take(&out);
}

/* ---- what is kept ---- */

/* The slot that has the key, or the one to put it in: a free one, else the oldest. */
static struct kept *
cache_slot(struct map_ldap *l, struct str key)
{
	uint64_t hash = XXH3_64bits_withSeed(key.p, key.len, l->seed);
	struct kept *best = NULL;

	for (size_t i = 0; i < CACHE_PROBE; i++) {
		struct kept *k =
		    &l->cache[(hash + i) % (uint64_t)l->conf.cache_entries];

		if (k->key != NULL && str_is(key, k->key))
			return k;
		if (best == NULL || (best->key != NULL && k->key == NULL) ||
		    (best->key != NULL && k->until_ms < best->until_ms))
			best = k;
	}
	return best;
}

enum map_ldap_known
map_ldap_cached(struct map_ldap *l, struct str key, char **value)
{
	enum map_ldap_known known = MAP_LDAP_UNKNOWN;
	char *folded = str_dup_lower(key);

	pthread_mutex_lock(&l->lock);
	const struct kept *k = cache_slot(l, str_of(folded));
	if (k->key != NULL && strcmp(k->key, folded) == 0 &&
	    k->until_ms > clock_mono_ms()) {
		known = k->value == NULL ? MAP_LDAP_NONE : MAP_LDAP_FOUND;
		if (k->value != NULL)
			*value = xstrdup(k->value);
	}
	pthread_mutex_unlock(&l->lock);
	free(folded);
	return known;
}

static void
cache_keep(struct map_ldap *l, const struct map_ldap_pair *p)
{
	int64_t keep = p->value != NULL ? l->conf.keep : l->conf.keep_none;
	struct kept *k = cache_slot(l, str_of(p->key));

	free(k->key);
	free(k->value);
	*k = (struct kept){ .key = xstrdup(p->key),
		.value = p->value != NULL ? xstrdup(p->value) : NULL,
		.until_ms = clock_mono_ms() + keep * 1000 };
}

/* ---- a question ---- */

static LDAP *
directory_connect(const struct map_ldap *l, int *rc)
{
	struct timeval timeout = { .tv_sec = l->conf.timeout_ms / 1000,
		.tv_usec = (l->conf.timeout_ms % 1000) * 1000 };
	struct berval password = { .bv_len = strlen(l->password),
		.bv_val = l->password };
	int version = LDAP_VERSION3;
	LDAP *ld = NULL;

	*rc = ldap_initialize(&ld, l->conf.uri);
	if (*rc != LDAP_SUCCESS)
		return NULL;
	ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
	ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &timeout);
	ldap_set_option(ld, LDAP_OPT_TIMEOUT, &timeout);
	ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
	*rc = ldap_sasl_bind_s(ld, l->conf.bind_dn[0] != '\0' ? l->conf.bind_dn : NULL,
	    LDAP_SASL_SIMPLE, &password, NULL, NULL, NULL);
	if (*rc == LDAP_SUCCESS)
		return ld;
	ldap_unbind_ext(ld, NULL, NULL);
	return NULL;
}

static bool
berval_is(const struct berval *v, const char *key)
{
	return str_is_nocase((struct str){ v->bv_val, v->bv_len }, key);
}

/* An entry of the directory: its value for each of its keys that was asked for.  seen
 * counts values, because with several there is none. */
static void
take_entry(LDAP *ld, LDAPMessage *entry, struct job *job, unsigned *seen)
{
	struct berval **keys = ldap_get_values_len(ld, entry, "sendmailMTAKey");
	struct berval **values = ldap_get_values_len(ld, entry, "sendmailMTAMapValue");
	int n_values = ldap_count_values_len(values);

	for (size_t i = 0; i < job->n && keys != NULL && n_values > 0; i++) {
		struct map_ldap_pair *p = &job->pairs[i];
		bool mine = false;

		for (size_t k = 0; keys[k] != NULL && !mine; k++)
			mine = berval_is(keys[k], p->key);
		if (!mine)
			continue;
		seen[i] += (unsigned)n_values;
		free(p->value);
		p->value = seen[i] == 1 &&
			memchr(values[0]->bv_val, '\0', values[0]->bv_len) == NULL
		    ? xmemdup0(values[0]->bv_val, values[0]->bv_len)
		    : NULL;
	}
	ldap_value_free_len(keys);
	ldap_value_free_len(values);
}

static int
directory_search(struct map_ldap *l, LDAP *ld, struct job *job)
{
	char key_attribute[] = "sendmailMTAKey", value_attribute[] =
						     "sendmailMTAMapValue";
	char *attributes[] = { key_attribute, value_attribute, NULL };
	unsigned seen[MAP_LDAP_KEYS_MAX] = { 0 };
	struct str keys[MAP_LDAP_KEYS_MAX];
	int64_t left = job->deadline_ms - clock_mono_ms();
	struct timeval timeout = { .tv_sec = left / 1000,
		.tv_usec = left % 1000 * 1000 };
	LDAPMessage *result = NULL;

	if (left <= 0)
		return LDAP_TIMEOUT;
	for (size_t i = 0; i < job->n; i++)
		keys[i] = str_of(job->pairs[i].key);
	char *filter = map_ldap_filter(&l->conf, keys, job->n);
	int rc = ldap_search_ext_s(ld, l->conf.base, LDAP_SCOPE_SUBTREE, filter,
	    attributes, 0, NULL, NULL, &timeout, 0, &result);
	free(filter);
	for (LDAPMessage *e = rc == LDAP_SUCCESS ? ldap_first_entry(ld, result) : NULL;
	     e != NULL; e = ldap_next_entry(ld, e))
		take_entry(ld, e, job, seen);
	ldap_msgfree(result);
	return rc;
}

/* The connection may have died while nobody used it: one more try on a fresh one. */
static int
directory_ask(struct map_ldap *l, LDAP **ld, struct job *job)
{
	int rc = LDAP_SERVER_DOWN;

	for (int attempt = 0; attempt < 2; attempt++) {
		bool fresh = *ld == NULL;

		if (fresh)
			*ld = directory_connect(l, &rc);
		if (*ld == NULL)
			return rc;
		rc = directory_search(l, *ld, job);
		if (rc == LDAP_SUCCESS)
			return rc;
		ldap_unbind_ext(*ld, NULL, NULL);
		*ld = NULL;
		if (fresh || rc == LDAP_TIMEOUT)
			return rc;
	}
	return rc;
}

static void
answer_free(void *value)
{
	struct map_ldap_answer *a = value;

	for (size_t i = 0; i < a->n; i++) {
		free(a->pairs[i].key);
		free(a->pairs[i].value);
	}
	free(a->pairs);
	free(a);
}

static void
job_answer(struct job *job, bool failed)
{
	struct map_ldap_answer *a = xcalloc(1, sizeof(*a));

	a->failed = failed;
	a->n = job->n;
	a->pairs = xcalloc(job->n + 1, sizeof(*a->pairs));
	memcpy(a->pairs, job->pairs, job->n * sizeof(*a->pairs));
	future_set(job->answer, a);
	future_unref(job->answer);
	free(job);
}

/* Up and down are told once each. */
static void
note_state(struct map_ldap *l, int rc)
{
	bool out = rc != LDAP_SUCCESS;

	pthread_mutex_lock(&l->lock);
	bool news = out != l->out;
	l->out = out;
	l->rest_until_ms = out ? clock_mono_ms() + OUT_MS : 0;
	pthread_mutex_unlock(&l->lock);
	if (news && out)
		log_msg(LOG_LEVEL_ERR, "map_ldap_out", "ldap:%s: %s: %s", l->conf.name,
		    l->conf.uri, ldap_err2string(rc));
	else if (news)
		log_msg(LOG_LEVEL_WARN, "map_ldap_back", "ldap:%s answers again",
		    l->conf.name);
}

static void
do_job(struct map_ldap *l, LDAP **ld, struct job *job)
{
	pthread_mutex_lock(&l->lock);
	bool rests = l->rest_until_ms > clock_mono_ms() || l->stop;
	pthread_mutex_unlock(&l->lock);
	int rc = rests || job->deadline_ms <= clock_mono_ms() ? LDAP_SERVER_DOWN
							      : directory_ask(l, ld, job);
	if (!rests)
		note_state(l, rc);
	metric_add(rc == LDAP_SUCCESS ? &answered_total : &failed_total, 1);
	if (rc == LDAP_SUCCESS) {
		pthread_mutex_lock(&l->lock);
		for (size_t i = 0; i < job->n; i++)
			cache_keep(l, &job->pairs[i]);
		pthread_mutex_unlock(&l->lock);
	}
	job_answer(job, rc != LDAP_SUCCESS);
}

static void *
ldap_run(void *arg)
{
	struct map_ldap *l = arg;
	LDAP *ld = NULL;

	for (;;) {
		pthread_mutex_lock(&l->lock);
		while (l->first == NULL && !l->stop)
			pthread_cond_wait(&l->work, &l->lock);
		struct job *job = l->first;
		if (job != NULL && (l->first = job->next) == NULL)
			l->last = &l->first;
		pthread_mutex_unlock(&l->lock);
		if (job == NULL)
			break;
		do_job(l, &ld, job);
	}
	if (ld != NULL)
		ldap_unbind_ext(ld, NULL, NULL);
	return NULL;
}

struct future *
map_ldap_ask(struct map_ldap *l, const struct str *keys, size_t n)
{
	if (n > MAP_LDAP_KEYS_MAX)
		n = MAP_LDAP_KEYS_MAX;
	struct job *job = xcalloc(1, sizeof(*job) + n * sizeof(job->pairs[0]));
	struct future *f = future_new(answer_free);

	job->n = n;
	job->answer = future_ref(f);
	job->deadline_ms = clock_mono_ms() + l->conf.timeout_ms;
	for (size_t i = 0; i < n; i++)
		job->pairs[i].key = str_dup_lower(keys[i]);
	pthread_mutex_lock(&l->lock);
	*l->last = job;
	l->last = &job->next;
	pthread_cond_signal(&l->work);
	pthread_mutex_unlock(&l->lock);
	return f;
}

int64_t
map_ldap_timeout_ms(const struct map_ldap *l)
{
	return l->conf.timeout_ms;
}

/* ---- open and close ---- */

/* The first line of the file. */
static char *
read_password(const char *path, struct err *err)
{
	char text[PASSWORD_MAX];

	if (path[0] == '\0')
		return xstrdup("");
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text));
	int saved = errno;
	if (fd >= 0)
		close(fd);
	errno = saved;
	if (len < 0) {
		err_errno(err, "ldap: password-file %s", path);
		return NULL;
	}
	struct str rest = { text, (size_t)len }, line;
	if (!str_cut(&rest, '\n', &line) || line.len == 0 ||
	    line.len == PASSWORD_MAX || memchr(line.p, '\0', line.len) != NULL) {
		err_set(err, "ldap: password-file %s: expected a password in one line",
		    path);
		return NULL;
	}
	return str_dup(line);
}

static void
conf_copy(struct map_ldap_conf *to, const struct map_ldap_conf *from)
{
	*to = *from;
	to->name = xstrdup(from->name);
	to->uri = xstrdup(from->uri);
	to->base = xstrdup(from->base);
	to->bind_dn = xstrdup(from->bind_dn);
	to->password_file = xstrdup(from->password_file);
	to->cluster = xstrdup(from->cluster);
	to->host = xstrdup(from->host);
	to->map_name = xstrdup(from->map_name);
}

struct map_ldap *
map_ldap_open(const struct map_ldap_conf *conf, struct err *err)
{
	char *password = read_password(conf->password_file, err);

	if (password == NULL)
		return NULL;
	struct map_ldap *l = xcalloc(1, sizeof(*l));
	conf_copy(&l->conf, conf);
	l->password = password;
	l->last = &l->first;
	if (l->conf.cache_entries < CACHE_PROBE)
		l->conf.cache_entries = CACHE_PROBE;
	l->cache = xcalloc((size_t)l->conf.cache_entries, sizeof(*l->cache));
	if (getrandom(&l->seed, sizeof(l->seed), 0) != (ssize_t)sizeof(l->seed))
		l->seed = (uint64_t)clock_mono_us();
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->work, NULL);
	size_t want = (size_t)l->conf.connections;
	while (l->n_threads < want && l->n_threads < THREADS_MAX) {
		int rc = pthread_create(&l->thread[l->n_threads], NULL, ldap_run, l);

		if (rc != 0) {
			errno = rc;
			err_errno(err, "ldap: cannot start a thread");
			map_ldap_close(l);
			return NULL;
		}
		l->n_threads++;
	}
	return l;
}

void
map_ldap_close(struct map_ldap *l)
{
	if (l == NULL)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_broadcast(&l->work);
	pthread_mutex_unlock(&l->lock);
	for (size_t i = 0; i < l->n_threads; i++)
		pthread_join(l->thread[i], NULL);
	for (int64_t i = 0; i < l->conf.cache_entries; i++) {
		free(l->cache[i].key);
		free(l->cache[i].value);
	}
	free(l->cache);
	explicit_bzero(l->password, strlen(l->password));
	free(l->password);
	free(l->conf.name);
	free(l->conf.uri);
	free(l->conf.base);
	free(l->conf.bind_dn);
	free(l->conf.password_file);
	free(l->conf.cluster);
	free(l->conf.host);
	free(l->conf.map_name);
	pthread_cond_destroy(&l->work);
	pthread_mutex_destroy(&l->lock);
	free(l);
}
