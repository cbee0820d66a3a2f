/* SPDX-License-Identifier: BSD-2-Clause */
/* Readers of greylist_import.h. */
#include "contrib/ctl/greylist_import.h"

#include "policy/client_events.h"
#include "policy/greylist_sender.h"

static const char *const format_names[IMPORT_FORMATS] = {
	[IMPORT_TABLE] = "table",
	[IMPORT_MILTER_GREYLIST] = "milter-greylist",
	[IMPORT_POSTGREY] = "postgrey",
	[IMPORT_SPAMDB] = "spamdb",
};

const char *
import_format_name(enum import_format format)
{
	return format_names[format];
}

void
import_init(struct import *i, enum import_format format,
    const struct settings_greylist *set, int64_t now)
{
	*i = (struct import){ .format = format, .now = now, .set = set };
}

static enum import_result
bad(struct err *err, const char *what, struct str text)
{
	(void)err_set(err, "%s \"%.*s\"", what, (int)(text.len < 100 ? text.len : 100),
	    text.p);
	return IMPORT_BAD;
}

static int64_t
at_most(int64_t v, int64_t max)
{
	return v < max ? v : max;
}

/* --- what all have --- */

/* The client with this address, perhaps with an interface behind '%'. */
static bool
client_take(const struct import *i, struct str text, struct greylist_entry *e,
    struct ip *ip)
{
	char client[GREYLIST_CLIENT_MAX], net[IP_TEXT_MAX + 4];
	ptrdiff_t zone = str_index(text, '%');

	if (!ip_parse(zone < 0 ? text : str_sub(text, 0, (size_t)zone), ip))
		return false;
	struct ipnet network = ip_mask(ip,
	    (unsigned)(ip->family == AF_INET ? i->set->prefix4 : i->set->prefix6));
	struct str name = str_of(ipnet_format(&network, net));
	client[0] = GREYLIST_BY_NETWORK;
	memcpy(client + 1, name.p, name.len);
	greylist_entry_client(e, (struct str){ client, 1 + name.len });
	return true;
}

/* Sender and recipient, in the form of our keys. */
static void
key_take(struct greylist_entry *e, struct str sender, struct str recipient)
{
	char from[ADDRESS_MAX], to[ADDRESS_MAX];
	size_t from_len = greylist_sender(sender, from);
	size_t to_len = greylist_address(recipient, to);

	greylist_entry_key(
	    e, (struct str){ from, from_len }, (struct str){ to, to_len });
}

static bool
time_read(struct str text, int64_t *out)
{
	uint64_t v;

	if (!str_to_uint(text, 0, INT64_C(1) << 40, &v))
		return false;
	*out = (int64_t)v;
	return true;
}

static enum import_result
judged(const struct import *i, const struct greylist_entry *e)
{
	return i->now > e->entry.expires ? IMPORT_OVER : IMPORT_ENTRY;
}

static enum import_result
pending(const struct import *i, struct greylist_entry *e, int64_t first, int64_t tries)
{
	int64_t window = i->set->window;

	e->entry.kind = STORE_TRIPLE;
	first = at_most(first, i->now);
	e->entry.triple =
	    (struct greylist_triple){ true, false, first, first, tries < 1 ? 1 : tries };
	e->entry.expires =
	    first + (window > i->set->delay ? window : i->set->delay + window);
	return judged(i, e);
}

/* Known, and last seen then. */
static enum import_result
known(const struct import *i, struct greylist_entry *e, int64_t first, int64_t last)
{
	e->entry.kind = STORE_TRIPLE;
	last = at_most(last, i->now);
	e->entry.triple =
	    (struct greylist_triple){ true, true, at_most(first, last), last, 1 };
	e->entry.expires = last + i->set->keep;
	return judged(i, e);
}

static enum import_result
person(const struct import *i, struct greylist_entry *e, int64_t confirmed, int64_t last)
{
	e->entry.kind = STORE_CLIENT;
	last = at_most(last, i->now);
	e->entry.person = (struct greylist_client){ true, confirmed, last, 0 };
	e->entry.expires = last + i->set->whitelist_keep;
	return judged(i, e);
}

/* --- table --- */

static enum import_result
table_line(struct import *i, struct str line, struct greylist_entry *e, struct err *err)
{
	struct buf head;

	if (i->at != IMPORT_HEAD) {
		if (line.len == 0 || line.p[0] == '#')
			return IMPORT_NOTHING;
		return greylist_table_read(line, e, err) != 0 ? IMPORT_BAD
							      : judged(i, e);
	}
	buf_init(&head, IMPORT_LINE_MAX);
	greylist_table_head(&head);
	bool good = str_eq(str_sub(buf_str(&head), 0, head.len - 1), line);
	buf_clear(&head);
	i->at = IMPORT_KEY;
	if (good)
		return IMPORT_NOTHING;
	err_set(err, "expected the line that names the columns");
	return IMPORT_BAD;
}

