/* SPDX-License-Identifier: BSD-2-Clause */
/* Relaying: our domains as a sorted list, our clients as networks.  Exact match or
 * ".domain" only: no suffix match that "notlocal.example" could slip through. */
#include "contrib/relay/relaying.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"

#define DOMAINS_FILE_LINES_MAX 1000000

struct relaying {
	char **domains; /* lower case, sorted */
	size_t n_domains, cap;
	struct ipnet *clients;
	size_t n_clients;
};

static int
compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
add_domain(
    struct relaying *r, struct str text, const char *file, int line, struct errs *errs)
{
	struct str name = text;

	if (name.len > 0 && name.p[0] == '.')
		name = str_sub(name, 1, name.len);
	if (!address_domain_ok(name)) {
		errs_add(errs, file, line,
		    "expected a domain, .domain or [address], not \"%.*s\"",
		    (int)(text.len < 100 ? text.len : 100), text.p);
		return;
	}
	if (r->n_domains == r->cap) {
		r->cap = r->cap == 0 ? 16 : r->cap * 2;
		r->domains = xreallocarray(r->domains, r->cap, sizeof(*r->domains));
	}
	r->domains[r->n_domains++] = str_dup_lower(text);
}

static void
read_file(struct relaying *r, const char *path, struct errs *errs)
{
	FILE *f = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;
	ssize_t len;
	int line = 0;

	if (f == NULL) {
		errs_add(errs, path, 0, "cannot read: %s", strerror(errno));
		return;
	}
	while ((len = getline(&text, &size, f)) >= 0 && line < DOMAINS_FILE_LINES_MAX) {
		struct str rest = { text, (size_t)len }, word, more;

		line++;
		if (!str_cut(&rest, '#', &word) || !str_word(&word, &more))
			continue;
		add_domain(r, more, path, line, errs);
		if (str_trim(word).len > 0)
			errs_add(errs, path, line, "expected one domain a line");
	}
	if (ferror(f))
		errs_add(errs, path, line, "cannot read: %s", strerror(errno));
	free(text);
	(void)fclose(f);
}

struct relaying *
relaying_new(const struct conf_strings *domains, const char *file,
    const struct conf_nets *clients, struct errs *errs)
{
	struct relaying *r = xcalloc(1, sizeof(*r));
	size_t before = errs->n + errs->dropped;

	for (size_t i = 0; domains != NULL && i < domains->n; i++)
		add_domain(r, str_of(domains->list[i]), NULL, 0, errs);
	if (file != NULL && file[0] != '\0')
		read_file(r, file, errs);
	if (clients != NULL && clients->n > 0) {
		r->clients = xreallocarray(NULL, clients->n, sizeof(*r->clients));
		memcpy(r->clients, clients->list, clients->n * sizeof(*r->clients));
		r->n_clients = clients->n;
	}
	if (r->n_domains > 0)
		qsort(r->domains, r->n_domains, sizeof(*r->domains), compare);
	if (errs->n + errs->dropped > before) {
		relaying_free(r);
		return NULL;
	}
	return r;
}

void
relaying_free(struct relaying *r)
{
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->n_domains; i++)
		free(r->domains[i]);
	free(r->domains);
	free(r->clients);
	free(r);
}

static bool
listed(const struct relaying *r, const char *name)
{
	return r->n_domains > 0 &&
	    bsearch(&name, r->domains, r->n_domains, sizeof(*r->domains), compare) !=
	    NULL;
}

bool
relaying_domain(const struct relaying *r, struct str domain)
{
	char *name = str_dup_lower(domain);
	bool found = memchr(name, '\0', domain.len) == NULL && listed(r, name);

	for (char *p = name; !found && domain.len > 0 && (p = strchr(p, '.')) != NULL;
	     p++)
		found = p > name && listed(r, p);
	free(name);
	return found;
}

bool
relaying_client(const struct relaying *r, const struct ip *client)
{
	for (size_t i = 0; i < r->n_clients; i++)
		if (client->family != 0 && ipnet_contains(&r->clients[i], client))
			return true;
	return false;
}

/* An inner host may read more than we do into these: sendmail's %-hack and UUCP paths.
 */
static bool
routes_further(struct str local)
{
	char plain[ADDRESS_MAX];
	size_t len;

	if (!address_local_unquote(local, plain, sizeof(plain), &len))
		return true;
	for (size_t i = 0; i < len; i++)
		if (strchr("%!@:", plain[i]) != NULL) /* finds NUL, too */
			return true;
	return false;
}

struct verdict
relaying_check(const struct relaying *r, const struct ip *client, struct str path,
    const struct address *rcpt)
{
	if (rcpt->domain.len == 0 && str_is_nocase(rcpt->local, "postmaster"))
		return verdict_continue("postmaster");
	if (rcpt->domain.len == 0)
		return verdict_refuse(553, "5.1.3", "unqualified",
		    "the recipient needs a domain: user@domain");
	if (relaying_client(r, client))
		return verdict_continue("client");
	if (str_starts(path, STR("<@")))
		return verdict_refuse(
		    550, "5.7.1", "relaying", "relaying denied: no source routes");
	if (!relaying_domain(r, rcpt->domain))
		return verdict_refuse(550, "5.7.1", "relaying",
		    "relaying denied: this host takes no mail for that domain from "
		    "you");
	if (routes_further(rcpt->local))
		return verdict_refuse(550, "5.7.1", "relaying",
		    "relaying denied: no %% ! @ : before the domain");
	return verdict_continue("domain");
}
