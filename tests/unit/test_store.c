/* SPDX-License-Identifier: BSD-2-Clause */
/* The embedded engine by the conformance suite; what is its own is in
 * test_store_embedded.c, and the Redis engine in test_store_redis.c. */
#include <stdlib.h>

#include "tests/lib/store_conformance.h"
#include "tests/lib/store_rig.h"

int
main(void)
{
	static const struct store_subject embedded = { rig_embedded_conf, true };
	Suite *suite = suite_create("store");
	int expected = store_conformance_add(suite, &embedded);
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
