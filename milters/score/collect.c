/* SPDX-License-Identifier: BSD-2-Clause */
/* Keeps the beginning of a message within its limits, whatever the pieces it comes in. */
#include "milters/score/collect.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/base/xalloc.h"

void
collect_init(struct collect *c)
{
	*c = (struct collect){ .size = 0 };
	buf_init(&c->head, COLLECT_HEAD_MAX);
	buf_init(&c->body, 0);
}

void
collect_clear(struct collect *c)
{
	for (size_t i = 0; i < c->n_marks; i++)
		free(c->marks[i].name);
	free(c->subject);
	buf_clear(&c->head);
	buf_clear(&c->body);
	collect_init(c);
}

static void
mark(struct collect *c, struct str name)
{
	size_t i = 0;

	while (i < c->n_marks && !str_is_nocase(name, c->marks[i].name))
		i++;
	if (i == COLLECT_MARKS_MAX || ++c->marked > COLLECT_MARKED_MAX) {
		c->too_marked = true;
		return;
	}
	if (i == c->n_marks)
		c->marks[c->n_marks++] = (struct collect_mark){ str_dup(name), 0 };
	c->marks[i].n++;
}

void
collect_header(struct collect *c, struct str name, struct str value)
{
	size_t need = name.len + value.len + 3;

	c->size += need;
	if (str_starts_nocase(name, STR("X-Spam-")))
		mark(c, name);
	if (c->subject == NULL && str_is_nocase(name, "Subject"))
		c->subject = str_dup(str_sub(value, 0, COLLECT_SUBJECT_MAX));
	if (c->cut || buf_reserve(&c->head, need) == NULL) {
		c->cut = true; /* later ones would stand in a wrong order */
		return;
	}
	buf_add_str(&c->head, name);
	buf_add_cstr(&c->head, ": ");
	for (size_t i = 0; i < value.len; i++)
		if (value.p[i] != '\r' || i + 1 == value.len || value.p[i + 1] != '\n')
			buf_add_char(&c->head, value.p[i]);
	buf_add_char(&c->head, '\n');
}

void
collect_limit(struct collect *c, size_t octets)
{
	c->body.max = octets > c->head.len ? octets - c->head.len : 0;
}

static void
keep(struct collect *c, const char *p, size_t len)
{
	size_t room = c->body.max - c->body.len;

	if (len > room)
		c->cut = true;
	if (len > 0 && room > 0)
		buf_add(&c->body, p, len < room ? len : room);
}

void
collect_body(struct collect *c, struct str chunk)
{
	size_t from = 0;

	c->size += chunk.len;
	if (chunk.len == 0)
		return;
	if (c->cr && chunk.p[0] != '\n')
		keep(c, "\r", 1);
	c->cr = chunk.p[chunk.len - 1] == '\r';
	size_t end = chunk.len - c->cr;
	while (from < end) {
		const char *cr = memchr(chunk.p + from, '\r', end - from);
		size_t to = cr == NULL ? end : (size_t)(cr - chunk.p);

		keep(c, chunk.p + from, to - from);
		if (cr != NULL && (to + 1 == end ? c->cr : true) &&
		    (to + 1 >= chunk.len || chunk.p[to + 1] != '\n'))
			keep(c, "\r", 1);
		from = to + 1;
	}
}

void
collect_end(struct collect *c)
{
	if (c->cr)
		keep(c, "\r", 1);
	c->cr = false;
}

static bool
is_trace(struct str line)
{
	return str_starts_nocase(line, STR("Received:")) ||
	    str_starts_nocase(line, STR("X-Greylist:"));
}

void
collect_hash(const struct collect *c, uint8_t out[COLLECT_HASH_SIZE])
{
	XXH3_state_t *state = XXH3_createState();
	struct str head = buf_str(&c->head), line;
	XXH128_canonical_t hash;
	bool trace = false;

	if (state == NULL)
		abort(); /* as xmalloc */
	XXH3_128bits_reset(state);
	while (str_cut(&head, '\n', &line)) {
		bool fold = line.len > 0 && (line.p[0] == ' ' || line.p[0] == '\t');

		if (!fold)
			trace = is_trace(line);
		if (trace)
			continue;
		XXH3_128bits_update(state, line.p, line.len);
		XXH3_128bits_update(state, "\n", 1);
	}
	XXH3_128bits_update(state, "\n", 1); /* where the header ends */
	XXH3_128bits_update(state, c->body.p, c->body.len);
	XXH128_canonicalFromHash(&hash, XXH3_128bits_digest(state));
	memcpy(out, hash.digest, COLLECT_HASH_SIZE);
	XXH3_freeState(state);
}
