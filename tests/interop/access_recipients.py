#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 200
"""Recipients of postern-access: a map, and servers within that are asked ahead: good ones, slow
and dead ones, ones that talk nonsense or take everything; what is remembered, by whom and for
how long.  And the whole way: a relay in front, whose sender hears of a wrong address at RCPT."""
import re
import socket
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from access_limits import Link  # noqa: E402
from postern import Site  # noqa: E402
from proc import BUILD, SLOWER, Dir, run, wait_for  # noqa: E402
from sink import DROP, HANG, Sink  # noqa: E402
from smtp import Smtp  # noqa: E402
from tap import Tap  # noqa: E402

MAP = """ann@map.example\tOK
team+all@map.example\tOK
bob@map.example\tsome words
@open.example\tOK
gone@open.example\tREJECT
known@both.example\tOK
"""
CONF = """
run    { host gate.example; log "@dir@/log/postern.log" }
dns    { servers 127.0.0.1:@nodns@; timeout 100ms; deadline 200ms }
state  { path "@dir@/state" }
access {
	socket "unix:@dir@/run/access.sock";
	recipients "listed" { domains map.example open.example; maps "@dir@/etc/rcpts" }
	recipients "people" { domains shared.example; maps shared:people }
	recipients "both"   { domains both.example; maps "@dir@/etc/rcpts"; call-ahead 127.0.0.1:@inner@ }
	recipients "asked"  { domains asked.example .below.example; call-ahead 127.0.0.1:@inner@; deadline 1500ms;
	                      positive 1s; negative 1s; text "ask the postmaster" }
	recipients "pair"   { domains pair.example; call-ahead 127.0.0.1:@first@ 127.0.0.1:@inner@; deadline 2s }
	recipients "lax"    { domains lax.example; call-ahead 127.0.0.1:@dead@; deadline 500ms; trouble accept }
	recipients "few"    { domains few.example; call-ahead 127.0.0.1:@inner@; connections 1; deadline 5s }
	penalty harvest { after 5 in 1h }
}
policy "anything" { recipient any@map.example; access.recipients off }
relay "front" {
	listen 127.0.0.1:@front@; spool "@dir@/spool/front"; relay-domains asked.example; handoff session;
	xclient 127.0.0.1; error-delay 0; smarthost "[127.0.0.1]:@inner@";
	milter "access" { socket "unix:@dir@/run/access.sock" }
}
"""
NOBODY = "y550 5.1.1 Nobody has the address {} here: look at its spelling"
LATER = "y451 4.4.1 The recipient cannot be checked just now, try again later"


