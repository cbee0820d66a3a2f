#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 240
"""The greylist engine over `posternctl test greylist`: pools of senders get through at their
first retry, botnets do not, times follow the policies, and a Redis server gives the verdicts
of the embedded store.  The seed is printed; SEED=n repeats a run with another."""
import ipaddress
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from proc import BUILD, SLOWER, Dir  # noqa: E402
from redis_server import Redis  # noqa: E402
from tap import Tap  # noqa: E402

COLUMNS = "time client_ip client_name helo sender recipient spf".split()
OUT = COLUMNS + "action code enhanced reason wait_s".split()
SEED = int(os.environ.get("SEED", "20261120"))
T0 = 1_800_000_000
DAY = 86400


class Event:
	def __init__(self, time, ip, name=None, sender="<a@b.test>", recipient="<r@our.test>", spf="none",
	    helo="helo.test"):
		self.fields = [str(int(time)), ip, name or f"[{ip}]", helo, sender, recipient, spf]
		self.time = int(time)


def judge(events, conf=None):
	"""Events in the order of their times; the verdicts in the order of the list."""
	order = sorted(range(len(events)), key=lambda i: events[i].time)
	text = "\n".join(["\t".join(COLUMNS), *("\t".join(events[i].fields) for i in order)]) + "\n"
	argv = [BUILD / "posternctl", "test", "greylist", *(["-c", conf] if conf else [])]
	r = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=200 * SLOWER)
	assert r.returncode == 0, r.stderr
	lines = r.stdout.splitlines()
	assert lines[0].split("\t") == OUT, lines[0]
	assert len(lines) == len(events) + 1, len(lines)
	verdicts = [None] * len(events)
	for i, line in zip(order, lines[1:]):
		row = line.split("\t")
		assert row[:7] == events[i].fields and len(row) == len(OUT), row
		verdicts[i] = dict(zip(OUT, row))
	return verdicts


def passed(v):
	assert (v["action"], v["code"], v["enhanced"]) in (("continue", "250", "2.1.5"), ("tempfail", "451", "4.7.1")), v
	return v["action"] == "continue"


# ---- senders with pools ----

def pool_hosts(rng, v6=False):
	"""16 addresses, no two in one /16 (v6: /32)."""
	if v6:
		return [f"2001:{rng.randrange(0x200, 0xd00):x}:{i:x}::{rng.randrange(1, 99):x}" for i in range(16)]
	return [f"{a}.{b}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
	    for a, b in rng.sample([(a, b) for a in range(11, 126) for b in range(256)], 16)]


def pool_events(rng, hosts, name, sender, spf, helo=lambda i: "helo.test", messages=100):
	"""Each message: a first try, and a retry from another host of the pool."""
	events = []
	for m in range(messages):
		first, second = rng.sample(range(16), 2)
		at = T0 + m * 1000
		for host, when in ((first, at), (second, at + rng.randrange(300, 1800))):
			events.append(Event(when, hosts[host], name(host), sender(m, when), f"<u{m}@our.test>", spf, helo(host)))
	return events


def pools(tap, rng):
	nameless, plain = (lambda i: None), (lambda m, t: f"<user{m}@big.test>")
	named = lambda i: f"mail-{'abcd'[i % 4]}{i}-x{i * 7}.out.big.test"  # noqa: E731
	verp = lambda m, t: f"<bounce-{t}-u{m}=our.test@news.big.test>"  # noqa: E731
	cases = (
	    ("by SPF", pool_hosts(rng), nameless, plain, "pass", None),
	    ("by SPF, IPv6", pool_hosts(rng, True), nameless, plain, "pass", None),
	    ("by SPF, another envelope at each try", pool_hosts(rng), nameless, verp, "pass", None),
	    ("by its name, SPF none", pool_hosts(rng), named, plain, "none", None),
	    ("by its name, SPF softfail", pool_hosts(rng), named, plain, "softfail", None),
	    ("by its name, IPv6", pool_hosts(rng, True), named, plain, "none", None),
	    ("bounces by SPF of HELO", pool_hosts(rng), nameless, lambda m, t: "<>", "pass",
	        lambda i: f"mx{i}.out.big.test"),
	)
	for what, hosts, name, sender, spf, helo in cases:
		with tap.case(f"a pool of 16 networks delivers at its first retry: {what}"):
			v = judge(pool_events(rng, hosts, name, sender, spf, helo or (lambda i: "helo.test")))
			seen = Counter(r["reason"] for r in v)
			late = [r for r in v[1::2] if not passed(r)]
			assert not late, late[:3]
			# five confirmed triples, then nobody of the pool waits any more
			assert seen["retried"] == 5 and seen["greylisted"] >= 5 and seen["auto-whitelisted"] >= 180, seen
			assert not passed(v[0]) and v[0]["wait_s"] == "300", v[0]
	with tap.case("each message by itself: without auto-whitelisting all hundred pass at the first retry"):
		tmp = Dir()
		conf = tmp.write("c", "greylist { auto-whitelist 0 }\n")
		v = judge(pool_events(rng, pool_hosts(rng), named, plain, "none"), conf)
		assert not any(map(passed, v[0::2])) and all(map(passed, v[1::2])), Counter(r["reason"] for r in v)
	with tap.case("a pool that neither SPF nor a name holds together is 16 strangers"):
		v = judge(pool_events(rng, pool_hosts(rng), nameless, plain, "none"))
		assert not any(map(passed, v)), Counter(r["reason"] for r in v)


