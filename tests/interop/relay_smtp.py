#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 300
"""The relay's SMTP server against hostile clients, on real sockets.

What arrives at the sink is compared with what a plain decoder reads from the same octets:
a message ends at CRLF . CRLF and nowhere else.  Three relays of one file: `strict` trusts
nobody, `inner` trusts this host, `quick` has short limits.
"""
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from postern import Site, unique  # noqa: E402
from proc import SLOWER, Dir, run, BUILD, wait_for  # noqa: E402
from sink import Sink  # noqa: E402
from smtp import ProtocolError, Smtp, send_mail  # noqa: E402
from tap import Tap  # noqa: E402

CONF = """
host mx.local.test;
run { runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; drain 5s }
dns { servers 127.0.0.1:@dns@; timeout 300ms; deadline 500ms }
relay "strict" {
	listen 127.0.0.1:@strict@; spool "@dir@/spool/strict"; handoff session;
	relay-domains local.test; smarthost "[127.0.0.1]:@sink@"; listeners 1; error-delay 0;
	max-sessions-per-client 200;
}
relay "inner" {
	listen 127.0.0.1:@inner@; spool "@dir@/spool/inner"; handoff session;
	relay-clients 127.0.0.0/8; xclient 127.0.0.1; smarthost "[127.0.0.1]:@sink@";
	listeners 1; error-delay 0; message-size 20M; postmaster chief@local.test;
}
relay "inner2" {
	listen 127.0.0.1:@inner2@; spool "@dir@/spool/inner2"; handoff session; listeners 1;
	relay-domains local.test; xclient 127.0.0.1; smarthost "[127.0.0.1]:@sink@";
}
relay "small" {
	listen 127.0.0.1:@small@; spool "@dir@/spool/small"; handoff session; listeners 1;
	relay-domains local.test; smarthost "[127.0.0.1]:@sink@";
	max-sessions 5; message-size 2M; in-flight 2M;
}
relay "quick" {
	listen 127.0.0.1:@quick@; spool "@dir@/spool/quick"; handoff session;
	relay-domains local.test; smarthost "[127.0.0.1]:@sink@"; listeners 1;
	command-timeout 1s; data-timeout 1s; error-delay 100ms; message-size 65536;
	max-sessions-per-client 3;
}
"""
ZONE = """
10.2.0.192.in-addr.arpa	PTR	mx.b.example
mx.b.example		A	192.0.2.10
11.2.0.192.in-addr.arpa	PTR	forged.b.example
forged.b.example	A	192.0.2.99
12.2.0.192.in-addr.arpa	PTR	other.b.example
12.2.0.192.in-addr.arpa	PTR	second.b.example
other.b.example		A	192.0.2.99
second.b.example	A	192.0.2.12
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa	PTR	six.b.example
six.b.example		AAAA	2001:db8::1
"""
HELLO = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<v@local.test>\r\nDATA\r\n"
SMUGGLED = (b"MAIL FROM:<smuggler@evil.example>\r\nRCPT TO:<v@local.test>\r\nDATA\r\n"
    b"Subject: second\r\n\r\nsmuggled\r\n.\r\n")
ENDS = {"CRLF": b"\r\n", "LF": b"\n", "CR": b"\r", "CRCRLF": b"\r\r\n", "LFCR": b"\n\r",
    "NUL CRLF": b"\0\r\n", "CRLF NUL": b"\r\n\0", "nothing": b""}


def decode(data):
	"""The reference: (message or None when it must be refused, octets used)."""
	end = (b"\r\n" + data).find(b"\r\n.\r\n")
	assert end >= 0
	raw = data[:end]
	bad = b"\0" in raw or re.search(rb"\r(?!\n)|(?<!\r)\n", raw)
	return None if bad else re.sub(rb"(^|(?<=\r\n))\.", b"", raw), end + 3


