/* SPDX-License-Identifier: BSD-2-Clause */
/* The scripts of store_redis_script.h, as text.  A script reads with GETRANGE, which is
 * bounded whatever lies under our key, takes what it cannot read for absent, writes over
 * it, and tells how often that happened as the last number of its answer.  A write that
 * Redis refuses is the script's answer.  What they decide stands in greylist_state.h
 * and store_step.h. */
#include "db/store_redis_script.h"

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
	"local function fetch(key, last)\n"                                            \
	"  local v = redis.pcall('GETRANGE', key, 0, last)\n"                          \
	"  if type(v) ~= 'string' then\n"                                              \
	"    if not (v.err and string.find(v.err, 'WRONGTYPE', 1, true)) then\n"       \
	"      failed = v\n"                                                           \
	"    end\n"                                                                    \
	"    return refuse()\n"                                                        \
	"  end\n"                                                                      \
	"  if v == '' then return nil end\n"                                           \
	"  return v\n"                                                                 \
	"end\n"                                                                        \
	"local function number(w)\n"                                                   \
	"  if #w > 17 or not string.find(w, '^%-?%d+$') then return nil end\n"         \
	"  w = tonumber(w)\n"                                                          \
	"  return math.abs(w) <= MAX and w or nil\n"                                   \
	"end\n"                                                                        \
	"local function numbers(v, n, now)\n"                                          \
	"  local f = {}\n"                                                             \
	"  for w in string.gmatch(v .. ' ', '([^ ]*) ') do\n"                          \
	"    w = number(w)\n"                                                          \
	"    if not w then return refuse() end\n"                                      \
	"    f[#f + 1] = w\n"                                                          \
	"  end\n"                                                                      \
	"  if #f ~= n then return refuse() end\n"                                      \
	"  if now > f[n] then return nil end\n"                                        \
	"  return f\n"                                                                 \
	"end\n"                                                                        \
	"local function read(key, n, now)\n"                                           \
	"  local v = fetch(key, 127)\n"                                                \
	"  return v and numbers(v, n, now)\n"                                          \
	"end\n"                                                                        \
	"local function text(n)\n"                                                     \
	"  return string.format('%.0f', n)\n"                                          \
	"end\n"                                                                        \
	"local function life(now, till)\n"                                             \
	"  return text(math.min(math.max(till - now, 0) + 60, 95040000))\n"            \
	"end\n"                                                                        \
	"local function store(key, now, till, v)\n"                                    \
	"  local r = redis.pcall('SET', key, v, 'EX', life(now, till))\n"              \
	"  if type(r) == 'table' and r.err then failed = r end\n"                      \
	"end\n"                                                                        \
	"local function write(key, now, f)\n"                                          \
	"  local till = f[#f]\n"                                                       \
	"  for i = 1, #f do f[i] = text(f[i]) end\n"                                   \
	"  store(key, now, till, table.concat(f, ' '))\n"                              \
	"end\n"                                                                        \
	"local A = {}\n"                                                               \
	"for i = 1, #ARGV do A[i] = tonumber(ARGV[i]) end\n"                           \
	"local now = A[1]\n"

/* A triple is most often one number of 19 digits, which Redis keeps without any memory
 * of its own: 10 to 89, tries and 9 more; nine digits, the first try since 1600000000;
 * eight digits, from the first to the last; negative where it is known.  When it expires
 * is known from that and the settings.  What does not fit (after May 2052, more than 80
 * tries, more than 1157 days) is numbers like all other records. */
