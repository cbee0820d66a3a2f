/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks libspf2 about one mechanism at a time.  Given whole records, libspf2 1.2.10
 * answers 72 of the 200 published tests for RFC 7208 wrongly; records, order, limits
 * and macros are therefore not its business here.  What it would get wrong of the rest:
 *  - a prefix length of 0 it refuses: the client's own address stands in for each
 *    address of the answer (RFC 7208 5.3: "/0" matches if there is any);
 *  - a DNS failure in ptr it makes an error: such names are skipped (5.5), and of more
 *    than ten names the rest is ignored, not an error (4.6.4);
 *  - more than ten MX records it finds out too late: permerror at once (4.6.4);
 *  - its free pass for loopback clients is not reached. */
#include "common/auth/spf_match.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <spf2/spf.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"

struct spf_matcher {
	SPF_dns_server_t dns;
	SPF_server_t *server;
	/* Of the probe at hand. */
	const struct spf_probe *probe;
	bool any; /* every address of the answer counts as the client's */
	bool too_many;
};

/* libspf2 calls this for faults of its own and must not be returned to. */
static void __attribute__((noreturn))
on_error(const char *file, int line, const char *text)
{
	struct logline l;

	logline_init(&l, LOG_LEVEL_ERR, "spf");
	logline_cstr(&l, "error", text);
	logline_cstr(&l, "file", file);
	logline_int(&l, "line", line);
	logline_send(&l);
	abort();
}

static void
on_other(const char *file, int line, const char *text)
{
	(void)file;
	(void)line;
	(void)text;
}

static void
set_handlers(void)
{
	SPF_error_handler = on_error;
	SPF_warning_handler = on_other;
	SPF_info_handler = on_other;
	SPF_debug_handler = on_other;
}

static void
out_of_memory(void)
{
	on_error(__FILE__, __LINE__, "no memory");
}

/* ---- answers as libspf2 takes them ---- */

static SPF_dns_stat_t
herrno_of(enum dns_status status)
{
	switch (status) {
	case DNS_OK:
		return NETDB_SUCCESS;
	case DNS_NODATA:
		return NO_DATA;
	case DNS_NXDOMAIN:
	case DNS_BADNAME:
		return HOST_NOT_FOUND;
	case DNS_FAIL:
	case DNS_TIMEOUT:
		return TRY_AGAIN;
	}
	return TRY_AGAIN;
}

static void
copy_record(
    struct spf_matcher *m, SPF_dns_rr_t *rr, int i, const struct dns_record *from)
{
	const struct ip *ip = m->any ? &m->probe->client : &from->ip;
	bool name = rr->rr_type == ns_t_mx || rr->rr_type == ns_t_ptr;
	size_t len = name ? strlen(from->name) + 1 : sizeof(SPF_dns_rr_data_t);

	if (len < sizeof(SPF_dns_rr_data_t))
		len = sizeof(SPF_dns_rr_data_t);
	if (SPF_dns_rr_buf_realloc(rr, i, len) != SPF_E_SUCCESS)
		out_of_memory();
	if (name)
		memcpy(rr->rr[i]->ptr, from->name, strlen(from->name) + 1);
	else if (rr->rr_type == ns_t_aaaa)
		memcpy(&rr->rr[i]->aaaa, ip->b, 16);
	else
		memcpy(&rr->rr[i]->a, ip->b, 4);
}

static SPF_dns_rr_t *
lookup(SPF_dns_server_t *dns, const char *name, ns_type type, int should_cache)
{
	struct spf_matcher *m = dns->hook;
	const struct dns_answer *a =
	    m->probe->lookup(m->probe->arg, name, (enum dns_type)type);
	bool ptr = m->probe->mechanism == SPF_MECH_PTR;
	SPF_dns_stat_t herrno = herrno_of(a->status);
	size_t n = a->status == DNS_OK ? a->n : 0;

	(void)should_cache;
	if (ptr && herrno == TRY_AGAIN)
		herrno = HOST_NOT_FOUND;
	if (type == ns_t_ptr && n > SPF_NAMES_MAX)
		n = SPF_NAMES_MAX;
	if (type == ns_t_mx && n > SPF_NAMES_MAX) {
		m->too_many = true;
		n = 0;
	}
	SPF_dns_rr_t *rr = SPF_dns_rr_new_init(dns, name, type, (int)a->ttl, herrno);
	if (rr == NULL)
		out_of_memory();
	for (size_t i = 0; i < n; i++)
		copy_record(m, rr, (int)i, &a->records[i]);
	rr->num_rr = (int)n;
	return rr;
}

/* ---- one mechanism ---- */

