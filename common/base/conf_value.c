/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads and writes the value types of the settings tables.  It says what a value must
 * look like and what is out of range; which settings exist is conf.c's. */
#include "common/base/conf_value.h"

#include <inttypes.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/ip.h"
#include "common/base/xalloc.h"

#define NUMBER_TEXT_MAX 80

static bool
is_number(enum conf_type type)
{
	return type == CONF_INT || type == CONF_TIME || type == CONF_TIME_MS ||
	    type == CONF_SIZE || type == CONF_DECIMAL;
}

bool
conf_value_adds(const struct conf_setting *setting)
{
	return setting->type == CONF_LIST || setting->type == CONF_NET_LIST ||
	    (setting->type == CONF_CUSTOM && (setting->block || setting->repeat));
}

size_t
conf_value_size(const struct conf_setting *setting)
{
	switch (setting->type) {
	case CONF_BOOL:
		return sizeof(bool);
	case CONF_INT:
	case CONF_TIME:
	case CONF_TIME_MS:
	case CONF_SIZE:
	case CONF_DECIMAL:
		return sizeof(int64_t);
	case CONF_STRING:
		return sizeof(char *);
	case CONF_LIST:
		return sizeof(struct conf_strings);
	case CONF_ENUM:
		return sizeof(int);
	case CONF_NET_LIST:
		return sizeof(struct conf_nets);
	case CONF_CUSTOM:
		return setting->size;
	}
	return 0;
}

/* Durations in the largest units that say them exactly: 90m is 1h30m. */
static void
print_duration(int64_t ms, struct buf *out)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = { { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 },
		{ "s", 1000 }, { "ms", 1 } };

	if (ms == 0)
		buf_add_cstr(out, "0s");
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (ms / units[i].ms > 0)
			buf_addf(out, "%" PRId64 "%s", ms / units[i].ms, units[i].name);
		ms %= units[i].ms;
	}
}

static void
print_size(uint64_t bytes, struct buf *out)
{
	static const char units[] = "kMGT";
	size_t unit = 0;

	while (unit < sizeof(units) - 1 && bytes > 0 && bytes % 1024 == 0) {
		bytes /= 1024;
		unit++;
	}
	buf_addf(out, "%" PRIu64, bytes);
	if (unit > 0)
		buf_add_char(out, units[unit - 1]);
}

/* At most three places behind the point, without idle zeros. */
static void
print_decimal(int64_t value, struct buf *out)
{
	unsigned part = (unsigned)(value % 1000), width = 3;

	buf_addf(out, "%" PRId64, value / 1000);
	for (; width > 0 && part % 10 == 0; width--)
		part /= 10;
	if (width > 0)
		buf_addf(out, ".%0*u", (int)width, part);
}

static bool
parse_decimal(struct str s, int64_t *out)
{
	struct str whole;
	uint64_t w, part = 0;

	str_cut(&s, '.', &whole);
	if (!str_to_uint(whole, 0, INT64_MAX / 1000 - 1, &w) || s.len > 3 ||
	    (s.p != NULL && !str_to_uint(s, 0, 999, &part)))
		return false;
	for (size_t i = s.len; i < 3; i++)
		part *= 10;
	*out = (int64_t)(w * 1000 + part);
	return true;
}

static void
print_number(enum conf_type type, int64_t value, struct buf *out)
{
	if (type == CONF_TIME)
		print_duration(
		    value > INT64_MAX / 1000 ? INT64_MAX : value * 1000, out);
	else if (type == CONF_TIME_MS)
		print_duration(value, out);
	else if (type == CONF_SIZE)
		print_size((uint64_t)value, out);
	else if (type == CONF_DECIMAL)
		print_decimal(value, out);
	else
		buf_addf(out, "%" PRId64, value);
}

void
conf_print_word(struct str word, struct buf *out)
{
	bool bare = word.len > 0;

	for (size_t i = 0; i < word.len; i++)
		if ((unsigned char)word.p[i] <= ' ' ||
		    strchr(";{}\"#\\", word.p[i]) != NULL)
			bare = false;
	if (bare) {
		buf_add_str(out, word);
		return;
	}
	buf_add_char(out, '"');
	for (size_t i = 0; i < word.len; i++) {
		if (word.p[i] == '"' || word.p[i] == '\\')
			buf_add_char(out, '\\');
		buf_add_char(out, word.p[i]);
	}
	buf_add_char(out, '"');
}

/* The nth name of "a|b|c"; false beyond the end. */
static bool
choice_at(const char *choices, int n, struct str *name)
{
	struct str rest = str_of(choices);

	while (str_cut(&rest, '|', name))
		if (n-- == 0)
			return true;
	return false;
}

