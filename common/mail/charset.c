/* SPDX-License-Identifier: BSD-2-Clause */
/* Charsets by glibc's iconv behind a table of the labels that mail uses; a label outside
 * the table is taken as not declared, so that hostile names reach no file system. */
#include "common/mail/charset.h"

#include <errno.h>
#include <iconv.h>

/* What mail calls it, and what iconv calls it (NULL: the same).  Labels of single-octet
 * charsets that senders confuse with Windows' are taken as Windows', as readers do. */
static const struct {
	const char *label, *name;
} labels[] = {
	{ "us-ascii", "WINDOWS-1252" },
	{ "ascii", "WINDOWS-1252" },
	{ "iso-8859-1", "WINDOWS-1252" },
	{ "latin1", "WINDOWS-1252" },
	{ "windows-1252", NULL },
	{ "cp1252", "WINDOWS-1252" },
	{ "iso-8859-2", NULL },
	{ "iso-8859-3", NULL },
	{ "iso-8859-4", NULL },
	{ "iso-8859-5", NULL },
	{ "iso-8859-6", NULL },
	{ "iso-8859-7", NULL },
	{ "iso-8859-8", NULL },
	{ "iso-8859-8-i", "ISO-8859-8" },
	{ "iso-8859-9", "WINDOWS-1254" },
	{ "iso-8859-10", NULL },
	{ "iso-8859-11", NULL },
	{ "iso-8859-13", NULL },
	{ "iso-8859-14", NULL },
	{ "iso-8859-15", NULL },
	{ "iso-8859-16", NULL },
	{ "windows-1250", NULL },
	{ "windows-1251", NULL },
	{ "cp1251", "WINDOWS-1251" },
	{ "windows-1253", NULL },
	{ "windows-1254", NULL },
	{ "windows-1255", NULL },
	{ "windows-1256", NULL },
	{ "windows-1257", NULL },
	{ "windows-1258", NULL },
	{ "windows-874", "CP874" },
	{ "koi8-r", NULL },
	{ "koi8-u", NULL },
	{ "macintosh", NULL },
	{ "tis-620", NULL },
	{ "utf-7", NULL },
	{ "utf-16", NULL },
	{ "utf-16le", NULL },
	{ "utf-16be", NULL },
	{ "gb2312", "GB18030" },
	{ "gbk", "GB18030" },
	{ "gb18030", NULL },
	{ "hz-gb-2312", "HZ" },
	{ "big5", "BIG5-HKSCS" },
	{ "big5-hkscs", NULL },
	{ "shift_jis", "CP932" },
	{ "shift-jis", "CP932" },
	{ "windows-31j", "CP932" },
	{ "euc-jp", NULL },
	{ "iso-2022-jp", NULL },
	{ "euc-kr", "CP949" },
	{ "ks_c_5601-1987", "CP949" },
	{ "iso-2022-kr", NULL },
	{ "iso-2022-cn", NULL },
};

#define N_LABELS (sizeof(labels) / sizeof(labels[0]))

/* One converter a label, opened once and never closed: the process is short-lived or a
 * tool.  Guarded by being single-threaded. */
static iconv_t converters[N_LABELS];
static bool opened[N_LABELS];

static iconv_t
converter(size_t i)
{
	if (!opened[i]) {
		const char *name = labels[i].name;

		converters[i] = iconv_open("UTF-8", name != NULL ? name : labels[i].label);
		opened[i] = true;
	}
	return converters[i];
}

size_t
charset_preload(void)
{
	size_t usable = 0;
	struct buf out;

	/* The first conversion loads tables, too. */
	buf_init(&out, 64);
	for (size_t i = 0; i < N_LABELS; i++) {
		usable += converter(i) != (iconv_t)-1;
		buf_reset(&out);
		charset_to_utf8(STR("x\xe4"), str_of(labels[i].label), &out);
	}
	buf_clear(&out);
	return usable;
}

