#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""`make demo`: mail goes through three tiers and four milters, and a table says what became
of each message.

Everything runs in a temporary directory, on loopback ports that were free: a DNS server, the
incoming, content and delivery relays, the four milters on UNIX sockets, and a last server
that writes a Maildir.  The configuration is in tests/demo/etc.  Exit status 1 when one row
differs from what its sender should see.

	STATE=redis make demo	the same with state at a Redis server that the demo starts
	KEEP=1 make demo	leaves everything running and says how to use and stop it
	demo.py send PORT CLIENT-ADDRESS FROM TO [FILE]
				one mail by hand; the dialogue on stdout
"""
import os
import random
import shutil
import signal
import sys
import tempfile
import textwrap
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from content_rows import ContentRows  # noqa: E402
from greylist_rows import DELAY, GreylistRows  # noqa: E402
from mails import decided, message  # noqa: E402
from postern import Site, unique, without_trace  # noqa: E402
from proc import ROOT, Timeout, wait_for  # noqa: E402
from redis_server import Redis  # noqa: E402
from smtp import Closed, Reply, Smtp, send_mail, stuffed  # noqa: E402
from tap import Skip  # noqa: E402

ENGINES = ("embedded", "redis")
STATE = os.environ.get("STATE", "") or ENGINES[0]
KEEP = os.environ.get("KEEP", "") not in ("", "0")
NOWHERE, MAILDIR, KEPT = "nowhere", "Maildir", "quarantine"


def hostile_message(msgid, size):
	"""Everything that a relay likes to change: 8-bit octets, lines of 998 octets, leading dots,
	folded and odd-case headers, blanks at line ends, blank lines at the end."""
	rng = random.Random(1)
	head = (b"fRoM: =?utf-8?q?Al=C3=AFce?= <alice@partner.example>\r\nTO:\tann@local.example,\r\n"
	    b"\t \"Doe, Ann\" <ann@local.example>\r\nsubject: folded\r\n over\r\n\t three lines   \r\n"
	    b"X-Empty:\r\nX-Blank: \r\nx-8bit: caf\xc3\xa9 \xff\r\nReceived: from inner.partner.example\r\n"
	    b"\tby mx.partner.example; Mon, 16 Nov 2026 10:00:00 +0000\r\nMessage-ID: <" + msgid.encode() +
	    b">\r\nDate: Mon, 16 Nov 2026 10:00:00 +0000\r\n\r\n")
	octets = bytes(b for b in range(1, 256) if b not in (10, 13))
	lines = [b".", b"..", b". ", b".x", b"", b" ", b"\t", b"From here", b"\xf0\x9f\x93\xac", octets]
	out = bytearray(head)
	while len(out) < size:
		line = rng.choice(lines)
		if len(line) > 500 or rng.random() < 0.5:
			line = rng.choice(b"x.\xe9").to_bytes(1, "big") * rng.choice((1, 76, 997, 998))
		out += line + b"\r\n"
	return bytes(out + b"no end of blank lines:\r\n\r\n\r\n\r\n")


class Demo(ContentRows, GreylistRows):
	"""state: the engine that keeps it."""
	def __init__(self, state=STATE):
		self.site = Site(tempfile.mkdtemp(prefix="pst"), KEEP)
		self.state = state
		self.redis = None
		self.rows = []
		self.accepted = {}      # Message-ID: how many copies must lie in the Maildir
		self.told_of = 0        # messages of which the postmaster must be told
		self.site.names.update(state=state, rules=str(ROOT / "policy/rules"),
		    signatures=str(ROOT / "tests/vectors/mime/postern-test.ndb"))
		for name in ("tmp", "quarantine"):
			(self.site.dir / name).mkdir()
		for path in (HERE / "etc").iterdir():
			self.site.file(path.name, path.read_text())

	def start(self):
		s = self.site
		s.dns()
		s.sink()
		if self.state == "redis":
			self.redis = Redis(s.dir, keep=KEEP).start()
			s.procs["redis"] = self.redis.proc
		for milter in ("access", "greylist", "mime", "score"):
			s.milter(milter)
		self.scanners()         # mail that comes before the signatures are loaded has to come again
		for tier in ("delivery", "content", "incoming"):
			s.relay(tier)

	def send(self, client, sender, rcpts, data, params="", tier="incoming"):
		rcpts = [rcpts] if isinstance(rcpts, str) else rcpts
		return send_mail(self.site.addr(tier), sender, rcpts, data, {"ADDR": client, "NAME": "[UNAVAILABLE]"},
		    params=params, seconds=60)

	def lies(self, msgid, expected):
		"""Where the message lies; waits while it is not where it should be."""
		def place():
			if self.site.find(msgid):
				return MAILDIR
			spools = self.site.spooled(msgid)
			if spools:
				return f"{spools[0]} queue"
			return KEPT if self.quarantined(msgid) else NOWHERE
		if expected != NOWHERE:
			try:
				wait_for("the message", lambda: place() == expected, 20)
			except Timeout:
				pass
		return place()

	def row(self, what, expected, reply, msgid=None, where=NOWHERE, tier="incoming", more=""):
		"""expected: (code, text that the reply must hold).  more: a fault found besides."""
		code, text = expected
		lies = self.lies(msgid, where) if msgid else NOWHERE
		seen = f"{reply.code} {' '.join(reply.lines)}" if reply else "no reply"
		good = bool(reply) and reply.code == code and text in seen and lies == where and not more
		if reply and reply.code == 250 and where not in (NOWHERE, KEPT) and msgid:
			self.accepted[msgid] = 1
		self.rows.append((what, tier, f"{code} {text}".strip(), seen, lies + (f" (not {where})" if lies != where else "") +
		    (f"; {more}" if more else ""), good))
		self.show(self.rows[-1], len(self.rows))

	WIDTHS = (3, 34, 9, 25, 38, 18, 5)

	def show(self, row, number):
		what, tier, expected, seen, lies, good = row
		cells = (str(number), what, tier, expected, seen, lies, "ok" if good else "WRONG")
		wrapped = [textwrap.wrap(c, w) or [""] for c, w in zip(cells, self.WIDTHS)]
		for i in range(max(map(len, wrapped))):
			print("  ".join((c[i] if i < len(c) else "").ljust(w) for c, w in zip(wrapped, self.WIDTHS)).rstrip())
		sys.stdout.flush()

	def header(self):
		cells = ("", "message", "tier", "the sender should see", "the sender saw", "it lies in", "")
		print("\n" + "  ".join(c.ljust(w) for c, w in zip(cells, self.WIDTHS)).rstrip())
		print("  ".join("-" * w for w in self.WIDTHS))

	# the rows; those about content are in content_rows.py

	def greylisting(self):
		alice = ("192.0.2.10", "alice@sender.example", "ann@local.example")
		first = unique()
		r = self.send(*alice, message(first))
		begin = time.monotonic()
		self.row("a stranger's first mail", (451, "4.7.1"), decided(r), first)
		# waiting is what greylisting is; the client comes back as soon as it may
		wait_for("the greylist delay", lambda: time.monotonic() - begin > DELAY + 0.2)
		r = self.send(*alice, message(first))
		self.row("the same mail, sent again later", (250, ""), decided(r), first, MAILDIR)
		again = unique()
		r = self.send(*alice, message(again, "second"))
		self.row("second mail of this triple, at once", (250, ""), decided(r), again, MAILDIR)

	def refused(self):
		for what, client, sender, rcpt, wanted in (
		    ("from a client on a DNS list", "198.51.100.66", "x@sender.example", "ann@local.example",
		        (550, "198.51.100.66 is listed by bl.example: sent junk all night")),
		    ("From: REJECT", "192.0.2.20", "boss@bad.example", "ann@local.example", (550, "5.7.1")),
		    ("From: ERROR: with its own text", "192.0.2.20", "junk@mixed.example", "ann@local.example",
		        (550, "5.7.1 we have heard enough from you")),
		    ("Connect: ERROR:", "203.0.113.99", "x@sender.example", "ann@local.example", (554, "5.7.1 your host")),
		    ("To: ERROR:", "192.0.2.10", "alice@sender.example", "nobody@local.example",
		        (550, "5.1.1 there is nobody")),
		    ("SPF: the sender's domain forbids it", "192.0.2.20", "x@strict.example", "ann@local.example",
		        (550, "5.7.23 strict.example explains: we never send from 192.0.2.20")),
		    ("relaying to a foreign domain", "192.0.2.10", "alice@sender.example", "x@foreign.example",
		        (550, "5.7.1"))):
			msgid = unique()
			r = self.send(client, sender, rcpt, message(msgid, sender=sender, to=rcpt))
			self.row(what, wanted, decided(r), msgid)
		msgid = unique()
		r = self.send("198.51.100.67", "x@partner.example", "ann@local.example", message(msgid))
		self.row("the DNS list says: you ask too much", (250, ""), decided(r), msgid, MAILDIR)

	def spf_passes(self):
		msgid = unique()
		r = self.send("203.0.113.5", "x@strict.example", "friend@local.example",
		    message(msgid, sender="x@strict.example", to="friend@local.example"))
		self.lies(msgid, MAILDIR)
		mark = b"Authentication-Results: gate.example;\r\n\tspf=pass smtp.mailfrom=x@strict.example\r\n"
		more = "" if any(mark in data for _, data in self.site.find(msgid)) else "the mail does not tell of it"
		self.row("SPF pass, told to later readers", (250, ""), decided(r), msgid, MAILDIR, more=more)

	def friends(self):
		msgid = unique()
		r = self.send("192.0.2.20", "boss@bad.example", "friend@local.example",
		    message(msgid, sender="boss@bad.example", to="friend@local.example"))
		self.row("From: REJECT, but to a Spam: FRIEND", (250, ""), decided(r), msgid, MAILDIR)
		msgid = unique()
		r = self.send("192.0.2.20", "x@void.example", "ann@local.example", message(msgid))
		self.row("From: DISCARD", (250, ""), decided(r), msgid)
		msgid = unique()
		r = self.send("192.0.2.30", "", "ann@local.example", message(msgid, "bounce"))
		told = r["rcpt"][0].code == 250
		self.row("null sender: deferred behind DATA", (451, "4.7.1"), decided(r), msgid,
		    more="" if told else f"RCPT answered {r['rcpt'][0]}")

	def byte_for_byte(self):
		msgid = unique()
		data = hostile_message(msgid, 10 * 1024 * 1024)
		r = self.send("203.0.113.5", "alice@partner.example", "ann@local.example", data,
		    f"SIZE={len(data)} BODY=8BITMIME")
		more = ""
		if decided(r).code == 250:
			self.lies(msgid, MAILDIR)
			got = without_trace(self.site.find(msgid)[0][1]) if self.site.find(msgid) else b""
			if got != data:
				more = f"octets differ from {first_difference(got, data)} on"
		self.row("10 MB, every octet that hurts", (250, ""), decided(r), msgid, MAILDIR, "all three", more)

	def three_fates(self):
		msgid = unique()
		rcpts = ["ann@local.example", "nobody@local.example", "bob@local.example"]
		r = self.send("192.0.2.10", "alice@sender.example", rcpts, message(msgid))
		codes = [x.code for x in r["rcpt"]]
		wanted = [250, 550, 451]
		more = "" if codes == wanted else f"RCPT answered {codes}"
		self.lies(msgid, MAILDIR)
		to = [line for head, _ in self.site.find(msgid) for line in head if line.startswith("Delivered-To")]
		if to != ["Delivered-To: ann@local.example"]:
			more += f" delivered {to}"
		joined = Reply(decided(r).code, [f"(RCPT {', '.join(map(str, codes))})"])
		self.row("three recipients, three fates", (250, "(RCPT 250, 550, 451)"), joined, msgid, MAILDIR, more=more)

	def content_down(self):
		self.site.stop("content")
		msgid = unique()
		r = self.send("203.0.113.5", "alice@partner.example", "ann@local.example", message(msgid))
		self.row("content tier stopped", (250, ""), decided(r), msgid, "incoming queue")
		self.site.relay("content")
		self.row("... and started again", (250, ""), decided(r), msgid, MAILDIR, "content")

	def content_refuses(self):
		msgid = unique()
		data = hostile_message(msgid, 13 * 1024 * 1024)
		r = self.send("203.0.113.5", "alice@partner.example", "ann@local.example", data, "BODY=8BITMIME")
		told = all(x.code == 250 for x in r["rcpt"])
		more = "" if told else f"refused before the end of data: {r['rcpt']}"
		if self.bounces():
			more += " a bounce exists"
		self.row("content tier refuses at end of data", (552, "5.3.4"), decided(r), msgid, tier="content", more=more)

	def bounces(self):
		"""Mail from <> that is no notice to the postmaster."""
		notices = self.notices()
		return [p for p in self.site.maildir() if p.read_bytes().startswith(b"Return-Path: <>\r\n") and p not in notices]

	def milter_killed(self, name, stage):
		"""kill -9 of the worker in the middle of a session: at RCPT, or within the message."""
		msgid = unique()
		data = message(msgid)
		with Smtp(self.site.addr("incoming"), 60) as c:
			c.ehlo()
			c.xclient(ADDR="192.0.2.10", NAME="[UNAVAILABLE]")
			c.ehlo()
			c.mail("alice@sender.example")
			if stage == "RCPT":
				self.kill_worker(name)
				reply = c.rcpt("ann@local.example")
			else:
				c.rcpt("ann@local.example")
				c.cmd("DATA")
				c.send(data[:100])
				self.kill_worker(name)
				c.send(stuffed(data[100:]))
				reply = c.reply()
		code = reply.code if reply.code in (421, 450, 451, 452) else 451
		self.row(f"{name} worker killed -9 at {stage}", (code, ""), reply, msgid)
		again = unique()
		r = self.send("192.0.2.10", "alice@sender.example", "ann@local.example", message(again))
		self.row("... and the next mail", (250, ""), decided(r), again, MAILDIR)

	def kill_worker(self, name):
		supervisor = self.site.procs[name]
		worker = wait_for(f"a worker of {name}", supervisor.children)[0]
		os.kill(worker, signal.SIGKILL)
		wait_for("the next worker", lambda: [k for k in supervisor.children() if k != worker])

	def ledger(self):
		"""Every message answered with 250 lies in the Maildir once, and so does a notice of each
		message kept back; nothing else lies there."""
		faults = []
		for msgid in self.accepted:
			if len(self.site.find(msgid)) != 1:
				faults.append(f"{msgid}: {len(self.site.find(msgid))} copies")
		delivered = len(self.site.maildir()) - len(self.notices())
		if delivered != len(self.accepted):
			faults.append(f"{delivered} messages, {len(self.accepted)} accepted")
		if len(self.notices()) != self.told_of:
			faults.append(f"{len(self.notices())} notices of {self.told_of} messages kept back")
		left = [m for m in self.accepted if self.site.spooled(m)]
		try:
			wait_for("empty queues", lambda: not [m for m in self.accepted if self.site.spooled(m)], 20)
		except Timeout:
			faults.append(f"still queued: {left}")
		if self.bounces():
			faults.append("a bounce exists")
		good = not faults
		self.rows.append(("the ledger: accepted = delivered", "all three", f"{len(self.accepted)} accepted",
		    f"{delivered} delivered, {len(self.notices())} notices", "; ".join(faults) or "each once", good))
		self.show(self.rows[-1], len(self.rows))

	def play(self):
		self.start()
		self.header()
		self.greylisting()
		self.pool()
		self.suspicious()
		self.trap()
		self.refused()
		self.spf_passes()
		self.friends()
		self.byte_for_byte()
		self.three_fates()
		self.content_down()
		self.content_refuses()
		self.milter_killed("greylist", "RCPT")
		self.milter_killed("access", "DATA")
		self.attachments()
		self.viruses()
		self.spam()
		self.outgoing()
		self.scanner_killed()
		self.scanner_hangs()
		self.scanners_die_of_it()
		if self.redis:
			self.redis_down()
		self.ledger()
		return all(r[-1] for r in self.rows)

	def instructions(self):
		d, port = self.site.dir, self.site.port("incoming")
		stop = d / "stop"
		pids = " ".join(str(p.pid) for p in reversed(list(self.site.procs.values())))
		stop.write_text(f"#!/bin/sh\nkill {pids}\n")
		stop.chmod(0o755)
		print(textwrap.dedent(f"""
			Still running, incoming tier on 127.0.0.1 port {port}:
			  send      python3 tests/demo/demo.py send {port} 192.0.2.10 alice@sender.example ann@local.example
			  mail      ls {d}/Maildir/new
			  log       tail -f {d}/log/postern.log
			  kept back ls {d}/quarantine
			  settings  {d}/etc/postern.conf
			  status    {os.environ.get('BUILD', 'build')}/posternctl status -c {d}/etc/postern.conf
			  stop      {stop}; rm -r {d}"""))


def first_difference(a, b):
	n = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
	return f"octet {n}: {a[n:n + 20]!r}, not {b[n:n + 20]!r}"


def send_by_hand(port, client, sender, rcpt, path=None):
	data = Path(path).read_bytes() if path else message(unique("hand"), "by hand", sender=sender, to=rcpt)
	replies = send_mail(("127.0.0.1", int(port)), sender, [rcpt], data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
	    {"ADDR": client, "NAME": "[UNAVAILABLE]"})
	for stage in ("connect", "mail", "rcpt", "data"):
		if replies.get(stage):
			print(f"{stage:8} {replies[stage]}")


def main():
	if sys.argv[1:2] == ["send"] and len(sys.argv) in (6, 7):
		send_by_hand(*sys.argv[2:])
		return 0
	if len(sys.argv) > 1:
		print(__doc__, file=sys.stderr)
		return 64
	if STATE not in ENGINES:
		print(f"demo: STATE={STATE}: expected {' or '.join(ENGINES)}", file=sys.stderr)
		return 64
	begin = time.monotonic()
	demo = Demo()
	good = False
	try:
		good = demo.play()
	except (OSError, Closed, RuntimeError, Skip, Timeout, AssertionError) as e:
		print(f"\ndemo: {type(e).__name__}: {e}\n")
	if not good:
		print("\n" + demo.site.logs())
	wrong = sum(not r[-1] for r in demo.rows)
	if KEEP:
		demo.instructions()
	else:
		demo.site.stop_all()
		shutil.rmtree(demo.site.dir, ignore_errors=True)
	print(f"\nstate: {STATE}; {len(demo.rows)} rows, {wrong} wrong, {time.monotonic() - begin:.0f} s"
	    + ("" if good else "; FAILED"))
	return 0 if good else 1


if __name__ == "__main__":
	sys.exit(main())
