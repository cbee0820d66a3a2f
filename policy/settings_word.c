/* SPDX-License-Identifier: BSD-2-Clause */
/* What a word of the configuration must look like, where several sections ask alike. */
#include "policy/settings_word.h"

#include <sys/un.h>

#include "common/base/buf.h"
#include "common/base/ip.h"

#define SOCKET_MODE_MAX 0777
#define TEXT_MAX                                                                       \
	400 /* of a reply: one line of RFC 5321 4.5.3.1.5 less code and numbers */

const char *
settings_path_wrong(struct str s)
{
	return s.len > 1 && s.len < 4096 && s.p[0] == '/' ? NULL : "an absolute path";
}

const char *
settings_socket_path_wrong(struct str s)
{
	if (str_starts(s, STR("unix:")))
		s = str_sub(s, 5, s.len);
	if (settings_path_wrong(s) != NULL)
		return "unix:/path of a socket";
	return s.len < sizeof(((struct sockaddr_un *)0)->sun_path)
	    ? NULL
	    : "a socket's path of at most 107 octets";
}

/* unix:/path, /path, inet:PORT or inet:PORT@ADDRESS, with the keyword's family */
const char *
settings_socket_wrong(struct str s)
{
	static const char expected[] =
	    "unix:/path, inet:port@127.0.0.1 or inet6:port@[::1]";
	struct str kind, port;
	struct ip ip = { 0 };
	uint64_t n;

	if (str_starts(s, STR("unix:")) || str_starts(s, STR("/")))
		return settings_socket_path_wrong(s);
	if (!str_cut(&s, ':', &kind) || !str_cut(&s, '@', &port) ||
	    (s.p != NULL && !ip_parse(s, &ip)) || !str_to_uint(port, 1, 65535, &n))
		return expected;
	if (str_is(kind, "inet"))
		return s.p == NULL || ip.family == AF_INET ? NULL : expected;
	if (str_is(kind, "inet6"))
		return s.p == NULL || ip.family == AF_INET6 ? NULL : expected;
	return expected;
}

/* ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT */
const char *
settings_server_wrong(struct str s)
{
	struct ip ip;
	uint64_t port;
	ptrdiff_t colon = str_rindex(s, ':');

	if (ip_parse(s, &ip))
		return NULL;
	if (colon > 0 && ip_parse(str_sub(s, 0, (size_t)colon), &ip) &&
	    (ip.family == AF_INET || s.p[0] == '[') &&
	    str_to_uint(str_sub(s, (size_t)colon + 1, s.len), 1, 65535, &port))
		return NULL;
	return "an address like 192.0.2.53, 127.0.0.1:5353 or [::1]:53";
}

const char *
settings_text_wrong(struct str s)
{
	return s.len > 0 && s.len <= TEXT_MAX ? NULL : "a text of 1 to 400 octets";
}

void
settings_mode_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	const struct conf_word *word = node->n_values > 0 ? node->values : &node->name;
	int64_t mode = 0;
	bool good = node->n_values == 1 && word->text.len > 0 && word->text.len <= 4;

	for (size_t i = 0; good && i < word->text.len; i++) {
		char c = word->text.p[i];

		good = c >= '0' && c <= '7';
		mode = mode * 8 + (c - '0');
	}
	if (good && mode <= SOCKET_MODE_MAX)
		*(int64_t *)field = mode;
	else
		errs_add(errs, word->file, word->line,
		    "%.40s: \"%.*s\" is no file mode: expected octal digits like 0660",
		    "socket-mode", (int)(word->text.len < 40 ? word->text.len : 40),
		    word->text.p);
}

void
settings_mode_print(const void *field, struct buf *out)
{
	buf_addf(out, "%04o", (unsigned)*(const int64_t *)field);
}
