/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is exempt or blocked, what the store is asked, and what its answer means for one
 * recipient.  A triple's retry must make the same key, and no two triples may share one
 * by the way their parts meet.  The store has moved the record already when it answers:
 * here it is only judged, so that both stages that greylist judge alike. */
#include "policy/greylist.h"

#include "common/base/buf.h"
#include "policy/client_events.h"
#include "policy/greylist_sender.h"

bool
greylist_null_sender(struct str path)
{
	path = str_trim(path);
	return path.len == 0 || str_is(path, "<>");
}

size_t
greylist_address(struct str path, char out[ADDRESS_MAX])
{
	struct address a;
	size_t domain_at;

	if (greylist_null_sender(path))
		return 0;
	if (address_parse(path, &a, NULL) != 0) {
		/* The MTA took it, so it is somebody: any octets do for telling it from
		 * others. */
		size_t len = path.len < ADDRESS_MAX ? path.len : ADDRESS_MAX;

		memcpy(out, path.p, len);
		return len;
	}
	size_t len = a.whole.len < ADDRESS_MAX ? a.whole.len : ADDRESS_MAX;
	if (len > 0)
		memcpy(out, a.whole.p, len);
	/* The local part belongs to its own host (RFC 5321 2.4): its case is kept. */
	domain_at = a.domain.len < len ? len - a.domain.len : 0;
	for (size_t i = domain_at; a.domain.len > 0 && i < len; i++)
		out[i] = ascii_lower(out[i]);
	return len;
}

struct ipnet
greylist_network(const struct ip *client)
{
	return client_events_network(client);
}

size_t
greylist_correspondent_name(
    struct str user, struct str other, char out[GREYLIST_CORRESPONDENT_MAX])
{
	size_t len = greylist_address(user, out);

	if (len == 0 || greylist_null_sender(other))
		return 0;
	for (size_t i = 0; i < len; i++)
		out[i] = ascii_lower(out[i]);
	out[len++] = ' ';
	return len + greylist_sender(other, out + len);
}

static bool
client_inside(const struct greylist_facts *facts)
{
	return facts->client.ip.family == 0 || ip_is_loopback(&facts->client.ip);
}

/* Whether somebody may forge this sender: neither SPF nor the client's own name speaks
 * for it. */
static bool
sender_vouched(const struct greylist_client_facts *c, struct str address)
{
	ptrdiff_t at = str_rindex(address, '@');
	struct str own, named;

	if (c->spf_pass)
		return true;
	return at >= 0 && c->suffixes != NULL &&
	    suffixes_organisation(
		c->suffixes, str_sub(address, (size_t)at + 1, address.len), &own) &&
	    suffixes_organisation(c->suffixes, greylist_client_name(c->name), &named) &&
	    str_eq_nocase(own, named);
}

static bool
sender_listed(const struct settings_greylist *set, const struct greylist_facts *facts)
{
	char address[ADDRESS_MAX];
	size_t len = greylist_address(facts->client.sender, address);

	return greylist_exempt_sender(&set->exempt, (struct str){ address, len });
}

/* What needs nothing that must be fetched.  NULL: nothing speaks against a look. */
static const char *
free_exemption(const struct settings_greylist *set, const struct greylist_facts *facts)
{
	if (facts->authenticated)
		return "authenticated";
	if (client_inside(facts))
		return "local";
	if (set->inside)
		return "inside";
	if (set->when == GREYLIST_NEVER)
		return "policy";
	if (facts->moment == GREYLIST_SUSPICIOUS_AT_END && set->when == GREYLIST_ALWAYS)
		return "at RCPT";
	if (greylist_exempt_client(&set->exempt, &facts->client.ip,
		greylist_client_name(facts->client.name)))
		return "exempt list";
	return NULL;
}

static const char *
exemption(const struct settings_greylist *set, const struct greylist_facts *facts)
{
	const char *free_of_cost = free_exemption(set, facts);

	if (free_of_cost != NULL)
		return free_of_cost;
	if (sender_listed(set, facts)) {
		char address[ADDRESS_MAX];
		size_t len = greylist_address(facts->client.sender, address);

		if (sender_vouched(&facts->client, (struct str){ address, len }))
			return "exempt list";
	}
	if (facts->allowlisted && set->allowlists.n > 0)
		return "allowlist";
	if (facts->correspondent && set->correspondents)
		return "correspondent";
	return NULL;
}

