#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The same envelopes through our relay, real Postfix and real sendmail, each with both
milters attached by the shipped lines of contrib/: one table, three MTAs, the same verdicts.

Clients come from addresses of their own in a network namespace, because sendmail knows no
XCLIENT.  Every MTA gets fresh milters with empty state.
"""
import os
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import netns  # noqa: E402
import peers  # noqa: E402
import sink as sinks  # noqa: E402
from postern import Site  # noqa: E402
from proc import ROOT, Dir, wait_for  # noqa: E402
from smtp import Smtp  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

DELAY = 1
CONF = """
run { host gate.example; runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; drain 2s }
dns { servers 127.0.0.1:53; timeout 1s; deadline 2s }
state { path "@dir@/state" }
greylist { socket "unix:@dir@/run/greylist.sock"; delay 1s; window 1h }
access { socket "unix:@dir@/run/access.sock"; maps "@dir@/etc/access"; delay-checks %s; blocklist-recipients on; refuse mail; %s
	dnsbl "bl.example" { codes 127.0.0.2; text "%%a is listed by bl.example: %%t" } }
policy "open" { recipient open@local.example; greylist.when never }
relay "gate" {
	listen 127.0.0.1:@gate@; spool "@dir@/spool/gate"; handoff session;
	relay-domains local.example; smarthost "[127.0.0.1]:@sink@"; error-delay 0;
	milter "access"   { socket "unix:@dir@/run/access.sock";   on-failure tempfail }
	milter "greylist" { socket "unix:@dir@/run/greylist.sock"; on-failure tempfail }
}
"""
ACCESS = """
From:bad.example		REJECT
From:junk@mixed.example		ERROR:5.7.1:550 we have heard enough from you
From:later.example		ERROR:4.7.1:451 come back in an hour
From:void.example		DISCARD
Connect:203.0.113.99		ERROR:5.7.1:554 your host has been refused
Connect:203.0.113.98		REJECT
Spam:friend@local.example	FRIEND
To:nobody@local.example		ERROR:5.1.1:550 there is nobody of this name
"""
ZONE = """
bl.example SOA 60 ns.bl.example 30
66.100.51.198.bl.example A 127.0.0.2
66.100.51.198.bl.example TXT "sent junk"
67.100.51.198.bl.example A 127.255.255.254
2.0.0.127.bl.example A 127.0.0.2
null.example MX 0 .
"""
HOSTS = {"192.0.2.10": "mx.sender.example", "192.0.2.20": "mx.bad.example", "192.0.2.30": "mx.third.example",
    "198.51.100.66": "listed.example", "198.51.100.67": "asks.example", "203.0.113.99": "h99.example",
    "203.0.113.98": "h98.example"}

A, B, C3 = "192.0.2.10", "192.0.2.20", "192.0.2.30"
ALICE, ANN, OPEN, FRIEND = "alice@sender.example", "ann@local.example", "open@local.example", "friend@local.example"
# name, client, sender, recipients, codes of RCPT, code at the end (None: no DATA), arrivals,
# words that the deciding reply holds
CASES = [
	("a stranger's first mail is deferred", A, ALICE, [ANN], [451], None, 0, "4.7.1"),
	("WAIT",),
	("the same again passes", A, ALICE, [ANN], [250], 250, 1, ""),
	("the triple's second mail passes at once", A, ALICE, [ANN], [250], 250, 1, ""),
	("a policy spares a recipient", B, "new@sender.example", [OPEN], [250], 250, 1, ""),
	("From: REJECT", B, "x@bad.example", [OPEN], [550], None, 0, "5.7.1"),
	("From: REJECT of a subdomain", B, "x@sub.bad.example", [OPEN], [550], None, 0, "5.7.1"),
	("From: ERROR: with text", B, "junk@mixed.example", [OPEN], [550], None, 0, "we have heard enough from you"),
	("From: ERROR: for now", B, "x@later.example", [OPEN], [451], None, 0, "come back in an hour"),
	("From: DISCARD", B, "x@void.example", [OPEN], [250], 250, 0, ""),
	("To: ERROR:", B, "new@sender.example", ["nobody@local.example"], [550], None, 0, "there is nobody of this name"),
	("Connect: ERROR:", "203.0.113.99", "new@sender.example", [OPEN], [554], None, 0, "your host has been refused"),
	("Connect: REJECT", "203.0.113.98", "new@sender.example", [OPEN], [550], None, 0, "5.7.1"),
	("a DNS list's client, with the list's words", "198.51.100.66", "new@sender.example", [OPEN], [550], None, 0,
	    "198.51.100.66 is listed by bl.example: sent junk"),
	("a DNS list's complaint is no listing", "198.51.100.67", "new@sender.example", [OPEN], [250], 250, 1, ""),
	("a sender whose domain takes no mail", B, "x@null.example", [OPEN], [550], None, 0, "5.7.27"),
	("its mail to postmaster passes", B, "x@null.example", ["postmaster@local.example"], [451], None, 0, "4.7.1"),
	("a friend takes mail from a refused sender", B, "x@bad.example", [FRIEND], [451], None, 0, "4.7.1"),
	("a friend takes mail from a listed client", "198.51.100.66", "x@sender.example", [FRIEND], [451], None, 0, "4.7.1"),
	("three recipients, three fates", A, ALICE, [ANN, "nobody@local.example", "bob@local.example"],
	    [250, 550, 451], 250, 1, ""),
	("all recipients refused", B, "x@bad.example", [OPEN, ANN], [550, 550], None, 0, "5.7.1"),
	("a null sender is deferred behind DATA", C3, "", [ANN], [250], 451, 0, "4.7.1"),
	("WAIT",),
	("the null sender's retry passes", C3, "", [ANN], [250], 250, 1, ""),
	("quoted and odd-case addresses", B, '"al ice"@Sender.Example', ["OPEN@Local.Example"], [250], 250, 1, ""),
	("relaying is the MTA's own refusal", A, ALICE, ["x@foreign.example"], [(550, 554)], None, 0, "5.7.1"),
	("a friend's waiting is over as well", B, "x@bad.example", [FRIEND], [250], 250, 1, ""),
]
KINDS = ("postern-relay", "postfix", "sendmail")
# with delay-checks off the client is refused as soon as it is known
EARLY = [
	("Connect: ERROR: at once", "203.0.113.99", 554, "x.example"),
	("Connect: REJECT at once", "203.0.113.98", (550, 554), "x.example"),
	("a DNS list's client at once", "198.51.100.66", (550, 554), "x.example"),
	("HELO in our name at once", B, 550, "gate.example"),
	("nothing against it", B, 250, "x.example"),
]
PAUSE = 0.59            # the greeting waits, see below


class Relay:
	"""Our own, behind the same face as the peers."""
	kind = "postern-relay"

	def __init__(self, site):
		self.site = site
		self.addr = site.addr("gate")
		site.relay("gate")

	def stop(self):
		pass              # with the site


def snippet(path):
	return (ROOT / "contrib" / path).read_text()


def start_mta(kind, site, sink):
	if kind == "postern-relay":
		return Relay(site)
	addr = ("127.0.0.1", site.port("peer"))
	if kind == "postfix":
		return peers.Postfix(site.dir, addr, sink.addr, snippet=snippet("postfix/postern-main.cf"), hosts=HOSTS)
	return peers.Sendmail(site.dir, addr, sink.addr, snippet=snippet("sendmail/postern.m4"), hosts=HOSTS)


def dialogue(addr, client, sender, rcpts, msgid):
	"""The codes of RCPT, the code of the end, the deciding reply."""
	with Smtp(addr, 30, source=client) as c:
		assert c.greeting.code == 220, c.greeting
		c.ehlo(HOSTS.get(client, "client.example"))
		mail = c.mail(sender)
		assert mail.code == 250, mail
		replies = [c.rcpt(r) for r in rcpts]
		end = None
		if any(r.code == 250 for r in replies):
			end = c.data(f"From: <a@sender.example>\r\nSubject: x\r\nMessage-ID: <{msgid}>\r\n\r\nbody\r\n")
		c.cmd("QUIT")
	return replies, end


def right(code, wanted):
	return code in wanted if isinstance(wanted, tuple) else code == wanted


def play(case, mta, sink, serial):
	name, client, sender, rcpts, codes, end_code, arrivals, words = case
	msgid = f"{serial}.{re.sub('[^a-z]', '', name)}@sender.example"
	replies, end = dialogue(mta.addr, client, sender, rcpts, msgid)
	seen = ([r.code for r in replies], end.code if end else None)
	assert all(right(s, w) for s, w in zip(seen[0], codes)) and seen[1] == end_code, (replies, end)
	decided = end or replies[-1]
	assert words in " ".join(decided.lines), decided
	enhanced = [r.enhanced for r in replies if r.code >= 400]
	assert all(e.startswith(str(r.code)[0]) for e, r in zip(enhanced, [r for r in replies if r.code >= 400])), replies
	for _ in range(arrivals):
		got = sink.take()
		assert msgid.encode() in got.data, got.data
		wanted = [r.lower() for r, reply in zip(rcpts, replies) if reply.code == 250]
		assert [r.lower() for r in got.recipients] == wanted and got.body == b"body\r\n", (got.recipients, got.data)
	assert not sink.messages, [m.data for m in sink.messages]


def killed_worker(mta, site, sink):
	"""kill -9 of the worker between MAIL and RCPT: 4xx, then the next mail passes."""
	with Smtp(mta.addr, 30, source=A) as c:
		c.ehlo("mx.sender.example")
		c.mail(ALICE)
		daemon = site.procs["greylist"]
		worker = wait_for("a worker", daemon.children)[0]
		os.kill(worker, signal.SIGKILL)
		wait_for("the next worker", lambda: [k for k in daemon.children() if k != worker])
		r = c.rcpt(ANN)
		assert 400 <= r.code < 500, r
	replies, end = dialogue(mta.addr, A, ALICE, [ANN], "after.kill@sender.example")
	assert end and end.code == 250, (replies, end)
	assert b"after.kill@" in sink.take().data


def start_site(tmp, sink, delay_checks, extra):
	site = Site(tmp)
	site.names["sink"] = str(sink.port)
	site.names["dns"] = "53"
	site.file("access", ACCESS)
	site.file("zone", ZONE + "".join(
	    f"{'.'.join(reversed(a.split('.')))}.in-addr.arpa PTR {n}\n{n} A {a}\n" for a, n in HOSTS.items()))
	site.file("postern.conf", CONF % (delay_checks, extra))
	site.dns()
	for name in ("access", "greylist"):
		site.milter(name)
		(site.dir / "run" / (name + ".sock")).chmod(0o666)
	return site


def with_mta(tap, kind, delay_checks, extra, cases):
	sink = sinks.Sink()
	site = start_site(Dir(), sink, delay_checks, extra)
	mta = None
	try:
		mta = start_mta(kind, site, sink)
		cases(mta, site, sink, lambda: site.logs() + getattr(mta, "log", "")[-3000:])
	except Skip as e:
		tap.skip(f"{kind}, delay-checks {delay_checks}", str(e))
	except Exception as e:
		tap.ok(False, f"{kind} starts", f"{e}\n{site.logs()}")
	finally:
		if mta:
			mta.stop()
		site.stop_all()
		sink.close()


def main():
	peers.fetch("postfix", "sendmail")
	try:
		netns.enter(HOSTS)
	except OSError as e:
		skip_all(e.strerror)
	tap = Tap()
	for kind in sys.argv[1:] or KINDS:
		def table(mta, site, sink, logs):
			for serial, case in enumerate(CASES):
				if case == ("WAIT",):
					begin = time.monotonic()
					wait_for("the greylist delay", lambda: time.monotonic() - begin > DELAY + 1)
					continue
				with tap.case(f"{mta.kind}: {case[0]}", logs):
					play(case, mta, sink, serial)
				sink.messages.clear()
			with tap.case(f"{mta.kind}: milter worker killed at RCPT", logs):
				killed_worker(mta, site, sink)

		def early(mta, site, sink, logs):
			for name, client, code, helo in EARLY:
				begin = time.monotonic()
				with tap.case(f"{mta.kind}: {name}", logs), Smtp(mta.addr, 30, source=client) as c:
					took = time.monotonic() - begin
					replies = [c.greeting]
					if c.greeting.code == 220:
						replies += [c.ehlo(helo), c.mail(ALICE)]
					assert right(replies[-1].code, code), replies
					assert took >= PAUSE, took

		with_mta(tap, kind, "friend", "", table)
		with_mta(tap, kind, "off", "helo-forged reject; greeting-pause 600ms;", early)
	tap.done()


if __name__ == "__main__":
	main()
