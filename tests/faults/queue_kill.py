#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 120
"""kill -9 of the relay's processes, at random moments under load, with a ledger.

Clients write down each message that was answered with 250; the next hop keeps what it
took.  When the killing is over and the queue is empty, nothing that was answered may be
missing, every body must be what was sent, and no message may have come more often than
the processes that could repeat it died.
"""
import os
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from postern import Site  # noqa: E402
from proc import Dir, SLOWER, gone, wait_for  # noqa: E402
from sink import Sink  # noqa: E402
from smtp import Smtp  # noqa: E402
from tap import Tap  # noqa: E402

CONF = """
run { runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; drain 5s }
relay "r" {
	listen 127.0.0.1:@r@; spool "@dir@/spool/r"; handoff queue; listeners 2;
	relay-clients 127.0.0.0/8; smarthost "[127.0.0.1]:@sink@"; retry-min 1s; retry-max 2s;
	max-sessions-per-client 100; error-delay 0;
}
"""
CLIENTS, KILLS, SEED = 6, 9, 20250101


def body_of(name):
	return b"Subject: " + name.encode() + b"\r\n\r\n.dots\r\n" + (name.encode() + b" ") * 40 + b"\r\n"


class Client(threading.Thread):
	"""Sends one message after the other; each has a name of its own and is sent again
	under a new one when it was not answered with 250."""
	def __init__(self, addr, number, stop):
		super().__init__(daemon=True)
		self.addr, self.number, self.stop = addr, number, stop
		self.sent, self.acked = set(), set()

	def run(self):
		count = 0
		while not self.stop.is_set():
			try:
				self.session(count)
			except Exception:          # refused, dropped: what a client meets while we kill
				time.sleep(0.02)
			count += 100

	def session(self, count):
		s = Smtp(self.addr, 5, helo="client.example")
		try:
			for i in range(100):
				if self.stop.is_set():
					return
				name = f"m{self.number}x{count + i}"
				s.mail(f"{name}@a.example")
				if s.rcpt("u@b.example").code != 250:
					s.cmd("RSET")
					continue
				self.sent.add(name)
				if s.data(body_of(name)).code == 250:
					self.acked.add(name)
		finally:
			s.close()


def victims(site):
	"""kind -> pid, as the supervisor's log tells."""
	text = (site.dir / "log/postern.log").read_text(errors="replace")
	found = {}
	for kind, pid in re.findall(r'event=started msg="(queue|deliver|listener) pid (\d+)"', text):
		found[kind] = int(pid)
	return {k: p for k, p in found.items() if not gone(p)}


def spool_empty(site):
	spool = site.dir / "spool/r"
	return not any(any((spool / d).iterdir()) for d in ("incoming", "active", "deferred"))


def kill_some(site, rng, deaths):
	for _ in range(KILLS):
		time.sleep(rng.uniform(0.1, 0.9))      # the moment is what is random
		kind = rng.choice(("queue", "queue", "deliver", "listener"))
		pid = wait_for(f"a {kind} process", lambda k=kind: victims(site).get(k), 40)
		os.kill(pid, signal.SIGKILL)
		deaths[kind] = deaths.get(kind, 0) + 1


def main():
	tap = Tap()
	rng = random.Random(SEED)
	site = Site(Dir())
	sink = Sink()
	site.names["sink"] = str(sink.port)
	site.file("postern.conf", CONF)
	stop, deaths = threading.Event(), {}
	site.relay("r")
	clients = [Client(site.addr("r"), i, stop) for i in range(CLIENTS)]
	for c in clients:
		c.start()
	with tap.case("the relay's processes are killed under load", site.logs):
		kill_some(site, rng, deaths)
		before = sum(len(c.acked) for c in clients)
		wait_for("mail flows again", lambda: sum(len(c.acked) for c in clients) > before, 40)
	stop.set()
	for c in clients:
		c.join(30 * SLOWER)
	acked = set().union(*(c.acked for c in clients))
	sent = set().union(*(c.sent for c in clients))
	with tap.case("the queue becomes empty by itself", site.logs):
		wait_for("an empty spool", lambda: spool_empty(site), 40)
	seen = {}
	for m in sink.messages:
		seen.setdefault(m.sender.split("@")[0], []).append(m)
	lost = acked - set(seen)
	tap.ok(not lost, "nothing is lost that was answered with 250", f"lost: {sorted(lost)[:20]}")
	tap.ok(len(acked) >= 50, "there was load", f"{len(acked)} messages")
	tap.ok(not set(seen) - sent, "nothing arrives that nobody sent")
	wrong = [n for n, ms in seen.items() for m in ms if not m.data.endswith(body_of(n))]
	tap.ok(not wrong, "every message is what was sent, octet by octet", f"{wrong[:20]}")
	repeats = {n: len(ms) for n, ms in seen.items() if len(ms) > 1}
	risky = deaths.get("queue", 0) + deaths.get("deliver", 0)
	tap.ok(all(n <= risky + 1 for n in repeats.values()), "no message comes again without a death",
	    f"{repeats}")
	corrupt = list((site.dir / "spool/r/corrupt").iterdir())
	tap.ok(not corrupt, "no file is corrupt", f"{corrupt}")
	tap.equal(site.procs["r"].stop(signal.SIGTERM, 40), 0, "TERM ends it well")
	print(f"# {len(acked)} answered with 250, {len(sent)} sent, {sum(map(len, seen.values()))} taken, "
	    f"{len(repeats)} more than once, deaths {deaths}")
	tap.done()


if __name__ == "__main__":
	main()
