/* SPDX-License-Identifier: BSD-2-Clause */
/* The world of recorded decisions: reads a folder's classes, hosts, DNS data and
 * variants, and answers for them as the real resolver and configuration would. */
#include "milters/access/access_env.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/ip.h"
#include "common/base/xalloc.h"
#include "milters/access/access_table.h"

#define NAMES_MAX 200
#define VARIANTS_MAX 500
#define ALIASES_MAX 8

struct names {
	char *list[NAMES_MAX];
	size_t n;
};

struct access_env {
	struct access_table classes, dns, variant_table;
	char *hosts;
	struct names local, relay;
	const char *host, *domain;
	struct access_variant variants[VARIANTS_MAX];
	size_t n_variants;
};

static void
add_words(struct names *out, const char *text)
{
	struct str rest = str_of(text), word;

	while (out->n < NAMES_MAX && str_word(&rest, &word))
		out->list[out->n++] = str_dup(word);
}

static struct access_names
as_names(const struct names *names)
{
	return (struct access_names){ (const char *const *)names->list, names->n };
}

/* ---- DNS ---- */

static enum access_env_dns
find_one(
    const struct access_env *e, const char *name, const char *type, const char **value)
{
	enum access_env_dns found = ACCESS_ENV_NONE;

	for (size_t i = 0; i < e->dns.n_rows; i++) {
		const char *kind = access_table_get(&e->dns, i, "type");
		if (!str_is_nocase(str_of(access_table_get(&e->dns, i, "name")), name))
			continue;
		if (strcmp(kind, "SERVFAIL") == 0)
			return ACCESS_ENV_TEMP;
		bool match = type != NULL ? strcmp(kind, type) == 0
					  : strcmp(kind, "A") == 0 ||
			strcmp(kind, "AAAA") == 0 || strcmp(kind, "MX") == 0;
		if (match && found == ACCESS_ENV_NONE) {
			found = ACCESS_ENV_FOUND;
			if (value != NULL)
				*value = access_table_get(&e->dns, i, "value");
		}
	}
	return found;
}

/* The end of a chain of aliases; the name itself when there is none. */
static const char *
target_of(const struct access_env *e, const char *name)
{
	for (int i = 0; i < ALIASES_MAX; i++)
		if (find_one(e, name, "CNAME", &name) != ACCESS_ENV_FOUND)
			break;
	return name;
}

enum access_env_dns
access_env_find(
    const struct access_env *e, const char *name, const char *type, const char **value)
{
	return find_one(e, target_of(e, name), type, value);
}

/* A name of the hosts file: the line's first name, or NULL.  out holds it. */
static bool
hosts_name(const struct access_env *e, const char *name, char out[300])
{
	struct str rest = str_of(e->hosts), line, word;

	while (str_cut(&rest, '\n', &line)) {
		struct str first = { NULL, 0 };

		if (!str_word(&line, &word))
			continue;
		while (str_word(&line, &word)) {
			if (first.p == NULL)
				first = word;
			if (!str_is_nocase(word, name))
				continue;
			snprintf(out, 300, "%.*s", STR_ARG(first));
			return true;
		}
	}
	return false;
}

static bool
hosts_addr(const struct access_env *e, const struct ip *ip, char out[300])
{
	struct str rest = str_of(e->hosts), line, word;
	struct ip here;

	while (str_cut(&rest, '\n', &line)) {
		if (!str_word(&line, &word) || !ip_parse(word, &here) ||
		    !ip_eq(&here, ip) || !str_word(&line, &word))
			continue;
		snprintf(out, 300, "%.*s", STR_ARG(word));
		return true;
	}
	return false;
}

/* classes.canonical: short names by the hosts file, aliases by their target. */
static const char *
canonical(void *arg, const char *domain)
{
	const struct access_env *e = arg;
	static _Thread_local char name[300];
	const char *target = target_of(e, domain);

	if (target != domain)
		return target;
	if (strchr(domain, '.') == NULL &&
	    !str_is_nocase(str_of(domain), "localhost") && hosts_name(e, domain, name))
		return name;
	return NULL;
}