static bool
fail(const struct conf_node *node, const struct conf_word *word, struct errs *errs,
    const char *what, const char *expected)
{
	errs_add(errs, word->file, word->line, "%.*s: \"%.*s\" %s: expected %s",
	    (int)(node->name.text.len < 80 ? node->name.text.len : 80),
	    node->name.text.p, (int)(word->text.len < 80 ? word->text.len : 80),
	    word->text.p, what, expected);
	return false;
}

static bool
fail_range(const struct conf_setting *setting, const struct conf_node *node,
    const struct conf_word *word, struct errs *errs)
{
	struct buf b;

	buf_init(&b, NUMBER_TEXT_MAX * 2);
	print_number(setting->type, setting->min, &b);
	buf_add_cstr(&b, " to ");
	print_number(setting->type, setting->max, &b);
	fail(node, word, errs, "is out of range", buf_cstr(&b));
	buf_clear(&b);
	return false;
}

static bool
parse_number(const struct conf_setting *setting, const struct conf_node *node,
    void *field, struct errs *errs)
{
	static const char *const expected[] = {
		[CONF_INT] = "a whole number",
		[CONF_TIME] = "a duration like 90s, 5m, 1h30m, 2d",
		[CONF_TIME_MS] = "a duration like 200ms, 5s, 1m",
		[CONF_SIZE] = "a size like 4096, 64k, 10M, 1G",
		[CONF_DECIMAL] = "a number like 5 or 7.5",
	};
	const struct conf_word *word = &node->values[0];
	uint64_t u = 0;
	int64_t value = 0;
	bool right = false;

	if (setting->type == CONF_TIME) {
		right = str_to_duration(word->text, &value);
	} else if (setting->type == CONF_TIME_MS) {
		right = str_to_duration_ms(word->text, &value);
	} else if (setting->type == CONF_DECIMAL) {
		right = parse_decimal(word->text, &value);
	} else {
		right = setting->type == CONF_SIZE
		    ? str_to_size(word->text, &u)
		    : str_to_uint(word->text, 0, UINT64_MAX, &u);
		/* beyond int64 is out of any range that a row can name */
		value = u > INT64_MAX ? INT64_MAX : (int64_t)u;
	}
	if (!right)
		return fail(
		    node, word, errs, "cannot be read", expected[setting->type]);
	if ((setting->min != 0 || setting->max != 0) &&
	    (value < setting->min || value > setting->max))
		return fail_range(setting, node, word, errs);
	if (setting->type == CONF_SIZE)
		*(uint64_t *)field = (uint64_t)value;
	else
		*(int64_t *)field = value;
	return true;
}

static bool
parse_bool(const struct conf_node *node, bool *field, struct errs *errs)
{
	static const char *const names[] = { "off", "on", "no", "yes", "false",
		"true" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (str_is_nocase(node->values[0].text, names[i])) {
			*field = i % 2 == 1;
			return true;
		}
	}
	return fail(node, &node->values[0], errs, "cannot be read", "on or off");
}

static bool
parse_enum(const struct conf_setting *setting, const struct conf_node *node, int *field,
    struct errs *errs)
{
	struct buf b;
	struct str name;

	for (int i = 0; choice_at(setting->choices, i, &name); i++) {
		if (str_eq(name, node->values[0].text)) {
			*field = i;
			return true;
		}
	}
	buf_init(&b, 400);
	buf_add_cstr(&b, "one of ");
	for (int i = 0; choice_at(setting->choices, i, &name); i++) {
		buf_add_cstr(&b, i == 0 ? "" : ", ");
		buf_add_str(&b, name);
	}
	fail(node, &node->values[0], errs, "is not known", buf_cstr(&b));
	buf_clear(&b);
	return false;
}

static bool
checked(const struct conf_setting *setting, const struct conf_node *node,
    const struct conf_word *word, struct errs *errs)
{
	const char *expected =
	    setting->check == NULL ? NULL : setting->check(word->text);

	return expected == NULL ||
	    fail(node, word, errs, "cannot stand here", expected);
}

static bool
parse_string(const struct conf_setting *setting, const struct conf_node *node,
    char **field, struct errs *errs)
{
	if (!checked(setting, node, &node->values[0], errs))
		return false;
	free(*field);
	*field = str_dup(node->values[0].text);
	return true;
}

/* Room for one more; doubling at each power of two keeps no capacity field. */
static void *
grow(void *list, size_t n, size_t size)
{
	return (n & (n - 1)) == 0 ? xreallocarray(list, n > 0 ? n * 2 : 1, size) : list;
}

static bool
parse_list(const struct conf_setting *setting, const struct conf_node *node,
    struct conf_strings *field, struct errs *errs)
{
	bool good = true;

