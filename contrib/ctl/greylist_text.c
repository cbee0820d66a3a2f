/* SPDX-License-Identifier: BSD-2-Clause */
/* Text of greylist_text.h.  What is read may come from anywhere: another host, an
 * editor. */
#include "contrib/ctl/greylist_text.h"

#include <inttypes.h>

static const struct {
	const char *name;
	char letter;
} kinds[] = {
	{ "spf", GREYLIST_BY_SPF },
	{ "helo", GREYLIST_BY_HELO },
	{ "name", GREYLIST_BY_NAME },
	{ "network", GREYLIST_BY_NETWORK },
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

void
greylist_entry_client(struct greylist_entry *e, struct str client)
{
	struct str fits = str_sub(client, 0, sizeof(e->client));

	if (fits.len > 0)
		memcpy(e->client, fits.p, fits.len);
	e->entry.client = (struct str){ e->client, fits.len };
}

static size_t
part_add(char *key, size_t at, struct str part)
{
	key[at++] = (char)(part.len >> 8);
	key[at++] = (char)(part.len & 0xff);
	if (part.len > 0)
		memcpy(key + at, part.p, part.len);
	return at + part.len;
}

void
greylist_entry_key(struct greylist_entry *e, struct str sender, struct str recipient)
{
	size_t at = part_add(e->key, 0, e->entry.client);

	at = part_add(e->key, at, str_sub(sender, 0, ADDRESS_MAX));
	at = part_add(e->key, at, str_sub(recipient, 0, ADDRESS_MAX));
	e->entry.key = (struct str){ e->key, at };
}

bool
greylist_key_parts(struct str key, struct str part[3])
{
	for (int i = 0; i < 3; i++) {
		if (key.len < 2)
			return false;
		size_t len = (size_t)(uint8_t)key.p[0] << 8 | (uint8_t)key.p[1];
		if (len > key.len - 2)
			return false;
		part[i] = str_sub(key, 2, 2 + len);
		key = str_sub(key, 2 + len, key.len);
	}
	return key.len == 0;
}

/* --- writing --- */

static void
octets_text(struct buf *out, struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c <= ' ' || c >= 0x7f || c == '\\')
			buf_addf(out, "\\x%02x", c);
		else
			buf_add_char(out, s.p[i]);
	}
}

void
greylist_client_text(struct buf *out, struct str client)
{
	for (size_t i = 0; i < N_KINDS; i++)
		if (client.len > 0 && client.p[0] == kinds[i].letter) {
			buf_addf(out, "%s:", kinds[i].name);
			octets_text(out, str_sub(client, 1, client.len));
			return;
		}
	octets_text(out, client);
}

void
greylist_address_text(struct buf *out, struct str address)
{
	if (address.len == 0)
		buf_add_cstr(out, "<>");
	else
		octets_text(out, address);
}

static const char *const columns[GREYLIST_COLUMNS] = { "kind", "client", "sender",
	"recipient", "state", "first", "last", "tries", "confirmed", "voided", "weight",
	"keep", "expires" };

void
greylist_table_head(struct buf *out)
{
	for (int i = 0; i < GREYLIST_COLUMNS; i++)
		buf_addf(out, "%s%s", columns[i], i + 1 < GREYLIST_COLUMNS ? "\t" : "\n");
}

static bool
triple_row(struct buf *out, const struct store_entry *e)
{
	struct str part[3];

	if (!greylist_key_parts(e->key, part))
		return false;
	buf_add_cstr(out, "triple\t");
	greylist_client_text(out, part[0]);
	buf_add_char(out, '\t');
	greylist_address_text(out, part[1]);
	buf_add_char(out, '\t');
	greylist_address_text(out, part[2]);
	buf_addf(out,
	    "\t%s\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t-\t-\t-\t-\t%" PRId64 "\n",
	    e->triple.known ? "known" : "pending", e->triple.first, e->triple.last,
	    e->triple.tries, e->expires);
	return true;
}

bool
greylist_table_row(struct buf *out, const struct store_entry *e)
{
	char net[IP_TEXT_MAX + 4];

	if (e->cut)
		return false;
	switch (e->kind) {
	case STORE_TRIPLE:
		return triple_row(out, e);
	case STORE_CLIENT:
		buf_add_cstr(out, "client\t");
		greylist_client_text(out, e->client);
		buf_addf(out,
		    "\t-\t-\t-\t-\t%" PRId64 "\t-\t%" PRId64 "\t%" PRId64
		    "\t-\t-\t%" PRId64 "\n",
		    e->person.last, e->person.confirmed, e->person.voided, e->expires);
		return true;
	case STORE_EVENT:
		buf_addf(out,
		    "event\t%s\t-\t-\t%s\t-\t%" PRId64 "\t-\t-\t-\t%" PRId64
		    "\t%" PRId64 "\t%" PRId64 "\n",
		    ipnet_format(&e->network, net), event_kind_name(e->event),
		    e->sum.last, e->sum.weight, e->sum.keep, e->expires);
		return true;
	}
	return false;
}

/* --- reading --- */

static int
hex_digit(char c)
{
	c = ascii_lower(c);
	return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The octets that text stands for; -1: it is wrong, or they are more than max. */
static ptrdiff_t
octets_read(struct str text, char *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++, n++) {
		if (n == max || text.p[i] == ' ')
			return -1;
		out[n] = text.p[i];
		if (text.p[i] != '\\')
			continue;
		if (text.len - i < 4 || text.p[i + 1] != 'x' ||
		    hex_digit(text.p[i + 2]) < 0 || hex_digit(text.p[i + 3]) < 0)
			return -1;
		out[n] = (char)(hex_digit(text.p[i + 2]) << 4 | hex_digit(text.p[i + 3]));
		i += 3;
	}
	return (ptrdiff_t)n;
}