/* ---- clients ---- */

static void
show_addr(const struct ip *ip, bool compressed, char out[64])
{
	char text[IP_TEXT_MAX];
	size_t n = 5;

	ip_format(ip, text);
	if (ip->family == AF_INET || ip->family == 0) {
		snprintf(out, 64, "%s", text);
		return;
	}
	if (compressed) {
		snprintf(out, 64, "IPv6:%s", text);
		return;
	}
	snprintf(out, 64, "IPv6:");
	for (int i = 0; i < 16; i += 2)
		n += (size_t)snprintf(out + n, 64 - n, i > 0 ? ":%x" : "%x",
		    (unsigned)(ip->b[i] << 8 | ip->b[i + 1]));
}

/* Does the name lead back to the address? */
static enum access_resolve
forward(const struct access_env *e, const char *name, const struct ip *ip)
{
	enum access_resolve result = ACCESS_RESOLVE_FORGED;
	struct ip here;

	name = target_of(e, name);
	for (size_t i = 0; i < e->dns.n_rows; i++) {
		if (!str_is_nocase(str_of(access_table_get(&e->dns, i, "name")), name))
			continue;
		if (strcmp(access_table_get(&e->dns, i, "type"), "SERVFAIL") == 0)
			return ACCESS_RESOLVE_TEMP;
		if (ip_parse(str_of(access_table_get(&e->dns, i, "value")), &here) &&
		    ip_eq(&here, ip))
			result = ACCESS_RESOLVE_OK;
	}
	return result;
}

static void
reverse_name(const struct ip *ip, const char *zone, char out[256])
{
	char reverse[64];

	ip_reverse(ip, reverse);
	if (zone == NULL)
		zone = ip->family == AF_INET ? "in-addr.arpa" : "ip6.arpa";
	snprintf(out, 256, "%s.%s", reverse, zone);
}

void
access_env_client(const struct access_env *e, const struct access_variant *v,
    const char *addr, struct access_env_client *out)
{
	struct ip ip = { 0 };
	char name[256];
	const char *ptr = NULL;

	memset(out, 0, sizeof(*out));
	if (!ip_parse(str_of(addr), &ip)) {
		out->resolve = ACCESS_RESOLVE_FAIL;
		return;
	}
	show_addr(&ip, v->compressed, out->addr);
	snprintf(out->name, sizeof(out->name), "[%s]", out->addr);
	snprintf(out->ptr, sizeof(out->ptr), "%s", out->name);
	if (hosts_addr(e, &ip, out->name)) {
		snprintf(out->ptr, sizeof(out->ptr), "%s", out->name);
		out->resolve = ACCESS_RESOLVE_OK;
		return;
	}
	reverse_name(&ip, NULL, name);
	switch (find_one(e, name, "PTR", &ptr)) {
	case ACCESS_ENV_NONE:
		out->resolve = ACCESS_RESOLVE_FAIL;
		return;
	case ACCESS_ENV_TEMP:
		out->resolve = ACCESS_RESOLVE_TEMP;
		return;
	case ACCESS_ENV_FOUND:
		break;
	}
	snprintf(out->ptr, sizeof(out->ptr), "%s", ptr);
	out->resolve = forward(e, ptr, &ip);
	if (out->resolve == ACCESS_RESOLVE_OK)
		snprintf(out->name, sizeof(out->name), "%s", ptr);
}

