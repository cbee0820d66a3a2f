#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 240
"""What postern-greylist finds out about a client before it lets it wait: pools by SPF and by
name, DNS allowlists, correspondents, our own networks; and what it does when nobody knows."""
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter_host import MilterHost  # noqa: E402
from proc import BUILD, SLOWER, Dir, Proc, wait_for  # noqa: E402
from tap import Tap  # noqa: E402

POOL = [f"203.{n}.113.{n + 7}" for n in range(16)]
ZONE = f"""
pool.example TXT "v=spf1 include:_spf.pool.example -all"
_spf.pool.example TXT "v=spf1 {' '.join('ip4:' + ip for ip in POOL[:8])}" " include:_more.pool.example -all"
_more.pool.example TXT "v=spf1 {' '.join('ip4:' + ip for ip in POOL[8:])} -all"
all.example TXT "v=spf1 +all"
helo.pool.example TXT "v=spf1 ip4:{POOL[0]} ip4:{POOL[1]} -all"
slow.example TXT "v=spf1 ip4:{POOL[0]} -all"
slow.example fault delay 3000
9.2.0.192.wl.example A 127.0.0.2
10.2.0.192.wl.example A 127.255.255.254
wl.example SOA 60 ns.wl.example 30
"""
GREY = "delay 1h"
MORE = """
policy "ours" { client 10.0.0.0/8; greylist.inside on }
policy "hurried" { recipient hurried@local.test; greylist.delay 1s }
"""


class Dns:
	def __init__(self, tmp, zone):
		self.zone = tmp.write("zone", zone)
		self.p = Proc([BUILD / "tests/dnsd", "-z", self.zone], tmp / "dns.log")
		self.port = int(self.p.wait_line(r"^\d+$")[0])
		self.server = f"127.0.0.1:{self.port}"


def identities(tap, host, text):
	with tap.case("a pool of 16 hosts in 16 networks gets through at its first retry, by SPF", text):
		for i, first in enumerate(POOL):
			r = host.mail(f"s{i}@pool.example", "hurried@local.test", client=first)
			assert r.deferred() and r.wait() == 1, r
		time_of_retry = time.monotonic() + 1
		wait_for("the delay is over", lambda: time.monotonic() > time_of_retry + 1, 5)
		for i in range(16):
			r = host.mail(f"s{i}@pool.example", "hurried@local.test", client=POOL[(i + 5) % 16])
			assert r.passed(), (i, r)
			if i < 5:     # then it is whitelisted
				assert r.header("X-Greylist").startswith("delayed "), r.header("X-Greylist")
		host.log("greylist", r"why=greylisted identity=spf as=pool\.example")
	with tap.case("who may say of itself whatever it likes is its network", text):
		host.mail("s@all.example", "r@local.test", client="198.18.0.1")
		host.log("greylist", r"from=<s@all\.example> .*identity=network as=198\.18\.0\.0/24")
		host.mail("s@pool.example", "r@local.test", client="198.18.0.1")
		host.log("greylist", r"from=<s@pool\.example> .*identity=network as=198\.18\.0\.0/24")
	with tap.case("a forward-confirmed name's organisation, unless it is generated", text):
		host.mail("s@b.test", "r@local.test", client="198.18.1.1", name="out7.mail.organisation.example")
		host.log("greylist", r"client=198\.18\.1\.1 .*identity=\S+ as=organisation\.example")
		host.mail("s@b.test", "r@local.test", client="198.18.2.9", name="198-18-2-9.dsl.provider.example")
		host.log("greylist", r"client=198\.18\.2\.9 .*identity=network as=198\.18\.2\.0/24")
	with tap.case("the null sender is known by HELO", text):
		r = host.mail("", "r@local.test", client=POOL[0], helo="helo.pool.example")
		assert r.rcpts == [[b"c"]] and r.eoh[0].startswith(b"y451"), r
		host.log("greylist", r"from=<> .*identity=helo as=pool\.example")


def exemptions(tap, host, text):
	with tap.case("a DNS allowlist exempts; what is no listing does not", text):
		r = host.mail("s@b.test", "r@local.test", client="192.0.2.9")
		assert r.passed() and ": allowlist; " in r.header("X-Greylist"), r
		for client in ("192.0.2.10", "192.0.2.11"):
			assert host.mail("s@b.test", "r@local.test", client=client).deferred()
	with tap.case("whom our users wrote to may answer at once, at that address only", text):
		r = host.mail("me@local.test", "Friend@far.test", "other@far.test", client="192.0.2.20", auth="me")
		assert r.passed() and r.header("X-Greylist") is None, r
		r = wait_for("the note is there", lambda: known(host.mail("friend@far.test", "Me@local.test")))
		assert ": correspondent; " in r.header("X-Greylist"), r
		assert host.mail("friend@far.test", "you@local.test").deferred()
		assert host.mail("stranger@far.test", "me@local.test").deferred()
		assert host.mail("other@far.test", "me@local.test").passed()
	with tap.case("so it is with hosts of ours, and with programs here", text):
		for n, kind in enumerate(({"client": "10.1.2.3"}, {"client": "127.0.0.1"})):
			r = host.mail("app@local.test", f"customer{n}@far.test", **kind)
			assert r.passed() and r.header("X-Greylist") is None, r
			wait_for("the note is there", lambda: known(host.mail(f"customer{n}@far.test", "app@local.test")))
	with tap.case("a mail that was not sent after all is none", text):
		host.mail("me@local.test", "never@far.test", client="192.0.2.20", auth="me", end=False)
		for _ in range(3):
			assert host.mail("never@far.test", "me@local.test").deferred()


def known(r):
	return r if r.passed() else None


def failures(tap, tmp, dns):
	host = MilterHost(tmp, "slow", {"greylist": GREY + "; dns-deadline 300ms; allowlists wl.example"}, f"path {tmp}/slow; size 16M",
	    MORE, dns=f"servers {dns.server}")
	with tap.case("DNS that is slow: the deadline holds, and the network is the client", host.text):
		r = host.mail("s@slow.example", "r@local.test", client=POOL[0])
		assert r.deferred() and r.ms["rcpt"] < (300 + 700) * SLOWER, (r, r.ms)
		host.log("greylist", r"from=<s@slow\.example> .*identity=network")
	dns.p.kill()
	with tap.case("DNS that is out: the same", host.text):
		for n in range(3):
			r = host.mail(f"s{n}@pool.example", "r@local.test", client=POOL[n])
			assert r.deferred() and r.ms["rcpt"] < (300 + 700) * SLOWER, (r, r.ms)
		host.log("greylist", r"from=<s2@pool\.example> .*identity=network")
	with tap.case("it ends in order", host.text):
		assert host.stop() == [0]


def main():
	tap = Tap()
	tmp = Dir()
	dns = Dns(tmp, ZONE)
	host = MilterHost(tmp, "a", {"greylist": GREY + "; allowlists wl.example; auto-whitelist 5"}, None, MORE, dns=dns.server)
	identities(tap, host, host.text)
	exemptions(tap, host, host.text)
	with tap.case("it ends in order", host.text):
		assert host.stop() == [0]
	failures(tap, tmp, dns)
	tap.done()


if __name__ == "__main__":
	main()
