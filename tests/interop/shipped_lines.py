#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The lines that we ship for sendmail and Postfix, tried on the real servers with scripted
filters: both are attached in the right order, told of the client, and when one is away,
fails or hangs up the sender sees 4xx and nothing passes."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import milter  # noqa: E402
import netns  # noqa: E402
import peers  # noqa: E402
import sink as sinks  # noqa: E402
from proc import ROOT, Dir, wait_for  # noqa: E402
from smtp import send_mail  # noqa: E402
from tap import Tap, skip_all  # noqa: E402

CLIENT, NAME = "192.0.2.10", "mx.sender.example"
MESSAGE = "From: <a@sender.example>\r\nSubject: x\r\n\r\nbody\r\n"


class Bench:
	"""One MTA with the shipped lines and two scripted filters."""
	def __init__(self, kind):
		self.tmp, self.sink = Dir(), sinks.Sink()
		(self.tmp / "run").mkdir()
		self.order, self.script = [], {}
		self.filters = {n: self.filter(n) for n in ("access", "greylist")}
		addr, hosts = ("127.0.0.1", 2525), {CLIENT: NAME}
		if kind == "postfix":
			lines = (ROOT / "contrib/postfix/postern-main.cf").read_text()
			self.mta = peers.Postfix(self.tmp, addr, self.sink.addr, snippet=lines, hosts=hosts)
		else:
			lines = (ROOT / "contrib/sendmail/postern.m4").read_text()
			self.mta = peers.Sendmail(self.tmp, addr, self.sink.addr, snippet=lines, hosts=hosts)

	def filter(self, name):
		def script(letter, data, link):
			if letter == "R":
				self.order.append(name)
			return self.script.get((name, letter))
		path = self.tmp / "run" / (name + ".sock")
		filt = milter.Milter(path, script)
		path.chmod(0o666)
		return filt

	def send(self):
		return send_mail(self.mta.addr, "a@sender.example", ["b@local.example"], MESSAGE, source=CLIENT,
		    helo=NAME)

	def close(self):
		self.mta.stop()
		for f in self.filters.values():
			f.close()
		self.sink.close()


def deferred(replies):
	all_replies = [replies[k] for k in ("connect", "mail", "data") if k in replies] + replies["rcpt"]
	assert any(400 <= r.code < 500 for r in all_replies), replies
	assert not any(r.code >= 500 for r in all_replies), replies


def cases(tap, bench, kind):
	def case(name):
		return tap.case(f"{kind}: {name}", lambda: bench.mta.log[-4000:])

	with case("both filters, access first"):
		r = bench.send()
		assert r["data"].code == 250, r
		assert bench.order == ["access", "greylist"], bench.order
		bench.sink.take()
	with case("the filters know the client"):
		for f in bench.filters.values():
			macros = f.links[-1].macros["C"]
			assert macros[b"{client_addr}"] == CLIENT.encode(), macros
			assert macros[b"{client_name}"] == NAME.encode(), macros
			assert macros[b"{client_resolve}"] == b"OK", macros
			assert b"j" in macros and b"{client_port}" in macros, macros
	with case("a header added by a filter arrives"):
		bench.script["greylist", "E"] = [b"hX-Greylist\0passed\0", b"c"]
		assert bench.send()["data"].code == 250
		assert bench.sink.take().headers("X-Greylist") == [b"passed"]
		bench.script.clear()
	with case("a refusal keeps its code and words"):
		bench.script["access", "R"] = b"y550 5.7.1 not you\0"
		r = bench.send()["rcpt"][0]
		assert (r.code, r.enhanced) == (550, "5.7.1") and "not you" in r.text, r
		bench.script.clear()
	for letter, stage in (("M", "MAIL"), ("R", "RCPT"), ("E", "the end of the message")):
		with case(f"a filter that hangs up at {stage} defers the mail"):
			bench.script["greylist", letter] = milter.DROP
			deferred(bench.send())
			bench.script.clear()
			assert not bench.sink.messages
	with case("a filter that is away defers the mail"):
		bench.filters["greylist"].close()
		deferred(bench.send())
		assert not bench.sink.messages
	with case("and the mail passes when it is back"):
		bench.filters["greylist"] = bench.filter("greylist")
		r = wait_for("a mail passes", lambda: (r := bench.send()).get("data") and r["data"].code == 250)
		assert r
		bench.sink.take()


def main():
	peers.fetch("postfix", "sendmail")
	try:
		netns.enter([CLIENT])
	except OSError as e:
		skip_all(e.strerror)
	tap = Tap()
	for kind in ("postfix", "sendmail"):
		bench = None
		with tap.case(f"{kind} starts with the shipped lines"):
			bench = Bench(kind)
		if bench:
			cases(tap, bench, kind)
			bench.close()
	tap.done()


if __name__ == "__main__":
	main()
