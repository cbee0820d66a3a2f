/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables and JSON of greylist_print.h.  What an entry means now depends on the settings:
 * those in force without any policy are taken. */
#include "contrib/ctl/greylist_print.h"

#include <inttypes.h>
#include <time.h>

#include "contrib/ctl/common.h"

static bool
blocks(const struct greylist_print *p, const struct store_entry *e)
{
	bool kind = e->event == EVENT_TRAP || e->event == EVENT_VIRUS ||
	    (e->event == EVENT_SPAM && e->sum.weight >= p->set->block_spam);

	return kind && p->set->block > 0 && p->now < e->sum.last + p->set->block;
}

static bool
whitelisted(const struct greylist_print *p, const struct store_entry *e)
{
	const struct greylist_client *c = &e->person;

	return p->set->auto_whitelist > 0 && c->confirmed >= p->set->auto_whitelist &&
	    (c->voided == 0 || c->voided < c->last);
}

const char *
greylist_print_state(const struct greylist_print *p, const struct store_entry *e)
{
	if (e->kind == STORE_CLIENT)
		return whitelisted(p, e) ? "whitelisted" : "confirmed";
	if (e->kind == STORE_EVENT)
		return blocks(p, e)                                         ? "blocked"
		    : e->event == EVENT_TRAP || e->event == EVENT_VIRUS ? "voids"
									: "noted";
	if (e->triple.known)
		return "known";
	return p->now < e->triple.first + p->set->delay ? "waits" : "may pass";
}

