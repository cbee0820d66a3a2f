/* SPDX-License-Identifier: BSD-2-Clause */
/* The order of an SPF evaluation: which record, which term, include and redirect, the
 * limits of RFC 7208 4.6.4 (libspf2 counts lookups one too late and voids not at all),
 * the explanation, and whether a pass tells who the client is.  Addresses are compared
 * here, where the prefix counts; mechanisms that ask DNS are matched by libspf2
 * (spf_match.c). */
#include "common/auth/spf_eval.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/auth/spf_macro.h"
#include "common/auth/spf_record.h"
#include "common/base/buf.h"
#include "common/base/xalloc.h"

#define IDENTITY_PREFIX4 16
#define IDENTITY_PREFIX6 32
#define EXPANSION_MAX 8192 /* octets of a macro-string: names in it are bounded */
#define NAME_MAX_OCTETS 253

struct walk {
	struct spf_matcher *matcher;
	const struct spf_question *q;
	struct spf_facts *facts;
	struct spf_answer *out;
	struct spf_vars vars; /* but d and p */
	char sender[2 * SPF_NAME_MAX], local[SPF_NAME_MAX], domain[SPF_NAME_MAX];
	char ip_dots[64], ip_text[IP_TEXT_MAX], now[24];
	bool pending; /* an answer lacks: unwind, nothing counts */
	enum spf_result error; /* of what stopped the walk: temperror or permerror */
	enum dns_type counts; /* the term's first question: none found is a void */
	/* Where the explanation stands. */
	struct spf_modifier exp;
	char exp_domain[SPF_NAME_MAX];
};

/* The record that is being walked. */
struct where {
	const char *domain;
	bool included; /* below an include: its words are not the domain's */
	bool foreign; /* reached by a name that the client had a part in */
	unsigned depth;
};

enum step { STEP_NO, STEP_MATCH, STEP_STOP }; /* stop: w->pending or w->error */

const char *
spf_result_name(enum spf_result result)
{
	static const char *const names[] = { "none", "neutral", "pass", "fail",
		"softfail", "temperror", "permerror" };

	return names[result];
}

static enum step stop(struct walk *w, enum spf_result error, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static enum step
stop(struct walk *w, enum spf_result error, const char *fmt, ...)
{
	va_list ap;

	if (w->pending || w->error != SPF_NONE)
		return STEP_STOP;
	w->error = error;
	va_start(ap, fmt);
	vsnprintf(w->out->problem, sizeof(w->out->problem), fmt, ap);
	va_end(ap);
	return STEP_STOP;
}

static void
copy_text(char *out, size_t size, struct str s)
{
	snprintf(out, size, "%.*s", (int)(s.len < size ? s.len : size - 1), s.p);
}

/* Foreign text for people and replies: visible ASCII and blanks. */
static void
clean(char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e)
			*s = '?';
}

/* ---- names and answers ---- */

void
spf_facts_clear(struct spf_facts *facts)
{
	for (size_t i = 0; i < facts->n; i++) {
		free(facts->list[i].name);
		dns_answer_unref(facts->list[i].answer);
		future_unref(facts->list[i].asked);
	}
	free(facts->list);
	*facts = (struct spf_facts){ .n = 0 };
}

/* Labels of 1 to 63 octets, at most 253 in all; *labels: how many. */
static bool
name_ok(struct str name, size_t *labels)
{
	struct str label;

	*labels = 0;
	if (name.len == 0 || name.len > NAME_MAX_OCTETS)
		return false;
	while (str_cut(&name, '.', &label)) {
		if (label.len == 0 || label.len > 63)
			return false;
		++*labels;
	}
	return true;
}

/* RFC 7208 4.3: what a domain must be to have a policy. */
static bool
domain_ok(struct str name)
{
	size_t labels;

	if (!name_ok(name, &labels) || labels < 2 || str_has(name, '['))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if ((unsigned char)name.p[i] <= 0x20 || (unsigned char)name.p[i] > 0x7e)
			return false;
	return true;
}

/* 7.3: a name that is too long loses labels on the left. */
static struct str
fit_name(struct str name)
{
	if (name.len > 0 && name.p[name.len - 1] == '.')
		name.len--;
	while (name.len > NAME_MAX_OCTETS) {
		ptrdiff_t dot = str_index(name, '.');
		if (dot < 0)
			return name;
		name = str_sub(name, (size_t)dot + 1, name.len);
	}
	return name;
}

static const struct dns_answer none = { .status = DNS_NODATA };
static const struct dns_answer no_name = { .status = DNS_BADNAME };