struct access_dnsbl
access_env_dnsbl(const struct access_env *e, const struct access_variant *v,
    const char *addr, const char *shown)
{
	struct access_dnsbl r = { .kind = ACCESS_NONE };
	struct ip ip;
	char name[256];
	const char *code = NULL;

	if (v->dnsbl_zone == NULL || !ip_parse(str_of(addr), &ip) ||
	    ip.family != AF_INET)
		return r;
	reverse_name(&ip, v->dnsbl_zone, name);
	enum access_env_dns found = find_one(e, name, "A", &code);
	if (found == ACCESS_ENV_TEMP && v->dnsbl_temp) {
		r.kind = ACCESS_REFUSED;
		r.verdict = verdict_refuse(451, "4.4.3", "dnsbl",
		    "Temporary lookup failure of %s at %s", shown, v->dnsbl_zone);
	}
	if (found != ACCESS_ENV_FOUND ||
	    (v->dnsbl_enhanced && v->dnsbl_code != NULL &&
		strcmp(code, v->dnsbl_code) != 0))
		return r;
	r.kind = ACCESS_REFUSED;
	if (strcmp(v->dnsbl_action, "discard") == 0) {
		r.kind = ACCESS_DISCARD;
		r.verdict =
		    (struct verdict){ .action = ACTION_DISCARD, .why = "dnsbl" };
	} else if (strcmp(v->dnsbl_action, "quarantine") == 0) {
		r.kind = ACCESS_QUARANTINE;
		r.verdict =
		    (struct verdict){ .action = ACTION_QUARANTINE, .why = "dnsbl" };
		snprintf(r.verdict.text, sizeof(r.verdict.text), "%s", v->dnsbl_zone);
	} else if (v->dnsbl_action[0] != '\0') {
		r.verdict = verdict_refuse(
		    550, "5.7.1", "dnsbl", "%s%s", v->dnsbl_action, shown);
	} else {
		r.verdict = verdict_refuse(550, "5.7.1", "dnsbl",
		    "Rejected: %s listed at %s", shown, v->dnsbl_zone);
	}
	return r;
}

enum access_domain
access_env_domain(const struct access_env *e, const char *domain)
{
	enum access_env_dns found;
	struct ip ip;
	char name[300];

	if (domain[0] == '[') { /* a literal resolves through its PTR */
		if (!ip_parse(str_of(domain), &ip))
			return ACCESS_DOMAIN_NONE;
		if (hosts_addr(e, &ip, name))
			return ACCESS_DOMAIN_OK;
		reverse_name(&ip, NULL, name);
		found = find_one(e, name, "PTR", NULL);
	} else {
		if (hosts_name(e, domain, name))
			return ACCESS_DOMAIN_OK;
		found = access_env_find(e, domain, NULL, NULL);
	}
	return found == ACCESS_ENV_FOUND ? ACCESS_DOMAIN_OK
	    : found == ACCESS_ENV_TEMP   ? ACCESS_DOMAIN_TEMP
					 : ACCESS_DOMAIN_NONE;
}

/* ---- variants ---- */

#define ARGS_MAX 6

/* One m4 call: NAME(`a', `b', ...). */
struct call {
	struct str name;
	struct str args[ARGS_MAX];
	size_t n;
};

/* A quoted m4 argument, quotes nest. */
static struct str
m4_quoted(struct str *rest)
{
	int depth = 0;

	for (size_t i = 0; i < rest->len; i++) {
		if (rest->p[i] == '`')
			depth++;
		else if (rest->p[i] == '\'' && --depth == 0) {
			struct str inside = str_sub(*rest, 1, i);
			*rest = str_sub(*rest, i + 1, rest->len);
			return inside;
		}
	}
	*rest = str_sub(*rest, rest->len, rest->len);
	return *rest;
}

static bool
m4_call(struct str *rest, struct call *out)
{
	ptrdiff_t open = str_index(*rest, '(');

	if (open < 0)
		return false;
	out->name = str_trim(str_sub(*rest, 0, (size_t)open));
	out->n = 0;
	*rest = str_sub(*rest, (size_t)open + 1, rest->len);
	while (rest->len > 0 && rest->p[0] != ')') {
		if (rest->p[0] == '`' && out->n < ARGS_MAX)
			out->args[out->n++] = m4_quoted(rest);
		else
			*rest = str_sub(*rest, 1, rest->len);
	}
	*rest = str_sub(*rest, 1, rest->len);
	return true;
}

