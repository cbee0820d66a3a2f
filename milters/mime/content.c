/* SPDX-License-Identifier: BSD-2-Clause */
/* The policy about content.  The worst finding decides: infected, then what could not be
 * read (error, limit, encrypted, ambiguous), then what is forbidden by name or type.  A
 * part that only some readers see, or that lies where it cannot be cut out, cannot be
 * stripped: then the message is refused as a whole. */
#include "milters/mime/content.h"

#include <stdio.h>
#include <string.h>

#include "common/mail/charset.h"
#include "common/mail/mime.h"

/* --- names --- */

#define COLONS_MAX 4 /* from either end */

/* Characters that show nothing but change what a name seems to be: bidirectional marks,
 * joiners, soft hyphen, controls. */
static bool
is_invisible(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c ||
	    (c >= 0x200b && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) ||
	    (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

/* Full-width forms and other dots, as a file system that folds them would. */
static uint32_t
fold(uint32_t c)
{
	if (c == 0x3002 || c == 0xff0e || c == 0x2024 || c == 0xff61)
		return '.';
	if (c >= 0xff01 && c <= 0xff5e)
		return c - 0xff01 + '!';
	if (c == 0xa0 || c == 0x3000)
		return ' ';
	if (c == 0) /* where some readers see the name's end, as at a colon */
		return ':';
	return c;
}

/* Octets that file systems and readers drop from a name's end, or that end what they
 * take for the name: "a.exe. .", "a.exe/", "a.exe;", "\"a.exe\"". */
static bool
ends_nothing(char c)
{
	return c != '\0' && strchr(" .\"'<>|*?/\\;,", c) != NULL;
}

static struct str
without_tail(struct str s)
{
	while (s.len > 0 && ends_nothing(s.p[s.len - 1]))
		s.len--;
	return s;
}

static void
clean_name(struct str name, struct buf *out)
{
	for (size_t at = 0; at < name.len;) {
		uint32_t c = fold(utf8_next(name, &at));

		if (c < 0x80 && !is_invisible(c))
			buf_add_char(out, ascii_lower((char)c));
		else if (!is_invisible(c))
			utf8_add(out, c);
	}
}

static struct str
listed(const struct conf_strings *endings, struct str ending)
{
	for (size_t i = 0; i < endings->n; i++)
		if (str_is(ending, endings->list[i]))
			return str_of(endings->list[i]);
	return (struct str){ "", 0 };
}

/* The right two endings of a name that is clean already. */
static struct str
clean_ending(const struct conf_strings *endings, struct str rest)
{
	struct str hit = { "", 0 };

	for (int dots = 0; dots < 2 && hit.len == 0; dots++) {
		rest = without_tail(rest);
		ptrdiff_t dot = str_rindex(rest, '.');

		if (dot < 0)
			break;
		struct str ending = str_trim(str_sub(rest, (size_t)dot + 1, rest.len));
		/* A class id as ending runs what is registered for it. */
		if (ending.len == 38 && ending.p[0] == '{' && dots == 0)
			hit = STR("{clsid}");
		else
			hit = listed(endings, ending);
		rest = str_sub(rest, 0, (size_t)dot);
	}
	return hit;
}

struct str
content_forbidden_ending(const struct conf_strings *endings, struct str name)
{
	struct str hit = { "", 0 };
	struct buf clean;

	/* An octet becomes at most three, U+FFFD. */
	buf_init(&clean, name.len * 4 + 4);
	clean_name(name, &clean);
	struct str rest = buf_str(&clean);
	/* "a.exe::$DATA" opens a.exe on some systems; on others a colon is one of the
	 * name's characters.  So the whole is tested, and what stands in front of the first
	 * and of the last colons. */
	hit = clean_ending(endings, rest);
	size_t at = 0;
	for (int i = 0; i < COLONS_MAX && hit.len == 0 && at < rest.len; i++) {
		ptrdiff_t colon = str_index(str_sub(rest, at, rest.len), ':');

		if (colon < 0)
			break;
		hit = clean_ending(endings, str_sub(rest, 0, at + (size_t)colon));
		at += (size_t)colon + 1;
	}
	for (int i = 0; i < COLONS_MAX && hit.len == 0; i++) {
		ptrdiff_t colon = str_rindex(rest, ':');

		if (colon < 0)
			break;
		rest = str_sub(rest, 0, (size_t)colon);
		hit = clean_ending(endings, rest);
	}
	buf_clear(&clean);
	return hit;
}

/* --- decisions --- */

/* One finding about one part. */
struct finding {
	const char *why;
	struct str detail;
	int action; /* enum mime_action */
};

static bool
forbidden(const struct settings_mime *set, const struct inspected_part *p, struct finding *f)
{
	for (size_t i = 0; i < p->n_names; i++) {
		struct str ending =
		    content_forbidden_ending(&set->forbidden_names, p->names[i]);

		if (ending.len > 0) {
			*f = (struct finding){ "forbidden-name", p->names[i],
				set->forbidden };
			return true;
		}
	}
	if (listed(&set->forbidden_types, p->sniffed).len > 0 ||
	    listed(&set->forbidden_types, p->type).len > 0) {
		*f = (struct finding){ "forbidden-type",
			listed(&set->forbidden_types, p->sniffed).len > 0 ? p->sniffed : p->type,
			set->forbidden };
		return true;
	}
	return false;
}

static bool
judge_part(const struct settings_mime *set, const struct inspected_part *p, struct finding *f)
{
	switch (p->state) {
	case SCAN_INFECTED:
		*f = (struct finding){ "infected", p->virus, set->infected };
		break;
	case SCAN_ERROR:
		*f = (struct finding){ "scan-error", p->virus, MIME_TEMPFAIL };
		return true;
	case SCAN_LIMIT:
		*f = (struct finding){ "limit", p->virus, set->limit };
		break;
	case SCAN_ENCRYPTED:
		*f = (struct finding){ "encrypted", p->virus, set->encrypted };
		break;
	case SCAN_CLEAN:
		break;
	}
	struct finding name;
	/* What is forbidden stays so whatever else it is; the sterner wins. */
	if (forbidden(set, p, &name) &&
	    (p->state == SCAN_CLEAN || name.action > f->action)) {
		*f = name;
		return true;
	}
	return p->state != SCAN_CLEAN;
}

static void
set_verdict(struct content_decision *d, const struct finding *f)
{
	d->detail = f->detail;
	switch ((enum mime_action)f->action) {
	case MIME_PASS:
	case MIME_STRIP:
		break;
	case MIME_QUARANTINE:
		/* Nobody outside learns of it; the copy is what remains. */
		d->verdict = (struct verdict){ .action = ACTION_DISCARD, .why = f->why };
		d->quarantine = d->notify = true;
		break;
	case MIME_REJECT:
		d->verdict = verdict_refuse(550, "5.7.1", f->why,
		    "Message refused for its content (%s: %.*s)", f->why,
		    (int)(f->detail.len > 150 ? 150 : f->detail.len), f->detail.p);
		break;
	case MIME_TEMPFAIL:
		d->verdict = verdict_refuse(451, "4.7.1", f->why,
		    "The message cannot be checked now (%s), please try again later", f->why);
		break;
	}
}

/* Cutting needs one tree that all readers share, and a part of it. */
static bool
can_strip(const struct inspection *found, const struct inspected_part *p)
{
	return p->top >= 0 && found->n_views == 1 && (found->flags & MIME_LIMITS) == 0;
}

static void
add_strip(struct content_decision *d, const struct inspected_part *p, const struct finding *f)
{
	for (size_t i = 0; i < d->n_strips; i++)
		if (d->strips[i].part == p->top)
			return;
	d->strips[d->n_strips++] = (struct content_strip){ .part = p->top,
		.name = p->n_own_names > 0 ? p->names[0] : (struct str){ "", 0 },
		.why = f->why,
		.detail = f->detail };
}

/* The scan of the whole message finds what its parts' scans found, by the parts' grace. */
static bool
told_by_a_part(const struct inspection *found, size_t whole)
{
	for (size_t i = 0; i < whole; i++)
		if (found->parts[i].state == found->parts[whole].state &&
		    str_eq(found->parts[i].virus, found->parts[whole].virus))
			return true;
	return false;
}

/* Ascending by part: rewriting goes through the message once. */
static void
sort_strips(struct content_decision *d)
{
	for (size_t i = 1; i < d->n_strips; i++)
		for (size_t j = i; j > 0 && d->strips[j].part < d->strips[j - 1].part; j--) {
			struct content_strip swap = d->strips[j];

			d->strips[j] = d->strips[j - 1];
			d->strips[j - 1] = swap;
		}
}

/* What concerns the message as such cannot be cut out of it. */
static int
of_whole(int action)
{
	return action == MIME_STRIP ? MIME_REJECT : action;
}

static bool
ambiguous(const struct inspection *found)
{
	return found->n_views > 1 || (found->flags & (MIME_AMB_PARTIAL | MIME_LIMITS)) != 0;
}

void
content_decide(const struct settings_mime *set, const struct inspection *found,
    struct content_decision *out)
{
	struct finding worst = { "clean", { "", 0 }, MIME_PASS }, f = worst;

	*out = (struct content_decision){ .verdict = verdict_continue("clean") };
	if ((found->flags & MIME_LIMITS) != 0)
		worst = (struct finding){ "limit", STR("structure"), of_whole(set->limit) };
	else if ((found->flags & MIME_AMB_PARTIAL) != 0)
		worst = (struct finding){ "partial", STR("message/partial"),
			of_whole(set->limit) };
	for (size_t i = 0; i < found->n_parts; i++) {
		const struct inspected_part *p = &found->parts[i];
		bool whole = i + 1 == found->n_parts;

		if ((whole && told_by_a_part(found, i)) || !judge_part(set, p, &f))
			continue;
		if (f.action == MIME_STRIP &&
		    (!can_strip(found, p) || out->n_strips == CONTENT_STRIPS_MAX))
			f.action = MIME_REJECT;
		if (f.action == MIME_STRIP)
			add_strip(out, p, &f);
		if (f.action > worst.action)
			worst = f;
	}
	if (worst.action <= MIME_STRIP && ambiguous(found) && of_whole(set->ambiguous) > worst.action)
		worst = (struct finding){ "ambiguous", STR("read differently by mail readers"),
			of_whole(set->ambiguous) };
	set_verdict(out, &worst);
	if (out->verdict.action != ACTION_CONTINUE)
		out->n_strips = 0;
	else if (out->n_strips > 0)
		out->verdict.why = "stripped";
	sort_strips(out);
	if (worst.action >= MIME_REJECT && out->verdict.action == ACTION_REJECT &&
	    set->keep_copies)
		out->quarantine = true;
	if (str_is(str_of(worst.why), "infected"))
		out->notify = true;
}

/* Foreign text, one line of it.  A request to rewrite holds CONTENT_STRIPS_MAX of
 * these explanations. */
static void
add_foreign(struct buf *out, struct str s)
{
	size_t len = 0;

	for (size_t at = 0; at < s.len && len < CONTENT_EXPLAIN_MAX;) {
		uint32_t c = utf8_next(s, &at);

		if (is_invisible(c))
			continue;
		utf8_add(out, c);
		len += c < 0x80 ? 1 : 3;
	}
}

void
content_explain(const struct content_strip *strip, const char *host, struct buf *out)
{
	buf_add_cstr(out, "An attachment was removed from this message");
	if (strip->name.len > 0) {
		buf_add_cstr(out, ":\n\n    ");
		add_foreign(out, strip->name);
	}
	buf_addf(out, "\n\nReason: %s", strip->why);
	if (strip->detail.len > 0 && !str_eq(strip->detail, strip->name)) {
		buf_add_cstr(out, " (");
		add_foreign(out, strip->detail);
		buf_add_cstr(out, ")");
	}
	buf_addf(out,
	    "\n\nThe rest of the message is as it was sent.  If you expected this attachment,"
	    "\nask the sender for another way to get it, or your postmaster.\n-- \n%s\n",
	    host);
}