/* The answer, or one without records and w->pending. */
static const struct dns_answer *
get(struct walk *w, struct str name, enum dns_type type)
{
	size_t labels;

	name = fit_name(name);
	if (!name_ok(name, &labels) || str_has(name, '\0'))
		return &no_name;
	for (size_t i = 0; i < w->facts->n; i++) {
		const struct spf_fact *f = &w->facts->list[i];
		if (f->type != type || !str_is_nocase(name, f->name))
			continue;
		if (f->answer != NULL)
			return f->answer;
		w->pending = true;
		return &none;
	}
	if (w->facts->n == SPF_FACTS_MAX) {
		stop(w, SPF_PERMERROR, "more than %d DNS questions", SPF_FACTS_MAX);
		return &none;
	}
	if (w->facts->n == w->facts->cap) {
		w->facts->cap = w->facts->cap == 0 ? 8 : w->facts->cap * 2;
		w->facts->list = xreallocarray(
		    w->facts->list, w->facts->cap, sizeof(*w->facts->list));
	}
	struct spf_fact *f = &w->facts->list[w->facts->n++];
	*f = (struct spf_fact){ .name = str_dup_lower(name), .type = type };
	if (w->facts->ask != NULL)
		w->facts->ask(w->facts->arg, f);
	if (f->answer != NULL)
		return f->answer;
	w->pending = true;
	return &none;
}

static bool
is_void(const struct dns_answer *a)
{
	return a->status == DNS_NODATA || a->status == DNS_NXDOMAIN;
}

static bool
is_failure(const struct dns_answer *a)
{
	return a->status == DNS_FAIL || a->status == DNS_TIMEOUT;
}

/* libspf2 asks.  The first question of a term is the one that may be void. */
static const struct dns_answer *
on_lookup(void *arg, const char *name, enum dns_type type)
{
	struct walk *w = arg;
	const struct dns_answer *a = get(w, str_of(name), type);

	if (type == w->counts && !w->pending && is_void(a))
		w->out->voids++;
	w->counts = 0;
	return a;
}

/* ---- macros ---- */

/* The client's confirmed name nearest to domain (5.5, 7.3): macro p. */
static struct str
confirmed_name(struct walk *w, struct str domain)
{
	enum dns_type type = w->q->client.family == AF_INET ? DNS_A : DNS_AAAA;
	char reverse[64], name[SPF_NAME_MAX];
	struct str best = STR("unknown");
	int best_rank = 0;

	snprintf(name, sizeof(name), "%s.%s", ip_reverse(&w->q->client, reverse),
	    type == DNS_A ? "in-addr.arpa" : "ip6.arpa");
	const struct dns_answer *ptr = get(w, str_of(name), DNS_PTR);
	for (size_t i = 0; i < ptr->n && i < SPF_NAMES_MAX; i++) {
		struct str host = str_of(ptr->records[i].name);
		const struct dns_answer *a = get(w, host, type);
		int rank = 1;

		if (str_eq_nocase(host, domain))
			rank = 3;
		else if (str_ends_nocase(host, domain) && host.len > domain.len &&
		    host.p[host.len - domain.len - 1] == '.')
			rank = 2;
		for (size_t k = 0; k < a->n && rank > best_rank; k++)
			if (ip_eq(&a->records[k].ip, &w->q->client)) {
				best = host;
				best_rank = rank;
			}
	}
	return best;
}

static int
expand(
    struct walk *w, const char *domain, struct str text, bool uses_p, struct buf *out)
{
	struct spf_vars vars = w->vars;

	vars.value['d' - 'a'] = str_of(domain);
	if (uses_p)
		vars.value['p' - 'a'] = confirmed_name(w, str_of(domain));
	if (w->pending)
		return -1;
	return spf_macro_expand(&vars, text, out);
}

/* A term's target name, or the current domain, into out. */
static int
expand_target(struct walk *w, const char *domain, struct str spec, bool uses_p,
    char out[SPF_NAME_MAX])
{
	struct buf b;
	int rc = -1;

	buf_init(&b, EXPANSION_MAX);
	if (spec.len == 0)
		buf_add_cstr(&b, domain);
	else if (expand(w, domain, spec, uses_p, &b) != 0)
		goto out;
	struct str name = fit_name(buf_str(&b));
	/* No dot left to cut at: no such name; kept as one that cannot be. */
	copy_text(out, SPF_NAME_MAX, name.len > NAME_MAX_OCTETS ? STR("..") : name);
	rc = 0;
out:
	buf_clear(&b);
	if (rc != 0)
		stop(w, SPF_PERMERROR, "\"%.*s\" grows beyond %d octets", STR_ARG(spec),
		    EXPANSION_MAX);
	return rc;
}