static bool
at_rcpt_later(const struct settings_greylist *set, const struct greylist_facts *facts)
{
	return facts->moment == GREYLIST_AT_RCPT && set->when == GREYLIST_SUSPICIOUS;
}

unsigned
greylist_asks(const struct settings_greylist *set, const struct greylist_facts *facts)
{
	unsigned asks = GREYLIST_ASK_SPF | GREYLIST_ASK_EVENTS;

	if (free_exemption(set, facts) != NULL)
		return 0;
	/* only a block can keep this mail at RCPT: without one nothing matters */
	if (at_rcpt_later(set, facts) && set->block == 0)
		return 0;
	if (set->correspondents && !greylist_null_sender(facts->client.sender))
		asks |= GREYLIST_ASK_CORRESPONDENT;
	if (set->allowlists.n > 0)
		asks |= GREYLIST_ASK_ALLOWLIST;
	return asks;
}

/* The longest of the blocks that an event began. */
static void
block_by(struct greylist_query *out, const struct settings_greylist *set,
    const struct greylist_events *e, int64_t least, int64_t now, const char *why)
{
	int64_t end, left;

	if (e->last <= 0 || e->weight < least)
		return;
	/* a clock that runs ahead elsewhere: no longer than one block */
	int64_t last = e->last < now ? e->last : now;
	if (__builtin_add_overflow(last, set->block, &end) ||
	    __builtin_sub_overflow(end, now, &left))
		return;
	if (left > out->blocked) {
		out->blocked = left;
		out->block_why = why;
	}
}

static void
block(struct greylist_query *out, const struct settings_greylist *set,
    const struct greylist_facts *facts, int64_t now)
{
	/* A bounce to a trap is backscatter of somebody who forged it as a sender. */
	out->trap_hit = set->trap && facts->moment == GREYLIST_AT_RCPT &&
	    !greylist_null_sender(facts->client.sender);
	block_by(out, set, &facts->trap, 1, now, "trap");
	/* One user of a provider that is known by its name must not shut it out. */
	if (out->identity.kind != GREYLIST_BY_NETWORK)
		return;
	block_by(out, set, &facts->virus, 1, now, "virus");
	block_by(out, set, &facts->spam, set->block_spam, now, "spam");
}

/* The newest hit that takes whitelisting away: spam when it is more than a slip. */
static int64_t
newest_hit(const struct settings_greylist *set, const struct greylist_facts *facts)
{
	int64_t last =
	    facts->trap.last > facts->virus.last ? facts->trap.last : facts->virus.last;

	return facts->spam.weight >= set->block_spam && facts->spam.last > last
	    ? facts->spam.last
	    : last;
}

static void
key_part(struct greylist_query *q, const char *p, size_t len)
{
	q->key[q->key_len++] = (char)(len >> 8 & 0xff);
	q->key[q->key_len++] = (char)(len & 0xff);
	if (len > 0)
		memcpy(q->key + q->key_len, p, len);
	q->key_len += len;
}

static void
make_key(const struct greylist_facts *facts, struct greylist_query *q)
{
	char address[ADDRESS_MAX];
	size_t name = strlen(q->identity.name);

	q->client[0] = (char)q->identity.kind;
	memcpy(q->client + 1, q->identity.name, name);
	q->client_len = 1 + name;
	key_part(q, q->client, q->client_len);
	key_part(q, address, greylist_sender(facts->client.sender, address));
	key_part(q, address, greylist_address(facts->recipient, address));
}