size_t
greylist_client_read(struct str text, char *out)
{
	struct str kind = text, name;
	ptrdiff_t len;

	if (str_starts(text, STR("#"))) {
		len = octets_read(text, out, GREYLIST_CLIENT_MAX);
		return len > 0 ? (size_t)len : 0;
	}
	name = text;
	if (!str_cut(&name, ':', &kind) || name.len == 0)
		return 0;
	for (size_t i = 0; i < N_KINDS; i++) {
		if (!str_is(kind, kinds[i].name))
			continue;
		out[0] = kinds[i].letter;
		len = octets_read(name, out + 1, GREYLIST_CLIENT_MAX - 1);
		return len > 0 ? (size_t)len + 1 : 0;
	}
	return 0;
}

static int
client_column(struct str text, struct greylist_entry *e, struct err *err)
{
	size_t len = greylist_client_read(text, e->client);

	if (len == 0)
		return err_set(err,
		    "\"%.*s\" is no client: expected spf:, helo:, name: or network: and a "
		    "name",
		    (int)(text.len < 100 ? text.len : 100), text.p);
	e->entry.client = (struct str){ e->client, len };
	return 0;
}

static int
address_column(struct str text, char out[ADDRESS_MAX], struct str *address,
    struct err *err)
{
	ptrdiff_t len = str_is(text, "<>") ? 0 : octets_read(text, out, ADDRESS_MAX);

	if (len < 0 || text.len == 0)
		return err_set(err, "\"%.*s\" is no address",
		    (int)(text.len < 100 ? text.len : 100), text.p);
	*address = (struct str){ out, (size_t)len };
	return 0;
}

/* Column i, a number. */
static int
number_column(const struct str *column, int i, int64_t *out, struct err *err)
{
	uint64_t v;

	if (!str_to_uint(column[i], 0, INT64_MAX / 4, &v))
		return err_set(err, "%s \"%.*s\": expected a number", columns[i],
		    (int)(column[i].len < 40 ? column[i].len : 40), column[i].p);
	*out = (int64_t)v;
	return 0;
}

static int
triple_read(const struct str *column, struct greylist_entry *e, struct err *err)
{
	struct greylist_triple *t = &e->entry.triple;
	char sender[ADDRESS_MAX], recipient[ADDRESS_MAX];
	struct str from, to;

	e->entry.kind = STORE_TRIPLE;
	t->exists = true;
	t->known = str_is(column[4], "known");
	if (!t->known && !str_is(column[4], "pending"))
		return err_set(err, "state: expected pending or known");
	if (client_column(column[1], e, err) != 0 ||
	    address_column(column[2], sender, &from, err) != 0 ||
	    address_column(column[3], recipient, &to, err) != 0 ||
	    number_column(column, 5, &t->first, err) != 0 ||
	    number_column(column, 6, &t->last, err) != 0 ||
	    number_column(column, 7, &t->tries, err) != 0)
		return -1;
	if (t->first > t->last || t->tries == 0)
		return err_set(err, "expected first before last, and a try");
	greylist_entry_key(e, from, to);
	return 0;
}

static int
event_read(const struct str *column, struct greylist_entry *e, struct err *err)
{
	int kind = 0;

	e->entry.kind = STORE_EVENT;
	if (!ipnet_parse(column[1], &e->entry.network))
		return err_set(err, "client: expected a network");
	while (kind < EVENT_KINDS &&
	    !str_is(column[4], event_kind_name((enum event_kind)kind)))
		kind++;
	if (kind == EVENT_KINDS)
		return err_set(err, "state: expected the kind of an event");
	e->entry.event = (enum event_kind)kind;
	if (number_column(column, 6, &e->entry.sum.last, err) != 0 ||
	    number_column(column, 10, &e->entry.sum.weight, err) != 0)
		return -1;
	return number_column(column, 11, &e->entry.sum.keep, err);
}

int
greylist_table_read(struct str line, struct greylist_entry *out, struct err *err)
{
	struct str column[GREYLIST_COLUMNS], rest = line;
	int n = 0;

	memset(&out->entry, 0, sizeof(out->entry));
	while (n < GREYLIST_COLUMNS && str_cut(&rest, '\t', &column[n]))
		n++;
	if (n < GREYLIST_COLUMNS || rest.len > 0)
		return err_set(err, "expected %d columns", GREYLIST_COLUMNS);
	if (number_column(column, 12, &out->entry.expires, err) != 0)
		return -1;
	if (str_is(column[0], "triple"))
		return triple_read(column, out, err);
	if (str_is(column[0], "event"))
		return event_read(column, out, err);
	if (!str_is(column[0], "client"))
		return err_set(err, "kind: expected triple, client or event");
	out->entry.kind = STORE_CLIENT;
	out->entry.person.exists = true;
	if (client_column(column[1], out, err) != 0 ||
	    number_column(column, 6, &out->entry.person.last, err) != 0 ||
	    number_column(column, 8, &out->entry.person.confirmed, err) != 0)
		return -1;
	return number_column(column, 9, &out->entry.person.voided, err);
}
