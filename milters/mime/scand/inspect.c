/* SPDX-License-Identifier: BSD-2-Clause */
/* The union of all readings, scanned.  What a limit keeps from being looked at is reported
 * as a limit, never left out. */
#include "milters/mime/scand/inspect.h"

#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "common/mail/mime.h"

#define UU_BLOCKS_MAX 50
#define SEEN_MAX 4096

struct seen {
	XXH128_hash_t hash;
	enum scan_state state;
	struct str virus;
	size_t part; /* that has the names of its members */
};

struct work {
	struct clam *clam;
	const struct inspect_limits *limits;
	uint64_t decoded; /* so far */
	int64_t end_ms; /* 0: none */
	struct inspected_part *parts;
	size_t n_parts;
	bool full; /* more parts than can be told */
	/* Two contents of one hash are scanned once, so a stranger must not be able to make
	 * them: the hash is keyed with what nobody else knows. */
	unsigned char key[XXH3_SECRET_SIZE_MIN];
	struct seen *seen; /* contents that were scanned */
	size_t n_seen;
	char **strings;
	size_t n_strings;
};

static struct str
keep(struct work *w, struct str s)
{
	/* What decides about a name stands at its end. */
	if (s.len > INSPECTION_TEXT_MAX)
		s = str_sub(s, s.len - INSPECTION_TEXT_MAX, s.len);
	if ((w->n_strings & (w->n_strings - 1)) == 0)
		w->strings = xreallocarray(
		    w->strings, w->n_strings > 0 ? w->n_strings * 2 : 1, sizeof(char *));
	char *copy = str_dup(s);

	w->strings[w->n_strings++] = copy;
	return (struct str){ copy, s.len };
}

static struct inspected_part *
add_part(struct work *w, int top)
{
	/* The last place is kept for the message as a whole. */
	if (w->n_parts == INSPECTION_PARTS_MAX - 1) {
		w->full = true;
		return NULL;
	}
	if ((w->n_parts & (w->n_parts - 1)) == 0)
		w->parts = xreallocarray(
		    w->parts, w->n_parts > 0 ? w->n_parts * 2 : 1, sizeof(*w->parts));
	struct inspected_part *p = &w->parts[w->n_parts++];

	*p = (struct inspected_part){ .top = top };
	return p;
}

/* The worst that was found in a part stays. */
static void
found(struct inspected_part *p, enum scan_state state, struct str virus)
{
	static const int rank[] = { [SCAN_CLEAN] = 0, [SCAN_ENCRYPTED] = 1, [SCAN_LIMIT] = 2,
		[SCAN_ERROR] = 3, [SCAN_INFECTED] = 4 };

	if (rank[state] <= rank[p->state])
		return;
	p->state = state;
	p->virus = virus;
}

/* Blanks without end hide an ending from those who look at the last octets only. */
static struct str
without_tail(struct str s)
{
	while (s.len > 0 && !ascii_alnum(s.p[s.len - 1]) && s.p[s.len - 1] != '}')
		s.len--;
	return s;
}

static void
add_name(struct work *w, struct inspected_part *p, struct str name)
{
	if (name.len > INSPECTION_TEXT_MAX)
		name = without_tail(name);
	for (size_t i = 0; i < p->n_names; i++)
		if (str_eq(p->names[i], name))
			return;
	if (p->n_names == INSPECTION_NAMES_MAX) {
		/* Names that cannot be looked at are no better than archives that cannot. */
		found(p, SCAN_LIMIT, STR("too many names"));
		return;
	}
	p->names[p->n_names++] = keep(w, name);
}

/* What decides about a member's name: its last two endings, when nothing else in it can.
 * An office document has hundreds of members, but few endings. */
static struct str
ending_of(struct str name)
{
	size_t dots = 0, from = name.len;

	for (size_t i = 0; i < name.len; i++)
		if (name.p[i] < ' ' || name.p[i] == 0x7f || name.p[i] == ':')
			return name;
	for (size_t i = name.len; i-- > 0 && dots < 2;) {
		if ((name.p[i] == '/' || name.p[i] == '\\') && i + 1 < name.len)
			break;
		if (name.p[i] == '.') {
			from = i;
			dots++;
		}
	}
	return str_sub(name, from, name.len);
}