static void
time_text(struct buf *out, int64_t when)
{
	time_t t = (time_t)when;
	struct tm tm;
	char text[40];

	if (when == 0)
		buf_add_cstr(out, "never");
	else if (gmtime_r(&t, &tm) != NULL &&
	    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
		buf_add_cstr(out, text);
	else
		buf_addf(out, "%" PRId64, when);
}

/* Client, sender, recipient as texts with NUL behind; "" where there is none. */
struct names {
	struct buf client, sender, recipient;
};

static void
names_init(struct names *n, const struct store_entry *e)
{
	char net[IP_TEXT_MAX + 4];
	struct str part[3];

	buf_init(&n->client, 4 * STORE_NAME_MAX);
	buf_init(&n->sender, 4 * STORE_NAME_MAX);
	buf_init(&n->recipient, 4 * STORE_NAME_MAX);
	if (e->kind == STORE_EVENT) {
		buf_add_cstr(&n->client, ipnet_format(&e->network, net));
	} else if (e->kind == STORE_CLIENT) {
		greylist_client_text(&n->client, e->client);
	} else if (greylist_key_parts(e->key, part)) {
		greylist_client_text(&n->client, part[0]);
		greylist_address_text(&n->sender, part[1]);
		greylist_address_text(&n->recipient, part[2]);
	} else { /* cut, or another's */
		greylist_client_text(&n->client, e->client);
		greylist_address_text(&n->sender, e->key);
	}
}

static void
names_clear(struct names *n)
{
	buf_clear(&n->client);
	buf_clear(&n->sender);
	buf_clear(&n->recipient);
}

static const char *
kind_name(enum store_kind kind)
{
	return kind == STORE_TRIPLE ? "triple" : kind == STORE_CLIENT ? "client" : "event";
}

/* --- JSON --- */

static void
json_numbers(struct buf *out, const struct store_entry *e)
{
	switch (e->kind) {
	case STORE_TRIPLE:
		buf_addf(out,
		    ",\"known\":%s,\"first\":%" PRId64 ",\"last\":%" PRId64
		    ",\"tries\":%" PRId64,
		    e->triple.known ? "true" : "false", e->triple.first, e->triple.last,
		    e->triple.tries);
		break;
	case STORE_CLIENT:
		buf_addf(out,
		    ",\"confirmed\":%" PRId64 ",\"last\":%" PRId64 ",\"voided\":%" PRId64,
		    e->person.confirmed, e->person.last, e->person.voided);
		break;
	case STORE_EVENT:
		buf_addf(out,
		    ",\"event\":\"%s\",\"weight\":%" PRId64 ",\"last\":%" PRId64
		    ",\"keep\":%" PRId64,
		    event_kind_name(e->event), e->sum.weight, e->sum.last, e->sum.keep);
		break;
	}
}

static void
json_entry(struct buf *out, const struct greylist_print *p, const struct store_entry *e,
    struct names *names, uint64_t n)
{
	buf_addf(out, "%s{\"kind\":\"%s\",\"client\":", n == 0 ? "" : ",",
	    kind_name(e->kind));
	json_string(out, buf_cstr(&names->client));
	if (e->kind == STORE_TRIPLE) {
		buf_add_cstr(out, ",\"sender\":");
		json_string(out, buf_cstr(&names->sender));
		buf_add_cstr(out, ",\"recipient\":");
		json_string(out, buf_cstr(&names->recipient));
	}
	buf_addf(out, ",\"state\":\"%s\"", greylist_print_state(p, e));
	json_numbers(out, e);
	if (e->kind == STORE_TRIPLE && !e->triple.known)
		buf_addf(
		    out, ",\"passes\":%" PRId64, e->triple.first + p->set->delay);
	if (e->cut)
		buf_add_cstr(out, ",\"cut\":true");
	buf_addf(out, ",\"expires\":%" PRId64 "}", e->expires);
}

/* --- text --- */

static void
line(struct buf *out, const char *name, const char *value)
{
	buf_addf(out, "  %-10s %s\n", name, value);
}

static void
line_time(struct buf *out, const char *name, int64_t when)
{
	buf_addf(out, "  %-10s ", name);
	time_text(out, when);
	buf_add_char(out, '\n');
}

static void
line_number(struct buf *out, const char *name, int64_t value)
{
	buf_addf(out, "  %-10s %" PRId64 "\n", name, value);
}

static void
show(struct buf *out, const struct greylist_print *p, const struct store_entry *e,
    struct names *names)
{
	buf_addf(out, "%s\n", kind_name(e->kind));
	line(out, "client", buf_cstr(&names->client));
	if (e->kind == STORE_TRIPLE) {
		line(out, "sender", buf_cstr(&names->sender));
		line(out, "recipient", buf_cstr(&names->recipient));
	}
	line(out, "state", greylist_print_state(p, e));
	switch (e->kind) {
	case STORE_TRIPLE:
		line_number(out, "tries", e->triple.tries);
		line_time(out, "first try", e->triple.first);
		line_time(out, "last try", e->triple.last);
		if (!e->triple.known)
			line_time(out, "passes", e->triple.first + p->set->delay);
		break;
	case STORE_CLIENT:
		line_number(out, "confirmed", e->person.confirmed);
		line_number(out, "needs", p->set->auto_whitelist);
		line_time(out, "last mail", e->person.last);
		line_time(out, "voided", e->person.voided);
		break;
	case STORE_EVENT:
		line(out, "event", event_kind_name(e->event));
		line_number(out, "weight", e->sum.weight);
		line_time(out, "last", e->sum.last);
		if (blocks(p, e))
			line_time(out, "until", e->sum.last + p->set->block);
		break;
	}
	line_time(out, "expires", e->expires);
}

static void
list(struct buf *out, const struct greylist_print *p, const struct store_entry *e,
    struct names *names)
{
	int64_t last = e->kind == STORE_TRIPLE ? e->triple.last
	    : e->kind == STORE_CLIENT          ? e->person.last
					       : e->sum.last;

	buf_addf(out, "%s\t%s\t%s\t%s\t%s\t", kind_name(e->kind),
	    greylist_print_state(p, e), buf_cstr(&names->client),
	    e->kind == STORE_EVENT ? event_kind_name(e->event)
				   : buf_cstr(&names->sender),
	    buf_cstr(&names->recipient));
	time_text(out, last);
	buf_add_char(out, '\t');
	time_text(out,
	    e->kind == STORE_TRIPLE && !e->triple.known ? e->triple.first + p->set->delay
							: e->expires);
	buf_add_char(out, '\n');
}

void
greylist_print_head(struct buf *out, const struct greylist_print *p)
{
	if (p->json)
		buf_add_cstr(out, "{\"entries\":[");
	else if (!p->whole)
		buf_add_cstr(out,
		    "KIND\tSTATE\tCLIENT\tSENDER\tRECIPIENT\tLAST\tPASSES/EXPIRES\n");
}

void
greylist_print_entry(struct buf *out, const struct greylist_print *p,
    const struct store_entry *e, uint64_t n)
{
	struct names names;

	names_init(&names, e);
	if (p->json)
		json_entry(out, p, e, &names, n);
	else if (p->whole)
		show(out, p, e, &names);
	else
		list(out, p, e, &names);
	names_clear(&names);
}