	for (size_t i = 0; i < node->n_values; i++) {
		field->list = grow(field->list, field->n, sizeof(*field->list));
		if (checked(setting, node, &node->values[i], errs))
			field->list[field->n++] = str_dup(node->values[i].text);
		else
			good = false;
	}
	return good;
}

static bool
parse_nets(const struct conf_node *node, struct conf_nets *field, struct errs *errs)
{
	bool good = true;

	for (size_t i = 0; i < node->n_values; i++) {
		field->list = grow(field->list, field->n, sizeof(*field->list));
		if (ipnet_parse(node->values[i].text, &field->list[field->n]))
			field->n++;
		else
			good = fail(node, &node->values[i], errs, "is not a network",
			    "an address or network like 192.0.2.0/24, host bits zero");
	}
	return good;
}

/* The usual cause of too many values is a ";" forgotten lines ago: say where. */
static void
fail_count(const struct conf_node *node, struct errs *errs)
{
	int len = (int)(node->name.text.len < 80 ? node->name.text.len : 80);
	int line = node->name.line;

	if (node->n_values == 0) {
		errs_add(errs, node->name.file, line, "%.*s has no value: expected one",
		    len, node->name.text.p);
		return;
	}
	for (size_t i = 0; i < node->n_values && node->values[i].line == line; i++)
		if (i + 1 < node->n_values && node->values[i + 1].line != line) {
			errs_add(errs, node->name.file, line,
			    "%.*s goes on in line %d: expected \";\" at the end of "
			    "line %d",
			    len, node->name.text.p, node->values[i + 1].line, line);
			return;
		}
	errs_add(errs, node->name.file, line, "%.*s has %zu values: expected one", len,
	    node->name.text.p, node->n_values);
}

bool
conf_value_parse(const struct conf_setting *setting, const struct conf_node *node,
    void *field, struct errs *errs)
{
	size_t before = errs->n + errs->dropped;
	bool list = setting->type == CONF_LIST || setting->type == CONF_NET_LIST;

	if (setting->type == CONF_CUSTOM) {
		setting->parse(node, field, errs);
		return errs->n + errs->dropped == before;
	}
	if (node->n_values == 0 || (!list && node->n_values != 1)) {
		fail_count(node, errs);
		return false;
	}
	if (is_number(setting->type))
		return parse_number(setting, node, field, errs);
	if (setting->type == CONF_BOOL)
		return parse_bool(node, field, errs);
	if (setting->type == CONF_ENUM)
		return parse_enum(setting, node, field, errs);
	if (setting->type == CONF_STRING)
		return parse_string(setting, node, field, errs);
	if (setting->type == CONF_LIST)
		return parse_list(setting, node, field, errs);
	return parse_nets(node, field, errs);
}

void
conf_value_clear(const struct conf_setting *setting, void *field)
{
	if (setting->type == CONF_STRING) {
		free(*(char **)field);
	} else if (setting->type == CONF_LIST) {
		struct conf_strings *strings = field;

		for (size_t i = 0; i < strings->n; i++)
			free(strings->list[i]);
		free(strings->list);
	} else if (setting->type == CONF_NET_LIST) {
		free(((struct conf_nets *)field)->list);
	} else if (setting->type == CONF_CUSTOM && setting->clear != NULL) {
		setting->clear(field);
	}
	memset(field, 0, conf_value_size(setting));
}

static void
print_list(const struct conf_strings *strings, struct buf *out)
{
	for (size_t i = 0; i < strings->n; i++) {
		buf_add_cstr(out, i == 0 ? "" : " ");
		conf_print_word(str_of(strings->list[i]), out);
	}
}

static void
print_nets(const struct conf_nets *nets, struct buf *out)
{
	char text[IP_TEXT_MAX + 4];

	for (size_t i = 0; i < nets->n; i++)
		buf_addf(
		    out, "%s%s", i == 0 ? "" : " ", ipnet_format(&nets->list[i], text));
}

void
conf_value_print(const struct conf_setting *setting, const void *field, struct buf *out)
{
	struct str name = STR("?");

	switch (setting->type) {
	case CONF_BOOL:
		buf_add_cstr(out, *(const bool *)field ? "on" : "off");
		break;
	case CONF_INT:
	case CONF_TIME:
	case CONF_TIME_MS:
	case CONF_SIZE:
	case CONF_DECIMAL:
		print_number(setting->type, *(const int64_t *)field, out);
		break;
	case CONF_STRING:
		conf_print_word(str_of(*(char *const *)field), out);
		break;
	case CONF_LIST:
		print_list(field, out);
		break;
	case CONF_ENUM:
		choice_at(setting->choices, *(const int *)field, &name);
		buf_add_str(out, name);
		break;
	case CONF_NET_LIST:
		print_nets(field, out);
		break;
	case CONF_CUSTOM:
		setting->print(field, out);
		break;
	}
}
