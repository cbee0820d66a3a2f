/* SPDX-License-Identifier: BSD-2-Clause */
/* Options, configuration and output as all subcommands of posternctl do them. */
#include "contrib/ctl/common.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "contrib/ctl/command.h"

static const struct ctl_option *
find_option(const struct ctl_option *options, size_t n, const char *name, size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (strlen(options[i].name) == len &&
		    memcmp(options[i].name, name, len) == 0)
			return &options[i];
	return NULL;
}

/* The option at argv[*i], "--name value" or "--name=value". */
static int
read_option(int argc, char **argv, int *i, const struct ctl_option *options, size_t n)
{
	const char *equals =
	    strncmp(argv[*i], "--", 2) == 0 ? strchr(argv[*i], '=') : NULL;
	size_t len = equals == NULL ? strlen(argv[*i]) : (size_t)(equals - argv[*i]);
	const struct ctl_option *o = find_option(options, n, argv[*i], len);

	if (o == NULL)
		return ctl_usage(argv[0], "option %s is not known", argv[*i]), -1;
	if (o->given != NULL)
		*o->given = true;
	if (o->value == NULL && equals != NULL)
		return ctl_usage(argv[0], "option %s takes no value", o->name), -1;
	if (o->value == NULL)
		return 0;
	if (equals == NULL && *i + 1 == argc)
		return ctl_usage(argv[0], "option %s lacks its value", o->name), -1;
	*o->value = equals != NULL ? equals + 1 : argv[++*i];
	return 0;
}

int
ctl_options(int *argc, char **argv, struct ctl_common *common,
    const struct ctl_option *options, size_t n)
{
	struct ctl_option all[16] = {
		{ "-c", &common->file, NULL },
		{ "--json", NULL, &common->json },
	};
	int kept = 1;

	*common = (struct ctl_common){ 0 };
	for (size_t i = 0; i < n && i + 2 < sizeof(all) / sizeof(all[0]); i++)
		all[i + 2] = options[i];
	for (int i = 1; i < *argc; i++) {
		if (strcmp(argv[i], "--") == 0) {
			while (++i < *argc)
				argv[kept++] = argv[i];
			break;
		}
		if (argv[i][0] != '-' || argv[i][1] == '\0')
			argv[kept++] = argv[i];
		else if (read_option(*argc, argv, &i, all, n + 2) != 0)
			return -1;
	}
	*argc = kept;
	return 0;
}

int64_t
ctl_timeout_ms(const char *command, const char *value)
{
	int64_t ms;

	if (value == NULL)
		return CTL_TIMEOUT_MS;
	if (str_to_duration_ms(str_of(value), &ms) && ms >= 1 && ms <= 600000)
		return ms;
	ctl_usage(command, "--timeout %s: expected a duration like 500ms or 5s", value);
	return -1;
}

const char *
ctl_file(const struct ctl_common *common)
{
	if (common->file != NULL)
		return common->file;
	if (access(POSTERN_CONF_DEFAULT, F_OK) != 0 && errno == ENOENT)
		return NULL;
	return POSTERN_CONF_DEFAULT;
}

void
ctl_print_errors(const struct errs *errs)
{
	char text[640];

	for (size_t i = 0; i < errs->n; i++)
		fprintf(stderr, "%s\n", err_str(&errs->list[i], text, sizeof(text)));
	if (errs->dropped > 0)
		fprintf(stderr, "and %zu more\n", errs->dropped);
}

struct settings *
ctl_settings(const struct ctl_common *common)
{
	struct errs errs = { 0 };
	struct settings *s = settings_load(ctl_file(common), &errs);

	ctl_print_errors(&errs);
	errs_clear(&errs);
	return s;
}

bool
ctl_has_block(const struct settings *s, const char *section)
{
	size_t n;
	const struct conf_table *const *tables = settings_tables(&n);
	int line;

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; strcmp(tables[i]->section, section) == 0 && j < tables[i]->n; j++)
			if (settings_where(s, i, j, &line) != NULL)
				return true;
	return false;
}

int
ctl_output(struct buf *out)
{
	bool good = !out->failed &&
	    fwrite(out->p == NULL ? "" : out->p, 1, out->len, stdout) == out->len &&
	    fflush(stdout) == 0;

	buf_clear(out);
	if (!good)
		fprintf(stderr, "posternctl: output: %s\n", strerror(errno));
	return good ? EX_OK : EX_IOERR;
}

/* Octets of the UTF-8 sequence (RFC 3629 4) at p, or 0. */
static size_t
utf8_len(const unsigned char *p)
{
	static const struct {
		unsigned char first, last, low, high;
		size_t len;
	} forms[] = {
		{ 0x01, 0x7f, 0, 0, 1 },
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 },
		{ 0xe0, 0xe0, 0xa0, 0xbf, 3 },
		{ 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 },
		{ 0xee, 0xef, 0x80, 0xbf, 3 },
		{ 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 },
		{ 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		if (*p < forms[i].first || *p > forms[i].last)
			continue;
		if (forms[i].len > 1 && (p[1] < forms[i].low || p[1] > forms[i].high))
			return 0;
		for (size_t j = 2; j < forms[i].len; j++) /* a NUL ends it, too */
			if (p[j] < 0x80 || p[j] > 0xbf)
				return 0;
		return forms[i].len;
	}
	return 0;
}

void
json_string(struct buf *out, const char *s)
{
	const unsigned char *p = (const unsigned char *)s;

	buf_add_char(out, '"');
	while (*p != '\0') {
		size_t len = utf8_len(p);

		if (len == 0)
			buf_add_cstr(out, "\\ufffd");
		else if (*p == '"' || *p == '\\')
			buf_addf(out, "\\%c", *p);
		else if (*p < 0x20)
			buf_addf(out, "\\u%04x", *p);
		else
			buf_add(out, p, len);
		p += len == 0 ? 1 : len;
	}
	buf_add_char(out, '"');
}

void
json_string_or_null(struct buf *out, const char *s)
{
	if (s == NULL)
		buf_add_cstr(out, "null");
	else
		json_string(out, s);
}
