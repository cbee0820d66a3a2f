/* SPDX-License-Identifier: BSD-2-Clause */
/* The texts lie in contrib/licenses and are taken into the binary as they are. */
#include "contrib/ctl/licenses.h"

#include <stdio.h>

#include "contrib/ctl/command.h"

/* The assembler includes the file between two labels of ours. */
#define TEXT(label, file)                                                              \
	__asm__(".section .rodata\n"                                                   \
		"licence_" #label "_begin: .incbin \"" file "\"\n"                     \
		"licence_" #label "_end:\n"                                            \
		".previous\n");                                                        \
	extern const char licence_##label##_begin[] __attribute__((visibility("hidden")));  \
	extern const char licence_##label##_end[] __attribute__((visibility("hidden")))

TEXT(postern, "LICENSE");
TEXT(readme, "contrib/licenses/README.md");
TEXT(libmilter, "contrib/licenses/libmilter.txt");
TEXT(cares, "contrib/licenses/c-ares.txt");
TEXT(lmdb, "contrib/licenses/lmdb.txt");
TEXT(libevent, "contrib/licenses/libevent.txt");
TEXT(pcre2, "contrib/licenses/pcre2.txt");
TEXT(libspf2, "contrib/licenses/libspf2.txt");
TEXT(libyaml, "contrib/licenses/libyaml.txt");
TEXT(xxhash, "contrib/licenses/xxhash.txt");

#define ROW(name, label)                                                               \
	{                                                                              \
		name, licence_##label##_begin, licence_##label##_end                   \
	}

static const struct {
	const char *name, *begin, *end;
} texts[] = {
	ROW("Postern", postern),
	ROW("Libraries", readme),
	ROW("libmilter", libmilter),
	ROW("c-ares", cares),
	ROW("LMDB", lmdb),
	ROW("libevent", libevent),
	ROW("PCRE2", pcre2),
	ROW("libspf2", libspf2),
	ROW("libyaml", libyaml),
	ROW("xxHash", xxhash),
};

int
ctl_licenses(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		return ctl_usage("licenses", "expected no argument");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		printf("%s==== %s ====\n\n", i > 0 ? "\n" : "", texts[i].name);
		fwrite(texts[i].begin, 1, (size_t)(texts[i].end - texts[i].begin), stdout);
	}
	return EX_OK;
}
