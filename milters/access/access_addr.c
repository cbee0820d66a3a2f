/* SPDX-License-Identifier: BSD-2-Clause */
/* sendmail's canonical form of an address, as far as its access checks depend on it:
 * the focus on a domain (last '@', else the first '!', else the last '%'), syntax that
 * is refused before any check, own names made one, routes through them peeled. */
#include "milters/access/access_addr.h"

#include <stdio.h>
#include <string.h>

static bool
in_names(const struct access_names *names, struct str name)
{
	for (size_t i = 0; i < names->n; i++)
		if (str_is_nocase(name, names->list[i]))
			return true;
	return false;
}

bool
access_is_local(const struct access_classes *c, struct str domain)
{
	return in_names(&c->local, domain);
}

bool
access_is_below(struct str name, struct str top)
{
	if (top.len == 0 || !str_ends_nocase(name, top))
		return false;
	return name.len == top.len || name.p[name.len - top.len - 1] == '.';
}

bool
access_is_relayed(const struct access_classes *c, struct str domain, bool exact)
{
	if (exact)
		return in_names(&c->relay, domain);
	for (size_t i = 0; i < c->relay.n; i++)
		if (access_is_below(domain, str_of(c->relay.list[i])))
			return true;
	return false;
}

bool
access_addr_is_relayed(const struct access_classes *c, struct str addr)
{
	for (size_t i = 0; i < c->relay.n; i++) {
		struct str entry = str_of(c->relay.list[i]);
		if (entry.len > 0 && str_starts_nocase(addr, entry) &&
		    (addr.len == entry.len || addr.p[entry.len] == '.' ||
			addr.p[entry.len] == ':'))
			return true;
	}
	return false;
}

/* An address on its way through the rules. */
struct work {
	const struct access_classes *classes;
	struct access_routes routes;
	struct access_addr *out;
	struct verdict *refusal;
};

static int
refuse(struct work *w, const char *enhanced, const char *text)
{
	*w->refusal = verdict_refuse(553, enhanced, "syntax", "%s", text);
	return -1;
}

static bool
is_route(struct access_routes routes, char c)
{
	return c == '@' || (c == '!' && routes.bang) || (c == '%' && routes.percent);
}

/* Index of the first (last) octet c that is not inside quotes, or -1. */
static ptrdiff_t
bare_index(struct str s, char c, bool last)
{
	ptrdiff_t found = -1;
	bool quoted = false;

	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '\\' && i + 1 < s.len)
			i++;
		else if (s.p[i] == '"')
			quoted = !quoted;
		else if (s.p[i] == c && !quoted) {
			found = (ptrdiff_t)i;
			if (!last)
				break;
		}
	}
	return found;
}

/* "@a,@b:u@c" is u@c.  The colon of an address literal does not count. */
static struct str
without_source_route(struct str s)
{
	while (s.len > 0 && s.p[0] == '@') {
		size_t i = 1;
		bool bracket = false;

		for (; i < s.len && (bracket || s.p[i] != ':'); i++)
			bracket = s.p[i] == '[' || (bracket && s.p[i] != ']');
		if (i >= s.len)
			break;
		s = str_sub(s, i + 1, s.len);
	}
	return s;
}

/* Find local part and domain.  Both borrow from s; *suffix goes behind the domain. */
static void
focus(const struct work *w, struct str s, struct str *local, struct str *domain,
    const char **suffix)
{
	ptrdiff_t at = bare_index(s, '@', true);

	*suffix = "";
	*local = s;
	*domain = (struct str){ s.p, 0 };
	if (at >= 0) {
		*local = str_sub(s, 0, (size_t)at);
		*domain = str_sub(s, (size_t)at + 1, s.len);
		return;
	}
	at = w->routes.bang ? bare_index(s, '!', false) : -1;
	if (at > 0 && (size_t)at + 1 < s.len) {
		*domain = str_sub(s, 0, (size_t)at);
		*local = str_sub(s, (size_t)at + 1, s.len);
		if (!str_has(*domain, '.'))
			*suffix = ".uucp";
		return;
	}
	at = w->routes.percent ? bare_index(s, '%', true) : -1;
	if (at > 0 && (size_t)at + 1 < s.len) {
		*local = str_sub(s, 0, (size_t)at);
		*domain = str_sub(s, (size_t)at + 1, s.len);
	}
}

static bool
has_double_dot(struct str s)
{
	for (size_t i = 1; i < s.len; i++)
		if (s.p[i] == '.' && s.p[i - 1] == '.')
			return true;
	return false;
}

/* Octets that stand in an unquoted local part without ado. */
static bool
is_plain(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7f ||
		    memchr("@%!\"\\<>(),;:[]", s.p[i], 15))
			return false;
	return s.len > 0;
}

/* The inside of "...", when the whole is one quoted string without escapes. */
static bool
unquoted(struct str s, struct str *inside)
{
	if (s.len < 3 || s.p[0] != '"' || s.p[s.len - 1] != '"')
		return false;
	*inside = str_sub(s, 1, s.len - 1);
	return !str_has(*inside, '"') && !str_has(*inside, '\\');
}

