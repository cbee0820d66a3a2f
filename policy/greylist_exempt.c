/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads lists of hosts and senders that must not be greylisted, and asks them. */
#include "policy/greylist_exempt.h"

#include <stdlib.h>

#include "common/base/xalloc.h"
#include "policy/member.h"

#define WORD_LEN(s) (int)((s).len < 80 ? (s).len : 80)

static const char *
add_client(struct greylist_exempt *e, struct str value)
{
	/* a name that is nearly an address was meant as one */
	if (member_add_network(e->clients, value) == NULL)
		return NULL;
	if (value.len > 0 && !str_has(value, '/') && !str_has(value, ':') &&
	    !ascii_digit(value.p[value.len - 1]) &&
	    member_add_domain(e->clients, value) == NULL)
		return NULL;
	return "a network, an address, a host name or .domain";
}

static const char *
add_sender(struct greylist_exempt *e, struct str value)
{
	return str_has(value, '@') ? member_add_address(e->senders, value)
				   : member_add_domain(e->senders, value);
}

static void
add_line(struct greylist_exempt *e, struct str line, const char *path, int n,
    struct errs *errs)
{
	struct str rest = line, word, value, more;
	const char *wrong = "client or sender";

	str_word(&rest, &word);
	struct str told = word;
	if (!str_word(&rest, &value))
		value = STR("");
	if (str_is(word, "client") || str_is(word, "sender")) {
		wrong = str_is(word, "client") ? add_client(e, value)
					       : add_sender(e, value);
		told = value;
	}
	if (wrong == NULL && str_word(&rest, &more)) {
		wrong = "one value in a line";
		told = more;
	}
	if (wrong != NULL)
		errs_add(errs, path, n, "\"%.*s\" cannot be read: expected %s",
		    WORD_LEN(told), told.p, wrong);
}

void
greylist_exempt_add(
    struct greylist_exempt *e, const struct conf_word *by, struct errs *errs)
{
	char *path = conf_relative(by->file, by->text);
	size_t len = 0;
	struct err err;
	char *text = conf_read_file(path, &len, &err);
	struct str rest = { text, len }, line, entry;

	if (e->clients == NULL) {
		e->clients = member_set_new();
		e->senders = member_set_new();
	}
	e->paths = xreallocarray(e->paths, e->n_paths + 1, sizeof(*e->paths));
	e->paths[e->n_paths++] = str_dup(by->text);
	if (text == NULL)
		errs_add(errs, by->file, by->line,
		    "exempt: \"%s\" %s: expected a file with one entry per line", path,
		    err.text);
	for (int n = 1; text != NULL && str_cut(&rest, '\n', &line); n++) {
		if (!str_cut(&line, '#', &entry))
			continue;
		entry = str_trim(entry);
		if (entry.len > 0)
			add_line(e, entry, path, n, errs);
	}
	free(text);
	free(path);
}

void
greylist_exempt_clear(struct greylist_exempt *e)
{
	for (size_t i = 0; i < e->n_paths; i++)
		free(e->paths[i]);
	free(e->paths);
	member_set_free(e->clients);
	member_set_free(e->senders);
	*e = (struct greylist_exempt){ 0 };
}

bool
greylist_exempt_client(
    const struct greylist_exempt *e, const struct ip *ip, struct str name)
{
	struct member_name folded;

	if (e->clients == NULL)
		return false;
	if (member_has_ip(e->clients, ip))
		return true;
	member_fold(name, &folded);
	if (folded.address.len == 0 || str_has(folded.address, '@'))
		return false;
	folded.domain = folded.address;
	return member_has_name(e->clients, &folded);
}

bool
greylist_exempt_sender(const struct greylist_exempt *e, struct str address)
{
	struct member_name folded;

	if (e->senders == NULL || address.len == 0)
		return false;
	member_fold(address, &folded);
	return member_has_name(e->senders, &folded);
}
