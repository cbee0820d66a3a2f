#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The test helpers themselves: sink and client keep octets exactly, both milter ends agree."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import milter  # noqa: E402
import proc  # noqa: E402
import sink as sinks  # noqa: E402
import smtp  # noqa: E402
from tap import Tap  # noqa: E402

MESSAGES = {
	"plain": b"Subject: x\r\n\r\nhello\r\n",
	"leading dots": b".\r\n..\r\nSubject: x\r\n\r\n.\r\n...x\r\n.\r\n",
	"NUL, bare CR and bare LF": b"Subject: x\r\n\r\na\0b\rc\nd\n.\ne\r.\r\r\n",
	"8 bit, long line, trailing blank lines": b"\xff\xfe\r\n\r\n" + b"x" * 100000 + b"\r\n\r\n\r\n",
	"empty": b"",
	"300 kB": bytes(range(256)).replace(b"\r", b"").replace(b"\n", b"") * 1200 + b"\r\n",
}


def sink_cases(tap):
	with sinks.Sink() as sink:
		for name, message in MESSAGES.items():
			with tap.case(f"sink keeps octets: {name}"):
				r = smtp.send_mail(sink.addr, "a@x.example", ["b@y.example", "c@y.example"], message)
				assert r["data"].code == 250, r
				got = sink.take()
				assert got.data == message, got.data[:200]
				assert got.sender == "a@x.example" and got.recipients == ["b@y.example", "c@y.example"]
		with tap.case("sink keeps octets: pipelined in one write"):
			with smtp.Smtp(sink.addr, helo="h.example") as c:
				c.send(b"MAIL FROM:<>\r\nRCPT TO:<r@y.example>\r\nDATA\r\n")
				assert [c.reply().code for _ in range(3)] == [250, 250, 354]
				c.send(b"..x\r\n.\r\nQUIT\r\n")
				assert [c.reply().code, c.reply().code] == [250, 221] and c.at_end()
			got = sink.take()
			assert got.data == b".x\r\n" and got.sender == ""
	for stage, key in (("mail", "mail"), ("rcpt", "rcpt"), ("dot", "data")):
		with tap.case(f"sink refuses at {stage}"):
			with sinks.Sink(lambda s, _: "451 4.3.0 later" if s == stage else None) as sink:
				r = smtp.send_mail(sink.addr, "a@x.example", ["b@y.example"], b"x\r\n")
				r = r[key][0] if key == "rcpt" else r[key]
				assert (r.code, r.enhanced) == (451, "4.3.0") and not sink.messages
	with tap.case("sink drops the link after the body"):
		with sinks.Sink(lambda s, _: sinks.DROP if s == "body" else None) as sink:
			try:
				smtp.send_mail(sink.addr, "a@x.example", ["b@y.example"], b"x\r\n")
				raise AssertionError("no drop seen")
			except (smtp.Closed, ConnectionError):
				assert not sink.messages


