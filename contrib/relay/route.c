/* SPDX-License-Identifier: BSD-2-Clause */
/* Routes as text: sendmail's mailertable read as sendmail 8.17 reads it (cf/README,
 * "error:" with and without codes), and the order in which keys are looked up. */
#include "contrib/relay/route.h"

#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/ip.h"
#include "common/mail/address.h"
#include "common/mail/smtp_reply.h"

static const char *const mailers[] = { "esmtp", "smtp", "relay", "smtp8", "dsmtp" };

static void
set_text(char *out, size_t size, struct str s)
{
	snprintf(out, size, "%.*s", STR_ARG(str_sub(s, 0, size - 1)));
}

/* "D.S.N" and nothing else. */
static bool
is_enhanced(struct str s)
{
	struct str code, rest;

	return s.len > 0 && s.p[0] >= '2' && s.p[0] <= '5' &&
	    smtp_reply_enhanced((s.p[0] - '0') * 100, s, &code, &rest) &&
	    code.len == s.len && s.len < sizeof(((struct route *)NULL)->enhanced);
}

/* "550 text" or "450 text"; *s = the text. */
static bool
take_code(struct str *s, int *code)
{
	uint64_t n;

	if (s->len < 3 || (s->len > 3 && s->p[3] != ' ') ||
	    !str_to_uint(str_sub(*s, 0, 3), 400, 599, &n))
		return false;
	*code = (int)n;
	*s = str_trim(str_sub(*s, 3, s->len));
	return true;
}

/* The word in front of the text: a code of RFC 3463 or the name of an exit status; only
 * the first means something here, the SMTP code says the rest. */
static struct str
take_front(struct str *s)
{
	ptrdiff_t colon = str_index(*s, ':');
	struct str front = colon < 0 ? STR("") : str_sub(*s, 0, (size_t)colon);

	if (front.len == 0 || str_has(front, ' ') || str_has(front, '"'))
		return STR("");
	*s = str_trim(str_sub(*s, (size_t)colon + 1, s->len));
	return front;
}

static int
parse_error(struct str s, struct route *out)
{
	struct str front, enhanced, rest;

	front = take_front(&s);
	if (s.len >= 2 && s.p[0] == '"' && s.p[s.len - 1] == '"')
		s = str_trim(str_sub(s, 1, s.len - 1));
	out->kind = ROUTE_ERROR;
	if (!take_code(&s, &out->code)) {
		/* As sendmail: without an SMTP code the code in front does not count.
		 */
		out->code = 553;
		set_text(out->enhanced, sizeof(out->enhanced), STR("5.3.0"));
		set_text(out->text, sizeof(out->text), s);
		return 0;
	}
	set_text(out->enhanced, sizeof(out->enhanced),
	    out->code < 500 ? STR("4.0.0") : STR("5.0.0"));
	if (is_enhanced(front) && front.p[0] - '0' == out->code / 100)
		set_text(out->enhanced, sizeof(out->enhanced), front);
	if (smtp_reply_enhanced(out->code, s, &enhanced, &rest)) {
		set_text(out->enhanced, sizeof(out->enhanced), enhanced);
		s = rest;
	}
	set_text(out->text, sizeof(out->text), s);
	return 0;
}

/* "host", "[host]", "[192.0.2.1]", each with ":port" behind it. */
static int
parse_host(struct str s, struct route *out, struct err *err)
{
	ptrdiff_t close = str_rindex(s, ']'), colon = str_rindex(s, ':');
	bool bracket = s.len > 0 && s.p[0] == '[';
	struct ip ip;
	uint64_t port = ROUTE_PORT;

	if (bracket && close < 0)
		return err_set(err, "\"[\" without \"]\"");
	if (colon > close) {
		struct str digits = str_sub(s, (size_t)colon + 1, s.len);

		if (!str_to_uint(digits, 1, 65535, &port))
			return err_set(err,
			    "expected a port number 1 to 65535 behind the "
			    "host (lists of hosts are not taken), found \"%.*s\"",
			    STR_ARG(str_sub(digits, 0, 60)));
		s = str_sub(s, 0, (size_t)colon);
	}
	if (bracket && s.p[s.len - 1] != ']')
		return err_set(err, "expected \":port\" or nothing behind \"]\"");
	out->port = (uint16_t)port;
	out->kind = bracket ? ROUTE_HOST : ROUTE_MX;
	if (bracket)
		s = str_sub(s, 1, s.len - 1);
	if (bracket && ip_parse(s, &ip)) {
		ip_format(&ip, out->host);
		return 0;
	}
	if (str_has(s, '@'))
		return err_set(err, "a user in front of the host is not taken");
	if (s.len == 0 || s.len >= sizeof(out->host) || !address_domain_ok(s))
		return err_set(err, "expected a host name, found \"%.*s\"",
		    STR_ARG(str_sub(s, 0, 60)));
	set_text(out->host, sizeof(out->host), s);
	return 0;
}