/* ---- terms ---- */

static bool
narrow(const struct walk *w, const struct spf_term *t)
{
	return w->q->client.family == AF_INET ? t->prefix4 >= IDENTITY_PREFIX4
					      : t->prefix6 >= IDENTITY_PREFIX6;
}

static enum step
count_lookup(struct walk *w)
{
	if (++w->out->lookups > SPF_LOOKUPS_MAX)
		return stop(w, SPF_PERMERROR, "more than %d terms that ask DNS",
		    SPF_LOOKUPS_MAX);
	return STEP_NO;
}

static enum step
match_dns(struct walk *w, const struct where *at, const struct spf_term *t)
{
	char name[SPF_NAME_MAX];
	struct spf_probe probe = { .mechanism = t->mechanism,
		.name = name,
		.prefix4 = t->prefix4,
		.prefix6 = t->prefix6,
		.client = w->q->client,
		.lookup = on_lookup,
		.arg = w };

	if (expand_target(w, at->domain, t->spec, t->uses_p, name) != 0)
		return STEP_STOP;
	w->counts = t->mechanism == SPF_MECH_MX ? DNS_MX : DNS_A;
	if (t->mechanism == SPF_MECH_A && w->q->client.family == AF_INET6)
		w->counts = DNS_AAAA;
	if (t->mechanism ==
	    SPF_MECH_PTR) /* the client's PTR is not the domain's fault */
		w->counts = 0;
	enum spf_match m = spf_matcher_try(w->matcher, &probe);
	if (w->pending)
		return STEP_STOP;
	if (w->out->voids > SPF_VOIDS_MAX)
		return stop(w, SPF_PERMERROR,
		    "more than %d terms that find nothing in DNS", SPF_VOIDS_MAX);
	switch (m) {
	case SPF_MATCH_NO:
		return STEP_NO;
	case SPF_MATCH_YES:
		return STEP_MATCH;
	case SPF_MATCH_TEMPERROR:
		return stop(w, SPF_TEMPERROR, "no answer of DNS for \"%.*s\"",
		    STR_ARG(t->text));
	case SPF_MATCH_PERMERROR:
		break;
	}
	return stop(w, SPF_PERMERROR, "\"%.*s\" cannot be evaluated", STR_ARG(t->text));
}

static bool
match_ip(const struct walk *w, const struct spf_term *t)
{
	unsigned prefix = t->mechanism == SPF_MECH_IP4 ? t->prefix4 : t->prefix6;
	struct ipnet net;

	if (t->ip.family != w->q->client.family)
		return false;
	net = ip_mask(&t->ip, prefix); /* host bits may be set in a record */
	return ipnet_contains(&net, &w->q->client);
}

static enum spf_result check_host(struct walk *w, struct where at);

/* 5.2 */
static enum step
match_include(struct walk *w, const struct where *at, const struct spf_term *t)
{
	char name[SPF_NAME_MAX];

	if (expand_target(w, at->domain, t->spec, t->uses_p, name) != 0)
		return STEP_STOP;
	enum spf_result r = check_host(
	    w, (struct where){ name, true, at->foreign || t->foreign, at->depth + 1 });
	if (w->pending || w->error != SPF_NONE)
		return STEP_STOP;
	if (r == SPF_NONE)
		return stop(w, SPF_PERMERROR, "\"%.*s\": that domain has no SPF record",
		    STR_ARG(t->text));
	return r == SPF_PASS ? STEP_MATCH : STEP_NO;
}

static enum step
match_term(struct walk *w, const struct where *at, const struct spf_term *t)
{
	bool match = false;

	switch (t->mechanism) {
	case SPF_MECH_ALL:
		match = true;
		break;
	case SPF_MECH_IP4:
	case SPF_MECH_IP6:
		match = match_ip(w, t);
		break;
	case SPF_MECH_INCLUDE:
		return count_lookup(w) != STEP_NO ? STEP_STOP : match_include(w, at, t);
	case SPF_MECH_A:
	case SPF_MECH_MX:
	case SPF_MECH_PTR:
	case SPF_MECH_EXISTS:
		return count_lookup(w) != STEP_NO ? STEP_STOP : match_dns(w, at, t);
	}
	return match ? STEP_MATCH : STEP_NO;
}

/* A pass tells who the client is only where the domain named few addresses. */
static bool
tells_identity(const struct walk *w, const struct where *at, const struct spf_term *t)
{
	switch (t->mechanism) {
	case SPF_MECH_ALL:
	case SPF_MECH_PTR:
	case SPF_MECH_EXISTS:
		return false;
	case SPF_MECH_A:
	case SPF_MECH_MX:
	case SPF_MECH_IP4:
	case SPF_MECH_IP6:
		return !at->foreign && !t->foreign && narrow(w, t);
	case SPF_MECH_INCLUDE:
		break;
	}
	return w->out->identity; /* as the included pass left it */
}

