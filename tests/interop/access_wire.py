#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 240
"""Random envelopes over the wire through our relay, real Postfix and real sendmail (its own
access_db off), each with postern-access: what the client is told and what becomes of the mail
must be what the real sendmail decides with that map in its access_db.

	access_wire.py [SEED [ENVELOPES [MTA ...]]]

The expected words come from two witnesses that must agree: sendmail's own rulesets
(sendmail -bt), and the engine (posternctl test access), which also gives the codes.  The
seed is printed; give it to see the same maps and envelopes again.

Left out are the classes that postern-access(8) lists under "What no milter can see": they
are the MTA's to judge, before or beside any milter.
"""
import os
import re
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import netns  # noqa: E402
import peers  # noqa: E402
import sink as sinks  # noqa: E402
import access_differential as ad  # noqa: E402
from milter import Mta  # noqa: E402
from postern import Site  # noqa: E402
from proc import Dir, wait_for  # noqa: E402
from smtp import Smtp  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

KINDS = ("postern-relay", "postfix", "sendmail")
PER_MAP = 25
CLIENTS = [c for c in ad.CLIENTS if "." in c[0] and c[3] in ("OK", "FAIL") and c[2] != "localhost"]
NAMES = {c[0]: c[2] for c in CLIENTS if c[2]}
DOMAINS = ["d1.test", "h.d1.test", "g.h.d1.test", "home.test", "virt.test", "relayed.test", "x.relayed.test", "away.test",
    "sub.away.test"]
MODES = {"off": [], "on": ["FEATURE(`delay_checks')"], "friend": ["FEATURE(`delay_checks', `friend')"],
    "hater": ["FEATURE(`delay_checks', `hater')"]}
FEATURES = ["FEATURE(`access_db', `hash -T<TMPF> @dir@/access', `skip')", "FEATURE(`accept_unresolvable_domains')",
    "FEATURE(`accept_unqualified_senders')", "FEATURE(`promiscuous_relay')", "FEATURE(`blocklist_recipients')"]
CONF = """
run {{ host gate.example; runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; drain 2s }}
dns {{ servers 127.0.0.1:53; timeout 1s; deadline 2s }}
state {{ path "@dir@/state" }}
access {{ socket "unix:@dir@/run/access.sock"; maps "@dir@/etc/access"; delay-checks {mode}; blocklist-recipients on; spf off }}
relay "gate" {{
	listen 127.0.0.1:@gate@; spool "@dir@/spool/gate"; handoff session;
	relay-domains {domains}; smarthost "[127.0.0.1]:@sink@"; error-delay 0;
	milter "access" {{ socket "unix:@dir@/run/access.sock"; on-failure tempfail }}
}}
"""
MILTER_M4 = """INPUT_MAIL_FILTER(`postern-access', `S=unix:/run/postern/access.sock, F=T, T=C:30s;S:10s;R:30s;E:5m')dnl
"""


# ---- what is drawn, and what is to come of it ----

class Oracle(ad.Sendmail):
	"""The real sendmail with no local domains, as postern-access knows none."""
	def __init__(self, directory):
		super().__init__(directory)
		(self.dir / "w").write_text("\n")


def envelope(draw):
	def qualified():
		while True:
			a = draw.plain_sender()
			if "@" in a:
				return a

	client = draw.r.choice(CLIENTS)
	sender = "<>" if draw.chance(.05) else qualified()
	user = draw.r.choice([u for u in ad.USERS if '"' not in u])
	return client, "helo.test", sender, f"<{user}@{draw.r.choice(DOMAINS)}>"


def pick(world, text, drawn):
	"""Of many envelopes those with the most to tell: most random ones meet no entry."""
	by_action = {}
	for e, row in zip(drawn, ad.ours(world, text, drawn)):
		by_action.setdefault(row[5], []).append(e)
	out = []
	while len(out) < PER_MAP and any(by_action.values()):
		for action in sorted(by_action):
			out += by_action[action][:1]
			del by_action[action][:1]
	return out[:PER_MAP]


