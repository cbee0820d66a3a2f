#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Our relay as strangers meet it, octet by octet: the end-of-data matrix, smuggled
transactions, open-relay tricks, commands out of turn, XCLIENT from the wrong host, and
next hops that misbehave.  Everything is judged by what a recording sink received."""
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import sink as sinks  # noqa: E402
from postern import Site  # noqa: E402
from proc import Dir, listening, wait_for  # noqa: E402
from smtp import ProtocolError, Smtp, send_mail, stuffed  # noqa: E402
from tap import Tap  # noqa: E402

CONF = """
run { host gate.example; log "@dir@/log/postern.log" }
dns { servers 127.0.0.1:@dns@; timeout 1s; deadline 2s }
relay "gate" {
	host gate.example; listen 127.0.0.1:@gate@; spool "@dir@/spool/gate"; handoff session; client-names off;
	relay-domains local.example; smarthost "[127.0.0.1]:@sink@"; error-delay 0; message-size 1M;
	max-rcpts 200; retry-min 1s; retry-max 1s; handoff-timeout 3s; failed quarantine
}
relay "inner" {
	host inner.example; listen 127.0.0.1:@inner@; spool "@dir@/spool/inner"; handoff queue; client-names off;
	relay-clients 127.0.0.0/8 192.0.2.0/24; xclient 127.0.0.1; smarthost "[127.0.0.1]:@sink@"; error-delay 0;
	retry-min 1s; retry-max 1s
}
"""
LOCAL = "b@local.example"
SMALL = b"From: <a@sender.example>\r\nSubject: x\r\n\r\nbody\r\n"
CR, LF, CRLF, NUL = b"\r", b"\n", b"\r\n", b"\0"
ENDS = {"CRLF": CRLF, "LF": LF, "CR": CR, "CRCRLF": b"\r\r\n", "LFCR": b"\n\r", "NUL CRLF": b"\0\r\n",
    "CRLF NUL": b"\r\n\0", "nothing": b""}


class Gate:
	def __init__(self):
		self.site = Site(Dir())
		self.script = lambda stage, session: None
		self.sink = sinks.Sink(lambda stage, session: self.script(stage, session))
		self.site.names["sink"] = str(self.sink.port)
		self.site.file("zone", "sender.example MX 10 mx.sender.example\n")
		self.site.file("postern.conf", CONF)
		self.site.dns()
		self.site.relay("inner")
		self.site.relay("gate")
		self.addr, self.inner = self.site.addr("gate"), self.site.addr("inner")

	def open(self, rcpts=(LOCAL,), **more):
		c = Smtp(self.addr, 20, helo="client.example", **more)
		assert c.mail("a@sender.example").code == 250
		for r in rcpts:
			assert c.rcpt(r).code == 250
		return c

	def clear(self):
		self.script = lambda stage, session: None
		self.sink.messages.clear()


def reference(data):
	"""Octets up to the only legal end (RFC 5321 4.1.1.4), and the rest."""
	end = (CRLF + data).find(b"\r\n.\r\n")
	return (None, b"") if end < 0 else (data[:end], data[end + 3:])


def smuggle(gate, before, after, single):
	"""A message whose text holds before . after and a whole further transaction."""
	gate.clear()
	inner = b"MAIL FROM:<evil@sender.example>\r\nRCPT TO:<b@local.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n.\r\n"
	text = b"Subject: outer\r\n\r\nline" + before + b"." + after + inner
	legal_end, _ = reference(text)
	early = len(legal_end) < text.index(b"Subject: smuggled")
	with gate.open() as c:
		assert c.cmd("DATA").code == 354
		if single:
			for i in range(len(text)):
				c.send(text[i:i + 1])
		else:
			c.send(text)
		replies = []
		try:
			replies.append(c.reply())
			c.send("QUIT\r\n")
			while True:
				replies.append(c.reply())
		except (ProtocolError, OSError):
			pass
	assert replies, "no reply to the end of data"
	evil = [m for m in gate.sink.messages if m.sender == "evil@sender.example"]
	if early:
		# the client itself ended the message there and pipelined another: legal, unless
		# what it sent holds octets that no message may hold
		clean = not bare(legal_end)
		assert replies[0].code == 250 if clean else replies[0].code >= 400, replies
	else:
		assert not evil, "smuggled"
		assert not gate.sink.messages or replies[0].code == 250
		assert (replies[0].code == 250) == (not bare(legal_end)), replies
	for m in gate.sink.messages:
		assert not bare(m.data), m.data


def bare(data):
	rest = data.replace(CRLF, b"")
	return CR in rest or LF in rest or NUL in rest


def matrix(tap, gate):
	for single in (False, True):
		for xname, x in ENDS.items():
			for yname, y in ENDS.items():
				how = "octet by octet" if single else "in one write"
				if single and (len(x) > 2 or len(y) > 2):
					continue        # the decoder's unit test cuts at every octet
				with tap.case(f"end of data: {xname} . {yname}, {how}", gate.site.logs):
					smuggle(gate, x, y, single)


# recipients that must not be a way out of the house for a stranger (reliability notes 2.23)
FOREIGN = ["v%foreign.example@local.example", "v%foreign.example@gate.example", "v%foreign.example@[127.0.0.1]",
    '"v@foreign.example"', '"v%foreign.example"', "v@foreign.example@local.example", '"v@foreign.example"@local.example',
    "v@foreign.example@[127.0.0.1]", "@local.example:v@foreign.example", "@[127.0.0.1]:v@foreign.example",
    "foreign.example!v", "foreign.example!v@local.example", "foreign.example!v@[127.0.0.1]",
    "@local.example,@gate.example:v@foreign.example", "v@local.example.foreign.example", "v@notlocal.example",
    "v\\@foreign.example@local.example", "v@foreign.example", "v@sub.foreign.example", "v@localxexample"]
SENDERS = ["", "s@foreign.example", "s@local.example", "s@[127.0.0.1]", "s@gate.example"]


def relaying(tap, gate):
	with Smtp(gate.addr, 20, helo="client.example") as c:
		for sender in SENDERS:
			with tap.case(f"no relaying for <{sender}>", gate.site.logs):
				assert c.mail(sender).code == 250
				r = c.rcpt("v@foreign.example")
				assert 500 <= r.code < 560, r
				assert c.cmd("RSET").code == 250
	for rcpt in FOREIGN:
		with tap.case(f"no relaying by <{rcpt}>", gate.site.logs), Smtp(gate.addr, 20, helo="c.example") as c:
			assert c.mail("s@foreign.example").code == 250
			r = c.rcpt(rcpt)
			assert 500 <= r.code < 560, r
	with tap.case("but our own domain in any case", gate.site.logs), Smtp(gate.addr, 20, helo="c.example") as c:
		c.mail("s@foreign.example")
		assert c.rcpt("u@LOCAL.Example").code == 250


# name, lines to send, codes of the replies
COMMANDS = [
	("RCPT before MAIL", ["EHLO x.example", "RCPT TO:<b@local.example>"], [250, 503]),
	("DATA before RCPT", ["EHLO x.example", "MAIL FROM:<a@x.example>", "DATA"], [250, 250, (503, 554)]),
	("nested MAIL", ["EHLO x.example", "MAIL FROM:<a@x.example>", "MAIL FROM:<a@x.example>"], [250, 250, 503]),
	("unknown command", ["EHLO x.example", "FOO"], [250, 500]),
	("RSET forgets the envelope", ["EHLO x.example", "MAIL FROM:<a@x.example>", "RSET", "RCPT TO:<b@local.example>"],
	    [250, 250, 250, 503]),
	("EHLO forgets the envelope", ["EHLO x.example", "MAIL FROM:<a@x.example>", "EHLO x.example",
	    "RCPT TO:<b@local.example>"], [250, 250, 250, 503]),
	("NOOP, VRFY, HELP", ["EHLO x.example", "NOOP", "VRFY b", "HELP"], [250, 250, 252, 214]),
	("EHLO without a name", ["EHLO"], [501]),
	("commands in any case", ["ehlo x.example", "mail from:<a@x.example>", "rcpt to:<b@local.example>", "quit"],
	    [250, 250, 250, 221]),
	("MAIL without brackets", ["EHLO x.example", "MAIL FROM:a b"], [250, 501]),
	("8-bit address", ["EHLO x.example", "MAIL FROM:<\xe9@x.example>"], [250, 553]),
	("NUL in an address", ["EHLO x.example", "MAIL FROM:<a\0@x.example>"], [250, (500, 501, 553)]),
	("SIZE too big", ["EHLO x.example", "MAIL FROM:<a@x.example> SIZE=2000000"], [250, 552]),
	("unknown parameter", ["EHLO x.example", "MAIL FROM:<a@x.example> FOO=1"], [250, 555]),
	("BODY=8BITMIME", ["EHLO x.example", "MAIL FROM:<a@x.example> BODY=8BITMIME"], [250, 250]),
	("parameters after HELO", ["HELO x.example", "MAIL FROM:<a@x.example> SIZE=100"], [250, (250, 555)]),
	("512 octets of command", ["EHLO x.example", "NOOP " + "x" * 505], [250, 250]),
	("an endless command", ["EHLO x.example", "NOOP " + "x" * 5000], [250, 500]),
	("XCLIENT from a stranger", ["EHLO x.example", "XCLIENT ADDR=192.0.2.1"], [250, (500, 502, 503, 550)]),
	("XFORWARD from a stranger", ["EHLO x.example", "XFORWARD ADDR=192.0.2.1"], [250, (500, 502, 503, 550)]),
]


def commands(tap, gate):
	for name, lines, codes in COMMANDS:
		with tap.case(f"command: {name}", gate.site.logs), Smtp(gate.addr, 20) as c:
			seen = []
			for line in lines:
				seen.append(c.cmd(line))
			assert all(r.code in (w if isinstance(w, tuple) else (w,)) for r, w in zip(seen, codes)), seen
	with tap.case("extensions offered to a stranger", gate.site.logs), Smtp(gate.addr, 20, helo="x.example") as c:
		assert {"PIPELINING", "SIZE", "8BITMIME", "ENHANCEDSTATUSCODES"} <= set(c.extensions), c.extensions
		assert c.extensions["SIZE"] == str(1 << 20) and not {"XCLIENT", "XFORWARD", "CHUNKING"} & set(c.extensions)
	with tap.case("extensions offered to a trusted host"), Smtp(gate.inner, 20, helo="x.example") as c:
		assert {"XCLIENT", "XFORWARD"} <= set(c.extensions), c.extensions
	with tap.case("100 recipients are taken, the 201st is told to wait", gate.site.logs), \
	    Smtp(gate.addr, 20, helo="x.example") as c:
		c.mail("a@sender.example")
		codes = [c.rcpt(f"r{i}@local.example").code for i in range(201)]
		assert codes[:200] == [250] * 200 and codes[200] == 452, codes[-3:]
	with tap.case("blind pipelining behind DATA is never executed", gate.site.logs):
		gate.clear()
		with gate.open() as c:
			c.send(b"DATA\r\n" + stuffed(SMALL) + b"MAIL FROM:<evil@sender.example>\r\nRCPT TO:<b@local.example>\r\n")
			try:
				while c.reply().code in (354, 250):
					pass
			except (ProtocolError, OSError):
				pass
		assert not [m for m in gate.sink.messages if m.sender == "evil@sender.example"]
	with tap.case("a whole dialogue sent blind before the greeting is refused", gate.site.logs):
		gate.clear()
		c = Smtp(gate.addr, 20, greeting=False)
		c.send(b"EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@local.example>\r\nDATA\r\n" + stuffed(SMALL) + b"QUIT\r\n")
		try:
			while True:
				c.reply()
		except (ProtocolError, OSError):
			pass
		assert not gate.sink.messages
	with tap.case("legal pipelining: envelope in one write", gate.site.logs):
		gate.clear()
		with Smtp(gate.addr, 20, helo="x.example") as c:
			r = c.pipeline("MAIL FROM:<a@sender.example>", "RCPT TO:<x@foreign.example>", "RCPT TO:<b@local.example>", "DATA")
			assert [x.code for x in r][:1] + [x.code for x in r][2:] == [250, 250, 354] and r[1].code >= 500, r
			c.send(stuffed(SMALL) + b"MAIL FROM:<second@sender.example>\r\n")
			assert [c.reply().code, c.reply().code] == [250, 250]
		assert gate.sink.take().recipients == [LOCAL]


def messages(tap, gate):
	trace = (b"Received:",)
	for name, data in (("without header", b"\r\nbody only\r\n"), ("empty", b""), ("no blank line", b"Subject: x\r\n"),
	    ("dots", b"Subject: x\r\n\r\n.\r\n..\r\n...x\r\n"), ("8 bit", b"Subject: caf\xe9\r\n\r\n\xff\xfe\x80\r\n"),
	    ("blank lines at the end", b"Subject: x\r\n\r\nx\r\n\r\n\r\n\r\n"), ("line of 998", b"S: x\r\n\r\n" + b"x" * 998 + CRLF),
	    ("header fields of odd shapes", b"SUBJECT:x\r\nsubject : y\r\nX:\r\n folded\r\n\tmore  \r\n\r\nb\r\n")):
		with tap.case(f"message arrives octet for octet: {name}", gate.site.logs):
			gate.clear()
			r = send_mail(gate.addr, "a@sender.example", [LOCAL], data)
			assert r["data"].code == 250, r
			got = gate.sink.take().data
			assert got.startswith(trace) and got.endswith(data), got
	for name, data in (("bare LF", b"Subject: x\n\r\nb\r\n"), ("bare CR", b"Subject: x\r\n\r\na\rb\r\n"),
	    ("NUL", b"Subject: x\r\n\r\na\0b\r\n")):
		with tap.case(f"message with {name} is refused for good", gate.site.logs):
			gate.clear()
			r = send_mail(gate.addr, "a@sender.example", [LOCAL], data)
			assert 500 <= r["data"].code < 560 and not gate.sink.messages, r
	with tap.case("a message over the limit is refused at its end", gate.site.logs):
		gate.clear()
		r = send_mail(gate.addr, "a@sender.example", [LOCAL], b"S: x\r\n\r\n" + (b"x" * 76 + CRLF) * 20000)
		assert (r["data"].code, r["data"].enhanced) == (552, "5.3.4") and not gate.sink.messages, r
	with tap.case("a client that leaves within the text leaves nothing", gate.site.logs):
		gate.clear()
		with gate.open() as c:
			c.cmd("DATA")
			c.send(SMALL)
		r = send_mail(gate.addr, "next@sender.example", [LOCAL], SMALL)
		assert r["data"].code == 250
		assert [m.sender for m in gate.sink.wait(1)] == ["next@sender.example"]
	with tap.case("a loop of 101 Received fields ends", gate.site.logs):
		gate.clear()
		r = send_mail(gate.addr, "a@sender.example", [LOCAL],
		    b"Received: from a by b; Mon, 16 Nov 2026 10:00:00 +0000\r\n" * 101 + SMALL)
		assert (r["data"].code, r["data"].enhanced) == (554, "5.4.6") and not gate.sink.messages, r


# what the next hop does, and what a client of the session-handoff tier must see
HOPS = [
	("refuses the recipient", "rcpt", "550 5.1.1 nobody here", (5, "nobody here")),
	("defers the recipient", "rcpt", "451 4.2.1 mailbox busy", (4, "")),
	("refuses the sender", "mail", "550 5.1.8 bad sender", (5, "bad sender")),
	("refuses DATA", "data", "554 5.7.1 no", (5, "no")),
	("refuses at the end", "dot", "554 5.7.1 infected", (554, "5.7.1 infected")),
	("defers at the end", "dot", "451 4.7.1 scanner busy", (451, "4.7.1 scanner busy")),
	("answers in several lines", "dot", "554-5.7.1 one\n554 5.7.1 two", (554, "one")),
]


def next_hops(tap, gate):
	for name, stage, text, (code, words) in HOPS:
		with tap.case(f"next hop {name}", gate.site.logs):
			gate.clear()
			gate.script = lambda s, _, stage=stage, text=text: text if s == stage else None
			r = send_mail(gate.addr, "a@sender.example", [LOCAL], SMALL)["data"]
			assert r.code in (code, 250 if code == 4 else code) or r.code // 100 == code, r
			assert words in r.text, r
			assert not gate.sink.messages
	for name, stage, what in (("hangs up after the dot", "dot", sinks.DROP), ("hangs up in the middle", "data", sinks.DROP),
	    ("never answers", "dot", sinks.HANG), ("greets with 421", "connect", "421 4.3.2 later")):
		with tap.case(f"next hop {name}: nothing is lost", gate.site.logs):
			gate.clear()
			gate.script = lambda s, _, stage=stage, what=what: what if s == stage else None
			r = send_mail(gate.addr, f"{stage}@sender.example", [LOCAL], SMALL, seconds=30)["data"]
			assert r.code == 250 or 400 <= r.code < 500, r
			gate.clear()
			if r.code == 250:       # queued by us: it must arrive by itself
				assert gate.sink.take(30).sender == f"{stage}@sender.example"
	with tap.case("next hop answers nonsense: nothing is lost", gate.site.logs):
		gate.clear()
		gate.script = lambda s, _: "999 what" if s == "rcpt" else None
		r = send_mail(gate.addr, "odd@sender.example", [LOCAL], SMALL, seconds=30)["data"]
		assert r.code == 250 or 400 <= r.code < 500, r
		gate.clear()
		if r.code == 250:
			assert gate.sink.take(30).sender == "odd@sender.example"


def queue(tap, gate):
	with tap.case("queue handoff: next hop down, 250, delivered when it is back", gate.site.logs):
		gate.clear()
		gate.script = lambda s, _: "421 4.3.2 down" if s == "connect" else None
		r = send_mail(gate.inner, "q@sender.example", ["r@foreign.example"], SMALL)
		assert r["data"].code == 250, r
		gate.script = lambda s, _: None
		assert gate.sink.take(30).sender == "q@sender.example"
	with tap.case("queue handoff: kill -9 of every process after 250, then delivered once", gate.site.logs):
		gate.clear()
		gate.script = lambda s, _: "421 4.3.2 down" if s == "connect" else None
		r = send_mail(gate.inner, "k@sender.example", ["r@foreign.example"], SMALL)
		assert r["data"].code == 250, r
		supervisor = gate.site.procs.pop("inner")
		kids = supervisor.children()
		supervisor.kill()
		for pid in kids:
			try:
				os.kill(pid, signal.SIGKILL)
			except ProcessLookupError:
				pass
		gate.script = lambda s, _: None
		wait_for("the port is free", lambda: not listening(gate.inner))
		gate.site.relay("inner")
		assert gate.sink.take(30).sender == "k@sender.example"
		assert not gate.sink.messages
	with tap.case("queue handoff: refused for good, one bounce to the sender", gate.site.logs):
		gate.clear()
		gate.script = lambda s, x: "550 5.1.1 nobody" if s == "rcpt" and "nobody@" in x.pending else None
		r = send_mail(gate.inner, "b@sender.example", ["nobody@foreign.example"], SMALL)
		assert r["data"].code == 250, r
		bounce = gate.sink.take(30)
		assert bounce.sender == "" and bounce.recipients == ["b@sender.example"]
		assert b"5.1.1" in bounce.data and b"multipart/report" in bounce.data.lower(), bounce.data
	with tap.case("queue handoff: a bounce is never bounced", gate.site.logs):
		gate.clear()
		gate.script = lambda s, x: "550 5.1.1 nobody" if s == "rcpt" and "nobody@" in x.pending else None
		r = send_mail(gate.inner, "", ["nobody@foreign.example"], SMALL)
		assert r["data"].code == 250, r
		r = send_mail(gate.inner, "after@sender.example", ["r@foreign.example"], SMALL)
		assert r["data"].code == 250 and gate.sink.take(30).sender == "after@sender.example"
		assert not gate.sink.messages, gate.sink.messages[0].data
	with tap.case("XCLIENT from a trusted host names the client in the trace", gate.site.logs):
		gate.clear()
		r = send_mail(gate.inner, "a@sender.example", ["r@foreign.example"], SMALL,
		    {"ADDR": "192.0.2.77", "NAME": "far.example"})
		assert r["data"].code == 250, r
		assert b"192.0.2.77" in gate.sink.take(30).headers("Received")[0]


def main():
	tap = Tap()
	gate = Gate()
	for part in (commands, relaying, messages, matrix, next_hops, queue):
		part(tap, gate)
	gate.site.stop_all()
	tap.done()


if __name__ == "__main__":
	main()