struct spf_matcher *
spf_matcher_new(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct spf_matcher *m = xcalloc(1, sizeof(*m));
	SPF_response_t *response = NULL;

	pthread_once(&once, set_handlers);
	m->dns = (SPF_dns_server_t){ .lookup = lookup, .name = "postern", .hook = m };
	m->server = SPF_server_new_dns(&m->dns, 0);
	if (m->server == NULL ||
	    SPF_server_set_explanation(m->server, "none", &response) != SPF_E_SUCCESS)
		out_of_memory();
	if (response != NULL)
		SPF_response_free(response);
	return m;
}

void
spf_matcher_free(struct spf_matcher *m)
{
	if (m == NULL)
		return;
	SPF_server_free(m->server);
	free(m);
}

/* "v=spf1 a:name/24//64": what is special in libspf2's reading is escaped. */
static int
write_record(const struct spf_probe *p, bool any, struct buf *out)
{
	static const char *const names[] = { [SPF_MECH_A] = "a",
		[SPF_MECH_MX] = "mx",
		[SPF_MECH_PTR] = "ptr",
		[SPF_MECH_EXISTS] = "exists" };

	buf_addf(out, "v=spf1 %s:", names[p->mechanism]);
	for (const char *c = p->name; *c != '\0'; c++)
		if (*c == '%')
			buf_add_cstr(out, "%%");
		else if (*c == ' ')
			buf_add_cstr(out, "%_");
		else
			buf_add_char(out, *c);
	/* Always there: a name may end like a prefix length. */
	if (p->mechanism == SPF_MECH_A || p->mechanism == SPF_MECH_MX)
		buf_addf(out, "/%u//%u",
		    any || p->client.family != AF_INET ? 32 : p->prefix4,
		    any || p->client.family != AF_INET6 ? 128 : p->prefix6);
	return out->failed ? -1 : 0;
}

static SPF_request_t *
make_request(struct spf_matcher *m, const struct spf_probe *p)
{
	SPF_request_t *request = SPF_request_new(m->server);
	struct in6_addr v6;
	struct in_addr v4;

	if (request == NULL)
		out_of_memory();
	if (p->client.family == AF_INET) {
		memcpy(&v4, p->client.b, 4);
		SPF_request_set_ipv4(request, v4);
	} else {
		memcpy(&v6, p->client.b, 16);
		SPF_request_set_ipv6(request, v6);
	}
	/* The name stands in the record; these appear in comments alone. */
	if (SPF_request_set_env_from(request, "user@domain.example") != SPF_E_SUCCESS ||
	    SPF_request_set_helo_dom(request, "domain.example") != SPF_E_SUCCESS)
		out_of_memory();
	request->cur_dom = "domain.example";
	return request;
}

static enum spf_match
result_of(const struct spf_matcher *m, SPF_response_t *response)
{
	if (m->too_many)
		return SPF_MATCH_PERMERROR;
	switch (SPF_response_result(response)) {
	case SPF_RESULT_PASS:
		return SPF_MATCH_YES;
	case SPF_RESULT_NEUTRAL:
		return SPF_MATCH_NO;
	case SPF_RESULT_TEMPERROR:
		return SPF_MATCH_TEMPERROR;
	case SPF_RESULT_INVALID:
	case SPF_RESULT_FAIL:
	case SPF_RESULT_SOFTFAIL:
	case SPF_RESULT_NONE:
	case SPF_RESULT_PERMERROR:
		break;
	}
	return SPF_MATCH_PERMERROR;
}

enum spf_match
spf_matcher_try(struct spf_matcher *m, const struct spf_probe *probe)
{
	enum spf_match match = SPF_MATCH_PERMERROR;
	SPF_record_t *record = NULL;
	struct buf text;

	m->probe = probe;
	m->too_many = false;
	m->any = (probe->mechanism == SPF_MECH_A || probe->mechanism == SPF_MECH_MX) &&
	    (probe->client.family == AF_INET ? probe->prefix4 : probe->prefix6) == 0;
	buf_init(&text, 1024);
	SPF_request_t *request = make_request(m, probe);
	SPF_response_t *response = SPF_response_new(request);
	if (response == NULL)
		out_of_memory();
	if (write_record(probe, m->any, &text) == 0 &&
	    SPF_record_compile(m->server, response, &record, buf_cstr(&text)) ==
		SPF_E_SUCCESS) {
		response->spf_record_exp = record;
		(void)SPF_record_interpret(record, request, response, 0);
		match = result_of(m, response);
	}
	if (record != NULL)
		SPF_record_free(record);
	SPF_response_free(response);
	SPF_request_free(request);
	buf_clear(&text);
	m->probe = NULL;
	return match;
}
