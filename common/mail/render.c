/* SPDX-License-Identifier: BSD-2-Clause */
/* Text for rules.  Where a detail looks odd (a break of two lines behind a title, curly
 * quotes made straight) it is what the published rules were written against. */
#include "common/mail/render.h"

#include <stdint.h>

#include "common/mail/charset.h"
#include "common/mail/header.h"
#include "common/mail/html.h"

struct html_state {
	struct buf *text;
	struct render *uris;
	bool broke; /* the last thing written was a break of a tag */
};

static bool
uri_known(const struct render *r, struct str uri)
{
	struct str rest = buf_str(&r->uris), line;

	while (rest.len > 0 && str_cut(&rest, '\n', &line))
		if (str_eq(line, uri))
			return true;
	return false;
}

static void
add_uri(struct render *r, struct str uri)
{
	uri = str_trim(uri);
	if (uri.len == 0)
		return;
	if (r->n_uris == RENDER_URIS_MAX || uri.len > RENDER_URI_MAX) {
		r->cut = true;
		return;
	}
	if (str_has(uri, '\n') || uri_known(r, uri))
		return;
	if (buf_reserve(&r->uris, uri.len + 1) == NULL) {
		r->cut = true;
		return;
	}
	buf_add_str(&r->uris, uri);
	buf_add_char(&r->uris, '\n');
	r->n_uris++;
}

/* With %XX decoded as a second form: rules match either. */
static void
add_link(struct render *r, struct str uri)
{
	struct buf plain;

	add_uri(r, uri);
	if (!str_has(uri, '%') || uri.len > RENDER_URI_MAX)
		return;
	buf_init(&plain, RENDER_URI_MAX);
	decode_percent(uri, &plain);
	add_uri(r, buf_str(&plain));
	buf_clear(&plain);
}

static const struct {
	const char *tag, *text;
} breaks[] = {
	{ "br", "\n" },
	{ "div", "\n" },
	{ "p", "\n\n" },
	{ "hr", "\n\n" },
	{ "blockquote", "\n\n" },
	{ "pre", "\n\n" },
	{ "listing", "\n\n" },
	{ "plaintext", "\n\n" },
	{ "xmp", "\n\n" },
	{ "title", "\n\n" },
	{ "li", " " },
	{ "td", " " },
	{ "th", " " },
	{ "dd", " " },
	{ "dt", " " },
	{ "embed", " " },
	{ "h1", " " },
	{ "h2", " " },
	{ "h3", " " },
	{ "h4", " " },
	{ "h5", " " },
	{ "h6", " " },
};

static const char *const link_attrs[] = { "href", "src", "action", "background",
	"data-saferedirecturl" };

/* The blank before a break is not seen. */
static void
add_break(struct html_state *s, const char *text)
{
	if (!s->broke && s->text->len > 0 && s->text->p[s->text->len - 1] == ' ')
		s->text->len--;
	buf_add_cstr(s->text, text);
	s->broke = true;
}

static void
on_tag(void *arg, const struct html_tag *tag)
{
	struct html_state *s = arg;
	struct buf value;

	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++)
		if (str_is_nocase(tag->name, breaks[i].tag))
			add_break(s, breaks[i].text);
	if (tag->end || s->uris == NULL)
		return;
	buf_init(&value, RENDER_URI_MAX + 1);
	for (size_t i = 0; i < sizeof(link_attrs) / sizeof(link_attrs[0]); i++) {
		struct str raw = html_attr(tag, link_attrs[i]);

		buf_reset(&value);
		html_decode(str_trim(raw), &value);
		/* Browsers drop tabs and line ends inside a link. */
		size_t kept = 0;
		for (size_t j = 0; j < value.len; j++)
			if (value.p[j] != '\t' && value.p[j] != '\n' && value.p[j] != '\r')
				value.p[kept++] = value.p[j];
		value.len = kept;
		add_link(s->uris, buf_str(&value));
	}
	buf_clear(&value);
}

static void
on_text(void *arg, struct str text, bool raw)
{
	struct html_state *s = arg;
	struct buf plain;
	bool blank = s->broke; /* nor the one behind it */

	if (raw || text.len == 0)
		return;
	buf_init(&plain, RENDER_TOTAL_MAX);
	html_decode(text, &plain);
	/* a line end in the source is a blank like any other; a no-break space is one more */
	for (size_t i = 0; i < plain.len; i++) {
		bool fixed = plain.p[i] == '\xc2' && i + 1 < plain.len && plain.p[i + 1] == '\xa0';
		bool space = plain.p[i] != '\0' && strchr(" \t\n\r\f\v", plain.p[i]) != NULL;

		if (!space || !blank)
			buf_add_char(s->text, space || fixed ? ' ' : plain.p[i]);
		i += fixed;
		blank = space;
	}
	s->broke = false;
	buf_clear(&plain);
}

