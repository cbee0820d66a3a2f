#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 300
"""Handing on while the client waits: what the client hears, where the message lies, and
that nothing which was acknowledged is lost when processes are killed or replaced."""
import os
import random
import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter import Milter, z  # noqa: E402
from postern import Site, unique  # noqa: E402
from proc import BUILD, Dir, Proc, gone, run, wait_for  # noqa: E402
from sink import DROP, HANG, Sink  # noqa: E402
from smtp import ProtocolError, Smtp, send_mail  # noqa: E402
from tap import Tap  # noqa: E402

HEAD = """
host mx.local.test;
run { runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; drain 5s }
dns { servers 127.0.0.1:@dns@; timeout 300ms; deadline 500ms }
"""
RELAY = """
relay "@@" {
	listen 127.0.0.1:@@@@; spool "@dir@/spool/@@"; relay-domains local.test;
	smarthost "[127.0.0.1]:@sink@"; retry-min 1s; retry-max 1s; error-delay 0;
	max-sessions-per-client 500; %s
}
"""


def relay_block(name, more):
	return RELAY.replace("@@@@", f"@{name}@").replace("@@", name) % more


CONF = HEAD + relay_block("tier", "handoff session; listeners 2;") + \
    relay_block("hasty", "handoff session; handoff-timeout 1s; listeners 1;") + \
    relay_block("mute", "handoff session; handoff-timeout 2s; listeners 1;").replace("@sink@", "@silent@") + \
    relay_block("notified", "handoff session; listeners 1;") + \
    relay_block("queue", "handoff queue; listeners 2;") + \
    relay_block("asks", 'handoff session; listeners 1; milter "m" { socket "unix:@dir@/run/m.sock" }') + \
    relay_block("told", 'listeners 1; xclient 127.0.0.1; milter "m" { socket "unix:@dir@/run/told.sock" }') + \
    relay_block("front", 'handoff session; listeners 1; xclient 127.0.0.1;').replace("@sink@", "@told@") + \
    relay_block("pause", 'listeners 1; greet-pause 400ms; milter "m" { socket "unix:@dir@/run/told.sock" }') + \
    relay_block("long", 'listeners 1; greet-pause 60s; milter "m" { socket "unix:@dir@/run/told.sock" }')