/* --- milter-greylist --- */

static enum import_result
milter_line(struct import *i, struct str line, struct greylist_entry *e, struct err *err)
{
	struct str word[7], rest = line;
	int n = 0;
	struct ip ip;
	int64_t when;

	while (n < 7 && str_word(&rest, &word[n]) && word[n].p[0] != '#')
		n++;
	if (n == 0)
		return IMPORT_NOTHING;
	if (n == 6 && str_is_nocase(word[5], "TARPIT")) {
		/* it left before the tarpit's end, and milter-greylist does not let it pass
		 * for that either */
		err_set(err, "a tarpit is no state: left out");
		return IMPORT_FOREIGN;
	}
	if (n < 4 || n > 5)
		return bad(err, "expected address, sender, recipient, time and AUTO", line);
	if (!client_take(i, word[0], e, &ip))
		return bad(err, "no IP address:", word[0]);
	if (!time_read(word[3], &when))
		return bad(err, "no time:", word[3]);
	if (n == 5 && !str_is_nocase(word[4], "AUTO"))
		return bad(err, "expected AUTO or nothing instead of", word[4]);
	key_take(e, word[1], word[2]);
	if (n == 4)
		return pending(i, e, when - i->set->delay, 1);
	if (when < i->now)
		return IMPORT_OVER;
	return known(i, e, when - i->set->keep, when - i->set->keep);
}

/* --- postgrey --- */