# ---- botnets ----

def generated(provider, ip, rng):
	"""Names as three providers give them."""
	a = ip.split(".")
	return (lambda: f"dsl-{'-'.join(a)}.dyn.telco-one.test",
	    lambda: "p" + "".join(f"{int(o):02x}" for o in a) + ".dip0.telco-two.test",
	    lambda: f"{'.'.join(reversed(a))}.{rng.choice(('static', 'cable', 'res'))}.telco-three.test")[provider]()


def botnet(rng):
	"""500 addresses in 200 networks of three providers."""
	nets = rng.sample([(a, b, c) for a in (61, 78, 93, 151, 186) for b in range(256) for c in range(256)], 200)
	ips = {"%d.%d.%d.%d" % (*net, rng.randrange(1, 255)) for net in nets}
	while len(ips) < 500:
		ips.add("%d.%d.%d.%d" % (*rng.choice(nets), rng.randrange(1, 255)))
	ips = sorted(ips, key=ipaddress.ip_address)
	of = {net: i % 3 for i, net in enumerate(nets)}
	return [(ip, generated(of[tuple(map(int, ip.split(".")[:3]))], ip, rng)) for ip in ips]


def forged(rng, i):
	"""Real people's addresses at domains that others own, some with numbers, some like lists."""
	word = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randrange(3, 9)))
	local = rng.choice((word, f"{word}{rng.randrange(100)}", f"{word}.{word[:3]}", f"bounce-{rng.randrange(10**6)}",
	    f"news-{word}", f"{word}+{i}"))
	return f"<{local}@{rng.choice(('bank', 'shop', 'post', 'mail', 'tax'))}{rng.randrange(40)}.test>"


def campaign(rng, bots, behaviour, spf, messages=1000):
	"""(events, message of each event)"""
	events, of = [], []
	for m in range(messages):
		ip, name = rng.choice(bots)
		sender, rcpt, at = forged(rng, m), f"<u{rng.randrange(300)}@our.test>", T0 + rng.randrange(7 * DAY)
		tries = [(at, ip, name)]
		if behaviour == "instant retry":
			tries += [(at + s, ip, name) for s in (1, 5, 20, 60)]
		elif behaviour == "retry from another bot":
			tries.append((at + rng.randrange(300, 3600), *rng.choice([b for b in bots if b[0] != ip])))
		for when, a, n in tries:
			events.append(Event(when, a, n, sender, rcpt, spf, helo=rng.choice(("user-pc", n, "mail.bank1.test"))))
			of.append(m)
	return events, of


def botnets(tap, rng):
	bots = botnet(rng)
	assert len({b[0].rsplit(".", 1)[0] for b in bots}) == 200 and len(bots) == 500
	per_net = Counter(b[0].rsplit(".", 1)[0] for b in bots)
	# Another bot that is drawn stands in the same network by chance: that many get through,
	# and four standard deviations of 1000 draws.
	chance = sum(n * (n - 1) for n in per_net.values()) / (500 * 499)
	most = chance + 4 * (chance / 1000) ** 0.5
	print(f"# another bot stands in the same network by chance: {chance:.2%}; bound {most:.2%}")
	# what a domain's +all gives is a pass to the eye but no identity: the column says none or neutral
	for spf, what in (("none", "none"), ("softfail", "softfail"), ("neutral", "+all")):
		for behaviour, bound in (("no retry", 0), ("instant retry", 0), ("retry from another bot", most)):
			with tap.case(f"a botnet does not get through: SPF {what}, {behaviour}"):
				events, of = campaign(rng, bots, behaviour, spf)
				v = judge(events)
				through = {m for m, r in zip(of, v) if passed(r)}
				rate = len(through) / 1000
				print(f"# pass rate, SPF {what}, {behaviour}: {rate:.2%} of 1000 messages")
				assert rate <= bound, Counter(r["reason"] for r in v)
				assert not any(r["reason"] == "auto-whitelisted" for r in v)
	with tap.case("what a spammer's own domain vouches for is one sender: it waits once, like anybody"):
		events, of = campaign(rng, bots, "retry from another bot", "pass", 200)
		for e in events:
			e.fields[4] = "<offers@spam-domain.test>"
		v = judge(events)
		print(f"# pass rate, SPF pass of the spammer's own domain: {len({m for m, r in zip(of, v) if passed(r)}) / 200:.0%}")
		assert not passed(v[min(range(len(events)), key=lambda i: events[i].time)])