int
utf8_add(struct buf *out, uint32_t c)
{
	char o[4];
	size_t n;

	if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		c = 0xfffd;
	if (c < 0x80) {
		o[0] = (char)c;
		n = 1;
	} else if (c < 0x800) {
		o[0] = (char)(0xc0 | c >> 6);
		o[1] = (char)(0x80 | (c & 0x3f));
		n = 2;
	} else if (c < 0x10000) {
		o[0] = (char)(0xe0 | c >> 12);
		o[1] = (char)(0x80 | (c >> 6 & 0x3f));
		o[2] = (char)(0x80 | (c & 0x3f));
		n = 3;
	} else {
		o[0] = (char)(0xf0 | c >> 18);
		o[1] = (char)(0x80 | (c >> 12 & 0x3f));
		o[2] = (char)(0x80 | (c >> 6 & 0x3f));
		o[3] = (char)(0x80 | (c & 0x3f));
		n = 4;
	}
	return buf_add(out, o, n);
}

/* Length of the well-formed sequence at `at` (RFC 3629 4), 0 when there is none. */
static size_t
sequence(struct str s, size_t at, uint32_t *c)
{
	const unsigned char *p = (const unsigned char *)s.p + at;
	size_t left = s.len - at, n;
	uint32_t min;

	if (p[0] < 0x80) {
		*c = p[0];
		return 1;
	}
	if (p[0] >= 0xc2 && p[0] < 0xe0) {
		n = 2;
		min = 0x80;
		*c = p[0] & 0x1f;
	} else if (p[0] >= 0xe0 && p[0] < 0xf0) {
		n = 3;
		min = 0x800;
		*c = p[0] & 0x0f;
	} else if (p[0] >= 0xf0 && p[0] < 0xf5) {
		n = 4;
		min = 0x10000;
		*c = p[0] & 0x07;
	} else {
		return 0;
	}
	if (n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		*c = *c << 6 | (p[i] & 0x3f);
	}
	if (*c < min || *c > 0x10ffff || (*c >= 0xd800 && *c < 0xe000))
		return 0;
	return n;
}

bool
utf8_valid(struct str s)
{
	uint32_t c;

	for (size_t at = 0; at < s.len;) {
		size_t n = sequence(s, at, &c);

		if (n == 0)
			return false;
		at += n;
	}
	return true;
}

uint32_t
utf8_next(struct str s, size_t *at)
{
	uint32_t c;
	size_t n = sequence(s, *at, &c);

	*at += n > 0 ? n : 1;
	return n > 0 ? c : 0xfffd;
}

/* Octets that begin an escape or a shift: such text is not "just ASCII". */
static bool
stateful(struct str label)
{
	return str_starts_nocase(label, STR("iso-2022")) || str_is_nocase(label, "utf-7") ||
	    str_is_nocase(label, "hz-gb-2312") || str_starts_nocase(label, STR("utf-16"));
}

/* Through one converter; what it cannot read becomes U+FFFD octet by octet. */
static bool
convert(iconv_t cd, struct str in, struct buf *out)
{
	char chunk[4096];
	char *from = (char *)(uintptr_t)in.p;
	size_t left = in.len;

	iconv(cd, NULL, NULL, NULL, NULL);
	while (left > 0) {
		char *to = chunk;
		size_t room = sizeof(chunk);
		size_t rc = iconv(cd, &from, &left, &to, &room);

		if (buf_add(out, chunk, sizeof(chunk) - room) != 0)
			return false;
		if (rc != (size_t)-1 || errno == E2BIG)
			continue;
		/* EILSEQ, or EINVAL for a sequence that the end cuts. */
		if (utf8_add(out, 0xfffd) != 0)
			return false;
		from++;
		left--;
	}
	return true;
}

bool
charset_to_utf8(struct str in, struct str label, struct buf *out)
{
	iconv_t fallback;

	if (!stateful(label) && utf8_valid(in))
		return buf_add_str(out, in) == 0;
	for (size_t i = 0; i < N_LABELS; i++)
		if (str_is_nocase(label, labels[i].label) && converter(i) != (iconv_t)-1)
			return convert(converter(i), in, out);
	fallback = converter(0); /* windows-1252 */
	if (fallback != (iconv_t)-1)
		return convert(fallback, in, out);
	for (size_t at = 0; at < in.len; at++)
		if (utf8_add(out, (unsigned char)in.p[at]) != 0)
			return false;
	return true;
}