static int
hex_digit(char c)
{
	c = ascii_lower(c);
	return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A data line of db_dump: blank, then octets: as they are with \HH and \\, or all of them
 * as two digits. */
static ptrdiff_t
dump_octets(const struct import *i, struct str line, char out[IMPORT_LINE_MAX])
{
	size_t n = 0;

	for (size_t at = 1; at < line.len && n < IMPORT_LINE_MAX; n++) {
		bool escaped = !i->bytes && line.p[at] == '\\';

		if (escaped && at + 1 < line.len && line.p[at + 1] == '\\') {
			out[n] = '\\';
			at += 2;
			continue;
		}
		if (!i->bytes && !escaped) {
			out[n] = line.p[at++];
			continue;
		}
		at += escaped;
		int high = at + 1 < line.len ? hex_digit(line.p[at]) : -1;
		int low = at + 1 < line.len ? hex_digit(line.p[at + 1]) : -1;
		if (high < 0 || low < 0)
			return -1;
		out[n] = (char)(high << 4 | low);
		at += 2;
	}
	return (ptrdiff_t)n;
}

static enum import_result
dump_head(struct import *i, struct str line, struct err *err)
{
	if (str_is(line, "format=bytevalue"))
		i->bytes = true;
	if (str_is(line, "HEADER=END"))
		i->at = IMPORT_KEY;
	else if (str_index(line, '=') <= 0)
		return bad(err, "expected what db_dump writes instead of", line);
	return IMPORT_NOTHING;
}

/* "sender/recipient": a domain has no '/', but a local part may. */
static bool
addresses_split(struct str both, struct str *sender, struct str *recipient)
{
	ptrdiff_t slash = str_index(both, '/'), at = str_index(both, '@');

	if (slash > 0 && at > slash) { /* in the sender's local part, or its end */
		ptrdiff_t next = str_index(str_sub(both, (size_t)at, both.len), '/');

		if (next >= 0)
			slash = at + next;
	} else if (slash > 0 && at >= 0) {
		slash = at + str_index(str_sub(both, (size_t)at, both.len), '/');
	}
	if (slash < 0)
		return false;
	*sender = str_sub(both, 0, (size_t)slash);
	*recipient = str_sub(both, (size_t)slash + 1, both.len);
	return recipient->len > 0;
}

/* "64/" at the start. */
static bool
prefix_cut(struct str *key)
{
	struct str rest = *key, number;
	uint64_t bits;

	if (!str_cut(&rest, '/', &number) || !str_to_uint(number, 0, 128, &bits))
		return false;
	*key = rest;
	return true;
}

static enum import_result
postgrey_pair(const struct import *i, struct str value, struct greylist_entry *e,
    struct err *err)
{
	struct str key = { i->key, i->key_len }, client = key, left, sender, recipient;
	struct ip ip;
	int64_t a, b;

	if (!str_cut(&value, ',', &left) || !time_read(left, &a) || !time_read(value, &b))
		return bad(err, "expected two numbers instead of", value);
	bool triple = str_has(key, '/');
	if (triple)
		(void)str_cut(&key, '/', &client);
	if (triple && str_has(client, ':')) /* a network has its prefix */
		(void)prefix_cut(&key);
	if (!client_take(i, client, e, &ip))
		return bad(err, "no IP address (is it one of postgrey --privacy?):", client);
	if (!triple)
		return person(i, e, a, b);
	if (!addresses_split(key, &sender, &recipient))
		return bad(err, "no sender and recipient:", key);
	key_take(e, sender, recipient);
	if (b - a >= i->set->delay)
		return known(i, e, a, b);
	return pending(i, e, a, 1);
}

static enum import_result
postgrey_line(struct import *i, struct str line, struct greylist_entry *e,
    struct err *err)
{
	char value[IMPORT_LINE_MAX];

	if (i->at == IMPORT_HEAD)
		return dump_head(i, line, err);
	if (i->at == IMPORT_END) {
		i->at = IMPORT_HEAD; /* one more database */
		i->bytes = false;
		return dump_head(i, line, err);
	}
	if (str_is(line, "DATA=END")) {
		bool whole = i->at == IMPORT_KEY;

		i->at = IMPORT_END;
		return whole ? IMPORT_NOTHING : bad(err, "a value is missing before", line);
	}
	if (!str_starts(line, STR(" ")))
		return bad(err, "expected a blank at the start of", line);
	bool is_key = i->at == IMPORT_KEY;
	ptrdiff_t len = dump_octets(i, line, is_key ? i->key : value);
	i->at = is_key ? IMPORT_VALUE : IMPORT_KEY;
	if (len < 0) {
		i->key_len = 0;
		return bad(err, "cannot be read:", line);
	}
	if (!is_key)
		return postgrey_pair(i, (struct str){ value, (size_t)len }, e, err);
	i->key_len = (size_t)len;
	return IMPORT_NOTHING;
}

/* --- spamdb --- */

static enum import_result
trapped(const struct import *i, const struct ip *ip, int64_t until,
    struct greylist_entry *e)
{
	const struct settings_greylist *set = i->set;

	e->entry = (struct store_entry){ .kind = STORE_EVENT,
		.network = client_events_network(ip),
		.event = EVENT_TRAP };
	e->entry.sum.weight = 1;
	e->entry.sum.last = at_most(until - set->block, i->now);
	e->entry.sum.keep =
	    set->whitelist_keep > set->block ? set->whitelist_keep : set->block;
	e->entry.expires = e->entry.sum.last + e->entry.sum.keep;
	return until < i->now ? IMPORT_OVER : judged(i, e);
}

static enum import_result
spamdb_line(struct import *i, struct str line, struct greylist_entry *e, struct err *err)
{
	struct str field[10], rest = line;
	int n = 0;
	int64_t first, expire, blocked = 1;
	struct ip ip;

	if (line.len == 0)
		return IMPORT_NOTHING;
	while (n < 10 && str_cut(&rest, '|', &field[n]))
		n++;
	if (n == 2 && str_is(field[0], "SPAMTRAP")) {
		err_set(err, "a trap is a setting: greylist.trap of a policy for %.*s",
		    (int)(field[1].len < 200 ? field[1].len : 200), field[1].p);
		return IMPORT_FOREIGN;
	}
	if (n < 3 || !client_take(i, field[1], e, &ip))
		return bad(err, "no entry of spamdb:", line);
	if (str_is(field[0], "TRAPPED") && n == 3 && time_read(field[2], &expire))
		return trapped(i, &ip, expire, e);
	if (str_is(field[0], "WHITE") && n == 9 && time_read(field[6], &expire)) {
		if (expire < i->now)
			return IMPORT_OVER;
		return person(i, e, i->set->auto_whitelist, expire - i->set->whitelist_keep);
	}
	if (!str_is(field[0], "GREY") || n != 10 || rest.len > 0 ||
	    !time_read(field[5], &first) || !time_read(field[8], &blocked))
		return bad(err, "no entry of spamdb:", line);
	key_take(e, field[3], field[4]);
	return pending(i, e, first, blocked);
}

enum import_result
import_line(
    struct import *i, struct str line, struct greylist_entry *out, struct err *err)
{
	static enum import_result (*const readers[IMPORT_FORMATS])(struct import *i,
	    struct str line, struct greylist_entry *e, struct err *err) = {
		[IMPORT_TABLE] = table_line,
		[IMPORT_MILTER_GREYLIST] = milter_line,
		[IMPORT_POSTGREY] = postgrey_line,
		[IMPORT_SPAMDB] = spamdb_line,
	};

	memset(&out->entry, 0, sizeof(out->entry));
	if (line.len > 0 && line.p[line.len - 1] == '\r')
		line.len--;
	if (line.len > IMPORT_LINE_MAX) {
		err_set(err, "a line of more than %d octets", IMPORT_LINE_MAX);
		return IMPORT_BAD;
	}
	return readers[i->format](i, line, out, err);
}

bool
import_complete(const struct import *i, struct err *err)
{
	if (i->format == IMPORT_POSTGREY && i->at != IMPORT_END) {
		err_set(err, "the file ends before DATA=END");
		return false;
	}
	if (i->format == IMPORT_TABLE && i->at == IMPORT_HEAD) {
		err_set(err, "the file is empty, expected the names of columns");
		return false;
	}
	return true;
}