def batch(draw, oracle, world):
	"""A map, a mode, envelopes, and for each what is expected: (action, code, enhanced, text)."""
	mode = draw.r.choice(list(MODES))
	features = FEATURES + MODES[mode]
	oracle.configure(features)
	ad.write_world(world, features)
	(world / "env/classes.tsv").write_text("class\tmembers\nw\tgate.example\nR\t\nm\t\nj\tgate.example\n")
	text = draw.map()
	envelopes = pick(world, text, [envelope(draw) for _ in range(6 * PER_MAP)])
	theirs = oracle.judge(text, envelopes, mode != "off")
	rows = ad.ours(world, text, envelopes)
	expected, odd = [], []
	for e, results, row in zip(envelopes, theirs, rows):
		events, words = ad.expected(results, mode != "off")
		if row[8] != events or (words and not words.endswith(ad.squeeze(row[4]))):
			odd.append(f"{mode} {e}\nsendmail {results}\nours {row}\n{text}")
		expected.append((row[5], int(row[2]), row[3], row[4]))
	return mode, text, envelopes, expected, odd


# ---- the gate ----

def in_force(site, number):
	"""Asks the milter itself for an entry that only this map has."""
	with Mta(str(site.dir / "run/access.sock"), 20) as m:
		m.negotiate()
		m.macros("C", j="gate.example", client_addr="192.0.2.99", client_name="[192.0.2.99]", client_resolve="FAIL")
		m.connect("[192.0.2.99]", "192.0.2.99")
		m.helo("probe.example")
		m.macros("M", i="Q0")
		said = m.mail(f"prober@probe{number}.invalid")
		if said in ([], [b"c"]):
			m.macros("R", i="Q0", rcpt_mailer="smtp")
			said = m.rcpt("probed@probe.invalid")
	return bool(said) and f"map {number}\0".encode() in said[-1]


def conf_text(mode):
	return CONF.format(mode=mode, domains=" ".join(DOMAINS))


def load(site, number, mode, text):
	"""The map, with a probe that answers in every mode of delay_checks."""
	probe = f'From:prober@probe{number}.invalid\tERROR:5.7.1:"550 map {number}"\nSpam:probed@probe.invalid\tHATER\n'
	site.file("postern.conf", conf_text(mode))
	(site.dir / "etc/access.new").write_text(text + probe)
	os.rename(site.dir / "etc/access.new", site.dir / "etc/access")
	log = site.dir / "log/postern.log"
	before = log.read_text(errors="replace").count("the new configuration is in use")
	site.procs["access"].send(signal.SIGHUP)
	wait_for("the configuration", lambda: log.read_text(errors="replace").count("the new configuration is in use") > before,
	    20)
	wait_for(f"map {number}", lambda: in_force(site, number), 20)


def start_mta(kind, site, sink):
	if kind == "postern-relay":
		site.relay("gate")
		return None, site.addr("gate")
	addr = ("127.0.0.1", site.port("peer"))
	if kind == "postfix":
		mta = peers.Postfix(site.dir, addr, sink.addr, domains=DOMAINS, milters=["unix:/run/postern/access.sock"],
		    hosts=NAMES, snippet="milter_default_action = tempfail\nmilter_protocol = 6\n")
	else:
		mta = peers.Sendmail(site.dir, addr, sink.addr, domains=DOMAINS, snippet=MILTER_M4, hosts=NAMES)
	return mta, addr


# ---- the wire ----

def dialogue(addr, e, msgid, data):
	"""The reply that decides: of MAIL or RCPT where refused, else of the end of DATA or RCPT."""
	client, helo, sender, rcpt = e
	with Smtp(addr, 30, source=client[0]) as c:
		if c.greeting.code != 220:
			return c.greeting
		c.ehlo(helo)
		r = c.cmd(f"MAIL FROM:{sender}")
		if r.code == 250:
			r = c.cmd(f"RCPT TO:{rcpt}")
		if r.code == 250 and data:
			r = c.data(f"From: <a@sender.example>\r\nSubject: x\r\nMessage-ID: <{msgid}>\r\n\r\nbody\r\n")
		if r.code != 421:
			c.cmd("QUIT")
	return r


def wrong(reply, expected):
	"""None, or what differs."""
	action, code, enhanced, text = expected
	if action in ("accept", "discard", "quarantine"):
		return None if reply.code == 250 else f"expected {action}"
	said = ad.squeeze(" ".join(reply.lines))
	if reply.code != code or not said.startswith(enhanced) and enhanced not in said:
		return f"expected {code} {enhanced}"
	return None if ad.squeeze(text) in said else f"expected the words {text!r}"


