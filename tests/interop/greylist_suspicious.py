#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 240
"""greylist.when suspicious: postern-greylist leaves mail alone at RCPT, postern-score lets it
wait at its end when its score asks for it - in both orders of the filters, on the same
records, and never an honest login code."""
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter_host import MilterHost  # noqa: E402
from proc import BUILD, ROOT, SLOWER, Dir, Proc, wait_for  # noqa: E402
from tap import Tap  # noqa: E402

SEVEN = "POSTERN-TEST-MAIL-WITH-SEVEN-POINTS\r\n"
LOGIN = (("From", "Bank <login@bank.example>"), ("To", "user@local.test"), ("Subject", "Your login code is 123456"),
    ("Date", "Fri, 20 Nov 2026 10:00:00 +0000"), ("Message-Id", "<1@bank.example>"))
ZONE = """
bank.example TXT "v=spf1 ip4:203.0.113.0/24 -all"
"""
GREY = "when suspicious; delay {delay}"
MORE = """
policy "never" { recipient never@local.test; greylist.when never }
policy "always" { recipient always@local.test; greylist.when always }
policy "watched" { recipient domain watched.test; mode observe }
policy "hurried" { recipient hurried@local.test; greylist.delay 1s }
policy "calm" { recipient calm@local.test; greylist.suspicious 10 }
policy "unscored" { recipient unscored@local.test; score.scan off }
"""


def score(tmp):
	return f'tmp "{tmp}"; workers 1; rules "{ROOT}/policy/rules"'


def both_orders(tap, first, second, text):
	for n, host in enumerate((first, second)):
		order = ", ".join(host.order)
		with tap.case(f"{order}: clean mail passes at once and nothing is said", text):
			r = host.mail(f"s{n}@b.test", "r@local.test", headers=LOGIN)
			assert r.passed() and r.header("X-Greylist") is None, r
		with tap.case(f"{order}: suspicious mail waits at its end, and is early when it comes again", text):
			r = host.mail(f"s{n}@b.test", "r@local.test", body=SEVEN)
			assert r.rcpts == [[b"c"]] and r.deferred() and r.wait() == 3600, r
			r = host.mail(f"s{n}@b.test", "r@local.test", body=SEVEN)
			assert r.deferred() and 3000 < r.wait() <= 3600, r
			host.log("score", rf"event=greylist action=tempfail .*from=<s{n}@b\.test> to=<r@local\.test> why=early .*tries=2")
			host.log("score", r"event=score action=tempfail .*score=8\.5 .*why=early")
			assert "event=greylist" not in host.procs["greylist"].text()
		with tap.case(f"{order}: what waited passes at the other host, marked by both", text):
			other = second if host is first else first
			assert host.mail(f"s{n}@b.test", "hurried@local.test", body=SEVEN).deferred()
			r = wait_for("it passes", lambda: passed(other.mail(f"s{n}@b.test", "hurried@local.test", body=SEVEN)))
			assert re.match(rf"delayed \d+ seconds by gate-{other.name}\.example", r.header("X-Greylist")), r
			assert r.header("X-Spam-Flag") == "YES" and len(r.headers("X-Greylist")) == 1, r


def passed(r):
	return r if r.passed() else None


def recipients(tap, host, always, text):
	with tap.case("one answer for all recipients: it waits when one triple must", text):
		wait_for("this one is known", lambda: host.mail("m@b.test", "hurried@local.test", body=SEVEN).passed())
		r = host.mail("m@b.test", "hurried@local.test", "new@local.test", body=SEVEN)
		assert r.rcpts == [[b"c"]] * 2 and r.deferred(), r
	with tap.case("and not at all when one of them is never to wait", text):
		r = host.mail("m@b.test", "never@local.test", "new@local.test", body=SEVEN)
		assert r.passed() and ": policy; " in r.header("X-Greylist"), r
	with tap.case("policies: threshold, no score, always, observing", text):
		assert host.mail("p@b.test", "calm@local.test", body=SEVEN).passed()
		assert host.mail("p@b.test", "unscored@local.test", body=SEVEN).passed()
		r = host.mail("p@b.test", "always@local.test", headers=LOGIN)
		assert r.rcpts[0][0].startswith(b"y451 4.7.1"), r
		r = host.mail("p@b.test", "x@watched.test", body=SEVEN)
		assert r.passed(), r
		host.log("score", r"event=greylist would=tempfail .*to=<x@watched\.test> why=greylisted")
	with tap.case("our users and hosts never wait", text):
		for kind in ({"auth": "u"}, {"client": "127.0.0.1"}):
			r = host.mail("u@local.test", "r@far.test", body=SEVEN, **kind)
			assert r.passed() and r.header("X-Greylist") is None, r
	with tap.case("mail without sender waits when it is suspicious", text):
		assert host.mail("", "r@local.test", headers=LOGIN).passed()
		r = host.mail("", "r@local.test", body=SEVEN)
		assert r.eoh in ([b"c"], []) and r.deferred(), r
	with tap.case("one record: what was deferred at RCPT elsewhere passes at the end here", text):
		assert always.mail("e@b.test", "hurried@local.test").deferred()
		r = wait_for("it passes", lambda: passed(host.mail("e@b.test", "hurried@local.test", body=SEVEN)))
		assert r.header("X-Greylist").startswith("delayed "), r
		r = always.mail("e@b.test", "hurried@local.test")
		assert r.passed() and ": known; " in r.header("X-Greylist"), r
	with tap.case("a login code from its bank's host is not delayed, by no host of its pool", text):
		for n in range(5):
			r = host.mail("login@bank.example", f"user{n}@local.test", client=f"203.0.113.{n + 1}", headers=LOGIN,
			    body="Your login code is 123456.\r\n")
			assert r.passed() and r.header("X-Greylist") is None, r
			assert sum(r.ms.values()) < 2000 * SLOWER, r.ms
	with tap.case("refused spam is refused, not delayed", text):
		r = host.mail("s@b.test", "r@local.test", body="XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X\r\n")
		assert r.final().startswith(b"y550 5.7.1"), r


def main():
	tap = Tap()
	tmp = Dir()
	zone = tmp.write("zone", ZONE)
	dns = Proc([BUILD / "tests/dnsd", "-z", zone], tmp / "dns.log")
	dns = f"127.0.0.1:{dns.wait_line(r'^[0-9]+$')[0]}"
	grey = GREY.format(delay="1h")
	first = MilterHost(tmp, "a", {"greylist": grey, "score": score(tmp)}, None, MORE, dns=dns)
	second = MilterHost(tmp, "b", {"score": score(tmp), "greylist": grey}, None, MORE, dns=dns)
	always = MilterHost(tmp, "c", {"greylist": "delay 1h"}, None, MORE, dns=dns)

	def text():
		return first.text() + second.text() + always.text()

	both_orders(tap, first, second, text)
	recipients(tap, first, always, text)
	(tmp / "file").write_text("in the way")
	down = MilterHost(tmp, "d", {"score": score(tmp), "greylist": grey}, f"path {tmp}/file", MORE, dns=dns)
	with tap.case("without a store suspicious mail passes, marked", down.text):
		r = down.mail("s@b.test", "r@local.test", body=SEVEN)
		assert r.passed() and ": store=down; " in r.header("X-Greylist"), r
	with tap.case("they end in order", text):
		assert [h.stop() for h in (first, second, always, down)] == [[0, 0], [0, 0], [0], [0, 0]]
	tap.done()


if __name__ == "__main__":
	main()
