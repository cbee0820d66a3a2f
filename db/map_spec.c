/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of maps, apart from what opens them: settings check names in programs that open
 * no map. */
#include "db/map_spec.h"

static const struct str shared = STR("shared:"), ldap = STR("ldap:");

static bool
is_name(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!ascii_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' &&
		    s.p[i] != '.')
			return false;
	return s.len > 0 && s.len <= 64;
}

enum map_kind
map_spec_kind(struct str spec, struct str *name)
{
	*name = spec;
	if (str_starts(spec, shared)) {
		*name = str_sub(spec, shared.len, spec.len);
		return MAP_KIND_SHARED;
	}
	if (!str_starts(spec, ldap))
		return MAP_KIND_FILE;
	*name = str_sub(spec, ldap.len, spec.len);
	return MAP_KIND_LDAP;
}

const char *
map_spec_wrong(struct str spec)
{
	static const struct str files[] = { STR("text:"), STR("hash:"), STR("btree:") };
	struct str name;

	if (map_spec_kind(spec, &name) != MAP_KIND_FILE)
		return is_name(name)
		    ? NULL
		    : "a name of at most 64 letters, digits, - _ and . behind the colon";
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (str_starts(spec, files[i])) {
			name = str_sub(spec, files[i].len, spec.len);
			break;
		}
	return name.len > 1 && name.len < 4096 && name.p[0] == '/'
	    ? NULL
	    : "an absolute path, text:, hash: or btree: with one, shared:NAME or "
	      "ldap:NAME";
}