class Test:
	def __init__(self):
		self.tap = Tap()
		self.site = Site(Dir())
		self.answers = {}        # stage -> what the sink answers
		self.sink = None
		self.open_sink()
		self.site.file("postern.conf", CONF)
		self.milter = Milter(self.site.dir / "run/m.sock", self.filter)
		self.filter_says = {}
		(self.site.dir / "spool/notified").mkdir()
		for name in ("tier", "hasty", "mute", "queue", "asks"):
			self.site.relay(name)

	def open_sink(self):
		self.sink = Sink(self.script, port=self.site.port("sink"))

	def script(self, stage, session):
		what = self.answers.get(stage)
		if callable(what):
			return what(session)
		if isinstance(what, list):
			return what.pop(0) if what else None
		return what

	def filter(self, letter, payload, link):
		return self.filter_says.get(letter)

	def case(self, name):
		self.answers.clear()
		self.filter_says.clear()
		if self.sink is not None:
			self.sink.messages.clear()
		return self.tap.case(name, lambda: self.site.logs(6))

	def send(self, relay, rcpts=("v@local.test",), body=b"x\r\n"):
		self.msgid = unique()
		out = send_mail(self.site.addr(relay), "a@b.example", list(rcpts),
		    f"Message-ID: <{self.msgid}>\r\n\r\n".encode() + body)
		return out["data"]

	def arrived(self, msgid=None):
		needle = f"<{msgid or self.msgid}>".encode()
		return [m for m in self.sink.messages if needle in m.data]

	def spool_files(self, relay):
		return [p for p in (self.site.dir / "spool" / relay).rglob("*") if p.is_file()]

	def holds(self, relay, msgid=None):
		needle = f"<{msgid or self.msgid}>".encode()
		return [p for p in self.spool_files(relay) if needle in read(p)]

	def wait_held(self, relay):
		"""A file that moves between two folders while they are listed is seen in neither."""
		wait_for("the queue holds it", lambda: self.holds(relay), 5)

	def wait_arrived(self, count=1, msgid=None):
		wait_for("arrival", lambda: len(self.arrived(msgid)) >= count, 20)

	def passing(self):
		with self.case("taken by the next tier: 250, there at once, nothing queued"):
			r = self.send("tier")
			assert r.code == 250 and "handed on" in r.text, r
			assert len(self.arrived()) == 1
			assert not self.holds("tier")
			assert self.arrived()[0].xforward["ADDR"] == "127.0.0.1"
		for stage, reply in (("dot", "550 5.7.1 a virus: clean your computer"), ("dot", "452 4.3.1 no room"),
		    ("dot", "554-5.6.0 first line\n554 5.6.0 no"), ("mail", "550 5.1.8 no such sender"),
		    ("data", "451 4.7.1 later"), ("rcpt", "550 5.1.1 no such user"), ("rcpt", "450 4.2.1 busy")):
			with self.case(f"refused by the next tier at {stage}: {reply[:9]} reaches the client"):
				self.answers[stage] = reply
				r = self.send("tier")
				assert str(r.code) == reply[:3], r
				assert all(w in r.text for w in reply[4:].replace("\n554", "").split()), r
				assert not self.holds("tier") and not self.arrived()
				self.answers.clear()
		with self.case("all recipients refused, for ever and for now: the client may come again"):
			self.answers["rcpt"] = lambda s: "450 4.2.1 busy" if "w@" in s.pending else "550 5.1.1 unknown"
			r = self.send("tier", ("v@local.test", "w@local.test"))
			assert r.code == 450, r
		with self.case("one of two recipients refused: 250, one there at once, the other from the queue"):
			self.answers["rcpt"] = lambda s: "450 4.2.1 busy" if "w@" in s.pending else None
			r = self.send("tier", ("v@local.test", "w@local.test"))
			assert r.code == 250 and "queued" in r.text, r
			assert [m.recipients for m in self.arrived()] == [["v@local.test"]]
			self.wait_held("tier")
			self.answers.clear()
			self.wait_arrived(2)
			assert [m.recipients for m in self.arrived()] == [["v@local.test"], ["w@local.test"]]
			wait_for("an empty queue", lambda: not self.holds("tier"))

	def absent(self):
		with self.case("next tier down: 250, queued, arrives after it is up again"):
			self.sink.close()
			self.sink = None
			r = self.send("tier")
			assert r.code == 250 and "queued" in r.text, r
			self.wait_held("tier")
			self.open_sink()
			self.wait_arrived()
			wait_for("an empty queue", lambda: not self.holds("tier"))
			assert len(self.arrived()) == 1
		for name, stage, what in (("421 at the greeting", "connect", "421 4.3.2 going down"),
		    ("554 at the greeting", "connect", "554 5.7.1 not you"),
		    ("a drop at the greeting", "connect", DROP), ("a drop at RCPT", "rcpt", DROP),
		    ("421 at the end", "dot", "421 4.3.2 going down"), ("a drop behind the final dot", "dot", DROP)):
			with self.case(f"next tier with {name}: 250, queued, arrives later"):
				self.answers[stage] = what
				r = self.send("tier")
				assert r.code == 250 and "queued" in r.text, r
				self.wait_held("tier")
				self.answers.clear()
				self.wait_arrived()
				wait_for("an empty queue", lambda: not self.holds("tier"))
		with self.case("next tier too slow: 250, queued, arrives later"):
			self.answers["dot"] = [HANG]
			r = self.send("hasty")
			assert r.code == 250 and "queued" in r.text, r
			self.wait_arrived()
		with self.case("next tier that does not even greet: the second client need not wait for it"):
			silent = socket.create_server(self.site.addr("silent"))
			begin = time.monotonic()
			assert self.send("mute").code == 250
			first = time.monotonic() - begin
			begin = time.monotonic()
			assert self.send("mute").code == 250
			assert first > 0.9 and time.monotonic() - begin < first / 2, (first, time.monotonic() - begin)
			self.site.procs.pop("mute").kill()
			silent.close()
		with self.case("refused from the queue later: in quarantine, and no bounce"):
			self.answers["connect"] = ["421 4.3.2 going down"]
			r = self.send("tier")
			assert r.code == 250, r
			self.answers["dot"] = "550 5.7.1 a virus"
			msgid = self.msgid
			wait_for("quarantine", lambda: any("quarantine" in str(p) for p in self.holds("tier", msgid)), 20)
			self.answers.clear()
			time_for_a_bounce = self.send("tier")
			assert time_for_a_bounce.code == 250
			assert not [m for m in self.sink.messages if m.sender == ""], "a bounce"

	def filters(self):
		for name, says, code in (("refuses at MAIL", {"M": b"y550 5.7.1 no\0"}, 550), ("refuses at RCPT", {"R": b"t"}, 451),
		    ("refuses at the end", {"E": b"y554 5.7.1 bad\0"}, 554), ("is gone", None, 451)):
			with self.case(f"a filter {name}"):
				if says is None:
					self.milter.close()
					(self.site.dir / "run/m.sock").unlink(missing_ok=True)
				else:
					self.filter_says.update(says)
				out = send_mail(self.site.addr("asks"), "a@b.example", ["v@local.test"], b"Subject: x\r\n\r\nx\r\n")
				r = out.get("data") or (out["rcpt"] or [out["mail"]])[-1]
				assert r.code // 100 == code // 100, out
				assert not self.sink.messages
		self.milter = Milter(self.site.dir / "run/m.sock", self.filter)
		with self.case("a filter adds a field; ours stands above all that came"):
			wait_for("the filter again", lambda: self.send("asks").code == 250)
			self.sink.messages.clear()
			self.filter_says["E"] = [b"h" + z("X-Seen", "yes"), b"c"]
			r = self.send("asks")
			assert r.code == 250, r
			data = self.arrived()[0].data
			assert data.startswith(b"Received: ") and b"\r\nX-Seen: yes\r\n\r\nx\r\n" in data, data
		with self.case("a filter discards: 250, and it lies nowhere"):
			self.filter_says["E"] = b"d"
			r = self.send("asks")
			assert r.code == 250 and not self.arrived() and not self.holds("asks"), r
		with self.case("a filter holds: 250, in quarantine"):
			self.filter_says["E"] = [b"q" + z("looks odd"), b"c"]
			r = self.send("asks")
			assert r.code == 250 and not self.arrived(), r
			wait_for("quarantine", lambda: any("quarantine" in str(p) for p in self.holds("asks")))

	def seen(self, link):
		"""What a filter was told of the client: name, family, address, EHLO."""
		name, rest = [d for x, d in link.packets if x == "C"][0].split(b"\0", 1)
		helo = [d for x, d in link.packets if x == "H"]
		addr = rest[3:].rstrip(b"\0").decode() if rest[:1] in b"46" else ""
		return name.decode(), addr, helo[-1].rstrip(b"\0").decode() if helo else ""

	def judged(self):
		"""The links on which a sender was judged, in their order."""
		return [link for link in self.told.links if "M" in link.letters()]

	def forwarded(self):
		self.told = Milter(self.site.dir / "run/told.sock", self.filter)
		for name in ("told", "front", "pause", "long"):
			self.site.relay(name)
		outside = ("mx.far.example", "192.0.2.7", "far.example")
		with self.case("filters of the second tier see the client outside, its name and its EHLO"):
			with Smtp(self.site.addr("front")) as c:
				c.ehlo()
				assert c.xclient(ADDR="192.0.2.7", NAME="mx.far.example").code == 220
				c.ehlo("far.example")
				assert c.mail("a@b.example").code == 250 and c.rcpt("v@local.test").code == 250
				assert c.data(b"Subject: x\r\n\r\nx\r\n").code == 250
			assert [self.seen(link) for link in self.told.links] == [outside]     # and nobody else
			macros = self.judged()[0].macros["C"]
			assert macros[b"{client_addr}"] == b"192.0.2.7" and macros[b"{client_resolve}"] == b"OK", macros
			assert macros[b"_"] == b"mx.far.example [192.0.2.7]", macros
			assert b"{early_talker}" not in macros, macros
		self.told.links.clear()
		with self.case("each transaction of a tier's connection has its own client, and none is kept"):
			with Smtp(self.site.addr("told")) as c:
				c.ehlo("front.local.test")
				for attrs in ("NAME=mx.far.example ADDR=192.0.2.7 HELO=far.example", "",
				    "NAME=[UNAVAILABLE] ADDR=IPv6:2001:db8::7 HELO=six.example",
				    "NAME=[UNAVAILABLE] ADDR=IPv6:2001:db8::7 HELO=six.example"):
					if attrs:
						assert c.cmd("XFORWARD " + attrs).code == 250
					assert c.mail("a@b.example").code == 250 and c.rcpt("v@local.test").code == 250
					assert c.data(b"Subject: x\r\n\r\nx\r\n").code == 250
			here = ("localhost", "127.0.0.1", "front.local.test")
			six = ("[IPv6:2001:db8::7]", "2001:db8::7", "six.example")
			assert [self.seen(link) for link in self.judged()] == [outside, here, six], \
			    [self.seen(link) for link in self.judged()]
			assert self.judged()[2].letters().count("M") == 2
			assert self.judged()[2].macros["C"][b"{client_resolve}"] == b"FAIL"
		for letter, reply, code in (("C", b"r", 550), ("C", b"y" + z("421 4.7.0 not you"), 451), ("H", b"t", 451),
		    ("M", b"y" + z("550 5.7.1 not you"), 550), ("M", b"y" + z("421 4.7.0 not now"), 451)):
			with self.case(f"what a filter says to the client outside at {letter} ({reply!r}) comes at MAIL: {code}"):
				with Smtp(self.site.addr("told")) as c:
					c.ehlo()
					self.filter_says[letter] = reply
					assert c.cmd("XFORWARD NAME=mx.far.example ADDR=192.0.2.9 HELO=far.example").code == 250
					r = c.mail("a@b.example")
					assert r.code == code, r
					self.filter_says.clear()
					assert c.mail("a@b.example").code == 250    # the tier itself is not refused

	def early(self):
		self.told.links.clear()
		with self.case("a stranger waits for the greeting"):
			begin = time.monotonic()
			with Smtp(self.site.addr("pause")) as c:
				assert time.monotonic() - begin >= 0.4
				assert c.greeting.code == 220 and c.ehlo().code == 250
			assert b"{early_talker}" not in self.told.links[-1].macros["C"]
		with self.case("who speaks before is refused at once, logged, and the filters hear of it"):
			begin = time.monotonic()
			c = Smtp(self.site.addr("long"), greeting=False)
			c.send(b"EHLO far.example\r\n")
			r = c.reply()
			assert r.code == 554 and c.at_end() and time.monotonic() - begin < 30, r
			assert self.told.links[-1].macros["C"].get(b"{early_talker}") == b"yes", self.told.links[-1].macros
			log = (self.site.dir / "log/postern.log").read_text()
			assert re.search(r"event=early-talker client=127\.0\.0\.1 name=localhost octets=18", log), log[-500:]
		with self.case("a client that leaves while it waits leaves nothing behind"):
			c = Smtp(self.site.addr("long"), greeting=False)
			c.close()
			assert self.site.stop("long") == 0

	# processes

	def pids(self, relay, kind):
		"""The processes of that kind that run now."""
		alive = self.site.procs[relay].children()
		log = (self.site.dir / "log/postern.log").read_text()
		named = {int(p) for k, p in re.findall(r"(queue|deliver|listener) pid (\d+)", log) if k == kind}
		return [p for p in alive if p in named]

	def killed(self):
		with self.case("kill -9 of a listener in the middle of a message: nothing half-queued"):
			msgid = unique()
			c = Smtp(self.site.addr("queue"))
			c.ehlo()
			c.mail("a@b.example")
			c.rcpt("v@local.test")
			c.cmd("DATA")
			c.send(f"Message-ID: <{msgid}>\r\n\r\nhalf")
			for pid in self.pids("queue", "listener"):
				os.kill(pid, signal.SIGKILL)
			try:
				c.send(b"\r\n.\r\n")
				r = c.reply()
				assert False, r
			except (ProtocolError, OSError):
				pass
			c.close()
			assert self.send("queue").code == 250
			self.wait_arrived()
			assert not self.arrived(msgid) and not self.holds("queue", msgid)
		with self.case("kill -9 of the supervisor, and a new one at once: one queue process, nothing lost"):
			self.sink.close()
			self.sink = None
			assert self.send("queue").code == 250
			old = self.site.procs["queue"]
			children = old.children()
			old.kill()
			self.site.procs.pop("queue")
			self.open_sink()
			self.site.relay("queue")
			self.wait_arrived()
			wait_for("the end of the old processes", lambda: all(gone(p) for p in children))
			assert len(self.arrived()) == 1
		for relay in ("queue", "tier"):
			with self.case(f"{relay}: processes killed -9 under traffic: what was acknowledged arrives"):
				self.traffic(relay)

	def traffic(self, relay, seconds=6):
		acked, lock, stop = [], threading.Lock(), threading.Event()

		def client():
			while not stop.is_set():
				msgid = unique()
				try:
					out = send_mail(self.site.addr(relay), "a@b.example", ["v@local.test"],
					    f"Message-ID: <{msgid}>\r\n\r\nx\r\n".encode(), seconds=10)
					if out.get("data") is not None and out["data"].code == 250:
						with lock:
							acked.append(msgid)
				except (ProtocolError, OSError):
					time.sleep(0.01)       # the connection was cut; not a wait for time

		threads = [threading.Thread(target=client) for _ in range(4)]
		for t in threads:
			t.start()
		rng = random.Random(2)
		end = time.monotonic() + seconds
		kills = 0
		while time.monotonic() < end:
			kind = rng.choice(("queue", "deliver", "listener"))
			before = len(acked)
			wait_for("some mail", lambda: len(acked) >= before + 5, 40)
			for pid in self.pids(relay, kind)[:1]:
				os.kill(pid, signal.SIGKILL)
				kills += 1
		stop.set()
		for t in threads:
			t.join()
		assert kills > 0 and len(acked) > 10, (kills, len(acked))

		def lost():
			have = b"\n".join(m.data for m in list(self.sink.messages))
			return [m for m in acked if m.encode() not in have]
		try:
			wait_for("all that was acknowledged", lambda: not lost(), 60)
		except Exception:
			raise AssertionError(f"{len(lost())} of {len(acked)} lost after {kills} kills: {lost()[:5]}") from None

	def reload(self):
		conf = self.site.dir / "etc/postern.conf"
		sup = self.site.procs["tier"]
		with self.case("HUP with a broken file changes nothing and is logged"):
			good = conf.read_text()
			conf.write_text(good + "relay \"tier\" { }\nnonsense;\n")
			sup.send(signal.SIGHUP)
			wait_for("a log line", lambda: "the file is wrong" in (self.site.dir / "log/postern.log").read_text())
			assert self.send("tier").code == 250
		with self.case("HUP with a good file: new sessions follow it, old ones finish with what they have"):
			old = Smtp(self.site.addr("tier"))
			old.ehlo()
			old.mail("a@b.example")
			conf.write_text(good.replace("handoff session; listeners 2;", "handoff session; listeners 2; message-size 70000;", 1))
			sup.send(signal.SIGHUP)

			def size():
				with Smtp(self.site.addr("tier")) as c:
					c.ehlo()
					return c.extensions.get("SIZE")
			wait_for("the new size", lambda: size() == "70000")
			assert old.rcpt("v@local.test").code == 250
			assert old.data(b"Subject: x\r\n\r\n" + b"x" * 60000 + b"\r\n" + b"y" * 60000 + b"\r\n").code == 250
			old.quit()
		with self.case("HUP again and again under traffic: no mail is refused"):
			codes = []
			stop = threading.Event()

			def client():
				while not stop.is_set():
					codes.append(self.send_code("tier"))
			threads = [threading.Thread(target=client) for _ in range(3)]
			for t in threads:
				t.start()
			for _ in range(5):
				before = len(codes)
				sup.send(signal.SIGHUP)
				wait_for("some mail", lambda: len(codes) > before + 10, 40)
			stop.set()
			for t in threads:
				t.join()
			assert set(codes) == {250}, set(codes)
		with self.case("TERM finishes the mail under way, then 421, then the end"):
			c = Smtp(self.site.addr("hasty"))
			c.ehlo()
			c.mail("a@b.example")
			c.rcpt("v@local.test")
			c.cmd("DATA")
			p = self.site.procs["hasty"]
			p.send(signal.SIGTERM)
			wait_for("no more listening", lambda: refuses(self.site.addr("hasty")))
			c.send(b"Subject: x\r\n\r\nlast\r\n.\r\n")
			assert c.reply().code == 250
			assert c.reply().code == 421 and c.at_end()
			assert p.wait() == 0
			assert [m for m in self.sink.messages if b"last" in m.data]
			self.site.procs.pop("hasty")

	def service(self):
		with self.case("the service manager hears of start, reload, life and end"):
			path = self.site.dir / "notify"
			sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
			sock.bind(str(path))
			sock.settimeout(20)
			heard = []

			def hear(word):
				while not any(word in h for h in heard):
					heard.append(sock.recv(4096).decode())
				heard.clear()
			p = Proc([BUILD / "postern-relay", "-c", self.site.dir / "etc/postern.conf", "notified"],
			    self.site.dir / "log/notified.out", env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "200000"})
			hear("READY=1")
			hear("WATCHDOG=1")
			p.send(signal.SIGHUP)
			hear("RELOADING=1")
			hear("READY=1")
			assert self.send("notified").code == 250
			p.send(signal.SIGTERM)
			hear("STOPPING=1")
			assert p.wait() == 0
		with self.case("without -f it leaves when it is up, and serves on"):
			status, out, err = run([BUILD / "postern-relay", "-c", self.site.dir / "etc/postern.conf", "notified"])
			assert status == 0, (status, out, err)
			assert self.send("notified").code == 250
			log = (self.site.dir / "log/postern.log").read_text()
			pid = int(re.findall(r"postern-relay\[(\d+)\]: info event=started", log)[-1])
			os.kill(pid, signal.SIGTERM)
			wait_for("its end", lambda: gone(pid))
		with self.case("a port that is taken, a spool that is not there: told at once"):
			conf = self.site.dir / "etc/postern.conf"
			other = self.site.dir / "etc/other.conf"
			other.write_text(re.sub(r'spool "[^"]*/notified"', 'spool "/nonexistent/spool"', conf.read_text()))
			status, out, err = run([BUILD / "postern-relay", "-f", "-c", other, "notified"])
			assert status == 73 and "/nonexistent/spool" in err, (status, err)
			status, out, err = run([BUILD / "postern-relay", "-f", "-c", conf, "queue"])
			assert status == 69 and "in use" in err, (status, err)

	def send_code(self, relay):
		try:
			out = send_mail(self.site.addr(relay), "a@b.example", ["v@local.test"], b"Subject: x\r\n\r\nx\r\n")
			return (out.get("data") or (out["rcpt"] or [out.get("mail") or out["connect"]])[-1]).code
		except (ProtocolError, OSError) as e:
			return repr(e)


def read(path):
	try:
		return path.read_bytes()
	except OSError:
		return b""


def refuses(addr):
	try:
		Smtp(addr, 1).close()
		return False
	except (ProtocolError, OSError):
		return True


def main():
	t = Test()
	t.passing()
	t.absent()
	t.filters()
	t.forwarded()
	t.early()
	t.killed()
	t.service()
	t.reload()
	for name in ("tier", "queue", "asks"):
		with t.case(f"{name} ends in order"):
			assert t.site.stop(name) == 0
	t.tap.done()


if __name__ == "__main__":
	main()
