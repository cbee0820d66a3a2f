#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 300
"""A failover of the Redis master that sentinels watch, under 200 decisions a second through
postern-greylist: kill -9 of the master, and then of a master that hangs.  The sender never
sees 5xx, no decision takes longer than the store's deadline, what passes meanwhile is marked,
and new triples are deferred again within 5 s of the new master."""
import re
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter import Mta  # noqa: E402
from proc import BUILD, SLOWER, Dir, Proc, wait_for  # noqa: E402
from redis_server import Watched  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

RATE, THREADS = 200, 10
DEADLINE_MS = 100       # state.deadline
SLACK_MS = 50           # and what the machine takes: see Load.noise_ms
BACK_S = 5.0
CONF = """
run {{ host gate.example; log "{dir}/log" }}
dns {{ servers 127.0.0.1:{dns} }}
state {{ engine redis; {state} deadline {deadline}ms }}
greylist {{ socket "unix:{dir}/g.sock"; metrics "{dir}/metrics.sock"; delay 1h }}
"""


class Load:
	"""Decisions on ever new triples, evenly spread; each is (second, milliseconds, answer).
	noise_ms: how much longer than it asked for a thread slept meanwhile, which is what a machine
	that others use as well adds to any wait."""
	def __init__(self, path):
		self.path, self.end, self.done, self.errors = path, False, [], []
		self.noise_ms = 0.0
		self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(THREADS)]
		self.threads.append(threading.Thread(target=self.listen))
		self.begin = time.monotonic()
		for t in self.threads:
			t.start()

	def run(self, i):
		try:
			with Mta(self.path) as m:
				m.negotiate()
				m.macros("C", j="gate.example")
				m.connect("[192.0.2.1]", "192.0.2.1")
				m.helo("helo.test")
				n = 0
				while not self.end:
					due = self.begin + (n * THREADS + i) / RATE
					time.sleep(max(0, due - time.monotonic()))
					m.macros("M", i=f"Q{i}x{n}")
					m.mail(f"s{i}x{n}@b.test")
					before = time.monotonic()
					answer = b"".join(m.rcpt("r@local.test"))
					after = time.monotonic()
					self.done.append((after, (after - before) * 1000, answer))
					m.abort()
					n += 1
		except Exception as e:  # noqa: BLE001 - told by the case
			self.errors.append(f"thread {i}: {e!r}")

	def listen(self):
		while not self.end:
			begin = time.monotonic()
			time.sleep(0.005)
			self.noise_ms = max(self.noise_ms, (time.monotonic() - begin - 0.005) * 1000)

	def stop(self):
		self.end = True
		for t in self.threads:
			t.join()


def deferred(answer):
	return answer.startswith(b"y451 4.7.1 ")


def failover(tap, name, tmp, hurt):
	watched = Watched(tmp)
	dns = Proc([BUILD / "tests/dnsd", "-z", tmp.write("zone", "b.test SOA 60 ns.b.test 60\n")], tmp / "dns.log")
	conf = tmp.write("g.conf", CONF.format(dir=tmp, dns=dns.wait_line(r"^\d+$")[0], state=watched.setting(), deadline=DEADLINE_MS))
	p = Proc([BUILD / "postern-greylist", "-f", "-c", conf], tmp / "out")
	path = f"unix:{tmp}/g.sock"
	p.wait_listen(path)
	load = Load(path)

	def text():
		log = tmp / "log"
		return p.text()[-2000:] + "\n".join(re.findall(r".*event=store.*", log.read_text()) if log.exists() else [])

	with tap.case(f"{name}: before it, every new triple is deferred", text):
		wait_for("some decisions", lambda: len(load.done) > RATE)
		assert all(deferred(a) for _, _, a in load.done[10:])
	with tap.case(f"{name}: a new master, and greylisting is back within {BACK_S:g} s", text):
		hurt(watched.servers[0].proc)
		hurt_at = time.monotonic()
		wait_for("a new master", lambda: watched.servers[1].cli("ROLE").startswith("master"), 60)
		new_at = time.monotonic()
		back = wait_for("deferred again", lambda: next((t for t, _, a in list(load.done)
		    if t > new_at and deferred(a)), None), 30)
		print(f"# {name}: new master after {new_at - hurt_at:.1f} s, greylisting {max(0, back - new_at):.1f} s later")
		assert back - new_at < BACK_S * SLOWER
		count = len(load.done)
		wait_for("some more decisions", lambda: len(load.done) > count + RATE)
	load.stop()
	with tap.case(f"{name}: nobody saw 5xx, nobody waited longer than the deadline", text):
		assert not load.errors, load.errors
		kinds = {}
		for _, _, a in load.done:
			kind = "deferred" if deferred(a) else "passed" if a == b"c" else a[:60]
			kinds[kind] = kinds.get(kind, 0) + 1
		slowest = max(ms for _, ms, _ in load.done)
		rate = len(load.done) / (load.done[-1][0] - load.begin)
		print(f"# {name}: {rate:.0f} decisions a second, {kinds}, slowest {slowest:.0f} ms, noise {load.noise_ms:.0f} ms")
		assert set(kinds) == {"deferred", "passed"}, kinds
		assert slowest < (DEADLINE_MS + SLACK_MS) * SLOWER + 2 * load.noise_ms, slowest
		assert rate > RATE * 0.8 / SLOWER, rate
	with tap.case(f"{name}: what passed is marked in the log, and the old master is not written to", text):
		passed = len(re.findall(r'event=greylist action=continue .*why="?store=down', (tmp / "log").read_text()))
		assert passed == kinds["passed"], (passed, kinds)
		if watched.servers[0].proc.alive():
			watched.servers[0].proc.send(signal.SIGCONT)
		else:
			watched.servers[0].start()
		wait_for("the old master is a replica", lambda: watched.servers[0].cli("ROLE").startswith("slave"), 60)
		with Mta(path) as m:
			m.negotiate()
			m.macros("C", j="gate.example")
			m.connect("[192.0.2.1]", "192.0.2.1")
			m.helo("helo.test")
			m.mail("later@b.test")
			assert deferred(b"".join(m.rcpt("r@local.test")))
		assert watched.servers[1].cli("ROLE").startswith("master")
	with tap.case(f"{name}: it ends in order", text):
		assert p.stop() == 0
	dns.stop()
	watched.stop()


def main():
	tap = Tap()
	try:
		for name, sig in (("killed", signal.SIGKILL), ("hung", signal.SIGSTOP)):
			failover(tap, name, Dir(), lambda proc, sig=sig: proc.kill() if sig == signal.SIGKILL else proc.send(sig))
	except Skip as e:
		skip_all(str(e))
	tap.done()


if __name__ == "__main__":
	main()