static void
add_member(struct work *w, struct inspected_part *p, struct str name)
{
	struct str ending = ending_of(name);

	for (size_t i = p->n_own_names; i < p->n_names; i++)
		if (str_eq(ending_of(p->names[i]), ending))
			return;
	add_name(w, p, name);
}

struct member_target {
	struct work *w;
	struct inspected_part *p;
};

static void
on_member(void *arg, const char *name)
{
	struct member_target *t = arg;

	add_member(t->w, t->p, str_of(name));
}

/* What was found in the same content before, in this part or in another. */
static bool
scanned_before(struct work *w, struct inspected_part *p, XXH128_hash_t hash)
{
	for (size_t i = 0; i < w->n_seen; i++) {
		const struct seen *s = &w->seen[i];

		if (!XXH128_isEqual(s->hash, hash))
			continue;
		const struct inspected_part *first = &w->parts[s->part];

		found(p, s->state, s->virus);
		for (size_t k = first->n_own_names; p != first && k < first->n_names; k++)
			add_member(w, p, first->names[k]);
		return true;
	}
	return false;
}

/* Scan once per content. */
static void
scan(struct work *w, struct inspected_part *p, struct str content)
{
	struct member_target target = { w, p };
	struct clam_result result;

	if (content.len == 0 || w->clam == NULL)
		return;
	XXH128_hash_t hash =
	    XXH3_128bits_withSecret(content.p, content.len, w->key, sizeof(w->key));
	if (scanned_before(w, p, hash))
		return;
	if (w->end_ms > 0 && clock_mono_ms() >= w->end_ms) {
		found(p, SCAN_LIMIT, STR("too much time"));
		return;
	}
	clam_scan(w->clam, content, "", on_member, &target, &result);
	found(p, result.state, keep(w, str_of(result.virus)));
	if (w->n_seen == SEEN_MAX)
		return;
	if ((w->n_seen & (w->n_seen - 1)) == 0)
		w->seen = xreallocarray(
		    w->seen, w->n_seen > 0 ? w->n_seen * 2 : 1, sizeof(*w->seen));
	w->seen[w->n_seen++] =
	    (struct seen){ hash, p->state, p->virus, (size_t)(p - w->parts) };
}