/* *s behind "mailer:" of SMTP; false: none stands there. */
static bool
take_mailer(struct str *s)
{
	for (size_t i = 0; i < sizeof(mailers) / sizeof(mailers[0]); i++) {
		size_t len = strlen(mailers[i]);

		if (s->len > len && s->p[len] == ':' &&
		    str_starts_nocase(*s, str_of(mailers[i]))) {
			*s = str_trim(str_sub(*s, len + 1, s->len));
			return true;
		}
	}
	return false;
}

int
route_parse(struct str value, struct route *out, struct err *err)
{
	*out = (struct route){ .port = ROUTE_PORT };
	value = str_trim(value);
	if (str_starts_nocase(value, STR("error:")))
		return parse_error(str_trim(str_sub(value, 6, value.len)), out);
	if (str_starts_nocase(value, STR("local:")))
		return err_set(err, "mailer \"local\": this relay has no mailboxes");
	take_mailer(&value);
	return parse_host(value, out, err);
}

bool
route_check(const struct map_entry *e, const char *file, struct errs *errs)
{
	struct route r;
	struct err err;
	struct str value = str_trim(e->value);
	bool error = str_starts_nocase(value, STR("error:"));

	if (!error && !str_starts_nocase(value, STR("local:")) &&
	    !take_mailer(&value)) {
		errs_add(errs, file, e->line,
		    "expected esmtp:, smtp:, relay: or error: in front, found \"%.*s\"",
		    STR_ARG(str_sub(e->value, 0, 60)));
		return false;
	}
	/* What "%1" becomes is known only with a domain; a name stands in for it. */
	if (str_has(value, '%') && !error)
		return true;
	if (route_parse(e->value, &r, &err) == 0)
		return true;
	errs_add(errs, file, e->line, "%s", err.text);
	return false;
}

/* The value with "%1" replaced by what the key did not match. */
static int
parse_with(struct str value, struct str matched, struct route *out)
{
	struct buf b;
	struct err err;

	buf_init(&b, 4096);
	for (size_t i = 0; i < value.len; i++) {
		if (value.p[i] == '%' && i + 1 < value.len && value.p[i + 1] == '1') {
			buf_add_str(&b, matched);
			i++;
		} else {
			buf_add_char(&b, value.p[i]);
		}
	}
	int rc = b.failed ? -1 : route_parse(buf_str(&b), out, &err);
	buf_clear(&b);
	return rc;
}

/* The entry for a domain; *matched = what its key leaves. */
static const struct map_entry *
look_up(const struct map_table *t, struct str domain, struct str *matched)
{
	const struct map_entry *e = map_get(t, domain);

	*matched = STR("");
	for (size_t i = 1; e == NULL && i < domain.len; i++)
		if (domain.p[i] == '.') {
			e = map_get(t, str_sub(domain, i, domain.len));
			*matched = str_sub(domain, 0, i);
		}
	if (e != NULL)
		return e;
	*matched = domain;
	return map_get(t, STR("."));
}

static void
to_itself(struct str domain, struct route *out)
{
	struct ip ip;

	*out = (struct route){ .kind = ROUTE_NONE, .port = ROUTE_PORT };
	if (domain.len == 0 || domain.len >= sizeof(out->host))
		return;
	/* RFC 5321 4.1.3: an address literal is the host. */
	if (domain.p[0] == '[') {
		if (!ip_parse(domain, &ip))
			return;
		ip_format(&ip, out->host);
		out->kind = ROUTE_HOST;
		return;
	}
	set_text(out->host, sizeof(out->host), domain);
	out->kind = ROUTE_MX;
}

void
route_find(const struct map_table *mailertable, struct str smarthost, struct str domain,
    struct route *out)
{
	struct str matched;
	const struct map_entry *e;
	struct err err;

	if (domain.len > 1 && domain.p[domain.len - 1] == '.')
		domain.len--;
	if (mailertable != NULL && domain.len > 0) {
		e = look_up(mailertable, domain, &matched);
		/* A value that only the domain makes wrong counts as none. */
		if (e != NULL && parse_with(e->value, matched, out) == 0)
			return;
	}
	if (smarthost.len > 0 && route_parse(smarthost, out, &err) == 0)
		return;
	to_itself(domain, out);
}

void
route_find_address(const struct map_table *mailertable, struct str smarthost,
    struct str address, struct route *out)
{
	ptrdiff_t at = str_rindex(address, '@');

	route_find(mailertable, smarthost,
	    at < 0 ? STR("") : str_sub(address, (size_t)at + 1, address.len), out);
}
