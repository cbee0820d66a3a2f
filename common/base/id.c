/* SPDX-License-Identifier: BSD-2-Clause */
/* Message ids.  The digits stand in the order of ASCII, so that ids sort by time;
 * without vowels no id spells a word, and '_' is what letters and digits leave short
 * of 32. */
#include "common/base/id.h"

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#define TIME_DIGITS 11
#define TAG_DIGITS 5
#define COUNT_DIGITS 4

static const char digits[] = "0123456789_bcdfghjklmnpqrstvwxyz";
_Static_assert(sizeof(digits) == 33, "32 digits");
_Static_assert(TIME_DIGITS + TAG_DIGITS + COUNT_DIGITS == ID_LEN, "the parts");

/* Ids given out by this process; wraps after 2^20, within which the time has moved on.
 */
static _Atomic uint32_t id_count;

/* FNV-1a over the host's name, the process and when it is asked: a forked child must
 * not share its parent's tag, so nothing is kept. */
static uint32_t
host_tag(void)
{
	char name[256] = "";
	pid_t pid = getpid();
	uint32_t h = 2166136261u;

	(void)gethostname(name, sizeof(name) - 1);
	for (size_t i = 0; name[i] != '\0'; i++)
		h = (h ^ (unsigned char)name[i]) * 16777619u;
	for (size_t i = 0; i < sizeof(pid); i++)
		h = (h ^ (((uint32_t)pid >> (8 * i)) & 0xff)) * 16777619u;
	return h ^ (h >> 25);
}

static void
put(char *out, size_t n, uint64_t v)
{
	for (size_t i = n; i > 0; i--, v /= 32)
		out[i - 1] = digits[v % 32];
}

void
id_make(char out[ID_SIZE])
{
	struct timespec now;
	uint32_t count = atomic_fetch_add(&id_count, 1);

	clock_gettime(CLOCK_REALTIME, &now);
	put(out, TIME_DIGITS,
	    (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
	put(out + TIME_DIGITS, TAG_DIGITS, host_tag());
	put(out + TIME_DIGITS + TAG_DIGITS, COUNT_DIGITS, count);
	out[ID_LEN] = '\0';
}

bool
id_ok(struct str s)
{
	if (s.len != ID_LEN)
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] == '\0' || !str_has((struct str){ digits, 32 }, s.p[i]))
			return false;
	return true;
}

bool
id_adopt(struct str seen, char out[ID_ADOPTED_SIZE])
{
	char own[ID_SIZE];

	if (!id_ok(str_sub(seen, 0, ID_LEN)) ||
	    (seen.len != ID_LEN && seen.len != ID_ADOPTED_LEN))
		return false;
	id_make(own);
	memcpy(out, seen.p, ID_LEN);
	out[ID_LEN] = '_';
	/* tag and counter, with the NUL */
	memcpy(out + ID_LEN + 1, own + TIME_DIGITS, TAG_DIGITS + COUNT_DIGITS + 1);
	return true;
}
