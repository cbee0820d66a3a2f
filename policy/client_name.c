/* SPDX-License-Identifier: BSD-2-Clause */
/* Weighs the evidence of client_name.h; how an address can hide in a name is
 * client_name_address.c's. */
#include "policy/client_name.h"

#include "policy/client_name_private.h"

enum {
	WORD_CERTAIN = 1 << 0,
	WORD_ZONE = 1 << 1,
	WORD_MAIL = 1 << 2,
	WORD_MAIL_ZONE = 1 << 3, /* a label for mail behind all digits */
	WORD_DIGIT = 1 << 4,
	WORD_CARD = 1 << 5, /* 12 hexadecimal digits */
};

/* How a list's word must stand in a run of letters. */
enum how { WHOLE_RUN, AT_START, AT_END, ANYWHERE };
struct word {
	const char *text;
	enum how how;
};

static const struct word certain[] = {
	{ "dyn", WHOLE_RUN }, { "dynamic", ANYWHERE }, { "dynip", AT_START },
	{ "dynpool", AT_START }, { "dynhost", AT_START }, { "dhcp", ANYWHERE },
	{ "dsl", AT_END }, { "dsl", AT_START }, { "ppp", AT_START },
	{ "dial", AT_START }, { "dialup", AT_END }, { "dialin", AT_END },
	{ "cable", AT_START }, { "cable", AT_END }, { "catv", ANYWHERE },
	{ "broadband", ANYWHERE }, { "bband", WHOLE_RUN }, { "fttx", AT_START },
	{ "ftth", AT_START }, { "fttb", AT_START }, { "fttc", AT_START },
	{ "fttp", AT_START }, { "gpon", AT_START }, { "epon", AT_START },
	{ "pon", WHOLE_RUN }, { "cpe", WHOLE_RUN }, { "cpc", WHOLE_RUN },
	{ "hfc", WHOLE_RUN }, { "docsis", ANYWHERE }, { "modem", ANYWHERE },
	{ "dip", WHOLE_RUN }, { "gprs", ANYWHERE }, { "umts", ANYWHERE },
	{ "hsdpa", ANYWHERE }, { "lte", WHOLE_RUN }, { "wimax", ANYWHERE },
	{ "isdn", ANYWHERE }, { "cgn", AT_START }, { "resnet", ANYWHERE },
	{ "residential", ANYWHERE }, { "subscriber", ANYWHERE },
	{ "unassigned", WHOLE_RUN }, { "unallocated", WHOLE_RUN },
	{ "unused", WHOLE_RUN },
	/* one domain for thousands of tenants */
	{ "vps", WHOLE_RUN }, { "vds", WHOLE_RUN }, { "vmi", WHOLE_RUN },
	{ "kvm", WHOLE_RUN }, { "droplet", ANYWHERE },
};

/* Labels of their own, behind the host's. */
static const char *const zones[] = { "cust", "custs", "customer", "customers", "client",
	"clients", "user", "users", "subs", "sub", "home", "homes", "res", "resi", "retail",
	"mobile", "mob", "wifi", "wlan", "wireless", "hotspot", "guest", "nat", "vpn",
	"static", "sta", "fixed", "ip", "ips", "ipv4", "ipv6", "ip4", "ip6", "rev",
	"revip", "reverse", "vps", "vds", "vm", "vms", "kvm", "dedicated", "colo",
	"business", "biz", "internet", "access", "telecom", "fiber", "fibre", "fib" };

static const struct word mail[] = {
	{ "mail", ANYWHERE }, { "smtp", ANYWHERE }, { "mta", AT_START },
	{ "mta", AT_END }, { "mx", AT_START }, { "mx", AT_END }, { "mout", AT_START },
	{ "out", WHOLE_RUN }, { "outbound", ANYWHERE }, { "outgoing", ANYWHERE },
	{ "relay", ANYWHERE }, { "sender", ANYWHERE }, { "send", AT_START },
	{ "bounce", AT_START }, { "newsletter", ANYWHERE }, { "delivery", ANYWHERE },
	{ "smarthost", ANYWHERE }, { "msa", WHOLE_RUN }, { "post", WHOLE_RUN },
};

static bool
word_is(const struct word *w, struct str run)
{
	struct str text = str_of(w->text);

	if (run.len < text.len)
		return false;
	switch (w->how) {
	case WHOLE_RUN:
		return str_eq(run, text);
	case AT_START:
		return str_starts(run, text);
	case AT_END:
		return str_eq(str_sub(run, run.len - text.len, run.len), text);
	case ANYWHERE:
		for (size_t i = 0; i + text.len <= run.len; i++)
			if (str_starts(str_sub(run, i, run.len), text))
				return true;
		break;
	}
	return false;
}

static bool
any_word(const struct word *list, size_t n, struct str run)
{
	for (size_t i = 0; i < n; i++)
		if (word_is(&list[i], run))
			return true;
	return false;
}

