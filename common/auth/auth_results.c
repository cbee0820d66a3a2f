/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads Authentication-Results by the grammar of RFC 8601 2.2, with what is seen in the
 * wild: values that should have been quoted, a final ";".  Decides nothing about whom
 * to believe. */
#include "common/auth/auth_results.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"

#define WORD_MAX 4096 /* octets of a token or quoted string */

struct reader {
	struct str in;
	size_t at;
	struct err *err;
};

/* ---- words ---- */

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Behind a comment that begins at in.p[at]; 0: it does not end. */
static size_t
comment_end(struct str in, size_t at)
{
	size_t depth = 0;

	for (; at < in.len; at++) {
		char c = in.p[at];
		if (c == '\\')
			at++;
		else if (c == '(' && ++depth > AUTH_COMMENT_DEPTH)
			return 0;
		else if (c == ')' && --depth == 0)
			return at + 1;
	}
	return 0;
}

/* [CFWS] */
static int
skip_cfws(struct reader *r)
{
	for (;;) {
		while (r->at < r->in.len && is_space(r->in.p[r->at]))
			r->at++;
		if (r->at == r->in.len || r->in.p[r->at] != '(')
			return 0;
		r->at = comment_end(r->in, r->at);
		if (r->at == 0)
			return err_set(r->err, "a comment does not end");
	}
}

/* A quoted string at the cursor, its content added to out. */
static int
read_quoted(struct reader *r, struct buf *out)
{
	for (r->at++; r->at < r->in.len; r->at++) {
		char c = r->in.p[r->at];
		if (c == '"') {
			r->at++;
			return 0;
		}
		if (c == '\\' && r->at + 1 < r->in.len)
			c = r->in.p[++r->at];
		if (c != '\r' && c != '\n')
			buf_add_char(out, c);
	}
	return err_set(r->err, "a quoted string does not end");
}

/* Up to a blank, a comment or one of stop, quoted strings taken in.  NULL: err. */
static char *
read_word(struct reader *r, const char *stop, bool lower)
{
	size_t begin = r->at;
	char *word = NULL;
	bool bad = false;
	struct buf out;

	buf_init(&out, WORD_MAX);
	while (!bad && r->at < r->in.len) {
		char c = r->in.p[r->at];

		if (is_space(c) || c == '(' || c == '\0' || strchr(stop, c) != NULL)
			break;
		if (c == '"') {
			bad = read_quoted(r, &out) != 0;
			continue;
		}
		buf_add_char(&out, c);
		r->at++;
	}
	if (bad)
		goto out;
	if (r->at == begin)
		err_set(r->err, "a word is missing at octet %zu", r->at);
	else if (out.failed)
		err_set(r->err, "a word of more than %d octets", WORD_MAX);
	else if (str_has(buf_str(&out), '\0'))
		err_set(r->err, "a NUL in a word");
	else
		word = lower ? str_dup_lower(buf_str(&out)) : str_dup(buf_str(&out));
out:
	buf_clear(&out);
	return word;
}

static bool
next_is(const struct reader *r, char c)
{
	return r->at < r->in.len && r->in.p[r->at] == c;
}

/* One octet that must stand here, with CFWS on both sides. */
static int
expect(struct reader *r, char c)
{
	if (skip_cfws(r) != 0)
		return -1;
	if (!next_is(r, c))
		return err_set(r->err, "expected \"%c\" at octet %zu", c, r->at);
	r->at++;
	return skip_cfws(r);
}

/* ---- the field ---- */

/* digits at the cursor */
static int
read_version(struct reader *r, unsigned *out)
{
	char *word = read_word(r, ";=", false);
	uint64_t n = 0;
	int rc = word == NULL ? -1 : 0;

	if (rc == 0 && !str_to_uint(str_of(word), 0, 999, &n))
		rc = err_set(r->err, "\"%.40s\" is no version number", word);
	*out = (unsigned)n;
	free(word);
	return rc;
}