static bool
has_arg(const struct call *c, const char *word)
{
	for (size_t i = 1; i < c->n; i++)
		if (str_is(c->args[i], word))
			return true;
	return false;
}

/* Without the quotes around it, if there are any. */
static char *
text_arg(struct str arg)
{
	ptrdiff_t from = str_index(arg, '"');
	ptrdiff_t to =
	    from < 0 ? -1 : str_index(str_sub(arg, (size_t)from + 1, arg.len), '"');

	if (to < 0)
		return str_dup(arg);
	return str_dup(str_sub(arg, (size_t)from + 1, (size_t)(from + 1 + to)));
}

static void
apply_dnsbl(struct access_variant *v, const struct call *c, bool enhanced)
{
	v->dnsbl_zone = str_dup(c->args[1]);
	v->dnsbl_temp = c->n > 3 && str_is(c->args[3], "t");
	v->dnsbl_enhanced = enhanced;
	v->dnsbl_action = c->n > 2 ? text_arg(c->args[2]) : xstrdup("");
	if (enhanced && strncmp(v->dnsbl_action, "550 ", 4) == 0)
		memmove(
		    v->dnsbl_action, v->dnsbl_action + 4, strlen(v->dnsbl_action) - 3);
	if (enhanced && c->n > 4) { /* a trailing dot ends the name in sendmail's map */
		struct str code = c->args[4];
		if (code.len > 0 && code.p[code.len - 1] == '.')
			code.len--;
		v->dnsbl_code = str_dup(code);
	}
}

static void
apply_delay(struct access_rules *r, const struct call *c)
{
	r->delay = ACCESS_DELAYED;
	if (has_arg(c, "friend"))
		r->delay = ACCESS_DELAYED_FRIEND;
	if (has_arg(c, "hater"))
		r->delay = ACCESS_DELAYED_HATER;
	r->delay_new_words = c->n > 2 && str_is(c->args[2], "n");
}

