/* SPDX-License-Identifier: BSD-2-Clause */
/* The scripts of store_redis_script.h and what is sent with them.  A script reads with
 * GETRANGE, which is bounded whatever lies under our key, takes what it cannot read for
 * absent, writes over it, and tells how often that happened as the last number of its
 * answer.  A write that Redis refuses is the script's answer. */
#include "db/store_redis_script.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#define SCHEMA                                                                         \
	"1" /* of keys and values; another version's keys are not ours to read         \
	     */

/* Common to all: reading and writing a record, which is whole numbers in decimal, one
 * blank between them, the last: wall seconds after which it counts for nothing.  It
 * lives a minute longer, for hosts whose clocks differ, and at most 1100 days. */
#define PRELUDE                                                                        \
	"local MAX = 9007199254740991\n"                                               \
	"local bad, failed = 0, nil\n"                                                 \
	"local function later(a, b)\n"                                                 \
	"  return math.min(a + b, MAX)\n"                                              \
	"end\n"                                                                        \
	"local function refuse()\n"                                                    \
	"  bad = bad + 1\n"                                                            \
	"  return nil\n"                                                               \
	"end\n"                                                                        \
	"local function read(key, n, now)\n"                                           \
	"  local v = redis.pcall('GETRANGE', key, 0, 127)\n"                           \
	"  if type(v) ~= 'string' then\n"                                              \
	"    if not (v.err and string.find(v.err, 'WRONGTYPE', 1, true)) then\n"       \
	"      failed = v\n"                                                           \
	"    end\n"                                                                    \
	"    return refuse()\n"                                                        \
	"  end\n"                                                                      \
	"  if v == '' then return nil end\n"                                           \
	"  local f = {}\n"                                                             \
	"  for w in string.gmatch(v .. ' ', '([^ ]*) ') do\n"                          \
	"    if #w > 17 or not string.find(w, '^%-?%d+$') then return refuse() end\n"  \
	"    f[#f + 1] = tonumber(w)\n"                                                \
	"    if math.abs(f[#f]) > MAX then return refuse() end\n"                      \
	"  end\n"                                                                      \
	"  if #f ~= n then return refuse() end\n"                                      \
	"  if now > f[n] then return nil end\n"                                        \
	"  return f\n"                                                                 \
	"end\n"                                                                        \
	"local function write(key, now, f)\n"                                          \
	"  local ttl = math.min(math.max(f[#f] - now, 0) + 60, 95040000)\n"            \
	"  for i = 1, #f do f[i] = string.format('%.0f', f[i]) end\n"                  \
	"  local r = redis.pcall('SET', key, table.concat(f, ' '), 'EX',\n"            \
	"    string.format('%.0f', ttl))\n"                                            \
	"  if type(r) == 'table' and r.err then failed = r end\n"                      \
	"end\n"                                                                        \
	"local A = {}\n"                                                               \
	"for i = 1, #ARGV do A[i] = tonumber(ARGV[i]) end\n"                           \
	"local now = A[1]\n"

/* db/greylist_state.c.  t: known, first, last, tries; c: confirmed, last, voided. */
static const char greylist_source[] = PRELUDE
    "local delay, window, keep, enough, client_keep, voided =\n"
    "  A[2], A[3], A[4], A[5], A[6], A[7]\n"
    "local t, c = read(KEYS[1], 5, now), read(KEYS[2], 4, now)\n"
    "if t and (t[1] < 0 or t[1] > 1 or t[4] < 1 or t[2] > t[3]) then t = refuse() end\n"
    "if c and c[1] < 0 then c = refuse() end\n"
    "if failed then return failed end\n"
    "if t then\n"
    "  t[2], t[3] = math.min(t[2], now), math.min(t[3], now)\n"
    "end\n"
    "local client = c ~= nil\n"
    "c = c or { 0, 0, 0, 0 }\n"
    "c[3] = math.max(c[3], voided)\n"
    "if client then\n"
    "  c[2], c[3] = math.min(c[2], now), math.min(c[3], now)\n"
    "  if (c[3] ~= 0 and c[3] >= c[2]) or now > later(c[2], client_keep) then\n"
    "    c[1] = 0\n"
    "  end\n"
    "end\n"
    "if client and enough > 0 and c[1] >= enough then\n"
    "  c[2], c[4] = now, later(now, client_keep)\n"
    "  write(KEYS[2], now, c)\n"
    "  return failed or { 4, t and t[2] or 0, 0, bad }\n"
    "end\n"
    "local function window_end()\n"
    "  return later(t[2], window > delay and window or later(delay, window))\n"
    "end\n"
    "local state = 0\n"
    "if t and t[1] == 1 then\n"
    "  state = now <= later(t[3], keep) and 3 or 0\n"
    "elseif t and now < later(t[2], delay) then\n"
    "  state = 1\n"
    "elseif t then\n"
    "  state = now <= window_end() and 2 or 0\n"
    "end\n"
    "if state == 0 then t = { 0, now, 0, 0, 0 } end\n"
    "if state == 2 then t[1] = 1 end\n"
    "t[3], t[4] = now, later(t[4], 1)\n"
    "t[5] = t[1] == 1 and later(now, keep) or window_end()\n"
    "local answer = { state, t[2], t[4], bad }\n"
    "write(KEYS[1], now, t)\n"
    "if state == 2 and not failed then\n"
    "  c[1], c[2], c[4] = later(c[1], 1), now, later(now, client_keep)\n"
    "  write(KEYS[2], now, c)\n"
    "end\n"
    "return failed or answer\n";

