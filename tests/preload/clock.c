/* SPDX-License-Identifier: BSD-2-Clause */
/* For programs under test: a wall clock that is wrong by POSTERN_TEST_AHEAD seconds.
 * Loaded before libc (LD_PRELOAD); monotonic clocks stay as they are. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int
clock_gettime(clockid_t id, struct timespec *ts)
{
	const char *ahead = getenv("POSTERN_TEST_AHEAD");
	long rc = syscall(SYS_clock_gettime, id, ts);

	if (rc == 0 && id == CLOCK_REALTIME && ahead != NULL)
		ts->tv_sec += strtoll(ahead, NULL, 10);
	return (int)rc;
}

time_t
time(time_t *out)
{
	struct timespec ts;
	time_t now = clock_gettime(CLOCK_REALTIME, &ts) == 0 ? ts.tv_sec : (time_t)-1;

	if (out != NULL)
		*out = now;
	return now;
}