void
render_html(struct str html, struct buf *text, struct render *uris)
{
	static const struct html_events events = { .text = on_text, .tag = on_tag };
	struct html_state s = { .text = text, .uris = uris };

	html_read(html, &events, &s);
}

/* Blanks of all kinds, as rules' \s+ with Unicode does. */
static bool
is_blank(uint32_t c)
{
	return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 ||
	    (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
	    c == 0x205f || c == 0x3000;
}

/* Squeeze: a run of blanks with two or more line ends becomes one line end, any other run
 * one space.  Lines longer than the limit are cut at a space. */
static void
squeeze(struct str text, struct buf *out)
{
	size_t at = 0, line_from = out->len, last_space = 0;

	while (at < text.len) {
		uint32_t c = utf8_next(text, &at);

		if (is_blank(c)) {
			int line_ends = c == '\n';

			while (at < text.len) {
				size_t next = at;
				uint32_t d = utf8_next(text, &next);

				if (!is_blank(d))
					break;
				line_ends += d == '\n';
				at = next;
			}
			if (buf_add_char(out, line_ends > 1 ? '\n' : ' ') != 0)
				return;
			last_space = line_ends > 1 ? 0 : out->len;
			if (line_ends > 1)
				line_from = out->len;
		} else {
			if (c >= 0x201c && c <= 0x201e)
				c = '"';
			if (utf8_add(out, c) != 0)
				return;
		}
		if (out->len - line_from > RENDER_LINE_MAX && last_space > line_from) {
			out->p[last_space - 1] = '\n';
			line_from = last_space;
			last_space = 0;
		}
	}
}

static bool
uri_octet(char c)
{
	return (unsigned char)c > ' ' && c != '<' && c != '>' && c != '"' && c != '\'' &&
	    (unsigned char)c != 0x7f && c != '`' && c != '|';
}

static bool
address_octet(char c)
{
	return ascii_alnum(c) || c == '.' || c == '-' || c == '_';
}

/* The bare address around the '@' at `at`, as a mailto: link.  Its domain ends in a word of
 * letters.  What stands behind "mailto:" already is found as a link. */
static void
find_address(struct str text, size_t at, struct render *r)
{
	size_t from = at, to = at + 1, label;
	struct buf link;

	while (from > 0 && at - from < 64 &&
	    (address_octet(text.p[from - 1]) || strchr("+%=&!#$*/?^{}~", text.p[from - 1]) != NULL) &&
	    text.p[from - 1] != '\0')
		from--;
	while (to < text.len && to - at < 255 && address_octet(text.p[to]))
		to++;
	while (to > at + 1 && !ascii_alnum(text.p[to - 1]))
		to--;
	for (label = to; label > at + 1 && ascii_alpha(text.p[label - 1]); label--)
		;
	if (from == at || to - label < 2 || label <= at + 2 || text.p[label - 1] != '.' ||
	    (from > 0 && (text.p[from - 1] == ':' || text.p[from - 1] == '@')))
		return;
	buf_init(&link, 400);
	buf_add_cstr(&link, "mailto:");
	buf_add_str(&link, str_sub(text, from, to));
	add_link(r, buf_str(&link));
	buf_clear(&link);
}

/* Links that a mail reader would make clickable: with a scheme, or www. at a word's
 * start; and addresses. */
static void
find_links(struct str text, struct render *r)
{
	static const char *const starts[] = { "http://", "https://", "ftp://", "mailto:",
		"www." };
	struct buf guess;

	for (size_t at = 0; at < text.len; at++) {
		struct str rest = str_sub(text, at, text.len);
		size_t hit = 0, len;

		if (text.p[at] == '@')
			find_address(text, at, r);
		if (at > 0 && ascii_alnum(text.p[at - 1]))
			continue;
		while (hit < 5 && !str_starts_nocase(rest, str_of(starts[hit])))
			hit++;
		if (hit == 5)
			continue;
		for (len = 0; len < rest.len && len <= RENDER_URI_MAX && uri_octet(rest.p[len]); len++)
			;
		at += len;
		/* Punctuation behind a link belongs to the sentence. */
		while (len > 0 && strchr(".,;:!?)]}", rest.p[len - 1]) != NULL)
			len--;
		struct str link = str_sub(rest, 0, len);
		if (hit < 4) {
			add_link(r, link);
			continue;
		}
		buf_init(&guess, RENDER_URI_MAX + 8);
		buf_add_cstr(&guess, "http://");
		buf_add_str(&guess, link);
		add_link(r, buf_str(&guess));
		buf_clear(&guess);
	}
}

static bool
is_html(const struct mime_part *p)
{
	static const char *const endings[] = { ".htm", ".html", ".shtml" };

	if (str_is(p->type, "text/html"))
		return true;
	for (size_t i = 0; i < p->n_names; i++)
		for (size_t j = 0; j < 3; j++)
			if (str_ends_nocase(p->names[i], str_of(endings[j])))
				return true;
	return false;
}

/* Not in the middle of a character. */
static size_t
cut_at(struct str s, size_t max)
{
	if (s.len <= max)
		return s.len;
	while (max > 0 && ((unsigned char)s.p[max] & 0xc0) == 0x80)
		max--;
	return max;
}

static void
render_part(struct str message, const struct mime_part *p, struct buf *joined, struct render *r)
{
	struct buf octets, utf8, text;
	struct str visible;

	buf_init(&octets, RENDER_TOTAL_MAX);
	buf_init(&utf8, RENDER_TOTAL_MAX);
	buf_init(&text, RENDER_TOTAL_MAX);
	if (mime_decode(message, p, DECODE_RESYNC, &octets) & DECODED_FULL)
		r->cut = true;
	size_t raw = cut_at(buf_str(&octets), RENDER_RAW_PART_MAX);
	r->cut = r->cut || raw < octets.len;
	buf_add(&r->rawbody, octets.p, raw);
	if (!charset_to_utf8(buf_str(&octets), p->charset, &utf8))
		r->cut = true;
	if (is_html(p)) {
		render_html(buf_str(&utf8), &text, r);
		visible = buf_str(&text);
	} else {
		visible = buf_str(&utf8);
	}
	r->cut = r->cut || visible.len > RENDER_PART_MAX;
	visible.len = cut_at(visible, RENDER_PART_MAX);
	find_links(visible, r);
	buf_add_str(joined, visible);
	buf_add_char(joined, '\n');
	buf_clear(&octets);
	buf_clear(&utf8);
	buf_clear(&text);
}

/* The last Subject counts, as rules expect. */
static void
add_subject(struct str message, const struct mime_part *root, struct buf *out)
{
	struct header *h = header_new();
	struct buf subject;
	size_t body, n;

	buf_init(&subject, 65536);
	if (header_parse(h, str_sub(message, root->head, root->body), &body, NULL) == 0 &&
	    (n = header_count_name(h, STR("Subject"))) > 0)
		render_header(header_at(h, (size_t)header_find(h, STR("Subject"), n))->value,
		    &subject);
	buf_add_str(out, buf_str(&subject));
	buf_add_char(out, '\n');
	buf_clear(&subject);
	header_free(h);
}

void
render_message(struct str message, const struct mime_view *view, struct render *out)
{
	struct buf joined;

	*out = (struct render){ 0 };
	buf_init(&out->body, RENDER_TOTAL_MAX);
	buf_init(&out->rawbody, RENDER_TOTAL_MAX);
	buf_init(&out->uris, RENDER_TOTAL_MAX);
	buf_init(&joined, RENDER_TOTAL_MAX);
	add_subject(message, &view->parts[0], &out->body);
	for (size_t i = 0; i < view->n_parts; i++) {
		const struct mime_part *p = &view->parts[i];

		if (p->multipart || p->message)
			continue;
		if (p->type.len == 0 || str_is(p->type, "text/plain") || is_html(p))
			render_part(message, p, &joined, out);
	}
	squeeze(buf_str(&joined), &out->body);
	if (out->body.len > 0 && out->body.p[out->body.len - 1] != '\n')
		buf_add_char(&out->body, '\n');
	out->cut = out->cut || joined.failed || out->body.failed || out->rawbody.failed;
	buf_clear(&joined);
}

void
render_clear(struct render *r)
{
	buf_clear(&r->body);
	buf_clear(&r->rawbody);
	buf_clear(&r->uris);
}

/* A run of octets that are no encoded word. */
static void
add_plain(struct str s, struct buf *out)
{
	if (s.len > 0)
		charset_to_utf8(s, (struct str){ "", 0 }, out);
}

void
render_header(struct str raw, struct buf *out)
{
	struct buf flat, word;
	size_t from = 0, at = 0;
	bool after_word = false;

	raw = str_trim(raw);
	buf_init(&flat, raw.len + 1);
	buf_init(&word, raw.len + 1);
	for (size_t i = 0; i < raw.len; i++) {
		bool fold = raw.p[i] == '\r' || raw.p[i] == '\n';

		/* A line end and the blanks behind it are one space. */
		while (fold && i + 1 < raw.len && strchr("\r\n \t", raw.p[i + 1]) != NULL &&
		    raw.p[i + 1] != '\0')
			i++;
		buf_add_char(&flat, fold ? ' ' : raw.p[i]);
	}
	struct str s = buf_str(&flat);
	while (at < s.len) {
		struct str charset;
		size_t used;

		buf_reset(&word);
		if (s.p[at] != '=' ||
		    !decode_word(str_sub(s, at, s.len), &used, &charset, &word)) {
			at++;
			continue;
		}
		struct str between = str_sub(s, from, at);
		if (!after_word || str_trim(between).len > 0)
			add_plain(between, out);
		charset_to_utf8(buf_str(&word), charset, out);
		at = from = at + used;
		after_word = true;
	}
	add_plain(str_sub(s, from, s.len), out);
	buf_clear(&flat);
	buf_clear(&word);
}