class Test:
	def __init__(self):
		self.tap = Tap()
		self.site = Site(Dir())
		self.sink = Sink(port=self.site.port("sink"))
		self.site.file("postern.conf", CONF)
		self.site.file("zone", ZONE)
		self.site.dns()
		for name in ("strict", "inner", "inner2", "small", "quick"):
			self.site.relay(name)

	def case(self, name):
		return self.tap.case(name, lambda: self.site.logs(6))

	def open(self, relay="strict", **more):
		return Smtp(self.site.addr(relay), **more)

	def started(self, relay="strict"):
		"""A session that stands behind 354."""
		c = self.open(relay)
		c.ehlo()
		assert c.mail("a@b.example").code == 250
		assert c.rcpt("v@local.test").code == 250
		assert c.cmd("DATA").code == 354
		return c

	def everything(self, c):
		"""All replies until the server closes."""
		codes = []
		try:
			while True:
				codes.append(c.reply().code)
		except (ProtocolError, OSError):
			pass
		c.close()
		return codes

	# 2.1

	def smuggle(self, x, y, one_by_one):
		text = b"Subject: first\r\n\r\ntext" + ENDS[x] + b"." + ENDS[y] + SMUGGLED
		wanted, used = decode(text)
		if one_by_one and used < len(text):
			return        # what stands behind the true end is then the client's next mail
		before = len(self.sink.messages)
		c = self.started()
		if one_by_one:
			for i in range(len(text)):
				c.send(text[i:i + 1])
		else:
			c.send(text)
		first = c.reply()
		codes = []
		if used == len(text):
			codes = [c.cmd("NOOP").code, c.cmd("QUIT").code]
			c.close()
		else:
			codes = self.everything(c)
		new = self.sink.messages[before:]
		assert len(new) <= 1, new
		assert not [m for m in new if "smuggler" in m.mail], "a second envelope"
		assert (first.code, len(new)) == ((250, 1) if wanted is not None else (550, 0)), (first, codes)
		if wanted is not None:
			assert new[0].data.endswith(wanted), (new[0].data, wanted)
			assert new[0].data[:-len(wanted)].startswith(b"Received: "), new[0].data
		if used < len(text):
			assert codes[-1] in (554, 421), codes

	def matrix(self):
		for x in ENDS:
			for y in ENDS:
				with self.case(f"end of data: {x} . {y}"):
					self.smuggle(x, y, False)
		for x, y in (("LF", "LF"), ("LF", "CRLF"), ("CRLF", "LF"), ("CR", "CR"), ("CRLF", "CR"),
		    ("NUL CRLF", "LF"), ("nothing", "CRLF"), ("LFCR", "LFCR")):
			with self.case(f"end of data octet by octet: {x} . {y}"):
				self.smuggle(x, y, True)
		for name, text, wanted in (
		    ("CRLF SP . CRLF", b"\r\na\r\n .\r\nb\r\n", b"\r\na\r\n .\r\nb\r\n"),
		    ("CRLF . SP CRLF", b"\r\na\r\n. \r\nb\r\n", b"\r\na\r\n \r\nb\r\n"),
		    ("CRLF .. CRLF", b"\r\na\r\n..\r\nb\r\n", b"\r\na\r\n.\r\nb\r\n"),
		    ("an empty message", b"", b""),
		    ("a header without a body", b"Subject: x\r\n", b"Subject: x\r\n"),
		    ("a body without a header", b"no header here\r\n", b"\r\nno header here\r\n")):
			with self.case(f"end of data: {name}"):
				before = len(self.sink.messages)
				c = self.started()
				c.send(text + b".\r\n")
				assert c.reply().code == 250
				c.quit()
				got = self.sink.messages[before].data
				rest = re.sub(rb"\AReceived: .*\r\n(?:\t.*\r\n)*", b"", got)
				assert rest == wanted, (rest, wanted)

	def chunk_edges(self):
		for size in (4095, 4096, 4097, 8191, 8192, 8193, 16384, 65535, 65536, 65537):
			with self.case(f"end of data across a read of {size} octets"):
				msgid = unique()
				head = f"Message-ID: <{msgid}>\r\n\r\n".encode()
				body = b"x" * 70 + b"\r\n.." + b"y" * 70 + b"\r\n"
				text = head + body * (size // len(body) + 1)
				text = text[:size - 2] + b"\r\n"
				if text.endswith(b"\r\r\n"):
					text = text[:-3] + b"z\r\n"
				text = re.sub(rb"(?<=\r\n)\.(?!\.)", b"..", re.sub(rb"(?<!\r)\n|\r(?!\n)", b"z", text))
				c = self.started("inner")
				c.send(text)
				c.send(b".\r\n")
				assert c.reply().code == 250
				c.quit()
				got = [m for m in self.sink.messages if msgid.encode() in m.data]
				assert len(got) == 1 and got[0].data.endswith(decode(text + b".\r\n")[0]), len(got)

	# 2.2, 2.3

	def blind(self):
		for name, text in (("a body behind DATA", HELLO[16:] + b"Subject: x\r\n\r\n.\r\n"),
		    ("MAIL behind EHLO", b"EHLO x\r\nMAIL FROM:<s@b.example>\r\n"),
		    ("MAIL behind HELO", b"HELO x\r\nMAIL FROM:<s@b.example>\r\n"),
		    ("MAIL behind STARTTLS", b"STARTTLS\r\nMAIL FROM:<s@b.example>\r\n"),
		    ("MAIL behind AUTH", b"AUTH PLAIN x\r\nMAIL FROM:<s@b.example>\r\n"),
		    ("a chunk behind BDAT", b"BDAT 20\r\nMAIL FROM:<s@b.example>\r\n")):
			with self.case(f"sent blind: {name}"):
				before = len(self.sink.messages)
				c = self.open()
				c.ehlo()
				c.send(text)
				codes = self.everything(c)
				assert codes[-1] in (554, 421), codes
				assert len(self.sink.messages) == before
		with self.case("sent blind: a whole session in one segment"):
			before = len(self.sink.messages)
			c = self.open(greeting=False)
			c.send(HELLO + b"Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n")
			codes = self.everything(c)
			assert codes[-1] == 554 and 354 not in codes, codes
			assert len(self.sink.messages) == before
		with self.case("a whole pipelined session that waits where it must"):
			before = len(self.sink.messages)
			c = self.open()
			c.ehlo()
			for _ in range(2):
				codes = [r.code for r in c.pipeline("MAIL FROM:<a@b.example>", "RCPT TO:<v@local.test>", "DATA")]
				assert codes == [250, 250, 354], codes
				c.send(b"Subject: x\r\n\r\nx\r\n.\r\n" + b"NOOP\r\n")
				assert [c.reply().code, c.reply().code] == [250, 250]
			c.quit()
			assert len(self.sink.messages) == before + 2

	# 2.6, 2.7

	def rss(self, relay):
		pid = self.site.procs[relay].children()
		return sum(int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{p}/status").read_text())[1]) for p in pid)

	def long_things(self):
		for length, codes in ((512, [250]), (2048, [250]), (2049, [500]), (20000, [500])):
			with self.case(f"a command line of {length} octets"):
				c = self.open()
				r = c.cmd("NOOP " + "x" * (length - 7))
				assert r.code in codes, r
				assert c.cmd("NOOP").code == 250
				c.quit()
		with self.case("a command line of 1 MiB without an end"):
			before = self.rss("strict")
			c = self.open()
			try:
				c.send(b"x" * (1 << 20))
			except OSError:
				pass
			assert self.everything(c)[-1:] in ([421], []), "not closed"
			assert self.rss("strict") - before < 1024, "memory grew"
		for name, text, code in (
		    ("lines of 998 and 999 octets", b"x" * 998 + b"\r\n" + b"y" * 999 + b"\r\n", 250),
		    ("a line of 64 KiB", b"\r\n" + b"x" * 65536 + b"\r\n", 250),
		    ("a line of 10 MiB", b"\r\n" + b"x" * (10 << 20) + b"\r\n", 554),
		    ("a field of 10 MiB", (b"X: " + b"x" * 60000 + b"\r\n" + (b" " + b"x" * 60000 + b"\r\n") * 170) + b"\r\n", 552),
		    ("100000 fields", b"X: y\r\n" * 100000 + b"\r\n", 552)):
			with self.case(name):
				c = self.started("inner")
				c.send(text + b".\r\n")
				r = c.reply()
				assert r.code == code, r
				assert c.cmd("NOOP").code == 250
				c.quit()
		with self.case("a message over message-size, without and with SIZE="):
			c = self.started("quick")
			c.send((b"x" * 998 + b"\r\n") * 70 + b".\r\n")
			r = c.reply()
			assert (r.code, r.enhanced) == (552, "5.3.4"), r
			assert c.mail("a@b.example", "SIZE=65537").code == 552
			assert c.mail("a@b.example", "SIZE=65536").code == 250
			c.quit()

	# 2.8, 2.9, 2.10, 2.20

	def slow(self):
		for name, opening, octet in (("a command", b"", b"N"), ("the text", HELLO, b"x")):
			with self.case(f"an octet now and then in {name}"):
				c = self.open("quick") if not opening else self.started("quick")
				begin = time.monotonic()
				code = None
				while code is None and time.monotonic() - begin < 8 * SLOWER:
					try:
						c.send(octet)
						c.sock.settimeout(0.2)
						code = c.reply().code
					except TimeoutError:
						pass
				assert code == 421, code
				assert time.monotonic() - begin < 4 * SLOWER
				c.close()

	def many(self):
		with self.case("1000 recipients pass, the next hears 452"):
			before = len(self.sink.messages)
			c = self.open("inner")
			c.ehlo()
			c.mail("a@b.example")
			codes = {r.code for r in c.pipeline(*[f"RCPT TO:<u{i}@local.test>" for i in range(1000)])}
			assert codes == {250}, codes
			r = c.rcpt("one@local.test")
			assert (r.code, r.enhanced) == (452, "4.5.3"), r
			r = c.data(b"Subject: x\r\n\r\nx\r\n")
			assert r.code == 250, r
			assert len(self.sink.messages[before].rcpts) == 1000
			c.quit()
		with self.case("twenty refused recipients end the session, later ones wait"):
			c = self.open("quick")
			c.ehlo()
			c.mail("a@b.example")
			begin = time.monotonic()
			codes = []
			for i in range(20):
				codes.append(c.rcpt(f"u{i}@ext.test").code)
			assert codes == [550] * 19 + [550], codes
			assert c.reply().code == 421 and c.at_end()
			assert time.monotonic() - begin > 0.1 * 45 * 0.9, "no delay"
			c.close()
		with self.case("too many connections of one client"):
			open_ones = [self.open("quick") for _ in range(3)]
			c = self.open("quick")
			assert c.greeting.code == 421, c.greeting
			c.close()
			for o in open_ones:
				o.quit()
			wait_for("room again", lambda: self.open("quick").greeting.code == 220)
		with self.case("101 commands that move no mail"):
			c = self.open()
			codes = [c.cmd(("NOOP", "RSET", "VRFY x")[i % 3]).code for i in range(101)]
			assert codes[-1] == 421 and 421 not in codes[:-1], codes
			c.close()
		with self.case("VRFY and EXPN tell nothing"):
			c = self.open()
			assert c.cmd("VRFY root").code == 252 and c.cmd("VRFY nobody-here").code == 252
			assert c.cmd("EXPN staff").code == 502
			c.quit()

	def room(self):
		with self.case("more messages at once than memory is given for: 452, and the first one passes"):
			first = self.started("small")
			first.send((b"x" * 998 + b"\r\n") * 1500)
			second = self.open("small")
			second.ehlo()
			wait_for("452 at MAIL", lambda: second.cmd("RSET").code == 250 and
			    second.mail("a@b.example", "SIZE=1500000").code == 452)
			assert second.mail("a@b.example").code == 250
			second.rcpt("v@local.test")
			r = second.data((b"y" * 998 + b"\r\n") * 1500)
			assert (r.code, r.enhanced) == (452, "4.3.1"), r
			first.send(b".\r\n")
			assert first.reply().code == 250
			assert second.mail("a@b.example", "SIZE=1500000").code == 250
			first.quit()
			second.quit()
		with self.case("all connections in use: short limits, and 421 to the next"):
			wait_for("an empty house", lambda: self.free_small())
			many = [self.open("small") for _ in range(5)]
			c = self.open("small")
			assert c.greeting.code == 421, c.greeting
			c.close()
			log = (self.site.dir / "log/postern.log").read_text()
			assert "event=stress" in log and "short limits" in log
			for m in many:
				assert m.cmd("NOOP").code == 250
				m.quit()
			wait_for("calm", lambda: "usual limits" in (self.site.dir / "log/postern.log").read_text())

	def free_small(self):
		"""Whether five connections fit: the last ones may still be at their end."""
		many = [self.open("small") for _ in range(5)]
		good = all(m.greeting.code == 220 for m in many)
		for m in many:
			if m.greeting.code == 220:
				m.quit()
			else:
				m.close()
		return good

	# 2.11 to 2.16

	def envelopes(self):
		with self.case("control octets and 8 bits in addresses"):
			c = self.open()
			c.ehlo()
			for octets, codes in ((b"v@ext\0@local.test", (501,)), (b"v\x0b@local.test", (501,)),
			    (b"v\x80@local.test", (553,)), ("ü@local.test".encode(), (553,))):
				r = c.cmd(b"MAIL FROM:<" + octets + b">")
				assert r.code in codes, (octets, r)
			c.mail("a@b.example")
			r = c.cmd("RCPT TO:<ü@local.test>".encode())
			assert (r.code, r.enhanced) == (553, "5.6.7"), r
			c.close()
		with self.case("injection by xtext, and what the log then holds"):
			c = self.open()
			c.ehlo()
			for params in ("AUTH=a+0Ab", "AUTH=a+0D+0Ab", "AUTH=a+00b", "ENVID=x+0Ay"):
				assert c.mail("a@b.example", params).code in (501, 555)
			assert c.cmd('MAIL FROM:<"; touch /tmp/x; `id`$(id)"@b.example>').code == 250
			assert c.rcpt("v@ext.test").code == 550
			c.close()
			log = (self.site.dir / "log/postern.log").read_bytes()
			assert not re.search(rb"[^\x20-\x7e\n]", log), "the log holds raw octets"
		with self.case("the null sender, to two recipients"):
			before = len(self.sink.messages)
			out = send_mail(self.site.addr("strict"), "", ["v@local.test", "w@local.test"], b"Subject: x\r\n\r\nx\r\n")
			assert out["data"].code == 250, out
			m = self.sink.messages[before]
			assert m.sender == "" and m.recipients == ["v@local.test", "w@local.test"]
		for hops, code in ((100, 250), (101, 554)):
			with self.case(f"{hops} Received fields"):
				out = send_mail(self.site.addr("strict"), "a@b.example", ["v@local.test"],
				    b"Received: from x by y; date\r\n" * hops + b"\r\nx\r\n")
				assert out["data"].code == code, out
				assert code == 250 or out["data"].enhanced == "5.4.6"
		with self.case("our Received field"):
			self.sink.messages.clear()
			send_mail(self.site.addr("strict"), "a@b.example", ["v@local.test"], b"Subject: x\r\n\r\nx\r\n",
			    helo="h\"(elo)")
			m = self.sink.take()
			value = m.headers("received")[0].decode()
			assert re.fullmatch(r"from h\?\?elo\? \(localhost \[127\.0\.0\.1\]\)\tby mx\.local\.test \(Postern\) with "
			    r"ESMTP id [0-9_a-z]{20}\tfor <v@local\.test>;\t\w{3}, \d+ \w{3} \d{4} \d\d:\d\d:\d\d \+0000", value), value

	# 2.18

	def trust(self):
		with self.case("XCLIENT of a stranger is neither offered nor taken"):
			c = self.open()
			c.ehlo()
			assert "XCLIENT" not in c.extensions and "XFORWARD" not in c.extensions
			assert c.xclient(ADDR="10.0.0.1").code == 550
			assert c.cmd("XFORWARD ADDR=10.0.0.1").code == 550
			c.quit()
		with self.case("XCLIENT of a friend begins anew as another client"):
			c = self.open("inner")
			c.ehlo()
			assert "XCLIENT" in c.extensions and "XFORWARD" in c.extensions
			c.mail("a@b.example")
			assert c.xclient(ADDR="192.0.2.1").code == 503
			c.cmd("RSET")
			assert c.xclient(ADDR="192.0.2.1", NAME="mx.b.example").code == 220
			assert c.mail("a@b.example").code == 503, "EHLO is due"
			c.ehlo("mx.b.example")
			c.mail("a@b.example")
			assert c.rcpt("v@ext.test").code == 550, "relaying is judged by the new address"
			c.quit()
		for bad in ("ADDR=1.2.3", "NAME=a+0Ab", "NAME=a+00", "PORT=x", "COLOR=red", "ADDR", "NAME=+4"):
			with self.case(f"XCLIENT {bad}"):
				c = self.open("inner")
				assert c.cmd(f"XCLIENT {bad}").code == 501
				c.close()
		with self.case("XCLIENT ADDR=[UNAVAILABLE]"):
			c = self.open("inner")
			assert c.xclient(ADDR="[UNAVAILABLE]", NAME="[UNAVAILABLE]").code == 220
			c.ehlo()
			c.mail("a@b.example")
			assert c.rcpt("v@ext.test").code == 550
			c.close()
		with self.case("XFORWARD goes on to the next tier, with the id"):
			self.sink.messages.clear()
			c = self.open("inner")
			c.ehlo()
			assert c.cmd("XFORWARD NAME=mx.b.example ADDR=192.0.2.7 PORT=99 HELO=h.b.example PROTO=ESMTP "
			    "IDENT=1zzzzzzzzzzbcdfg0000").code == 250
			c.mail("a@b.example")
			c.rcpt("postmaster")
			r = c.data(b"Subject: x\r\n\r\nx\r\n")
			assert r.code == 250 and "1zzzzzzzzzzbcdfg0000" in r.text, r
			c.quit()
			m = self.sink.take()
			assert m.recipients == ["chief@local.test"], m.rcpts
			assert m.xforward["ADDR"] == "192.0.2.7" and m.xforward["IDENT"].startswith("1zzzzzzzzzzbcdfg0000_"), m.xforward
			assert m.xforward["HELO"] == "h.b.example" and m.xforward["NAME"] == "mx.b.example", m.xforward

	def names(self):
		for addr, name in (("192.0.2.10", "mx.b.example"), ("192.0.2.11", "unknown"), ("192.0.2.12", "second.b.example"),
		    ("192.0.2.13", "unknown"), ("IPV6:2001:db8::1", "six.b.example")):
			with self.case(f"the name of client {addr}: {name}"):
				self.sink.messages.clear()
				out = send_mail(self.site.addr("inner2"), "a@b.example", ["v@local.test"], b"Subject: x\r\n\r\nx\r\n",
				    client={"ADDR": addr})
				assert out["data"].code == 250, out
				value = self.sink.take().headers("received")[0].decode()
				assert f"({name} [{addr.replace('IPV6', 'IPv6')}])" in value, value

	# 2.23

	def relaying(self):
		senders = ["", "s@ext2.test", "s@local.test", "s@[127.0.0.1]", "s@mx.local.test", "s"]
		rcpts = ["v%ext.test@local.test", "v%ext.test@mx.local.test", "v%ext.test@[127.0.0.1]", '"v@ext.test"',
		    '"v%ext.test"', "v@ext.test@local.test", '"v@ext.test"@local.test', "v@ext.test@[127.0.0.1]",
		    "@local.test:v@ext.test", "@[127.0.0.1]:v@ext.test", "ext.test!v", "ext.test!v@local.test",
		    "ext.test!v@[127.0.0.1]", "@local.test,@mx.local.test:v@ext.test", "v@local.test.ext.test",
		    "v@notlocal.test", "v\\@ext.test@local.test"]
		rows = [(s, "v@ext.test", "") for s in senders] + [("s@ext2.test", r, "") for r in rcpts]
		rows.append(("s@ext2.test", "v@ext.test", "AUTH=<s@local.test>"))
		assert len(rows) == 24
		for i, (sender, rcpt, params) in enumerate(rows):
			with self.case(f"relaying row {i + 1}: <{sender}> to <{rcpt}>"):
				c = self.open()
				c.ehlo()
				first = c.mail(sender, params)
				r = c.rcpt(rcpt)
				assert 500 <= r.code < 600, (first, r)
				c.close()
		for rcpt in ("u@LOCAL.TEST", "postmaster", "u@local.test"):
			with self.case(f"relaying control: <{rcpt}>"):
				c = self.open()
				c.ehlo()
				c.mail("s@ext2.test")
				assert c.rcpt(rcpt).code == 250
				c.close()

	def configuration(self):
		with self.case("a broken file: every error with its line, exit 78"):
			path = self.site.file("broken.conf", 'relay "x" {\n\tlisten nowhere;\n\tspool /s;\n\tlisteners 0;\n}\n')
			status, out, err = run([BUILD / "postern-relay", "-t", "-c", path, "x"])
			assert status == 78, (status, err)
			assert f"{path}:2: " in err and f"{path}:4: " in err, err
		with self.case("-t of a good file, and of a name that is not there"):
			good = self.site.dir / "etc/postern.conf"
			assert run([BUILD / "postern-relay", "-t", "-c", good, "strict"])[0] == 0
			assert run([BUILD / "postern-relay", "-t", "-c", good, "nobody"])[0] == 78
			assert run([BUILD / "postern-relay", "-t", "-c", good])[0] == 64


def main():
	t = Test()
	t.matrix()
	t.chunk_edges()
	t.blind()
	t.long_things()
	t.slow()
	t.many()
	t.room()
	t.envelopes()
	t.trust()
	t.names()
	t.relaying()
	t.configuration()
	for name in ("strict", "inner", "inner2", "small", "quick"):
		with t.case(f"{name} ends in order"):
			assert t.site.stop(name) == 0
	t.tap.done()


if __name__ == "__main__":
	main()