#define TRIPLE                                                                         \
	"local EPOCH = 1600000000\n"                                                   \
	"local function read_triple(key, now)\n"                                       \
	"  local v = fetch(key, 127)\n"                                                \
	"  if not v then return nil end\n"                                             \
	"  local known, n, first, span =\n"                                            \
	"    string.match(v, '^(%-?)([1-8]%d)(%d%d%d%d%d%d%d%d%d)(%d%d%d%d%d%d%d%d)$')\n" \
	"  if not n then return numbers(v, 5, now) end\n"                              \
	"  first = EPOCH + tonumber(first)\n"                                          \
	"  return { known == '-' and 1 or 0, first, first + tonumber(span),\n"         \
	"    tonumber(n) - 9 }\n"                                                      \
	"end\n"                                                                        \
	"local function write_triple(key, now, t)\n"                                   \
	"  local first, span = t[2] - EPOCH, t[3] - t[2]\n"                            \
	"  if t[4] > 80 or first < 0 or first > 999999999 or span < 0 or\n"            \
	"      span > 99999999 then\n"                                                 \
	"    return write(key, now, t)\n"                                              \
	"  end\n"                                                                      \
	"  store(key, now, t[5], string.format('%s%02d%09d%08d',\n"                    \
	"    t[1] == 1 and '-' or '', t[4] + 9, first, span))\n"                       \
	"end\n"

/* db/greylist_state.c.  t: known, first, last, tries; c: confirmed, last, voided. */
static const char greylist_source[] = PRELUDE TRIPLE
    "local delay, window, keep, enough, client_keep, voided =\n"
    "  A[2], A[3], A[4], A[5], A[6], A[7]\n"
    "local t, c = read_triple(KEYS[1], now), read(KEYS[2], 4, now)\n"
    "if t and (t[1] < 0 or t[1] > 1 or t[4] < 1 or t[2] > t[3]) then t = refuse() end\n"
    "if c and c[1] < 0 then c = refuse() end\n"
    "if failed then return failed end\n"
    "local function till()\n"
    "  if t[1] == 1 then return later(t[3], keep) end\n"
    "  return later(t[2], window > delay and window or later(delay, window))\n"
    "end\n"
    "if t then\n"
    "  t[2], t[3] = math.min(t[2], now), math.min(t[3], now)\n"
    "  if now > till() then t = nil end\n"
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
    "local state = 0\n"
    "if t and t[1] == 1 then\n"
    "  state = 3\n"
    "elseif t then\n"
    "  state = now < later(t[2], delay) and 1 or 2\n"
    "end\n"
    "if state == 0 then t = { 0, now, 0, 0, 0 } end\n"
    "if state == 2 then t[1] = 1 end\n"
    "t[3], t[4] = now, later(t[4], 1)\n"
    "t[5] = till()\n"
    "local answer = { state, t[2], t[4], bad }\n"
    "write_triple(KEYS[1], now, t)\n"
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

/* note_step().  The value: end, since, text. */
static const char note_source[] = PRELUDE
    "local v = fetch(KEYS[1], 255)\n"
    "if failed then return failed end\n"
    "local e, since, old\n"
    "if v then\n"
    "  e, since, old = string.match(v, '^(%-?%d+) (%-?%d+) (.*)$')\n"
    "  e, since = number(e or ''), number(since or '')\n"
    "  if not e or not since or #old > 200 then\n"
    "    since = refuse()\n"
    "  elseif now > e then\n"
    "    since = nil\n"
    "  end\n"
    "end\n"
    "local found = since and 1 or 0\n"
    "if since then since = math.min(since, now) end\n"
    "if ARGV[2] == '1' then\n"
    "  if not since or old ~= ARGV[4] then since = now end\n"
    "  old = ARGV[4]\n"
    "  local till = later(now, A[3])\n"
    "  store(KEYS[1], now, till, text(till) .. ' ' .. text(since) .. ' ' .. old)\n"
    "end\n"
    "return failed or { found, since or 0, since and old or '', bad }\n";

/* A command; what Redis refuses ends all that follow. */
#define ASK                                                                            \
	"local function ask(...)\n"                                                    \
	"  if failed then return 0 end\n"                                              \
	"  local r = redis.pcall(...)\n"                                               \
	"  if type(r) == 'table' and r.err then\n"                                     \
	"    failed = r\n"                                                             \
	"    return 0\n"                                                               \
	"  end\n"                                                                      \
	"  return r\n"                                                                 \
	"end\n"