static enum spf_result
matched(struct walk *w, const struct where *at, const struct spf_term *t)
{
	w->out->identity = tells_identity(w, at, t);
	if (t->mechanism != SPF_MECH_INCLUDE)
		copy_text(w->out->matched, sizeof(w->out->matched), t->text);
	if (!at->included)
		copy_text(w->out->mechanism, sizeof(w->out->mechanism), t->text);
	switch (t->qualifier) {
	case '-':
		return SPF_FAIL;
	case '~':
		return SPF_SOFTFAIL;
	case '?':
		return SPF_NEUTRAL;
	default:
		return SPF_PASS;
	}
}

/* ---- records ---- */

/* 4.4, 4.5.  0: rec is filled.  -1: *result, or w->error and w->pending, say why not.
 */
static int
fetch_record(
    struct walk *w, const char *domain, struct spf_record *rec, enum spf_result *result)
{
	const struct dns_answer *a = get(w, str_of(domain), DNS_TXT);
	const struct dns_record *found = NULL;
	struct err err;

	*result = SPF_NONE;
	if (is_failure(a))
		stop(w, SPF_TEMPERROR, "no answer of DNS for the record of %s", domain);
	for (size_t i = 0; i < a->n; i++) {
		const struct dns_record *r = &a->records[i];

		if (!spf_record_is((struct str){ r->text, r->text_len }))
			continue;
		if (found != NULL)
			stop(w, SPF_PERMERROR, "%s has more than one SPF record",
			    domain);
		found = r;
	}
	if (w->pending || w->error != SPF_NONE || found == NULL)
		return -1;
	if (spf_record_parse((struct str){ found->text, found->text_len }, rec, &err) !=
	    0) {
		stop(w, SPF_PERMERROR, "record of %s: %s", domain, err.text);
		return -1;
	}
	return 0;
}

/* 6.1 */
static enum spf_result
redirect(struct walk *w, const struct where *at, const struct spf_record *rec)
{
	char name[SPF_NAME_MAX];

	if (count_lookup(w) != STEP_NO ||
	    expand_target(
		w, at->domain, rec->redirect.spec, rec->redirect.uses_p, name) != 0)
		return SPF_NONE;
	enum spf_result r = check_host(w,
	    (struct where){ name, at->included, at->foreign || rec->redirect.foreign,
		at->depth + 1 });
	if (r == SPF_NONE)
		stop(w, SPF_PERMERROR,
		    "\"redirect=%.*s\": that domain has no SPF record",
		    STR_ARG(rec->redirect.spec));
	return r;
}

static enum spf_result
walk_terms(struct walk *w, const struct where *at, const struct spf_record *rec)
{
	for (size_t i = 0; i < rec->n; i++)
		switch (match_term(w, at, &rec->terms[i])) {
		case STEP_NO:
			break;
		case STEP_MATCH:
			if (!at->included) { /* 6.2: of this record alone, its text
						stays */
				w->exp = rec->exp;
				copy_text(w->exp_domain, sizeof(w->exp_domain),
				    str_of(at->domain));
			}
			return matched(w, at, &rec->terms[i]);
		case STEP_STOP:
			return SPF_NONE;
		}
	if (rec->redirect.given)
		return redirect(w, at, rec);
	w->out->identity = false;
	if (!at->included)
		copy_text(w->out->mechanism, sizeof(w->out->mechanism), STR("default"));
	copy_text(w->out->matched, sizeof(w->out->matched), STR("default"));
	return SPF_NEUTRAL; /* 4.7 */
}

/* Recursion is bounded: each level has cost one of ten lookups. */
static enum spf_result
check_host(struct walk *w, struct where at)
{
	struct str domain = fit_name(str_of(at.domain));
	struct spf_record rec = { .n = 0 };
	enum spf_result result = SPF_NONE;
	char name[SPF_NAME_MAX];

	assert(at.depth <= SPF_LOOKUPS_MAX);
	if (!domain_ok(domain))
		return SPF_NONE;
	copy_text(name, sizeof(name), domain);
	at.domain = name;
	if (fetch_record(w, name, &rec, &result) == 0)
		result = walk_terms(w, &at, &rec);
	spf_record_clear(&rec);
	return result;
}

/* ---- the whole ---- */

/* 6.2: the domain's words about a failure; whatever is wrong with them, there are none.
 */