# ---- times by policy ----

POLICIES = """
list "slow" { network 198.51.100.0/24; }
policy "client"    { client in slow; greylist.delay 30m; greylist.auto-whitelist 1; }
policy "sender"    { sender domain quick.test; greylist.delay 10s; greylist.window 1h; }
policy "recipient" { recipient short@our.test; greylist.keep 1d; }
policy "white"     { recipient white@our.test; greylist.auto-whitelist 2; greylist.whitelist-keep 1d; }
policy "off"       { recipient off@our.test; greylist.when never; }
policy "none"      { sender null; greylist.delay 0s; }
"""


def times(tap):
	tmp = Dir()
	conf = tmp.write("postern.conf", POLICIES)

	def life(name, *steps):
		"""steps: (time, event's fields by name, reason, wait)"""
		with tap.case(f"times: {name}"):
			v = judge([Event(T0 + t, **{"ip": "192.0.2.1", **fields}) for t, fields, _, _ in steps], conf)
			seen = [(r["reason"], int(r["wait_s"])) for r in v]
			assert seen == [(reason, wait) for _, _, reason, wait in steps], seen

	slow = {"ip": "198.51.100.7"}
	life("the defaults", (0, {}, "greylisted", 300), (299, {}, "early", 1), (300, {}, "retried", 0),
	    (300 + 35 * DAY, {}, "known", 0), (300 + 70 * DAY, {}, "known", 0), (301 + 105 * DAY, {}, "greylisted", 300))
	life("the retry window", (0, {}, "greylisted", 300), (2 * DAY + 1, {}, "greylisted", 300),
	    (4 * DAY + 1, {}, "retried", 0))
	life("delay by client", (0, slow, "greylisted", 1800), (300, slow, "early", 1500), (1800, slow, "retried", 0))
	life("whitelisting by client", (0, slow, "greylisted", 1800), (1800, slow, "retried", 0),
	    (1801, {**slow, "sender": "<n@new.test>"}, "auto-whitelisted", 0),
	    (1801 + 35 * DAY, {**slow, "sender": "<m@new.test>"}, "auto-whitelisted", 0),
	    (1802 + 70 * DAY, {**slow, "sender": "<o@new.test>"}, "greylisted", 1800))
	quick = {"sender": "<a@quick.test>"}
	life("delay and window by sender", (0, quick, "greylisted", 10), (10, quick, "retried", 0),
	    (20, {**quick, "recipient": "<2@our.test>"}, "greylisted", 10),
	    (3621, {**quick, "recipient": "<2@our.test>"}, "greylisted", 10))
	short = {"recipient": "<short@our.test>"}
	life("life by recipient", (0, short, "greylisted", 300), (300, short, "retried", 0), (300 + DAY, short, "known", 0),
	    (301 + 2 * DAY, short, "greylisted", 300))
	white = {"recipient": "<white@our.test>"}
	life("whitelisting and its life by recipient", (0, white, "greylisted", 300),
	    (0, {**white, "sender": "<b@b.test>"}, "greylisted", 300), (300, white, "retried", 0),
	    (300, {**white, "sender": "<b@b.test>"}, "retried", 0),
	    (301, {**white, "sender": "<c@b.test>"}, "auto-whitelisted", 0),
	    (301, {"sender": "<c@b.test>"}, "greylisted", 300),
	    (302 + DAY, {**white, "sender": "<d@b.test>"}, "greylisted", 300))
	life("off, and no delay", (0, {"recipient": "<off@our.test>"}, "policy", 0), (1, {"sender": "<>"}, "no delay", 0),
	    (2, {"sender": "<>"}, "retried", 0), (3, {"sender": "<>"}, "known", 0))
	life("a triple is confirmed once", (0, short, "greylisted", 300), (300, short, "retried", 0), (400, short, "known", 0),
	    (500, short, "known", 0), (600, short, "known", 0), (700, short, "known", 0), (800, short, "known", 0),
	    (900, {"recipient": "<other@our.test>"}, "greylisted", 300))