static const struct {
	const char *magic;
	size_t len;
	const char *type;
} magics[] = {
	{ "MZ", 2, "exe" },
	{ "\177ELF", 4, "elf" },
	{ "PK\3\4", 4, "zip" },
	{ "PK\5\6", 4, "zip" },
	{ "Rar!\x1a\7", 6, "rar" },
	{ "7z\xbc\xaf\x27\x1c", 6, "7z" },
	{ "\x1f\x8b", 2, "gzip" },
	{ "BZh", 3, "bzip2" },
	{ "\xfd" "7zXZ", 5, "xz" },
	{ "MSCF", 4, "cab" },
	{ "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 8, "ole" },
	{ "{\\rtf", 5, "rtf" },
	{ "%PDF-", 5, "pdf" },
	{ "\x78\x9f\x3e\x22", 4, "tnef" },
	{ "L\0\0\0\1\x14\2\0", 8, "lnk" },
	{ "#!", 2, "script" },
	{ "\xca\xfe\xba\xbe", 4, "class" },
	{ "\x89PNG", 4, "png" },
	{ "\xff\xd8\xff", 3, "jpeg" },
	{ "GIF8", 4, "gif" },
};

struct str
inspect_sniff(struct str content)
{
	for (size_t i = 0; i < sizeof(magics) / sizeof(magics[0]); i++)
		if (content.len >= magics[i].len &&
		    memcmp(content.p, magics[i].magic, magics[i].len) == 0)
			return str_of(magics[i].type);
	return STR("");
}

/* false: the limit of decoded octets is reached, and p says so. */
static bool
account(struct work *w, struct inspected_part *p, const struct buf *content, bool full)
{
	w->decoded += content->len;
	if (!full && w->decoded <= w->limits->decoded)
		return true;
	found(p, SCAN_LIMIT, STR("too much decoded content"));
	return false;
}

static void walk(struct work *w, struct str message, int top, unsigned depth);

/* Blocks "begin 644 name" in a text: attachments of readers that look for them. */
static void
open_uu(struct work *w, struct str text, int top)
{
	struct buf content;
	struct str name;
	size_t at = 0;
	unsigned blocks = 0;

	buf_init(&content, w->limits->decoded);
	while (decode_uu_next(text, &at, &name, &content)) {
		struct inspected_part *p = add_part(w, top);

		if (p == NULL)
			break;
		p->type = STR("application/octet-stream");
		add_name(w, p, name);
		p->n_own_names = 1;
		if (++blocks == UU_BLOCKS_MAX) {
			found(p, SCAN_LIMIT, STR("too many uuencoded blocks"));
			break;
		}
		p->sniffed = inspect_sniff(buf_str(&content));
		if (account(w, p, &content, content.failed))
			scan(w, p, buf_str(&content));
		buf_reset(&content);
	}
	buf_clear(&content);
}

static bool
opens_as_message(const struct mime_part *part, const struct inspected_part *p)
{
	if (part->message)
		return true;
	for (size_t i = 0; i < p->n_own_names; i++)
		if (str_ends_nocase(p->names[i], STR(".eml")))
			return true;
	return false;
}

/* Signed, not encrypted: the message stands readable in the middle of the signature's
 * structure (RFC 8551 3.5.2), and readers show it.  Empty when there is none. */
static struct str
signed_message(const struct mime_part *part, struct str content)
{
	static const char field[] = "Content-Type:";

	if (content.len == 0 ||
	    (!str_is(part->type, "application/pkcs7-mime") &&
		!str_is(part->type, "application/x-pkcs7-mime")))
		return (struct str){ "", 0 };
	const char *at = memmem(content.p, content.len, field, sizeof(field) - 1);
	return at == NULL ? (struct str){ "", 0 }
			  : str_sub(content, (size_t)(at - content.p), content.len);
}

/* A leaf in one of the ways in which its encoding is read. */
static unsigned
leaf(struct work *w, struct str message, const struct mime_part *part, size_t index,
    enum decode_mode mode, unsigned depth)
{
	struct buf content;

	buf_init(&content, w->limits->decoded);
	unsigned seen = mime_decode(message, part, mode, &content);
	struct inspected_part *p = &w->parts[index];

	if (p->sniffed.len == 0)
		p->sniffed = inspect_sniff(buf_str(&content));
	if (account(w, p, &content, (seen & DECODED_FULL) != 0)) {
		scan(w, p, buf_str(&content));
		int top = p->top;
		struct str inner = opens_as_message(part, p)
		    ? buf_str(&content)
		    : signed_message(part, buf_str(&content));
		if (inner.len > 0) {
			if (depth < w->limits->depth) {
				walk(w, inner, top, depth + 1);
			} else {
				found(p, SCAN_LIMIT, STR("messages too deep in each other"));
			}
		} else if (part->type.len == 0 || str_starts(part->type, STR("text/"))) {
			open_uu(w, buf_str(&content), top);
		}
	}
	buf_clear(&content);
	return seen;
}

static void
one_part(struct work *w, struct str message, const struct mime_part *part, int top,
    unsigned depth)
{
	struct inspected_part *p = add_part(w, top);

	if (p == NULL)
		return;
	size_t index = w->n_parts - 1;

	p->type = keep(w, part->type);
	p->multipart = part->multipart;
	if (depth == 0) {
		p->head = part->head;
		p->body = part->body;
		p->body_end = part->body_end;
	}
	for (size_t i = 0; i < part->n_names; i++)
		add_name(w, p, part->names[i]);
	p->n_own_names = p->n_names;
	/* A message that is not encoded has its parts in the same view. */
	if (part->multipart || (part->message && part->cte == MIME_IDENTITY))
		return;
	if ((leaf(w, message, part, index, DECODE_STOP, depth) &
		(DECODED_AFTER_PAD | DECODED_BAD_ESCAPE)) != 0)
		leaf(w, message, part, index, DECODE_RESYNC, depth);
	/* An encoding that nobody knows is opened by readers that try base64. */
	if (part->cte == MIME_CTE_UNKNOWN) {
		struct mime_part guess = *part;

		guess.cte = MIME_BASE64;
		leaf(w, message, &guess, index, DECODE_RESYNC, depth);
	}
}

static bool
told_before(const struct mime *m, size_t view, const struct mime_part *part)
{
	for (size_t v = 0; v < view; v++)
		for (size_t i = 0; i < m->views[v].n_parts; i++) {
			const struct mime_part *other = &m->views[v].parts[i];

			if (other->body != part->body || other->body_end != part->body_end ||
			    other->cte != part->cte || other->n_names != part->n_names ||
			    !str_eq(other->type, part->type))
				continue;
			size_t n = 0;
			while (n < part->n_names && str_eq(other->names[n], part->names[n]))
				n++;
			if (n == part->n_names)
				return true;
		}
	return false;
}

/* top -1: the parts of this message's plain view are the tops themselves. */
static unsigned
walk_views(struct work *w, struct str message, int top, unsigned depth, size_t *n_views)
{
	struct mime m;

	mime_read(message, &m);
	for (size_t v = 0; v < m.n_views; v++)
		for (size_t i = 0; i < m.views[v].n_parts; i++) {
			const struct mime_part *part = &m.views[v].parts[i];

			if (v > 0 && told_before(&m, v, part))
				continue;
			one_part(w, message, part,
			    depth > 0 ? top : v == 0 ? (int)i : -1, depth);
		}
	unsigned flags = m.flags;
	*n_views = m.n_views;
	mime_clear(&m);
	return flags;
}

/* An encoded message inside a part: bounded by limits->depth. */
static void
walk(struct work *w, struct str message, int top, unsigned depth)
{
	size_t n_views;
	unsigned flags = walk_views(w, message, top, depth, &n_views);
	struct inspected_part *p;

	if ((flags & MIME_LIMITS) == 0 || (p = add_part(w, top)) == NULL)
		return;
	found(p, SCAN_LIMIT, STR("a message inside passes a limit"));
}

static void
write_reply(const struct work *w, unsigned flags, size_t n_views, struct buf *reply)
{
	struct str engine = w->clam == NULL ? STR("") : str_of(clam_version(w->clam));
	size_t start = reply->len;

	inspection_write_head(reply, flags, (uint32_t)n_views, engine, (uint32_t)w->n_parts);
	for (size_t i = 0; i < w->n_parts; i++)
		inspection_write_part(reply, &w->parts[i]);
	if (!reply->failed)
		return;
	/* More names than an answer holds: then this is the answer. */
	struct inspected_part whole = { .top = -1,
		.type = STR("(message)"),
		.state = SCAN_LIMIT,
		.virus = STR("too many names") };

	reply->len = start;
	reply->failed = false;
	inspection_write_head(reply, flags, (uint32_t)n_views, engine, 1);
	inspection_write_part(reply, &whole);
}

void
inspect_message(struct str message, struct clam *clam,
    const struct inspect_limits *limits, struct buf *reply)
{
	struct work w = { .clam = clam, .limits = limits };
	size_t n_views;

	if (limits->time_ms > 0)
		w.end_ms = clock_mono_ms() + limits->time_ms;
	if (getrandom(w.key, sizeof(w.key), 0) != (ssize_t)sizeof(w.key))
		abort(); /* cannot be, for so few octets */
	unsigned flags = walk_views(&w, message, -1, 0, &n_views);
	struct inspected_part *whole = add_part(&w, -1);

	if (whole == NULL) { /* the kept place */
		w.parts[w.n_parts] = (struct inspected_part){ .top = -1 };
		whole = &w.parts[w.n_parts++];
	}
	whole->type = STR("(message)");
	if (w.full)
		found(whole, SCAN_LIMIT, STR("too many parts"));
	scan(&w, whole, message);
	/* Members' names were told by the parts that hold them. */
	whole->n_names = 0;
	write_reply(&w, flags, n_views, reply);
	for (size_t i = 0; i < w.n_strings; i++)
		free(w.strings[i]);
	free(w.strings);
	free(w.seen);
	free(w.parts);
}