/* method ["/" version] "=" result */
static int
read_method(struct reader *r, struct auth_result *out)
{
	out->version = 1;
	out->method = read_word(r, ";=/", true);
	if (out->method == NULL || skip_cfws(r) != 0)
		return -1;
	if (next_is(r, '/') &&
	    (expect(r, '/') != 0 || read_version(r, &out->version) != 0))
		return -1;
	if (expect(r, '=') != 0)
		return -1;
	out->result = read_word(r, ";=", true);
	return out->result != NULL ? skip_cfws(r) : -1;
}

/* "reason" "=" value, or ptype "." property "=" pvalue; the first word is read. */
static int
read_property(struct reader *r, struct auth_result *out)
{
	struct auth_property p = { .type = read_word(r, ";=.", true) };
	int rc = -1;

	if (p.type == NULL || skip_cfws(r) != 0)
		goto out;
	bool reason = strcmp(p.type, "reason") == 0 && !next_is(r, '.');
	if (!reason &&
	    (expect(r, '.') != 0 || (p.name = read_word(r, ";=", true)) == NULL))
		goto out;
	if (expect(r, '=') != 0 || (p.value = read_word(r, ";", false)) == NULL)
		goto out;
	if (reason) {
		free(out->reason);
		out->reason = p.value;
		p.value = NULL;
		rc = skip_cfws(r);
		goto out;
	}
	if (out->n == AUTH_PROPERTIES_MAX) {
		err_set(
		    r->err, "more than %d properties of a result", AUTH_PROPERTIES_MAX);
		goto out;
	}
	out->properties =
	    xreallocarray(out->properties, out->n + 1, sizeof(*out->properties));
	out->properties[out->n++] = p;
	return skip_cfws(r);
out:
	free(p.type);
	free(p.name);
	free(p.value);
	return rc;
}

static bool
none_is_all(const struct reader *r)
{
	struct str rest = str_trim(str_sub(r->in, r->at, r->in.len));

	if (rest.len > 0 && rest.p[rest.len - 1] == ';')
		rest = str_trim(str_sub(rest, 0, rest.len - 1));
	return str_is_nocase(str_sub(rest, 0, 4), "none") &&
	    (rest.len == 4 || is_space(rest.p[4]) || rest.p[4] == '(');
}

/* What follows a ";". */
static int
read_result(struct reader *r, struct auth_results *out)
{
	struct auth_result *one;

	if (out->n == AUTH_RESULTS_MAX)
		return err_set(r->err, "more than %d results", AUTH_RESULTS_MAX);
	out->list = xreallocarray(out->list, out->n + 1, sizeof(*out->list));
	one = &out->list[out->n++];
	*one = (struct auth_result){ .version = 1 };
	if (read_method(r, one) != 0)
		return -1;
	while (r->at < r->in.len && !next_is(r, ';'))
		if (read_property(r, one) != 0)
			return -1;
	return 0;
}

int
auth_results_parse(struct str value, struct auth_results *out, struct err *err)
{
	struct reader r = { value, 0, err };

	*out = (struct auth_results){ .version = 1 };
	if (skip_cfws(&r) != 0 || (out->id = read_word(&r, ";", false)) == NULL ||
	    skip_cfws(&r) != 0)
		return -1;
	if (r.at < value.len && !next_is(&r, ';') &&
	    (read_version(&r, &out->version) != 0 || skip_cfws(&r) != 0))
		return -1;
	while (r.at < value.len) {
		if (!next_is(&r, ';'))
			return err_set(err, "expected \";\" at octet %zu", r.at);
		r.at++;
		if (skip_cfws(&r) != 0)
			return -1;
		if (r.at == value.len || (out->n == 0 && none_is_all(&r)))
			return 0;
		if (read_result(&r, out) != 0)
			return -1;
	}
	return 0;
}