def every_time_by_every_condition(tap):
	"""Each of the five settings, given by client, by sender and by recipient, alone."""
	tmp = Dir()
	mine = {"client": {"ip": "198.51.100.7"}, "sender": {"sender": "<p@q.test>"}, "recipient": {"recipient": "<p@our.test>"}}
	named = {"client": "198.51.100.0/24", "sender": "p@q.test", "recipient": "p@our.test"}
	other = {"client": "sender", "sender": "recipient", "recipient": "sender"}

	def steps(setting, who, by):
		"""(setting's value, [(time, fields, reason with it, reason without it)])"""
		n = {**who, other[by]: f"<n@{'our' if other[by] == 'recipient' else 'new'}.test>"}
		return {
			"delay": ("60", [(0, who, "greylisted", "greylisted"), (60, who, "retried", "early")]),
			"window": ("10m", [(0, who, "greylisted", "greylisted"), (601, who, "greylisted", "retried")]),
			"keep": ("1h", [(0, who, "greylisted", "greylisted"), (300, who, "retried", "retried"),
			    (3901, who, "greylisted", "known")]),
			"auto-whitelist": ("1", [(0, who, "greylisted", "greylisted"), (300, who, "retried", "retried"),
			    (301, n, "auto-whitelisted", "greylisted")]),
			"whitelist-keep": ("1h", [(0, who, "greylisted", "greylisted"), (300, who, "retried", "retried"),
			    (301, n, "auto-whitelisted", "auto-whitelisted"), (3902, n, "greylisted", "auto-whitelisted")]),
		}[setting]

	for by in mine:
		for setting in ("delay", "window", "keep", "auto-whitelist", "whitelist-keep"):
			with tap.case(f"times: {setting} by {by}"):
				value, life = steps(setting, mine[by], by)
				base = "greylist { auto-whitelist 1 }\n" if setting == "whitelist-keep" else ""
				conf = tmp.write("on.conf", f'{base}policy "p" {{ {by} {named[by]}; greylist.{setting} {value} }}\n')
				off = tmp.write("off.conf", base)
				for path, column in ((conf, 2), (off, 3)):
					v = judge([Event(T0 + s[0], **{"ip": "192.0.2.1", **s[1]}) for s in life], path)
					assert [r["reason"] for r in v] == [s[column] for s in life], (path, [r["reason"] for r in v])


def same_on_redis(tap, rng):
	with tap.case("a Redis server gives the verdicts of the embedded store"):
		tmp = Dir()
		bots = botnet(rng)
		events = pool_events(rng, pool_hosts(rng), lambda i: f"mx{i}.big.test", lambda m, t: f"<u{m}@big.test>", "none")
		events += campaign(rng, bots, "retry from another bot", "none", 200)[0]
		with Redis(tmp) as r:
			conf = tmp.write("postern.conf", f'state {{ engine redis; redis "unix:{r.socket}"; deadline 5s }}\n')
			there, here = judge(events, conf), judge(events)
			assert there == here, [(a, b) for a, b in zip(there, here) if a != b][:2]
			# what the server remembers, the next run knows
			again = judge(events[:1], conf)
			assert again[0]["reason"] in ("auto-whitelisted", "known"), again


def interface(tap):
	"""What others rely on: header, order, errors with the line's number."""
	def run(text):
		return subprocess.run([BUILD / "posternctl", "test", "greylist"], input=text, capture_output=True, text=True, timeout=60)

	head, good = "\t".join(COLUMNS) + "\n", "5\t192.0.2.1\t[192.0.2.1]\th\t<a@b.test>\t<c@d.test>\tnone"
	for name, text, line, words in (
	    ("no header", good + "\n", 1, "no column"), ("a column less", head + good.rsplit("\t", 1)[0] + "\n", 2, "spf"),
	    ("no time", head + good + "\n" + good.replace("5", "x", 1) + "\n", 3, "time"),
	    ("no address", head + good.replace("192.0.2.1", "192.0.2", 1) + "\n", 2, "client_ip")):
		with tap.case(f"an error names its line: {name}"):
			r = run(text)
			assert r.returncode == 65 and f"events:{line}:" in r.stderr and words in r.stderr, r
	with tap.case("only the header: only the header"):
		r = run(head)
		assert (r.returncode, r.stdout.rstrip("\n").split("\t")) == (0, OUT), r


def main():
	tap = Tap()
	rng = random.Random(SEED)
	print(f"# seed {SEED}")
	interface(tap)
	pools(tap, rng)
	botnets(tap, rng)
	times(tap)
	every_time_by_every_condition(tap)
	same_on_redis(tap, rng)
	tap.done()


if __name__ == "__main__":
	main()
