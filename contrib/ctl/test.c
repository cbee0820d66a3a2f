/* SPDX-License-Identifier: BSD-2-Clause */
/* Hands the cases to the engine that is named: the same archive that the daemon links.
 */
#include "contrib/ctl/test.h"

#include <string.h>

#include "contrib/ctl/command.h"
#include "contrib/ctl/test_spf.h"
#include "milters/access/access_test.h"
#include "milters/greylist/greylist_test.h"
#include "milters/score/score_test.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0]: the engine's name */
} engines[] = {
	{ "access", access_test_main },
	{ "greylist", greylist_test_main },
	{ "score", score_test_main },
	{ "spf", ctl_test_spf },
};

int
ctl_test(int argc, char **argv)
{
	if (argc < 2)
		return ctl_usage("test", "expected the name of an engine");
	for (size_t i = 0; i < sizeof(engines) / sizeof(engines[0]); i++)
		if (strcmp(engines[i].name, argv[1]) == 0)
			return engines[i].run(argc - 1, argv + 1);
	return ctl_usage("test", "\"%s\" is no engine", argv[1]);
}