void
auth_results_clear(struct auth_results *r)
{
	for (size_t i = 0; i < r->n; i++) {
		struct auth_result *one = &r->list[i];

		for (size_t k = 0; k < one->n; k++) {
			free(one->properties[k].type);
			free(one->properties[k].name);
			free(one->properties[k].value);
		}
		free(one->properties);
		free(one->method);
		free(one->result);
		free(one->reason);
	}
	free(r->list);
	free(r->id);
	*r = (struct auth_results){ .n = 0 };
}

const char *
auth_result_property(const struct auth_result *r, const char *type, const char *name)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->properties[i].type, type) == 0 &&
		    strcmp(r->properties[i].name, name) == 0)
			return r->properties[i].value;
	return NULL;
}

/* ---- whose is it ---- */

static bool
same_name(struct str a, struct str b)
{
	while (a.len > 0 && a.p[a.len - 1] == '.')
		a.len--;
	while (b.len > 0 && b.p[b.len - 1] == '.')
		b.len--;
	return str_eq_nocase(a, b);
}

/* The words up to ";" one after the other into joined: after each the name may be
 * whole. Returns true when one is id, or when no name can be told. */
bool
auth_results_claims(struct str value, const char *id)
{
	struct reader r = { value, 0, NULL };
	struct buf joined;
	bool claims = true, named = false;

	buf_init(&joined, WORD_MAX);
	for (;;) {
		size_t begin = r.at;

		if (skip_cfws(&r) != 0)
			break;
		if (r.at == value.len || next_is(&r, ';')) {
			claims = !named;
			break;
		}
		char *word = read_word(&r, ";", false);
		if (word == NULL || buf_add_cstr(&joined, word) != 0) {
			free(word);
			break;
		}
		/* also the word alone: something may stand in front of it */
		bool same = same_name(str_of(word), str_of(id)) ||
		    same_name(buf_str(&joined), str_of(id));
		free(word);
		named = joined.len > 0;
		if (same || r.at == begin)
			break;
	}
	buf_clear(&joined);
	return claims;
}

/* ---- Received-SPF ---- */

static bool
comment_opens_with(struct str comment, const char *id)
{
	struct str inner = str_trim(str_sub(comment, 1, comment.len - 1));
	size_t len = strlen(id);

	return str_starts_nocase(inner, str_of(id)) && inner.len > len &&
	    (inner.p[len] == ':' || inner.p[len] == '.' || is_space(inner.p[len]));
}

/* key = value, of which receiver's is compared.  -1: not told apart. */
static int
read_key(struct reader *r, const char *id, bool *claims)
{
	char *key = read_word(r, ";=", true), *value = NULL;
	int rc = key == NULL || skip_cfws(r) != 0 ? -1 : 0;

	if (rc == 0 && next_is(r, '=')) {
		r->at++;
		rc = skip_cfws(r);
		if (rc == 0 && r->at < r->in.len && !next_is(r, ';'))
			rc = (value = read_word(r, ";", false)) == NULL ? -1 : 0;
		if (value != NULL && strcmp(key, "receiver") == 0 &&
		    same_name(str_of(value), str_of(id)))
			*claims = true;
	}
	free(key);
	free(value);
	return rc;
}

bool
received_spf_claims(struct str value, const char *id)
{
	struct reader r = { value, 0, NULL };
	bool claims = false;
	char *result;

	while (r.at < value.len && is_space(value.p[r.at]))
		r.at++;
	result = next_is(&r, '(') ? NULL : read_word(&r, ";", false);
	free(result);
	while (r.at < value.len && is_space(value.p[r.at]))
		r.at++;
	if (next_is(&r, '(')) {
		size_t end = comment_end(value, r.at);
		if (end == 0)
			return true;
		if (comment_opens_with(str_sub(value, r.at, end), id))
			return true;
	}
	while (!claims) {
		if (skip_cfws(&r) != 0)
			return true;
		if (r.at == value.len)
			return false;
		if (next_is(&r, ';') || next_is(&r, '=') || next_is(&r, '\0'))
			r.at++;
		else if (read_key(&r, id, &claims) != 0)
			return true;
	}
	return claims;
}
