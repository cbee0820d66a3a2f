#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""postern-greylist as a process, with a scripted mail server at its socket: what is
answered when, the header, exemptions, observing, reload, a store that is away, and what a
killed worker remembers."""
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter import Mta  # noqa: E402
from proc import BUILD, Dir, Proc, wait_for  # noqa: E402
from tap import Tap  # noqa: E402

PROGRAM = BUILD / "postern-greylist"
CONF = """
run {{ host gate.example; log stderr }}
dns {{ servers 127.0.0.1:9; timeout 100ms; deadline 100ms }}
state {{ path "{dir}/state"; size 16M }}
greylist {{ socket "unix:{dir}/g.sock"; metrics "{dir}/g.metrics"; delay {delay}; {more} }}
policy "never"   {{ recipient never@local.test; greylist.when never }}
policy "observe" {{ recipient domain watched.test; mode observe }}
"""


class Daemon:
	def __init__(self, delay="1h", more="", name="d"):
		self.dir = Dir()
		self.name = name
		self.conf(delay, more)
		self.start()

	def conf(self, delay="1h", more=""):
		self.dir.write("postern.conf", CONF.format(dir=self.dir, delay=delay, more=more))

	def start(self):
		self.p = Proc([PROGRAM, "-f", "-c", self.dir / "postern.conf"], self.dir / "log")
		self.p.wait_listen(f"unix:{self.dir}/g.sock")

	def mta(self, client="192.0.2.1", auth=None):
		m = Mta(f"unix:{self.dir}/g.sock")
		m.negotiate()
		m.macros("C", j="gate.example")
		m.connect(f"[{client}]", client)
		m.helo("helo.test")
		m.auth = auth
		return m

	def mail(self, m, sender):
		if m.auth:
			m.macros("M", i="Q1", auth_authen=m.auth)
		else:
			m.macros("M", i="Q1")
		return m.mail(sender)

	def one(self, sender, *rcpts, client="192.0.2.1", auth=None, headers=()):
		"""Answers to the recipients, then (when one was taken) to the header and the end."""
		with self.mta(client, auth) as m:
			self.mail(m, sender)
			out = [m.rcpt(r) for r in rcpts]
			if [b"c"] not in out:
				return out, None, None
			m.data()
			for name, value in headers:
				m.header(name, value)
			eoh = m.eoh()
			return out, eoh, m.eom() if eoh in ([b"c"], []) else None

	def log(self, pattern):
		return self.p.wait_line(pattern)


def is_deferred(reply, wait=None):
	text = b"".join(reply)
	if not text.startswith(b"y451 4.7.1 "):
		return False
	return wait is None or (b" %d seconds" % wait) in text


def added(eom):
	"""The value of X-Greylist among the edits at end of message."""
	for e in eom:
		if e[:1] == b"h" and e[1:].startswith(b"X-Greylist\0"):
			return e[1:].split(b"\0")[1].decode()
	return None


def main():
	tap = Tap()
	d = Daemon()
	text = d.p.text

	with tap.case("a new triple is deferred, and early when it comes again", text):
		first = d.one("a@b.test", "c@local.test")[0][0]
		assert is_deferred(first, 3600), first
		again = d.one("a@b.test", "c@local.test")[0][0]
		assert is_deferred(again), again
		d.log(r"event=greylist action=tempfail qid=Q1 client=192\.0\.2\.1 .*from=<a@b\.test> "
		    r"to=<c@local\.test> why=early identity=network as=192\.0\.2\.0/24 tries=2 code=451")
	with tap.case("recipients are judged one by one", text):
		out, eoh, eom = d.one("a@b.test", "x@local.test", "never@local.test", "y@local.test")
		assert is_deferred(out[0]) and out[1] == [b"c"] and is_deferred(out[2]), out
		assert eom[-1] == b"c", eom
		assert added(eom).startswith("not delayed by gate.example (postern-greylist): policy; "), eom
	with tap.case("authenticated users and local clients are not looked at", text):
		out, eoh, eom = d.one("u@local.test", "new@far.test", auth="u")
		assert out == [[b"c"]] and eom == [b"c"], (out, eom)
		out, eoh, eom = d.one("u@local.test", "new@far.test", client="127.0.0.1")
		assert out == [[b"c"]] and eom == [b"c"], (out, eom)
		out, eoh, eom = d.one("u@local.test", "new@far.test")
		assert is_deferred(out[0]), out
	with tap.case("the null sender is deferred at the end of the header", text):
		out, eoh, eom = d.one("", "c@local.test", "e@local.test")
		assert out == [[b"c"], [b"c"]] and is_deferred(eoh, 3600), (out, eoh)
		out, eoh, eom = d.one("", "never@local.test")
		assert out == [[b"c"]] and eom[-1] == b"c", (out, eoh, eom)
		# who is to be delayed least decides for all
		out, eoh, eom = d.one("", "z@local.test", "never@local.test")
		assert out == [[b"c"], [b"c"]] and eom[-1] == b"c", (out, eoh, eom)
	with tap.case("a callout leaves no trace", text):
		with d.mta("198.51.100.1") as m:
			d.mail(m, "")
			assert m.rcpt("c@local.test") == [b"c"]
		out, eoh, eom = d.one("", "c@local.test", client="198.51.100.1")
		assert is_deferred(eoh, 3600), eoh
	with tap.case("a bounce with endless recipients is bounded", text):
		with d.mta() as m:
			d.mail(m, "")
			replies = [m.rcpt(f"r{i}@local.test") for i in range(102)]
			assert replies[:100] == [[b"c"]] * 100, replies
			assert replies[100][0].startswith(b"y452 4.5.3 "), replies[100]
	with tap.case("observing passes and tells what would be", text):
		out, eoh, eom = d.one("a@b.test", "new@watched.test")
		assert out == [[b"c"]], out
		assert "observing, would be greylisted" in added(eom), eom
		d.log(r"event=greylist would=tempfail .*to=<new@watched\.test> why=greylisted")
	with tap.case("metrics count", text):
		import socket
		with socket.socket(socket.AF_UNIX) as s:
			s.connect(str(d.dir / "g.metrics"))
			s.settimeout(10)
			s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
			page = b""
			while more := s.recv(65536):
				page += more
		for verdict in (b"deferred", b"exempt", b"observed"):
			m = re.search(rb'postern_greylist_decisions_total\{verdict="' + verdict + rb'"\} (\d+)', page)
			assert m and int(m[1]) > 0, (verdict, page)
		assert b"postern_store_transactions_total" in page
	with tap.case("reload changes the delay and the text; known triples stay", text):
		d.conf("0", 'text "wait %w, please"')
		d.p.send(signal.SIGHUP)
		wait_for("the new delay", lambda: d.one("a@b.test", "after@reload.test")[0][0] == [b"c"])
		out, eoh, eom = d.one("a@b.test", "c@local.test")
		assert out == [[b"c"]], out
		assert re.match(r"delayed \d+ seconds by gate\.example \(postern-greylist\); \w{3}, ", added(eom)), eom
		out, eoh, eom = d.one("a@b.test", "c@local.test")
		assert ": known; " in added(eom), eom
		out, eoh, eom = d.one("", "e@local.test")
		assert out == [[b"c"]] and "delayed " in added(eom), (out, eoh, eom)
	with tap.case("older headers of that name are left, and bounded", text):
		out, eoh, eom = d.one("a@b.test", "c@local.test", headers=[("X-Greylist", "forged")] * 9)
		assert len(eom) == 2 and added(eom), eom
		out, eoh, eom = d.one("a@b.test", "c@local.test", headers=[("x-greylist", "forged")] * 10)
		assert eom == [b"c"], eom
	with tap.case("a killed worker has forgotten nothing", text):
		out = d.one("k@b.test", "kept@local.test")[0][0]
		assert out == [b"c"], out
		before = d.p.text()
		for line in Path("/proc").glob("[0-9]*/stat"):
			try:
				pid, ppid = int(line.parent.name), int(line.read_text().rsplit(")", 1)[1].split()[1])
			except (OSError, IndexError):
				continue
			if ppid == d.p.pid:
				os.kill(pid, signal.SIGKILL)
		def again():
			try:
				return d.one("k@b.test", "kept@local.test")
			except OSError:
				return None
			except Exception as e:
				if type(e).__name__ != "Closed":
					raise
				return None
		out, eoh, eom = wait_for("a fresh worker", again)
		assert "delayed" in added(eom) and "not" not in added(eom), (eom, before[-500:])
	with tap.case("it ends in order and the store is clean", text):
		assert d.p.stop() == 0
		assert (d.dir / "state/boot").read_text().endswith(" clean\n")

	# The store cannot be opened: mail passes, and is deferred when it is back.
	with tap.case("without its store mail passes, marked", text):
		e = Daemon()
		assert e.p.stop() == 0
		state = Path(str(e.dir / "state"))
		state.rename(e.dir / "away")
		state.write_text("in the way")
		e.start()
		e.log(r"err event=store_down")
		out, eoh, eom = e.one("a@b.test", "c@local.test")
		assert out == [[b"c"]] and ": store=down; " in added(eom), (out, eom)
		e.log(r'event=greylist action=continue .*why="?store=down')
		state.unlink()
		wait_for("the store is open", lambda: is_deferred(e.one("a@b.test", "c@local.test")[0][0]), 30)
		assert e.p.stop() == 0
	with tap.case("a faulty file is told with its line and the exit status 78"):
		bad = Dir()
		conf = bad.write("bad.conf", "greylist {\n  delai 5m;\n  prefix4 99;\n}\n")
		r = subprocess.run([PROGRAM, "-t", "-c", conf], capture_output=True, text=True, timeout=60)
		assert r.returncode == 78, r
		assert f"{conf}:2:" in r.stderr and f"{conf}:3:" in r.stderr and "delay" in r.stderr, r.stderr
	tap.done()


if __name__ == "__main__":
	main()