#define ANY(list, run) any_word(list, sizeof(list) / sizeof((list)[0]), run)

/* The next run of letters. */
static bool
letters(struct str *rest, struct str *run)
{
	size_t from = 0, to;

	while (from < rest->len && !ascii_alpha(rest->p[from]))
		from++;
	to = from;
	while (to < rest->len && ascii_alpha(rest->p[to]))
		to++;
	*run = str_sub(*rest, from, to);
	*rest = str_sub(*rest, to, rest->len);
	return run->len > 0;
}

static bool
has_mail(struct str label)
{
	struct str run;

	while (letters(&label, &run))
		if (ANY(mail, run))
			return true;
	return false;
}

static bool
has_certain(struct str label)
{
	struct str run;

	while (letters(&label, &run))
		/* Microsoft's product is no dynamic address */
		if (ANY(certain, run) && !str_is(run, "dynamics"))
			return true;
	return false;
}

static bool
has_digit(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (ascii_digit(s.p[i]))
			return true;
	return false;
}

/* Digits and letters mixed, 12 in a row, dashes aside: the number of a network card. */
static bool
has_card(struct str label)
{
	size_t n = 0, digits = 0, alpha = 0, i;

	for (i = 0; i < label.len; i++) {
		char c = label.p[i];

		if (c == '-')
			continue;
		if (!ascii_digit(c) && !(c >= 'a' && c <= 'f')) {
			if (n == 12 && digits > 2 && alpha > 0)
				return true;
			n = digits = alpha = 0;
			continue;
		}
		n++;
		digits += ascii_digit(c);
		alpha += !ascii_digit(c);
	}
	return n == 12 && digits > 2 && alpha > 0;
}

static bool
is_zone(struct str label)
{
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
		if (str_is(label, zones[i]))
			return true;
	return false;
}

/* The words of the labels before the organisation's, and whether its own speaks of mail.
 */
static unsigned
words_of(const struct client_name *name)
{
	struct str rest = str_sub(name->labels, 0, name->head), label;
	unsigned words = 0;

	for (bool first = true; str_cut(&rest, '.', &label); first = false) {
		words |= has_certain(label) ? WORD_CERTAIN : 0;
		words |= !first && is_zone(label) ? WORD_ZONE : 0;
		words |= has_card(label) ? WORD_CARD : 0;
		if (has_digit(label)) {
			words &= ~(unsigned)WORD_MAIL_ZONE;
			words |= WORD_DIGIT;
		} else if (!first && has_mail(label)) {
			words |= WORD_MAIL_ZONE;
		}
		words |= has_mail(label) ? WORD_MAIL : 0;
	}
	if (has_mail(str_sub(name->labels, name->head, name->labels.len)))
		words |= WORD_MAIL;
	return words;
}

bool
client_name_generated(struct str name, struct str organisation, const struct ip *ip)
{
	struct client_name n = { .head = 0 };
	ptrdiff_t dot = str_index(organisation, '.');
	size_t len = name.len < organisation.len ? 0 : name.len - organisation.len;

	/* everything up to the public suffix: 1-2-3-4.compute.example with
	 * compute.example as a suffix has it all in the organisation's own label */
	n.head = len < sizeof(n.text) ? len : sizeof(n.text);
	len += dot < 0 ? organisation.len : (size_t)dot;
	len = len < sizeof(n.text) ? len : sizeof(n.text);
	for (size_t i = 0; i < len && i < name.len; i++)
		n.text[i] = ascii_lower(name.p[i]);
	n.labels = (struct str){ n.text, len < name.len ? len : name.len };
	unsigned words = words_of(&n);
	enum client_name_has has = client_name_address(&n, ip);
	bool customer = (words & (WORD_CERTAIN | WORD_ZONE)) != 0;

	if (has != CLIENT_NAME_NOTHING && customer)
		return true;
	if (has == CLIENT_NAME_WHOLE)
		return (words & WORD_MAIL_ZONE) == 0;
	if (has == CLIENT_NAME_PART)
		return (words & WORD_MAIL) == 0;
	if ((words & WORD_MAIL) != 0)
		return false;
	return (words & (WORD_CERTAIN | WORD_CARD)) != 0 ||
	    ((words & WORD_ZONE) != 0 && (words & WORD_DIGIT) != 0);
}

bool
client_name_has_address(struct str name, const struct ip *ip)
{
	struct client_name n = { .head = 0 };

	n.head = name.len < sizeof(n.text) ? name.len : sizeof(n.text);
	for (size_t i = 0; i < n.head; i++)
		n.text[i] = ascii_lower(name.p[i]);
	n.labels = (struct str){ n.text, n.head };
	return client_name_address(&n, ip) == CLIENT_NAME_WHOLE;
}