def tool_cases(tap, tmp):
	"""The sink and the load generator in C."""
	box = tmp / "box"
	sink = proc.Proc([proc.BUILD / "tests/sink", "-m", box], tmp / "sink.log")
	addr = proc.address(sink.wait_line(r"^listening (\S+)$")[1])
	for name, message in MESSAGES.items():
		with tap.case(f"maildir keeps octets: {name}"):
			r = smtp.send_mail(addr, "a@x.example", ["b@y.example", "c@y.example"], message)
			assert r["data"].code == 250, r
			files = list((box / "new").iterdir())
			assert len(files) == 1 and not list((box / "tmp").iterdir())
			head = b"Return-Path: <a@x.example>\r\nDelivered-To: b@y.example\r\nDelivered-To: c@y.example\r\n"
			assert files[0].read_bytes() == head + message
			files[0].unlink()
	with tap.case("the sink takes a message octet by octet"):
		with smtp.Smtp(addr, helo="h.example") as c:
			wire = b"MAIL FROM:<>\r\nRCPT TO:<r@y.example>\r\nDATA\r\n.\rx\r\n..\r\n\r\r\n.\r\nQUIT\r\n"
			for i in range(len(wire)):
				c.send(wire[i:i + 1])
			assert [c.reply().code for _ in range(5)] == [250, 250, 354, 250, 221]
		assert next((box / "new").iterdir()).read_bytes().endswith(b"\r\n\rx\r\n.\r\n\r\r\n")
	with tap.case("the load generator sends what it says"):
		for args, count in ((["-p", "7", "-n", "100", "-k", "9"], 101), (["-r", "5", "-s", "90000", "-n", "3"], 104)):
			status, out, err = proc.run([proc.BUILD / "tests/load", "-c", f"{addr[0]}:{addr[1]}", *args])
			fields = out.split("\t")
			assert (status, err) == (0, "") and len(fields) == 8 and float(fields[3]) > 0, (status, out, err)
			assert len(list((box / "new").iterdir())) == count
		sink.stop()
		assert "messages 110 " in sink.text(), sink.text()
	for name, script, wanted in (("RCPT", lambda s, _: "550 5.7.1 no" if s == "rcpt" else None, "550 5.7.1 no"),
	    ("greeting", lambda s, _: "421 4.3.2 no" if s == "connect" else None, "421 4.3.2 no"),
	    ("dot", lambda s, _: "451 4.3.0 no" if s == "dot" else None, "451 4.3.0 no")):
		with tap.case(f"the load generator counts refusals: {name}"), sinks.Sink(script) as bad:
			status, out, err = proc.run([proc.BUILD / "tests/load", "-c", f"127.0.0.1:{bad.port}", "-p", "2", "-n", "6"])
			assert status != 0 and wanted in err and out.startswith("0\t"), (status, out, err)


def milter_cases(tap, tmp):
	def script(letter, data, link):
		if letter == "R" and b"bad" in data:
			return b"y550 5.7.1 no\0"
		if letter == "E":
			return [b"hX-Seen\0yes\0", b"c"]
		return None

	with milter.Milter(tmp / "m", script) as filt, tap.case("both milter ends agree"):
		with milter.Mta(tmp / "m") as mta:
			mta.negotiate()
			mta.macros("C", j="mta.example", client_addr="192.0.2.1")
			assert mta.connect("mx.example", "192.0.2.1") == [b"c"]
			assert mta.helo("mx.example") == [b"c"]
			assert mta.mail("a@x.example", "SIZE=3") == [b"c"]
			assert mta.rcpt("bad@y.example") == [b"y550 5.7.1 no\0"]
			assert mta.rcpt("good@y.example") == [b"c"]
			assert mta.data() == mta.header("Subject", "x") == mta.eoh() == mta.body("b") == [b"c"]
			assert mta.eom() == [b"hX-Seen\0yes\0", b"c"]
			mta.abort()
		link = filt.links[0]
		proc.wait_for("the end of the dialogue", lambda: link.letters().endswith("Q"))
		assert link.letters() == "ODCHMRRTLNBEAQ", link.letters()
		assert link.macros["C"] == {b"j": b"mta.example", b"{client_addr}": b"192.0.2.1"}
	with milter.Milter(tmp / "n", lambda letter, d, l: milter.DROP if letter == "M" else None):
		with tap.case("scripted milter drops the link"), milter.Mta(tmp / "n") as mta:
			mta.negotiate()
			mta.connect("mx.example")
			try:
				mta.mail("a@x.example")
				raise AssertionError("no drop seen")
			except (milter.Closed, ConnectionError):
				pass


def main():
	tap = Tap()
	tmp = proc.Dir()
	sink_cases(tap)
	tool_cases(tap, tmp)
	milter_cases(tap, tmp)
	with tap.case("programs: readiness, output, end"):
		port = proc.free_port()
		code = f"import socket,time;s=socket.create_server(('127.0.0.1',{port}));print('up',flush=True);time.sleep(99)"
		with proc.Proc([sys.executable, "-c", code], tmp / "log") as p:
			p.wait_listen(f"127.0.0.1:{port}")
			p.wait_line("^up$")
			assert p.alive()
		assert p.p.returncode == -15
	with tap.case("programs: an early end is told at once"):
		try:
			proc.Proc([sys.executable, "-c", "raise SystemExit('broken')"], tmp / "log2").wait_line("up")
			raise AssertionError("not noticed")
		except RuntimeError as e:
			assert "broken" in str(e)
	tap.done()


if __name__ == "__main__":
	main()