class Run:
	def __init__(self, kind, site, sink, addr):
		self.kind, self.site, self.sink, self.addr = kind, site, sink, addr
		self.serial, self.due, self.never = 0, set(), set()

	def play(self, number, mode, text, envelopes, expected):
		load(self.site, number, mode, text)
		found = []
		for i, (e, want) in enumerate(zip(envelopes, expected)):
			self.serial += 1
			msgid = f"wire.{self.serial}.{number}@sender.example"
			action = want[0]
			held = action in ("discard", "quarantine")
			data = held or (action == "accept" and i % 5 == 0)
			reply = dialogue(self.addr, e, msgid, data)
			told = wrong(reply, want)
			if told:
				found.append(f"{told}, told {reply!r}\nmode {mode}, envelope {e}\n{text}")
			elif data:
				(self.never if held else self.due).add(msgid)
		return found

	def arrived(self):
		out = set()
		for m in list(self.sink.messages):
			out.update(re.findall(rb"Message-ID: <(wire\.[^>]*)>", m.data))
		return {i.decode() for i in out}


def with_mta(tap, kind, batches, seed):
	sink = sinks.Sink()
	site = Site(Dir())
	site.names.update(sink=str(sink.port), dns="53")
	site.file("zone", "".join(f"{'.'.join(reversed(a.split('.')))}.in-addr.arpa PTR {n}\n{n} A {a}\n"
	    for a, n in NAMES.items()) or "x.test A 192.0.2.1\n")
	site.file("access", "From:nobody.invalid\tOK\n")
	site.file("postern.conf", conf_text("off"))
	mta = None
	try:
		site.dns()
		site.milter("access")
		(site.dir / "run/access.sock").chmod(0o666)
		mta, addr = start_mta(kind, site, sink)
		r = Run(kind, site, sink, addr)
		total, found = 0, []
		for number, (mode, text, envelopes, expected, _) in enumerate(batches):
			found += r.play(number, mode, text, envelopes, expected)
			total += len(envelopes)
		tap.ok(not found, f"seed {seed}, {kind}: {total} envelopes as sendmail decides them",
		    f"{len(found)} differ\n" + "\n\n".join(found[:3]) + "\n" + site.logs(15) + getattr(mta, "log", "")[-2000:])
		wait_for(f"{len(r.due)} messages", lambda: r.due <= r.arrived(), 60)
		tap.equal(sorted(r.arrived()), sorted(r.due),
		    f"{kind}: {len(r.due)} accepted messages arrive, {len(r.never)} dropped or held ones do not")
	except Skip as e:
		tap.skip(kind, str(e))
	except Exception as e:
		tap.ok(False, f"{kind}: runs to its end: {e!r}", site.logs() + getattr(mta, "log", "")[-3000:])
	finally:
		if mta:
			mta.stop()
		site.stop_all()
		sink.close()


def main():
	seed = sys.argv[1] if len(sys.argv) > 1 else str(int.from_bytes(os.urandom(4), "big"))
	count = int(sys.argv[2]) if len(sys.argv) > 2 else 300
	peers.fetch("postfix", "sendmail")
	tmp = Dir()
	try:
		peers.namespaces()
		oracle = Oracle(tmp)
		netns.enter([c[0] for c in CLIENTS])
	except Skip as e:
		skip_all(str(e))
	except OSError as e:
		skip_all(e.strerror)
	tap = Tap()
	print(f"# seed {seed}", flush=True)
	draw = ad.Draw(seed)
	batches = [batch(draw, oracle, Path(os.fspath(tmp)) / f"world{i}") for i in range((count + PER_MAP - 1) // PER_MAP)]
	odd = [o for b in batches for o in b[4]]
	tap.ok(not odd, f"seed {seed}: engine and rulesets agree on all of them", "\n\n".join(odd[:2]))
	actions = [w[0] for b in batches for w in b[3]]
	print("# expected:", ", ".join(f"{a} {actions.count(a)}" for a in sorted(set(actions))), flush=True)
	for kind in sys.argv[3:] or KINDS:
		with_mta(tap, kind, batches, seed)
	tap.done()


if __name__ == "__main__":
	main()