/* event_step().  e: weight, last, keep. */
static const char event_source[] =
    PRELUDE "local weight, keep = A[2], A[3]\n"
	    "local sum, last = 0, 0\n"
	    "for i = 1, #KEYS do\n"
	    "  local e = read(KEYS[i], 4, now)\n"
	    "  if e and (e[1] < 0 or e[3] < 0) then e = refuse() end\n"
	    "  if failed then return failed end\n"
	    "  e = e or { 0, 0, 0, 0 }\n"
	    "  e[2] = math.min(e[2], now)\n"
	    "  if now > later(e[2], e[3]) then e = { 0, 0, 0, 0 } end\n"
	    "  if weight > 0 then\n"
	    "    e[1], e[2], e[3] = later(e[1], weight), now, keep\n"
	    "    e[4] = later(now, keep)\n"
	    "  end\n"
	    "  sum, last = later(sum, e[1]), math.max(last, e[2])\n"
	    "  if weight > 0 then write(KEYS[i], now, e) end\n"
	    "end\n"
	    "return failed or { sum, last, bad }\n";

/* rate_step().  b: units, 10^-9 units, stamp.  10^-9 units of a full bucket exceed what
 * a double holds, hence two numbers and a product by halves. */
static const char rate_source[] = PRELUDE
    "local add, burst, rate, per = A[2], A[3], A[4], A[5]\n"
    "local NANO = 1000000000\n"
    "local function divide(a, c)\n"
    "  local q = math.floor(a / c)\n"
    "  return q, a - q * c\n"
    "end\n"
    "local function muldiv(a, b, c)\n" /* whole part and rest of a * b / c; c <= 2^52 */
    "  if a * b <= MAX then return divide(a * b, c) end\n"
    "  local qa, ra = divide(a, c)\n"
    "  local q, r, bit = 0, 0, 1\n"
    "  while bit <= b do bit = bit * 2 end\n"
    "  while bit > 1 do\n"
    "    bit = bit / 2\n"
    "    q, r = q * 2, r * 2\n"
    "    if r >= c then q, r = q + 1, r - c end\n"
    "    if b >= bit then\n"
    "      b, q, r = b - bit, q + qa, r + ra\n"
    "      if r >= c then q, r = q + 1, r - c end\n"
    "    end\n"
    "  end\n"
    "  return q, r\n"
    "end\n"
    "local function leak_time(units, nanos)\n"
    "  local q1, r1 = muldiv(units, per, rate)\n"
    "  local q2, r2 = muldiv(nanos, per, NANO)\n"
    "  local q3, r3 = divide(r1 + q2, rate)\n"
    "  return math.min(q1 + q3 + ((r3 > 0 or r2 > 0) and 1 or 0), MAX)\n"
    "end\n"
    "local b = read(KEYS[1], 4, now)\n"
    "if b and (b[1] < 0 or b[2] < 0 or b[2] >= NANO) then b = refuse() end\n"
    "if failed then return failed end\n"
    "b = b or { 0, 0, 0, 0 }\n"
    "if b[1] >= 4000000000 then b[1], b[2] = 4000000000, 0 end\n"
    "local elapsed = now - b[3]\n"
    "b[3] = now\n"
    "if elapsed > 0 and rate > 0 then\n"
    "  if elapsed >= leak_time(b[1], b[2]) then\n"
    "    b[1], b[2] = 0, 0\n"
    "  else\n"
    "    local q, r = muldiv(elapsed, rate, per)\n"
    "    local n = muldiv(r, NANO, per)\n"
    "    b[1], b[2] = b[1] - q, b[2] - n\n"
    "    if b[2] < 0 then b[1], b[2] = b[1] - 1, b[2] + NANO end\n"
    "  end\n"
    "end\n"
    "local allowed, wait = 0, 0\n"
    "local full = b[1] + add\n"
    "if full < burst or (full == burst and b[2] == 0) then\n"
    "  allowed, b[1] = 1, full\n"
    "elseif add > burst or rate == 0 then\n"
    "  wait = -1\n"
    "else\n"
    "  wait = leak_time(full - burst, b[2])\n"
    "end\n"
    "local answer = { allowed, b[1] + (b[2] > 0 and 1 or 0), wait, bad }\n"
    "if allowed == 1 and add > 0 then\n"
    "  b[4] = rate == 0 and MAX or later(now, leak_time(b[1], b[2]))\n"
    "  write(KEYS[1], now, b)\n"
    "end\n"
    "return failed or answer\n";

