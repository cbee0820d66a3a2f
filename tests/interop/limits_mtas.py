#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 200
"""Rates, recipients and penalties of postern-access under our relay, real Postfix and real
sendmail: what the client hears is the same.  Unknown recipients that Postfix refuses itself
are told to the milter, and count."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import netns  # noqa: E402
import peers  # noqa: E402
from three_mtas import HOSTS, KINDS, Relay, snippet  # noqa: E402
from postern import Site  # noqa: E402
from proc import Dir, wait_for  # noqa: E402
from sink import Sink  # noqa: E402
from smtp import Smtp  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

CONF = """
run { host gate.example; runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; drain 2s }
dns { servers 127.0.0.1:53; timeout 1s; deadline 2s }
state { path "@dir@/state" }
greylist { socket "unix:@dir@/run/greylist.sock"; when never }
access {
	socket "unix:@dir@/run/access.sock"; maps "@dir@/etc/access"; refuse mail; spf off;
	rate "senders" { per sender; messages 2 in 1h }
	rate "places"  { per network; at-once 2 }
	recipients "staff" { domains local.example; maps "@dir@/etc/rcpts"; call-ahead 127.0.0.1:@inner@; deadline 3s }
	penalty harvest { after 3 in 1h }
}
relay "gate" {
	listen 127.0.0.1:@gate@; spool "@dir@/spool/gate"; handoff session;
	relay-domains local.example; smarthost "[127.0.0.1]:@sink@"; error-delay 0;
	milter "access" { socket "unix:@dir@/run/access.sock" }
}
"""
ACCESS = "ClientRate:192.0.2.30\t2\n"
A, B, C3 = "192.0.2.10", "198.51.100.66", "192.0.2.30"
HARVESTER = "203.0.113.99"


def start_mta(kind, site, sink):
	if kind == "postern-relay":
		return Relay(site)
	addr = ("127.0.0.1", site.port("peer"))
	if kind == "postfix":
		more = snippet("postfix/postern-main.cf") + "\nrelay_recipient_maps = inline:{ann@local.example=x " \
		    "carl@local.example=x typo@local.example=x}\n"
		return peers.Postfix(site.dir, addr, sink.addr, snippet=more, hosts=HOSTS)
	return peers.Sendmail(site.dir, addr, sink.addr, snippet=snippet("sendmail/postern.m4"), hosts=HOSTS)


def begin(mta, client):
	c = Smtp(mta.addr, 30, source=client)
	if c.greeting.code == 220:
		c.ehlo(HOSTS[client])
	return c


def mail(mta, client, sender):
	with begin(mta, client) as c:
		return c.mail(sender) if c.greeting.code == 220 else c.greeting


def rows(tap, mta, sink, logs):
	def case(name):
		return tap.case(f"{mta.kind}: {name}", logs)

	with case("a recipient of the map, one of the server within, and nobody"), begin(mta, A) as c:
		assert c.mail("a@sender.example").code == 250
		assert c.rcpt("ann@local.example").code == 250
		assert c.rcpt("carl@local.example").code == 250
		r = c.rcpt("typo@local.example")
		assert r.code == 550 and r.enhanced == "5.1.1" and "look at its spelling" in r.text, r
		assert c.data(b"Subject: x\r\n\r\nx\r\n").code == 250
		got = sink.wait()[0]
		assert sorted(got.recipients) == ["ann@local.example", "carl@local.example"], got.recipients
	with case("messages of a sender: the third is too much"):
		assert [mail(mta, A, "much@sender.example").code for _ in range(2)] == [250, 250]
		r = mail(mta, A, "much@sender.example")
		assert r.code == 451 and "Too many messages from this sender" in r.text, r
	with case("ClientRate: the third connection of a minute hears 421"):
		assert [mail(mta, C3, f"a{i}@sender.example").code for i in range(2)] == [250, 250]
		r = mail(mta, C3, "b@sender.example")
		assert r.code == 421 and "Connection rate limit exceeded" in r.text, r
	with case("two connections of a network at a time"), begin(mta, B) as one, begin(mta, B) as two:
		assert one.mail("p1@sender.example").code == 250 and two.mail("p2@sender.example").code == 250
		r = mail(mta, B, "p3@sender.example")
		assert r.code == 421 and "Too many connections at once" in r.text, r
	with case("... and when one leaves there is room"), begin(mta, B) as one:
		wait_for("room", lambda: mail(mta, B, "").code == 250)
	with case("unknown recipients, whoever refuses them: the network is refused for a while"):
		with begin(mta, HARVESTER) as c:
			assert c.mail("h@sender.example").code == 250
			for i in range(3):
				r = c.rcpt(f"typo{i}@local.example")
				assert r.code == 550 and r.enhanced == "5.1.1", r
				# Postfix knows typo@ alone; the others ask the milter
				assert ("look at its spelling" in r.text) == (mta.kind != "postfix"), r
		r = mail(mta, HARVESTER, "again@sender.example")
		assert r.code == 421 and "addresses that nobody has" in r.text, r


def with_mta(tap, kind):
	sink = Sink()
	inner = Sink(lambda stage, s: "550 5.1.1 who" if stage == "rcpt" and "carl" not in s.pending else None)
	site = Site(Dir())
	site.names.update(sink=str(sink.port), inner=str(inner.port), dns="53")
	site.file("access", ACCESS)
	site.file("rcpts", "ann@local.example OK\n")
	site.file("zone", "".join(
	    f"{'.'.join(reversed(a.split('.')))}.in-addr.arpa PTR {n}\n{n} A {a}\n" for a, n in HOSTS.items()))
	site.file("postern.conf", CONF)
	mta = None
	try:
		site.dns()
		for name in ("access", "greylist"):
			site.milter(name)
			(site.dir / "run" / (name + ".sock")).chmod(0o666)
		mta = start_mta(kind, site, sink)
		rows(tap, mta, sink, lambda: site.logs() + getattr(mta, "log", "")[-3000:])
	except Skip as e:
		tap.skip(kind, str(e))
	except Exception as e:
		tap.ok(False, f"{kind} starts", f"{e}\n{site.logs()}")
	finally:
		if mta:
			mta.stop()
		site.stop_all()
		sink.close()
		inner.close()


def main():
	peers.fetch("postfix", "sendmail")
	try:
		netns.enter(HOSTS)
	except OSError as e:
		skip_all(e.strerror)
	tap = Tap()
	for kind in sys.argv[1:] or KINDS:
		with_mta(tap, kind)
	tap.done()


if __name__ == "__main__":
	main()