/* hold_step().  A sorted set: holders by the last second in which they hold. */
static const char hold_source[] = PRELUDE ASK
    "local key, take, holder, limit = KEYS[1], ARGV[2], ARGV[3], A[4]\n"
    "ask('ZREMRANGEBYSCORE', key, '-inf', '(' .. text(now))\n"
    "if failed and string.find(failed.err, 'WRONGTYPE', 1, true) then\n"
    "  failed = refuse()\n"
    "  ask('DEL', key)\n"
    "end\n"
    "local own = ask('ZSCORE', key, holder)\n"
    "local held, allowed = ask('ZCARD', key), own and 1 or 0\n"
    "if failed then return failed end\n"
    "if take ~= '1' then\n"
    "  if own then held = held - ask('ZREM', key, holder) end\n"
    "elseif own or held < limit then\n"
    "  allowed, held = 1, held + (own and 0 or 1)\n"
    "  ask('ZADD', key, text(later(now, A[5])), holder)\n"
    "  local last = ask('ZRANGE', key, -1, -1, 'WITHSCORES')\n"
    "  if not failed then ask('EXPIRE', key, life(now, tonumber(last[2]))) end\n"
    "end\n"
    "return failed or { allowed, held, bad }\n";

/* A shared map: entries, changes, version.  What lies there is nobody's to write over. */
static const char map_set_source[] = PRELUDE ASK
    "local map, log, version = KEYS[1], KEYS[2], KEYS[3]\n"
    "local remove, key, value = ARGV[2] == '1', ARGV[3], ARGV[4]\n"
    "local old = ask('HGET', map, key)\n"
    "local v = number(ask('GETRANGE', version, 0, 31))\n"
    "if failed then return failed end\n"
    "v = v or 0\n"
    "local found = old and 1 or 0\n"
    "if old ~= (not remove and value) then\n"
    "  v = math.min(math.max(v + 1, now * 1000), MAX)\n"
    "  ask('SET', version, text(v))\n"
    "  if remove then ask('HDEL', map, key) else ask('HSET', map, key, value) end\n"
    "  ask('LPUSH', log, ARGV[5])\n"
    "  ask('LTRIM', log, 0, 999)\n"
    "end\n"
    "return failed or { found, v, 0 }\n";

/* Some entries: key, value, seconds that it lives.  It names no keys: in a cluster a node
 * is asked for what lies there. */
static const char scan_source[] =
    "local page = redis.pcall('SCAN', ARGV[2], 'MATCH', ARGV[3], 'COUNT', ARGV[4])\n"
    "if page.err then return page end\n"
    "local list = { page[1] }\n"
    "for _, key in ipairs(page[2]) do\n"
    "  local v = redis.pcall('GETRANGE', key, 0, 127)\n"
    "  local life = redis.pcall('TTL', key)\n"
    "  if type(v) == 'string' and v ~= '' and type(life) == 'number' then\n"
    "    local n = #list\n"
    "    list[n + 1], list[n + 2], list[n + 3] = key, v, life\n"
    "  end\n"
    "end\n"
    "return list\n";

/* An entry as it is: its numbers, the last its end. */
static const char put_source[] = PRELUDE TRIPLE
    "local f = {}\n"
    "for i = 2, #A do f[i - 1] = A[i] end\n"
    "if #f == 5 then write_triple(KEYS[1], now, f) else write(KEYS[1], now, f) end\n"
    "return failed or { 1, 0 }\n";

static const char delete_source[] =
    "return { redis.call('DEL', KEYS[1]), 0 }\n";

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
	case STORE_SCRIPT_NOTE:
		return (struct str){ note_source, sizeof(note_source) - 1 };
	case STORE_SCRIPT_HOLD:
		return (struct str){ hold_source, sizeof(hold_source) - 1 };
	case STORE_SCRIPT_MAP_SET:
		return (struct str){ map_set_source, sizeof(map_set_source) - 1 };
	case STORE_SCRIPT_SCAN:
		return (struct str){ scan_source, sizeof(scan_source) - 1 };
	case STORE_SCRIPT_PUT:
		return (struct str){ put_source, sizeof(put_source) - 1 };
	case STORE_SCRIPT_DELETE:
		return (struct str){ delete_source, sizeof(delete_source) - 1 };
	case STORE_SCRIPTS:
		break;
	}
	return STR("");
}