void
greylist_want(const struct settings_greylist *set, const struct greylist_facts *facts,
    int64_t now, struct greylist_query *out)
{
	memset(out, 0, sizeof(*out));
	out->exempt = exemption(set, facts);
	out->inside = facts->authenticated || client_inside(facts) || set->inside;
	if (out->exempt != NULL)
		return;
	out->network = greylist_network(&facts->client.ip);
	greylist_identify(set, &facts->client, &out->identity);
	block(out, set, facts, now);
	if (out->blocked > 0)
		return;
	if (at_rcpt_later(set, facts)) {
		out->exempt = "suspicious only";
		return;
	}
	out->ask = true;
	out->times = (struct greylist_times){ .delay = set->delay,
		.window = set->window,
		.keep = set->keep,
		.auto_whitelist = set->auto_whitelist,
		.whitelist_keep = set->whitelist_keep,
		.voided = newest_hit(set, facts) };
	make_key(facts, out);
}

/* The setting's text with each %w as the number of seconds; the rest is literal. */
static void
fill_text(struct str text, int64_t wait, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		if (str_starts(str_sub(text, i, text.len), STR("%w"))) {
			buf_addf(out, "%lld", (long long)wait);
			i++;
		} else {
			buf_add_char(out, text.p[i]);
		}
	}
}

static struct verdict
defer(const struct settings_greylist *set, const char *why, int64_t wait)
{
	struct buf text;

	buf_init(&text, VERDICT_TEXT_MAX - 1);
	fill_text(str_of(set->text), wait, &text);
	struct verdict v = verdict_refuse(451, "4.7.1", why, "%s", buf_cstr(&text));
	v.wait = wait;
	buf_clear(&text);
	return v;
}

static struct verdict
wait_left(const struct settings_greylist *set, const char *why, int64_t left)
{
	if (left <= 0) /* no delay, or one that was shortened since the first try */
		return verdict_continue("retried");
	/* The clock stepped back: nobody waits longer than one delay for that. */
	return defer(set, why, left < set->delay ? left : set->delay);
}

struct verdict
greylist_verdict(const struct settings_greylist *set,
    const struct greylist_answer *answer, int64_t now)
{
	int64_t left;

	/* Losing greylisting for a while is better than losing mail: what is not
	 * recorded would be new at every try. */
	if (answer == NULL || answer->state == STORE_DOWN)
		return verdict_continue("store=down");
	if (answer->state == STORE_FULL)
		return verdict_continue("store=full");
	switch (
	    answer->seen.state) { /* no default: the compiler names a forgotten one */
	case GREYLIST_NEW:
		return set->delay == 0 ? verdict_continue("no delay")
				       : wait_left(set, "greylisted", set->delay);
	case GREYLIST_EARLY:
		if (__builtin_add_overflow(answer->seen.first, set->delay, &left) ||
		    __builtin_sub_overflow(left, now, &left))
			left = set->delay;
		return wait_left(set, "early", left);
	case GREYLIST_RETRIED:
		return verdict_continue("retried");
	case GREYLIST_KNOWN:
		return verdict_continue("known");
	case GREYLIST_WHITELISTED:
		return verdict_continue("auto-whitelisted");
	}
	return verdict_continue("store=down");
}

static struct verdict
blocked(const struct settings_greylist *set, const struct greylist_query *q)
{
	struct verdict v;

	if (set->block_action == GREYLIST_BLOCK_REJECT)
		v = verdict_refuse(550, "5.7.1", q->block_why,
		    "Mail from your network is not accepted because of recent "
		    "abuse; please ask your provider");
	else
		v = verdict_refuse(451, "4.7.1", q->block_why,
		    "Mail from your network is not accepted because of recent "
		    "abuse; please try again in %lld seconds",
		    (long long)q->blocked);
	v.wait = q->blocked;
	return v;
}

struct verdict
greylist_judge(const struct settings_greylist *set, const struct greylist_query *query,
    const struct greylist_answer *answer, int64_t now)
{
	if (query->exempt != NULL)
		return verdict_continue(query->exempt);
	if (query->blocked > 0)
		return blocked(set, query);
	struct verdict v = greylist_verdict(set, answer, now);
	if (query->trap_hit && v.action == ACTION_CONTINUE && answer != NULL &&
	    answer->state == STORE_OK)
		return defer(set, "trap", set->delay > 0 ? set->delay : 1);
	return v;
}
