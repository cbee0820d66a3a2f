#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Our relay as the mail server's side of milter: every reply at every stage, every edit,
and filters that break the protocol, hang up or hang.  The filter is scripted octet by
octet; what the sender sees and what leaves the relay is compared with one table."""
import re
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import milter  # noqa: E402
import sink as sinks  # noqa: E402
from postern import Site  # noqa: E402
from proc import Dir, wait_for  # noqa: E402
from smtp import Closed, Smtp, stuffed  # noqa: E402
from tap import Tap  # noqa: E402

CONF = """
run { host gate.example; log "@dir@/log/postern.log" }
dns { servers 127.0.0.1:@dns@; timeout 1s; deadline 2s }
relay "gate" {
	listen 127.0.0.1:@gate@; spool "@dir@/spool/gate"; handoff session; client-names off;
	relay-domains local.example; smarthost "[127.0.0.1]:@sink@"; error-delay 0;
	milter "one" { socket "unix:@dir@/run/one.sock"; on-failure tempfail;
		connect-timeout 1s; command-timeout 1s; content-timeout 1s }
	milter "two" { socket "unix:@dir@/run/two.sock"; on-failure accept }
}
"""
HEAD = b"From: <a@sender.example>\r\nTo: b@local.example\r\nSubject: first\r\nsubject: second\r\nX-Folded: a\r\n\tb\r\n"
BODY = b"body\r\n.dot\r\n\r\n"
# where the client learns it
GREETING, EHLO, MAIL, RCPT, DATA, END = "greeting", "EHLO", "MAIL", "RCPT", "DATA", "end"

# What becomes of one mail: letter at which the filter answers, its reply, and
#   ("passes",) | ("vanishes",) 250 and nothing arrives | (code or class, text)
REJECT, TEMP = b"r", b"t"
TEXT5, TEXT4 = b"y550 5.7.1 not you\0", b"y451 4.7.1 not now\0"
VERDICTS = [
	("C", b"a", ("passes",)), ("H", b"a", ("passes",)), ("M", b"a", ("passes",)), ("R", b"a", ("passes",)),
	("N", b"a", ("passes",)), ("B", b"a", ("passes",)), ("E", b"a", ("passes",)),
	("C", REJECT, (5, "")), ("C", TEMP, (4, "")), ("C", TEXT5, (5, "not you")), ("C", TEXT4, (4, "")),
	("H", REJECT, (5, "")), ("H", TEMP, (4, "")), ("H", TEXT5, (5, "not you")), ("H", TEXT4, (4, "not now")),
	("M", REJECT, (550, "5.7.1")), ("M", TEMP, (451, "4.7.1")), ("M", TEXT5, (550, "5.7.1 not you")),
	("M", TEXT4, (451, "4.7.1 not now")), ("M", b"d", ("vanishes",)),
	("R", REJECT, (550, "5.7.1")), ("R", TEMP, (451, "4.7.1")), ("R", TEXT5, (550, "5.7.1 not you")),
	("R", TEXT4, (451, "4.7.1 not now")), ("R", b"d", ("vanishes",)),
	("T", REJECT, (5, "")), ("T", TEMP, (4, "")), ("T", TEXT5, (550, "5.7.1 not you")), ("T", b"d", ("vanishes",)),
	("L", REJECT, (5, "5.7.1")), ("L", TEMP, (4, "")), ("L", TEXT5, (550, "5.7.1 not you")),
	("L", b"d", ("vanishes",)), ("L", b"s", ("passes",)),
	("N", REJECT, (5, "5.7.1")), ("N", TEMP, (4, "")), ("N", TEXT4, (451, "4.7.1 not now")), ("N", b"d", ("vanishes",)),
	("B", REJECT, (5, "5.7.1")), ("B", TEMP, (4, "")), ("B", TEXT5, (550, "5.7.1 not you")),
	("B", b"d", ("vanishes",)), ("B", b"s", ("passes",)),
	("E", REJECT, (5, "5.7.1")), ("E", TEMP, (4, "")), ("E", TEXT5, (550, "5.7.1 not you")),
	("E", TEXT4, (451, "4.7.1 not now")), ("E", b"d", ("vanishes",)),
	("E", b"y554 5.7.0 two\r\n554 5.7.0 lines\0", (554, "5.7.0 two")),
	("E", b"y550 5.7.1 100%% sure\0", (550, "100% sure")),
	("R", b"y421 4.3.2 closing\0", (421, "4.3.2 closing")), ("E", b"y421 4.3.2 closing\0", (421, "4.3.2 closing")),
	("M", b"4", (421, "")), ("E", b"4", (421, "")),
	# failures: the filter's policy, tempfail, decides
	("M", b"f", (4, "")), ("E", b"f", (4, "")), ("R", b"Z", (4, "")), ("E", b"y999 no code\0", (4, "")),
	("R", b"hX-Early\0edit\0", (4, "")), ("C", milter.DROP, (4, "")), ("M", milter.DROP, (4, "")),
	("R", milter.DROP, (4, "")), ("T", milter.DROP, (4, "")), ("L", milter.DROP, (4, "")),
	("B", milter.DROP, (4, "")), ("E", milter.DROP, (4, "")), ("O", milter.DROP, (4, "")),
	("R", milter.HANG, (4, "")), ("E", milter.HANG, (4, "")), ("O", milter.HANG, (4, "")),
	("E", [b"hX-Half\0edit\0", milter.DROP], (4, "")),
]


def u32(n):
	return struct.pack(">I", n)


def names(message):
	return [f.split(b":")[0] for f in re.sub(rb"\r\n([ \t])", rb"\1", message.split(b"\r\n\r\n", 1)[0]).split(b"\r\n")]


def field(message, name):
	return [f for f in re.sub(rb"\r\n(?=[ \t])", b"\n", message.split(b"\r\n\r\n", 1)[0]).split(b"\r\n")
	    if f.lower().startswith(name.lower() + b":")]


# name, edits, check(message): must be true of what leaves the relay
EDITS = [
	("header added at the end", [b"hX-New\0yes\0"], lambda m: names(m.data)[-1] == b"X-New"),
	("header inserted on top", [b"i" + u32(0) + b"X-Top\0yes\0"], lambda m: names(m.data)[0] == b"X-Top"),
	("header inserted beyond the end", [b"i" + u32(99) + b"X-End\0yes\0"], lambda m: names(m.data)[-1] == b"X-End"),
	("two inserted in order", [b"i" + u32(0) + b"X-A\0a\0", b"i" + u32(1) + b"X-B\0b\0"],
	    lambda m: names(m.data)[:2] == [b"X-A", b"X-B"]),
	("folded header added", [b"hX-Fold\0a\n\tb\0"], lambda m: field(m.data, b"X-Fold") == [b"X-Fold: a\n\tb"]),
	("first of a name changed", [b"m" + u32(1) + b"Subject\0new\0"],
	    lambda m: m.headers("Subject") == [b"new", b"second"]),
	("second of a name changed", [b"m" + u32(2) + b"Subject\0new\0"],
	    lambda m: m.headers("Subject") == [b"first", b"new"]),
	("header deleted", [b"m" + u32(1) + b"Subject\0\0"], lambda m: m.headers("Subject") == [b"second"]),
	("both deleted, highest first", [b"m" + u32(2) + b"Subject\0\0", b"m" + u32(1) + b"Subject\0\0"],
	    lambda m: m.headers("Subject") == []),
	("a missing one changed is added", [b"m" + u32(1) + b"X-Miss\0new\0"], lambda m: m.headers("X-Miss") == [b"new"]),
	("untouched headers keep their octets", [b"hX-New\0yes\0"], lambda m: HEAD in m.data + b"\r\n"),
	("body replaced", [b"bnew\r\n", b"bbody\r\n"], lambda m: m.body == b"new\r\nbody\r\n"),
	("body replaced by nothing", [b"b"], lambda m: m.body == b""),
	("body with bare LF is mended", [b"ba\nb\n"], lambda m: m.body == b"a\r\nb\r\n"),
	("line end split over two packets", [b"ba\r", b"b\nb\r\n"], lambda m: m.body == b"a\r\nb\r\n"),
	("body with dots", [b"b.\r\n..\r\n"], lambda m: m.body == b".\r\n..\r\n"),
	("sender changed", [b"e<new@sender.example>\0"], lambda m: m.sender == "new@sender.example"),
	("sender changed to null", [b"e<>\0"], lambda m: m.sender == ""),
	("recipient added", [b"+<more@local.example>\0"],
	    lambda m: sorted(m.recipients) == ["b@local.example", "more@local.example"]),
	("recipient added with arguments", [b"2<more@local.example>\0NOTIFY=NEVER\0"],
	    lambda m: sorted(m.recipients) == ["b@local.example", "more@local.example"]),
	("recipient exchanged", [b"+<c@local.example>\0", b"-<b@local.example>\0"],
	    lambda m: m.recipients == ["c@local.example"]),
	("unknown recipient deleted", [b"-<nobody@local.example>\0"], lambda m: m.recipients == ["b@local.example"]),
	("progress, then an edit", [b"p", b"hX-New\0yes\0", b"p"], lambda m: m.headers("X-New") == [b"yes"]),
]


class Gate:
	def __init__(self):
		self.site, self.sink = Site(Dir()), sinks.Sink()
		self.site.names["sink"] = str(self.sink.port)
		self.site.file("zone", "sender.example MX 10 mx.sender.example\n")
		self.site.file("postern.conf", CONF)
		self.script, self.seen = {}, []
		self.one = milter.Milter(self.site.dir / "run/one.sock", self.answer)
		self.two = milter.Milter(self.site.dir / "run/two.sock", self.second)
		self.site.dns()
		self.site.relay("gate")

	def answer(self, letter, data, link):
		return self.script.get(letter)

	def second(self, letter, data, link):
		self.seen.append((letter, data))

	def send(self, message=HEAD + b"\r\n" + BODY, rcpts=("b@local.example",)):
		"""(stage, reply) of what ended it."""
		with Smtp(self.site.addr("gate"), 15) as c:
			if c.greeting.code != 220:
				return GREETING, c.greeting
			for stage, talk in ((EHLO, c.ehlo), (MAIL, lambda: c.mail("a@sender.example"))):
				r = talk()
				if r.code != 250:
					return stage, r
			replies = [c.rcpt(r) for r in rcpts]
			if all(r.code != 250 for r in replies):
				return RCPT, replies[-1]
			r = c.cmd("DATA")
			if r.code != 354:
				return DATA, r
			c.send(stuffed(message))
			return END, c.reply()


def clear(gate):
	gate.script, gate.seen[:] = {}, []
	gate.sink.messages.clear()


def verdict_case(gate, letter, reply, wanted):
	gate.script = {letter: reply}
	stage, r = gate.send()
	if wanted == ("passes",):
		assert r.code == 250 and gate.sink.take().body == BODY, (stage, r)
	elif wanted == ("vanishes",):
		assert stage == END and r.code == 250, (stage, r)
	else:
		code, text = wanted
		assert r.code == code or r.code // 100 == code, (stage, r)
		assert text in r.text, (stage, r)
	assert not gate.sink.messages, gate.sink.messages[0].data


def label(reply):
	return {milter.DROP: "hangs up", milter.HANG: "hangs"}.get(reply if not isinstance(reply, list) else None) or \
	    (repr(reply[0]) + ", then hangs up" if isinstance(reply, list) else repr(reply))


def edit_cases(tap, gate):
	for name, edits, check in EDITS:
		with tap.case(f"edit: {name}", gate.site.logs):
			clear(gate)
			gate.script = {"E": edits + [b"c"]}
			stage, r = gate.send()
			assert r.code == 250, (stage, r)
			got = gate.sink.take()
			assert check(got), (got.mail, got.rcpts, got.data)
			assert not gate.sink.messages
	with tap.case("edit: deleting the last recipient lets the message vanish", gate.site.logs):
		clear(gate)
		gate.script = {"E": [b"-<b@local.example>\0", b"c"]}
		assert gate.send()[1].code == 250 and not gate.sink.messages
	with tap.case("edit: quarantined mail is held, not sent", gate.site.logs):
		clear(gate)
		gate.script = {"E": [b"qlook at this\0", b"c"]}
		assert gate.send(HEAD + b"X-Held: yes\r\n\r\nx\r\n")[1].code == 250
		assert not gate.sink.messages
		assert any(b"X-Held" in p.read_bytes() for p in (gate.site.dir / "spool").rglob("*") if p.is_file())
	with tap.case("the second filter sees the first one's edits", gate.site.logs):
		clear(gate)
		gate.script = {"E": [b"hX-New\0yes\0", b"m" + u32(1) + b"Subject\0\0", b"bnew\r\n", b"c"]}
		assert gate.send()[1].code == 250
		headers = [d for l, d in gate.seen if l == "L"]
		assert any(d.startswith(b"X-New\0") for d in headers), headers
		assert not any(b"first" in d for d in headers), headers
		assert b"".join(d for l, d in gate.seen if l == "B") == b"new\r\n"


def order_cases(tap, gate):
	with tap.case("a 300 kB body comes in chunks of 65535 octets, unchanged", gate.site.logs):
		clear(gate)
		body = bytes(range(1, 10)) + b"\r\n" + (b"x" * 76 + b"\r\n") * 3900
		assert gate.send(HEAD + b"\r\n" + body)[1].code == 250
		chunks = [d for l, d in gate.seen if l == "B"]
		assert b"".join(chunks) == body and all(len(c) == 65535 for c in chunks[:-1])
		assert gate.sink.take().body == body
	with tap.case("one connection, two messages, one reset between", gate.site.logs):
		clear(gate)
		begin = len(gate.two.links)
		with Smtp(gate.site.addr("gate"), 15, helo="c.example") as c:
			for _ in range(2):
				c.mail("a@sender.example")
				c.rcpt("b@local.example")
				assert c.data(HEAD + b"\r\n" + BODY).code == 250
				c.mail("a@sender.example")
				assert c.cmd("RSET").code == 250
			c.quit()
		assert len(gate.two.links) == begin + 1

		def letters():
			return "".join(l for l, _ in gate.seen if l not in "DL")
		wait_for("the end of the dialogue", lambda: letters().endswith("A"))
		assert re.fullmatch(r"OCH(MRTNB+EMA){2}", letters()), letters()
	with tap.case("a filter that is away: its policy 'accept' lets mail pass", gate.site.logs):
		clear(gate)
		gate.two.close()
		assert gate.send()[1].code == 250 and gate.sink.take()
	with tap.case("a filter that is away: its policy 'tempfail' defers mail", gate.site.logs):
		clear(gate)
		gate.one.close()
		stage, r = gate.send()
		assert 400 <= r.code < 500, (stage, r)
		assert not gate.sink.messages


def main():
	tap = Tap()
	gate = Gate()
	for letter, reply, wanted in VERDICTS:
		stage = dict(O="negotiation", C="connect", H="helo", M="mail", R="rcpt", T="data", L="header", N="end of headers",
		    B="body", E="end")[letter]
		with tap.case(f"{stage}: {label(reply)}: {wanted[0]}", gate.site.logs):
			clear(gate)
			try:
				verdict_case(gate, letter, reply, wanted)
			except Closed as e:
				raise AssertionError(f"connection closed: {e}") from None
	edit_cases(tap, gate)
	order_cases(tap, gate)
	gate.site.stop_all()
	tap.done()


if __name__ == "__main__":
	main()
