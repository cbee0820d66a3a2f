#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Two postern-greylist on one Redis server, as on two hosts: what one deferred passes at the
other; and when the server is killed, hangs or comes back, mail flows, marked, and hardly
waits."""
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter import Mta  # noqa: E402
from proc import BUILD, SLOWER, Dir, Proc, wait_for  # noqa: E402
from redis_server import Redis  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

CONF = """
run {{ host gate-{name}.example; log stderr }}
dns {{ servers 127.0.0.1:9; timeout 100ms; deadline 100ms }}
state {{ engine redis; redis "unix:{socket}"; {state} }}
greylist {{ socket "unix:{dir}/{name}.sock"; delay {delay} }}
"""
BUDGET_MS = 200      # state.budget: what one message may wait in all
SLACK_MS = 300       # of a loaded machine


class Host:
	def __init__(self, tmp, name, redis, delay="1s", state=""):
		self.path = f"unix:{tmp}/{name}.sock"
		conf = tmp.write(f"{name}.conf", CONF.format(name=name, dir=tmp, socket=redis.socket, delay=delay,
		    state=state))
		self.p = Proc([BUILD / "postern-greylist", "-f", "-c", conf], tmp / f"{name}.log")
		self.p.wait_listen(self.path)

	def mail(self, sender, rcpt, client="192.0.2.1"):
		"""(the answer to the recipient, X-Greylist or None, milliseconds of both)"""
		m = Mta(self.path)
		with m:
			m.negotiate()
			m.macros("C", j="gate.example")
			m.connect(f"[{client}]", client)
			m.helo("helo.test")
			m.macros("M", i="Q1")
			m.mail(sender)
			begin = time.monotonic()
			answer = m.rcpt(rcpt)
			header = None
			if answer == [b"c"]:
				m.data()
				m.eoh()
				for edit in m.eom():
					if edit[:1] == b"h" and edit[1:].startswith(b"X-Greylist\0"):
						header = edit[1:].split(b"\0")[1].decode()
			return answer, header, (time.monotonic() - begin) * 1000


def deferred(answer):
	return b"".join(answer).startswith(b"y451 4.7.1 ")


def main():
	tap = Tap()
	tmp = Dir()
	try:
		redis = Redis(tmp).start()
	except Skip as e:
		skip_all(str(e))
	a, b = Host(tmp, "a", redis), Host(tmp, "b", redis)

	def text():
		return "A:\n" + a.p.text()[-3000:] + "B:\n" + b.p.text()[-3000:]

	with tap.case("what A deferred is known to B, and passes there", text):
		assert deferred(a.mail("s@b.test", "r@local.test")[0])
		def passes():
			answer, header, _ = b.mail("s@b.test", "r@local.test")
			return header if answer == [b"c"] else None
		header = wait_for("B lets it pass", passes)
		assert re.match(r"delayed \d+ seconds by gate-b\.example", header), header
		answer, header, _ = a.mail("s@b.test", "r@local.test")
		assert answer == [b"c"] and ": known; " in header, (answer, header)
	with tap.case("every key has a life", text):
		assert redis.cli("DBSIZE") == "2"       # the triple and its client
		# names hold any octets: looked at over there
		script = ("for _, k in ipairs(redis.call('KEYS', '*')) do local t = redis.call('TTL', k) "
		    "if t < 1 or t > 36 * 86400 or not string.find(k, '^postern:%d:') then return k end end "
		    "return 'all'")
		assert redis.cli("EVAL", script, "0") == "all"
	with tap.case("keys are named as postern-store(5) says", text):
		keys = redis.cli("EVAL", "local k = redis.call('KEYS', '*') table.sort(k) "
		    "for i = 1, #k do k[i] = string.gsub(k[i], '%z', '0') end return k", "0").split("\n")
		client, triple = keys
		assert re.fullmatch(r"postern:1:c:\{=n[0-9.]+/24\}", client), keys
		assert triple.startswith(client.replace(":1:c:", ":2:t:")) and \
		    triple.endswith("}0\x08s@b.test0\x0cr@local.test"), keys
	with tap.case("killed: mail flows, marked, and hardly waits", text):
		redis.kill()
		times = []
		for i in range(20):
			answer, header, ms = a.mail(f"new{i}@b.test", "r@local.test")
			assert answer == [b"c"] and ": store=down; " in header, (answer, header)
			times.append(ms)
		assert times[0] < (BUDGET_MS + SLACK_MS) * SLOWER, times
		assert sorted(times)[10] < 50 * SLOWER, times
		a.p.wait_line(r'event=greylist action=continue .*why="?store=down')
		a.p.wait_line(r"err event=store_down")
	with tap.case("back: new triples are deferred again, at both", text):
		redis.start()
		for n, host in enumerate((a, b)):
			wait_for("deferred again", lambda: deferred(host.mail(f"back{n}@b.test", "r@local.test")[0]), 15)
		a.p.wait_line(r"warn event=store_up")
	with tap.case("hung: one mail waits for its answer in vain, the next ones do not", text):
		redis.proc.send(signal.SIGSTOP)
		times = []
		for i in range(20):
			answer, header, ms = a.mail(f"hung{i}@b.test", "r@local.test")
			assert answer == [b"c"] and ": store=down; " in header, (answer, header)
			times.append(ms)
		redis.proc.send(signal.SIGCONT)
		assert max(times) < (BUDGET_MS + SLACK_MS) * SLOWER, times
		assert sorted(times)[10] < 50 * SLOWER, times
		wait_for("deferred again", lambda: deferred(a.mail("woken@b.test", "r@local.test")[0]), 15)
	with tap.case("a server that wants a password gets it from the file", text):
		redis.cli("CONFIG", "SET", "requirepass", "a secret")
		secret = tmp.write("secret", "a secret\n")
		c = Host(tmp, "c", redis, "1h", f'password-file "{secret}"')
		d = Host(tmp, "d", redis, "1h")
		assert deferred(c.mail("p@b.test", "r@local.test")[0])
		answer, header, _ = d.mail("p@b.test", "r@local.test")
		assert answer == [b"c"] and ": store=down; " in header, (answer, header)
		d.p.wait_line(r"event=store_down .*NOAUTH")
		assert "a secret" not in c.p.text() + d.p.text()
		assert c.p.stop() == 0 and d.p.stop() == 0
	with tap.case("they end in order", text):
		assert a.p.stop() == 0 and b.p.stop() == 0
	with tap.case("without any server the daemon starts and serves", text):
		redis.kill()
		e = Host(tmp, "e", redis, "1h")
		answer, header, ms = e.mail("n@b.test", "r@local.test")
		assert answer == [b"c"] and ": store=down; " in header, (answer, header)
		assert ms < (BUDGET_MS + SLACK_MS) * SLOWER, ms
		assert e.p.stop() == 0
	tap.done()


if __name__ == "__main__":
	main()