static void
copy(char out[ACCESS_ADDR_MAX + 1], struct str s, const char *suffix)
{
	snprintf(out, ACCESS_ADDR_MAX + 1, "%.*s%s", (int)s.len, s.p, suffix);
}

/* Our own names are one (j); others as DNS has them. */
static void
own_domain(struct work *w)
{
	const struct access_classes *c = w->classes;
	struct access_addr *a = w->out;
	struct str d = str_of(a->domain);
	const char *name = NULL;
	char local_domain[ACCESS_ADDR_MAX + 16];

	snprintf(local_domain, sizeof(local_domain), "localhost.%s",
	    c->domain != NULL ? c->domain : "");
	if (str_is_nocase(d, "localhost") || str_is_nocase(d, local_domain) ||
	    (d.len > 0 && d.p[0] == '[' && access_is_local(c, d)))
		name = c->host;
	else if (d.len > 0 && d.p[0] != '[' && c->canonical != NULL)
		name = c->canonical(c->canonical_arg, a->domain);
	if (name != NULL && strlen(name) <= ACCESS_ADDR_MAX)
		copy(a->domain, str_of(name), "");
}

/* One round: s becomes local part and domain.  1: the local part of one of our own
 * domains is a route; it stands in a->local and wants another round. */
static int
round_of(struct work *w, struct str s)
{
	struct access_addr *a = w->out;
	struct str local, domain, inside;
	const char *suffix;
	char keep[ACCESS_ADDR_MAX + 1];

	copy(keep, without_source_route(s), "");
	s = str_of(keep);
	focus(w, s, &local, &domain, &suffix);
	bool qualified = local.len != s.len;
	if (qualified && local.len == 0 && domain.len == 0)
		return refuse(
		    w, "5.1.3", "List:; syntax illegal for recipient addresses");
	if (local.len == 0)
		return refuse(w, "5.1.3", "User address required");
	if (qualified && domain.len == 0)
		return refuse(w, "5.1.3", "Hostname required");
	if (domain.len > 1 && domain.p[domain.len - 1] == '.')
		domain.len--;
	if ((domain.len > 0 && domain.p[0] == '.') || has_double_dot(domain))
		return refuse(w, "5.1.2", "Invalid host name");
	if (qualified && bare_index(local, '@', false) >= 0)
		return refuse(w, "5.1.3", "Invalid route address");
	copy(a->domain, domain, suffix);
	if (a->typed_domain[0] == '\0')
		copy(a->typed_domain, domain, suffix);
	own_domain(w);
	bool ours =
	    a->domain[0] == '\0' || access_is_local(w->classes, str_of(a->domain));
	if (unquoted(local, &inside) && (ours || is_plain(inside)))
		local = inside;
	copy(a->local, local, "");
	return ours && access_addr_is_routed(a, w->routes) ? 1 : 0;
}

static int
rounds(struct work *w, struct str s)
{
	char text[ACCESS_ADDR_MAX + 1];
	int more;

	/* Each round takes at least one octet away. */
	while ((more = round_of(w, s)) == 1) {
		copy(text, str_of(w->out->local), "");
		if (strlen(text) >= s.len)
			return 0;
		s = str_of(text);
	}
	return more;
}

bool
access_addr_is_routed(const struct access_addr *a, struct access_routes routes)
{
	if (a->local[0] == '"')
		return false;
	for (const char *p = a->local; *p != '\0'; p++)
		if (is_route(routes, *p))
			return true;
	return false;
}

void
access_addr_dequote(struct access_addr *a)
{
	struct str inside;
	char text[ACCESS_ADDR_MAX + 1];

	if (!unquoted(str_of(a->local), &inside))
		return;
	copy(text, inside, "");
	copy(a->local, str_of(text), "");
}

int
access_addr_parse(const struct access_classes *c, struct access_routes routes,
    struct str path, struct access_addr *out, struct verdict *refusal)
{
	struct work w = { c, routes, out, refusal };

	memset(out, 0, sizeof(*out));
	path = str_trim(path);
	if (path.len >= 2 && path.p[0] == '<' && path.p[path.len - 1] == '>')
		path = str_sub(path, 1, path.len - 1);
	if (path.len > ACCESS_ADDR_MAX - 8 || memchr(path.p, '\0', path.len) != NULL)
		return refuse(&w, "5.1.3", "Address too long or malformed");
	copy(out->given, path, "");
	if (path.len == 0) {
		out->null = true;
		return 0;
	}
	return rounds(&w, path);
}

int
access_addr_peel(const struct access_classes *c, struct access_routes routes,
    const struct access_addr *from, struct access_addr *out, struct verdict *refusal)
{
	struct work w = { c, routes, out, refusal };
	char inner[ACCESS_ADDR_MAX + 1];

	copy(inner, str_of(from->local), "");
	memset(out, 0, sizeof(*out));
	copy(out->given, str_of(from->given), "");
	return rounds(&w, str_of(inner));
}