class Test:
	def __init__(self):
		self.tap = Tap()
		self.site = Site(Dir())
		self.asked = []           # recipients that the server within was asked about
		self.says = {}            # stage -> what it answers
		self.inner = None
		self.n = 0
		self.up()
		self.site.file("rcpts", MAP)
		self.site.file("postern.conf", CONF)
		self.site.milter("access")
		self.site.relay("front")

	def up(self):
		self.inner = Sink(self.script, port=self.site.port("inner"))

	def down(self):
		self.inner.close()
		self.inner = None

	def script(self, stage, session):
		if stage == "rcpt":
			rcpt = session.pending.strip("<>")
			self.asked.append(rcpt)
			what = self.says.get(rcpt, self.says.get("rcpt"))
			if what is None and not rcpt.startswith(("good", "v")):
				return "550 5.1.1 no such user"
		else:
			what = self.says.get(stage)
		return what(session) if callable(what) else what

	def case(self, name):
		self.says.clear()
		self.asked.clear()
		return self.tap.case(name, lambda: self.site.logs(12))

	def client(self):
		self.n += 1
		return f"198.{18 + self.n // 250}.{self.n % 250}.7"

	def ask(self, rcpt, auth=None):
		with Link(f"unix:{self.site.dir}/run/access.sock", self.client(), auth) as c:
			assert c.mail("a@far.example") == "c"
			return c.rcpt(rcpt)

	def log(self):
		return (self.site.dir / "log/postern.log").read_text()

	def maps(self):
		for rcpt, known in (("ann@map.example", True), ("ANN@Map.Example", True), ("ann+x@map.example", True),
		    ("team@map.example", False), ("team+all@map.example", True), ("bob@map.example", True),
		    ("nobody@map.example", False), ("whoever@open.example", True), ("gone@open.example", False),
		    ("any@map.example", True), ("x@elsewhere.example", True), ("postmaster@map.example", True),
		    ("abuse@map.example", True)):
			with self.case(f"the map: {rcpt} {'is there' if known else 'is nobody'}"):
				r = self.ask(rcpt)
				assert r == ("c" if known else NOBODY.format(rcpt)), r
				assert not self.asked
		with self.case("a map that all hosts share: known, then not"):
			assert self.ask("ann@shared.example") == NOBODY.format("ann@shared.example")
			conf = self.site.dir / "etc/postern.conf"
			for words, wanted in (("add ann@shared.example OK", "c"), ("del ann@shared.example", "y550 5.1.1")):
				verb, *rest = words.split()
				status, out, err = run([BUILD / "posternctl", "access", verb, "-c", conf, "--map", "people", *rest])
				assert status == 0, (status, out, err)
				wait_for(words, lambda: self.ask("ann@shared.example").startswith(wanted), 10)
		with self.case("the map changes: in force without a reload"):
			self.site.file("rcpts", MAP + "new@map.example\tOK\n")
			wait_for("the new one", lambda: self.ask("new@map.example") == "c", 20)

	def servers(self):
		with self.case("what the map does not name the server is asked for"):
			assert self.ask("known@both.example") == "c" and not self.asked
			assert self.ask("good@both.example") == "c"
			assert self.ask("bad@both.example") == NOBODY.format("bad@both.example")
			assert self.asked[0] == "good@both.example", self.asked
		with self.case("... and remembered, yes and no"):
			assert self.ask("good@both.example") == "c"
			assert self.ask("Bad@Both.example") == NOBODY.format("Bad@Both.example")
			assert not self.asked, self.asked
		with self.case("... over a restart, by the store"):
			assert self.site.stop("access") == 0
			self.site.milter("access")
			assert self.ask("good@both.example") == "c"
			assert self.ask("bad@both.example") == NOBODY.format("bad@both.example")
			assert not self.asked, self.asked
		with self.case("own text; domains below; no message was sent, and each question has its own RSET"):
			assert self.ask("bad@x.below.example") == "y550 5.1.1 ask the postmaster"
			assert not self.inner.messages
			def lines():
				return b"\n".join(b"\n".join(s.lines) for s in self.inner.sessions)
			wait_for("the last RSET", lambda: b"MAIL FROM:<>\nRCPT TO:<bad@x.below.example>\nRSET" in lines())
			assert b"DATA" not in lines() and lines().count(b"RSET") >= 3, lines()
		with self.case("a no holds for its time and not longer"):
			assert self.ask("late@asked.example").startswith("y550")
			self.says["late@asked.example"] = "250 2.1.5 has come"
			wait_for("a new answer", lambda: self.ask("late@asked.example") == "c", 10)
		with self.case("a connection is used again"):
			before = len(self.inner.sessions)
			for i in range(10):
				assert self.ask(f"good{i}@few.example") == "c"
			# one that is still at its RSET when the next question comes is no reason to wait
			assert len(self.inner.sessions) <= before + 3, (before, len(self.inner.sessions))
		with self.case("a list that is closed to strangers: its own words"):
			self.says["rcpt"] = "550 5.7.1 members only"
			r = self.ask("list@few.example")
			assert r == "y550 5.7.1 The recipient's server refuses it: members only", r
		with self.case("4yz: passed on, and not remembered"):
			self.says["rcpt"] = "450 4.2.1 mailbox locked"
			r = self.ask("locked@few.example")
			assert r == "y450 4.2.1 The recipient's server says: mailbox locked", r
			self.says.clear()
			assert self.ask("locked@few.example").startswith("y550 5.1.1")
		with self.case("odd addresses cannot smuggle commands"):
			for rcpt in ('"a b"@few.example', '"x>\\r\\nDATA"@few.example'):
				r = self.ask(rcpt)
				assert r[:1] in "yr" and "a b" not in str(self.asked), (r, self.asked)
		with self.case("a server that takes everything is found out, once"):
			self.says["rcpt"] = "250 2.1.5 whoever"
			assert self.ask("v1@pair.example") == "c"
			wait_for("the log line", lambda: re.search(
			    r'event=recipients\.catch-all msg="recipients .*takes any recipient of pair\.example', self.log()), 10)
			assert [r for r in self.asked if re.fullmatch(r"nobody-[0-9a-f]{16}@pair\.example", r)], self.asked
			self.ask("v2@pair.example")
			assert len([r for r in self.asked if r.startswith("nobody-")]) == 1, self.asked

	def trouble(self):
		for name, says in (("hangs at its greeting", {"connect": HANG}), ("hangs at RCPT", {"rcpt": HANG}),
		    ("hangs at EHLO", {"helo": HANG}), ("drops at RCPT", {"rcpt": DROP}), ("drops at MAIL", {"mail": DROP}),
		    ("greets with garbage", {"connect": "HTTP/1.1 400 Bad Request"}), ("greets with 554", {"connect": "554 no"}),
		    ("answers two codes", {"rcpt": "250-yes\n550 no"}), ("answers 421", {"rcpt": "421 4.3.2 going"}),
		    ("answers without end", {"rcpt": "250-" + "x" * 300000}),
		    ("refuses the null sender", {"mail": "550 5.7.1 no bounces"}), ("wants a password", {"rcpt": "530 5.7.0 log in"})):
			with self.case(f"a server that {name}: later, within the deadline"):
				self.fresh()
				if "connect" in says or "helo" in says:
					self.down()         # it is greeted anew
					self.up()
				self.says.update(says)
				begin = time.monotonic()
				r = self.ask(f"good{self.n}@asked.example")
				assert r == LATER, r
				assert time.monotonic() - begin < 1.5 + 1.5 * SLOWER, time.monotonic() - begin
		with self.case("... and an answer that is too old counts then"):
			self.fresh()
			assert self.ask("good@asked.example") == "c"
			# positive 1s: it is asked anew; until then it is fresh
			self.says["rcpt"] = "451 4.3.0 sick"
			wait_for("a further question", lambda: self.ask("good@asked.example") == "c" and
			    self.asked.count("good@asked.example") > 1, 10)
			self.down()
			assert self.ask("good@asked.example") == "c"
			assert self.ask("good9999@asked.example") == LATER
			self.up()
		with self.case("trouble accept: mail passes"):
			assert self.ask("who@lax.example") == "c"
		with self.case("the first of two servers is dead: the second answers"):
			assert self.ask("bad@pair.example").startswith("y550 5.1.1")
		with self.case("the first of two servers hangs: the second answers, in time"):
			with socket.create_server(self.site.addr("first")):
				wait_for("its turn", lambda: self.ask(f"good{time.monotonic_ns()}@pair.example") == "c", 20)
				begin = time.monotonic()
				assert self.ask("worse@pair.example").startswith("y550 5.1.1")
				assert time.monotonic() - begin < 2 * SLOWER
		with self.case("the server is started anew: its dead connections harm nobody"):
			self.fresh()
			assert self.ask("good100@few.example") == "c"
			self.down()
			self.up()
			assert self.ask("good101@few.example") == "c"
		with self.case("a slow server and one connection: many wait for it, all hear it"):
			self.fresh()
			links = [Link(f"unix:{self.site.dir}/run/access.sock", self.client()) for _ in range(20)]
			for c in links:
				assert c.mail("a@far.example") == "c"
			for i, c in enumerate(links):
				c.m.macros("R", i="Q1", rcpt_mailer="local")
				c.m.sock.sendall(b"\0\0\0" + bytes([len(f"<goodx{i % 5}@few.example>") + 2]) + b"R" +
				    f"<goodx{i % 5}@few.example>".encode() + b"\0")
			assert [c.m.answer("R") for c in links] == [[b"c"]] * 20
			for c in links:
				c.close()
			# one question for all who wait; a second for who asked when it was just answered
			assert len([r for r in self.asked if r.startswith("goodx")]) <= 10, self.asked

	def fresh(self):
		"""The server is well, and the milter knows it."""
		says = dict(self.says)
		self.says.clear()
		if self.inner is None:
			self.up()
		wait_for("the server is asked again", lambda: self.ask(f"good{time.monotonic_ns()}@asked.example") == "c", 40)
		self.says.update(says)
		self.asked.clear()

	def whole(self):
		with self.case("through the relay: the sender hears of a wrong address at RCPT, and no bounce is made"):
			with Smtp(self.site.addr("front")) as c:
				c.ehlo()
				assert c.xclient(ADDR="198.51.100.7", NAME="mx.far.example").code == 220
				c.ehlo()
				assert c.mail("a@far.example").code == 250
				r = c.rcpt("typo@asked.example")
				assert r.code == 550 and r.text == "5.1.1 ask the postmaster", r
				assert c.rcpt("good@asked.example").code == 250
				assert c.data(b"Subject: x\r\n\r\nx\r\n").code == 250
			assert [m.recipients for m in self.inner.messages] == [["good@asked.example"]]
		with self.case("who tries too many is refused for a while"):
			with Smtp(self.site.addr("front")) as c:
				c.ehlo()
				assert c.xclient(ADDR="203.0.113.7", NAME="mx.far.example").code == 220
				c.ehlo()
				assert c.mail("a@far.example").code == 250
				assert [c.rcpt(f"guess{i}@asked.example").code for i in range(5)] == [550] * 5
				assert c.cmd("RSET").code == 250
			with Smtp(self.site.addr("front")) as c:
				c.ehlo()
				assert c.xclient(ADDR="203.0.113.8", NAME="mx.far.example").code == 220
				c.ehlo()
				assert c.mail("a@far.example").code == 250
				r = c.rcpt("good@asked.example")
				assert r.code == 421 and "addresses that nobody has" in r.text, r


def main():
	t = Test()
	t.maps()
	t.servers()
	t.trouble()
	t.whole()
	for name in ("front", "access"):
		with t.case(f"{name} ends in order"):
			assert t.site.stop(name) == 0
	t.tap.done()


if __name__ == "__main__":
	main()