static void
apply_flag(struct access_rules *r, struct str name)
{
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {
		{ "blocklist_recipients", &r->blocklist_recipients },
		{ "accept_unresolvable_domains", &r->accept_unresolvable },
		{ "accept_unqualified_senders", &r->accept_unqualified },
		{ "relay_hosts_only", &r->hosts_only },
		{ "relay_entire_domain", &r->entire_domain },
		{ "relay_local_from", &r->local_from },
		{ "relay_mail_from", &r->mail_from },
		{ "loose_relay_check", &r->loose },
		{ "promiscuous_relay", &r->promiscuous },
		{ "use_client_ptr", &r->use_client_ptr },
		{ "require_rdns", &r->require_rdns },
		{ "block_bad_helo", &r->bad_helo },
		{ "nopercenthack", &r->no_percent },
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (str_is(name, flags[i].name))
			*flags[i].flag = true;
}

static void
apply_feature(struct access_variant *v, const struct call *c)
{
	struct access_rules *r = &v->rules;
	struct str name = c->args[0];
	uint64_t ms;

	apply_flag(r, name);
	if (str_is(name, "access_db")) {
		r->skip = has_arg(c, "skip");
		r->lookup_dot = has_arg(c, "lookupdotdomain");
		r->full_address = has_arg(c, "relaytofulladdress");
	} else if (str_is(name, "delay_checks")) {
		apply_delay(r, c);
	} else if (str_is(name, "relay_mail_from")) {
		r->mail_from_domain = has_arg(c, "domain");
	} else if (str_is(name, "nouucp")) {
		r->uucp = has_arg(c, "nospecial") ? ACCESS_UUCP_NOSPECIAL
						  : ACCESS_UUCP_REJECT;
	} else if (str_is(name, "dnsbl") && c->n > 1) {
		apply_dnsbl(v, c, false);
	} else if (str_is(name, "enhdnsbl") && c->n > 1) {
		apply_dnsbl(v, c, true);
	} else if (str_is(name, "greet_pause") && c->n > 1 &&
	    str_to_uint(c->args[1], 0, 3600000, &ms)) {
		v->greet_pause = (long)ms;
	}
}

static void
apply_define(struct access_variant *v, const struct call *c)
{
	if (c->n < 2)
		return;
	if (str_is(c->args[0], "confREJECT_MSG")) {
		free(v->reject_text);
		v->reject_text = text_arg(c->args[1]);
		v->rules.reject_text = v->reject_text;
	}
	if (str_is(c->args[0], "confUSE_COMPRESSED_IPV6_ADDRESSES"))
		v->compressed = str_is_nocase(c->args[1], "true");
}

static void
variant_read(struct access_env *e, size_t row, struct access_variant *v)
{
	struct str rest = str_of(access_table_get(&e->variant_table, row, "m4"));
	struct call call;

	v->name = xstrdup(access_table_get(&e->variant_table, row, "variant"));
	v->rules.classes = (struct access_classes){ .local = as_names(&e->local),
		.relay = as_names(&e->relay),
		.host = e->host,
		.domain = e->domain,
		.canonical = canonical,
		.canonical_arg = e };
	while (m4_call(&rest, &call)) {
		if (str_is(call.name, "FEATURE") && call.n > 0)
			apply_feature(v, &call);
		else if (str_is(call.name, "define"))
			apply_define(v, &call);
	}
}

const struct access_variant *
access_env_variant(const struct access_env *e, const char *name)
{
	for (size_t i = 0; i < e->n_variants; i++)
		if (strcmp(e->variants[i].name, name) == 0)
			return &e->variants[i];
	return NULL;
}

/* ---- the folder ---- */

static void
read_classes(struct access_env *e)
{
	for (size_t i = 0; i < e->classes.n_rows; i++) {
		const char *name = access_table_get(&e->classes, i, "class");
		const char *members = access_table_get(&e->classes, i, "members");
		struct names *class = strcmp(name, "w") == 0 ? &e->local
		    : strcmp(name, "R") == 0                 ? &e->relay
							     : NULL;

		if (class != NULL)
			add_words(class, members);
		else if (strcmp(name, "j") == 0)
			e->host = members;
		else if (strcmp(name, "m") == 0)
			e->domain = members;
	}
}

struct access_env *
access_env_read(const char *dir, struct err *err)
{
	struct access_env *e = xcalloc(1, sizeof(*e));

	e->hosts = access_file_read(dir, "env/hosts", err);
	if (e->hosts == NULL ||
	    access_table_read(dir, "env/classes.tsv", &e->classes, err) != 0 ||
	    access_table_read(dir, "env/dns.tsv", &e->dns, err) != 0 ||
	    access_table_read(dir, "env/variants.tsv", &e->variant_table, err) != 0) {
		access_env_free(e);
		return NULL;
	}
	read_classes(e);
	for (size_t i = 0; i < e->variant_table.n_rows && e->n_variants < VARIANTS_MAX;
	     i++)
		variant_read(e, i, &e->variants[e->n_variants++]);
	return e;
}

static void
names_clear(struct names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->list[i]);
}

void
access_env_free(struct access_env *e)
{
	if (e == NULL)
		return;
	for (size_t i = 0; i < e->n_variants; i++) {
		struct access_variant *v = &e->variants[i];
		free(v->name);
		free(v->reject_text);
		free(v->dnsbl_zone);
		free(v->dnsbl_action);
		free(v->dnsbl_code);
	}
	names_clear(&e->local);
	names_clear(&e->relay);
	access_table_clear(&e->classes);
	access_table_clear(&e->dns);
	access_table_clear(&e->variant_table);
	free(e->hosts);
	free(e);
}