static void
explain(struct walk *w)
{
	struct spf_macros macros;
	char name[SPF_NAME_MAX];
	struct buf text;

	if (expand_target(w, w->exp_domain, w->exp.spec, w->exp.uses_p, name) != 0)
		return;
	const struct dns_answer *a = get(w, str_of(name), DNS_TXT);
	if (w->pending || a->n != 1)
		return;
	struct str words = { a->records[0].text, a->records[0].text_len };
	if (words.len > SPF_RECORD_MAX ||
	    spf_macros_check(words, true, &macros, NULL) != 0)
		return;
	buf_init(&text, EXPANSION_MAX);
	if (expand(w, w->exp_domain, words, macros.uses_p, &text) == 0) {
		w->out->explained = text.len > 0;
		copy_text(
		    w->out->explanation, sizeof(w->out->explanation), buf_str(&text));
		clean(w->out->explanation);
	}
	buf_clear(&text);
}

/* 4.3: a null sender stands for postmaster at the HELO name, as does no local part. */
static bool
split_sender(struct walk *w)
{
	struct str sender = str_of(w->q->sender), helo = str_of(w->q->helo);
	ptrdiff_t at = str_rindex(sender, '@');
	struct str local = STR("postmaster");
	struct str domain =
	    sender.len == 0 ? helo : str_sub(sender, (size_t)(at + 1), sender.len);

	if (at > 0)
		local = str_sub(sender, 0, (size_t)at);
	w->out->helo = sender.len == 0;
	if (local.len >= sizeof(w->local) || domain.len > NAME_MAX_OCTETS + 1)
		return false;
	copy_text(w->local, sizeof(w->local), local);
	copy_text(w->domain, sizeof(w->domain), domain);
	snprintf(w->sender, sizeof(w->sender), "%s@%s", w->local, w->domain);
	return true;
}

/* 7.3: IPv6 as 32 nibbles. */
static void
write_ip(struct walk *w)
{
	const struct ip *ip = &w->q->client;

	ip_format(ip, w->ip_text);
	if (ip->family == AF_INET) {
		snprintf(w->ip_dots, sizeof(w->ip_dots), "%s", w->ip_text);
		return;
	}
	for (size_t i = 0; i < 32; i++) {
		unsigned nibble = i % 2 == 0 ? ip->b[i / 2] >> 4 : ip->b[i / 2] & 15u;
		w->ip_dots[2 * i] = "0123456789ABCDEF"[nibble];
		w->ip_dots[2 * i + 1] = i < 31 ? '.' : '\0';
	}
}

static void
set_var(struct walk *w, char letter, const char *value)
{
	w->vars.value[letter - 'a'] = str_of(value);
}

static void
set_vars(struct walk *w)
{
	write_ip(w);
	snprintf(w->now, sizeof(w->now), "%lld", (long long)w->q->now);
	for (char c = 'a'; c <= 'z'; c++)
		set_var(w, c, "");
	set_var(w, 's', w->sender);
	set_var(w, 'l', w->local);
	set_var(w, 'o', w->domain);
	set_var(w, 'i', w->ip_dots);
	set_var(w, 'v', w->q->client.family == AF_INET ? "in-addr" : "ip6");
	set_var(w, 'h', w->q->helo);
	set_var(w, 'c', w->ip_text);
	set_var(w, 'r', w->q->receiver);
	set_var(w, 't', w->now);
}

bool
spf_eval(struct spf_matcher *matcher, const struct spf_question *question,
    struct spf_facts *facts, struct spf_answer *out)
{
	struct walk w = {
		.matcher = matcher, .q = question, .facts = facts, .out = out
	};

	*out = (struct spf_answer){ .result = SPF_NONE };
	if (question->client.family == 0 || !split_sender(&w) ||
	    !domain_ok(fit_name(str_of(w.domain))))
		return true;
	set_vars(&w);
	copy_text(out->domain, sizeof(out->domain), fit_name(str_of(w.domain)));
	out->result = check_host(&w, (struct where){ .domain = w.domain });
	if (w.error != SPF_NONE && !w.pending) {
		out->result = w.error;
		clean(out->problem);
	} else if (!w.pending && out->result == SPF_FAIL && w.exp.given) {
		explain(&w);
		out->problem[0] = '\0'; /* words that cannot be had are no error */
	}
	out->identity = out->identity && out->result == SPF_PASS;
	return !w.pending;
}

void
spf_answer_temperror(
    struct spf_answer *out, const struct spf_question *question, const char *problem)
{
	*out = (struct spf_answer){ .result = SPF_TEMPERROR,
		.helo = question->sender[0] == '\0' };
	snprintf(out->problem, sizeof(out->problem), "%s", problem);
}