struct str
store_script_source(enum store_script script)
{
	switch (script) {
	case STORE_SCRIPT_GREYLIST:
		return (struct str){ greylist_source, sizeof(greylist_source) - 1 };
	case STORE_SCRIPT_EVENT:
		return (struct str){ event_source, sizeof(event_source) - 1 };
	case STORE_SCRIPT_RATE:
		return (struct str){ rate_source, sizeof(rate_source) - 1 };
	case STORE_SCRIPTS:
		break;
	}
	return STR("");
}

void
store_command_init(struct store_command *c)
{
	c->argc = 0;
	c->used = 0;
}

void
store_command_add(struct store_command *c, struct str s)
{
	assert(c->argc < STORE_COMMAND_ARGS);
	c->argv[c->argc] = s.len == 0 ? "" : s.p;
	c->len[c->argc++] = s.len;
}

/* Room is made for the longest names that store.c lets pass. */
static void
text_add(struct store_command *c, struct str s)
{
	assert(s.len <= sizeof(c->text) - c->used);
	if (s.len > 0)
		memcpy(c->text + c->used, s.p, s.len);
	c->used += s.len;
}

void
store_command_int(struct store_command *c, int64_t v)
{
	char number[24];
	int len = snprintf(number, sizeof(number), "%" PRId64, v);
	size_t from = c->used;

	text_add(c, (struct str){ number, (size_t)len });
	store_command_add(c, (struct str){ c->text + from, (size_t)len });
}

/* What Lua counts exactly. */
static void
add_number(struct store_command *c, int64_t v)
{
	store_command_int(c,
	    v > STORE_NUMBER_MAX        ? STORE_NUMBER_MAX
		: v < -STORE_NUMBER_MAX ? -STORE_NUMBER_MAX
					: v);
}

static void
add_within(struct store_command *c, int64_t v, int64_t min, int64_t max)
{
	add_number(c, v < min ? min : v > max ? max : v);
}

/* PREFIX:1:KIND:{=TAG}NAME.  The '=' keeps an empty tag from being none at all.  A tag
 * with '}' in it ends there for the cluster, in all keys of the script alike. */
static void
add_key(struct store_command *c, const char *prefix, const char *kind, struct str tag,
    struct str name)
{
	size_t from = c->used;

	text_add(c, str_of(prefix));
	text_add(c, STR(":" SCHEMA ":"));
	text_add(c, str_of(kind));
	text_add(c, STR(":{="));
	text_add(c, tag);
	text_add(c, STR("}"));
	text_add(c, name);
	store_command_add(c, (struct str){ c->text + from, c->used - from });
}

/* "kind|network" */
static void
add_event_key(struct store_command *c, const char *prefix, struct str event)
{
	struct str kind = { 0 };

	(void)str_cut(&event, '|', &kind);
	add_key(c, prefix, "e", event, kind);
}

void
store_command_script(
    struct store_command *c, enum store_script script, const char *digest)
{
	bool known = digest[0] != '\0';

	store_command_add(c, known ? STR("EVALSHA") : STR("EVAL"));
	store_command_add(c, known ? str_of(digest) : store_script_source(script));
}

enum store_script
store_request_script(const struct store_request *r)
{
	return r->op == STORE_GREYLIST ? STORE_SCRIPT_GREYLIST
	    : r->op == STORE_EVENT     ? STORE_SCRIPT_EVENT
				       : STORE_SCRIPT_RATE;
}

static void
greylist_args(struct store_command *c, const char *prefix,
    const struct store_request *r, int64_t voided)
{
	const struct greylist_times *times = &r->times;

	store_command_int(c, 2);
	add_key(c, prefix, "t", r->client, r->key);
	add_key(c, prefix, "c", r->client, STR(""));
	add_number(c, r->now);
	add_number(c, times->delay);
	add_number(c, times->window);
	add_number(c, times->keep);
	add_number(c, times->auto_whitelist);
	add_number(c, times->whitelist_keep);
	add_number(c, voided);
}

void
store_request_args(struct store_command *c, const char *prefix,
    const struct store_request *r, int64_t voided)
{
	switch (r->op) {
	case STORE_GREYLIST:
		greylist_args(c, prefix, r, voided);
		break;
	case STORE_EVENT:
		store_command_int(c, 1);
		add_event_key(c, prefix, r->key);
		add_number(c, r->now);
		add_number(c, r->weight);
		add_within(c, r->keep, 0, INT64_MAX);
		break;
	case STORE_RATE:
		store_command_int(c, 1);
		add_key(c, prefix, "r", r->key, STR(""));
		add_number(c, r->now);
		add_within(c, r->rate.n, 0, RATE_UNITS_MAX);
		add_within(c, r->rate.burst, 0, RATE_UNITS_MAX);
		add_within(c, r->rate.rate, 0, RATE_UNITS_MAX);
		add_within(c, r->rate.per, 1, INT64_C(1) << 52);
		break;
	case STORE_STATS:
		break;
	}
}

void
store_request_voiding(
    struct store_command *c, const char *prefix, const struct store_request *r)
{
	int n = r->void_by[1].len > 0 ? 2 : 1;

	store_command_int(c, n);
	for (int i = 0; i < n; i++)
		add_event_key(c, prefix, r->void_by[i]);
	add_number(c, r->now);
	add_number(c, 0);
	add_number(c, 0);
}
