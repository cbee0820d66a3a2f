#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 300
"""greylist.when suspicious behind real mail servers, postern-greylist and postern-score in both
orders: clean mail passes at once, suspicious mail is deferred behind its final dot and passes
when it comes again."""
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import netns  # noqa: E402
import peers  # noqa: E402
import sink as sinks  # noqa: E402
from postern import Site  # noqa: E402
from proc import ROOT, Dir, wait_for  # noqa: E402
from smtp import Smtp  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402
from three_mtas import KINDS, Relay, snippet  # noqa: E402

HOSTS = {"192.0.2.10": "mx.sender.example"}
CLIENT, SENDER, RCPT = "192.0.2.10", "alice@sender.example", "ann@local.example"
SEVEN = "POSTERN-TEST-MAIL-WITH-SEVEN-POINTS\r\n"
CONF = """
run { host gate.example; runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; drain 2s }
dns { servers 127.0.0.1:53; timeout 1s; deadline 2s }
state { path "@dir@/state" }
greylist { socket "unix:@dir@/run/greylist.sock"; when suspicious; delay 1s; window 1h }
score { socket "unix:@dir@/run/score.sock"; tmp "@dir@/run"; workers 1; rules "@rules@" }
relay "gate" {
	listen 127.0.0.1:@gate@; spool "@dir@/spool/gate"; handoff session;
	relay-domains local.example; smarthost "[127.0.0.1]:@sink@"; error-delay 0;
%s}
"""
ORDERS = (("greylist", "score"), ("score", "greylist"))


def lines(kind, order):
	"""The shipped lines, with these two filters in this order."""
	if kind == "postfix":
		text = snippet("postfix/postern-main.cf")
		old = "smtpd_milters = unix:/run/postern/access.sock, unix:/run/postern/greylist.sock"
		assert old in text
		return text.replace(old, "smtpd_milters = " + ", ".join(f"unix:/run/postern/{m}.sock" for m in order))
	out, n = [], 0
	for line in snippet("sendmail/postern.m4").splitlines():
		if line.startswith("INPUT_MAIL_FILTER"):
			line = line.replace("access", "@").replace("greylist", "@").replace("@", order[n])
			n += 1
		out.append(line)
	assert n == 2
	return "\n".join(out) + "\n"


def start_mta(kind, order, site, sink):
	if kind == "postern-relay":
		return Relay(site)
	addr = ("127.0.0.1", site.port("peer"))
	server = peers.Postfix if kind == "postfix" else peers.Sendmail
	return server(site.dir, addr, sink.addr, snippet=lines(kind, order), hosts=HOSTS)


def start_site(order, sink):
	site = Site(Dir())
	site.names.update(sink=str(sink.port), dns="53", rules=str(ROOT / "policy/rules"))
	site.file("zone", "".join(
	    f"{'.'.join(reversed(a.split('.')))}.in-addr.arpa PTR {n}\n{n} A {a}\n" for a, n in HOSTS.items()))
	site.file("postern.conf", CONF % "".join(f'\tmilter "{m}" {{ socket "unix:@dir@/run/{m}.sock" }}\n' for m in order))
	site.dns()
	for name in order:
		site.milter(name)
		(site.dir / "run" / (name + ".sock")).chmod(0o666)
	return site


def send(addr, msgid, body):
	with Smtp(addr, 30, source=CLIENT) as c:
		assert c.greeting.code == 220, c.greeting
		c.ehlo("mx.sender.example")
		assert c.mail(SENDER).code == 250
		reply = c.rcpt(RCPT)
		if reply.code == 250:
			reply = c.data(f"From: <{SENDER}>\r\nTo: <{RCPT}>\r\nSubject: hello\r\nMessage-ID: <{msgid}>\r\n"
			    f"Date: Fri, 20 Nov 2026 10:00:00 +0000\r\n\r\n{body}")
		c.cmd("QUIT")
	return reply


def cases(tap, mta, order, sink, logs):
	name = f"{mta.kind}, {' before '.join(order)}"
	with tap.case(f"{name}: clean mail passes at once", logs):
		assert send(mta.addr, "clean@sender.example", "How are you?\r\n").code == 250
		assert b"X-Greylist" not in sink.take().data
	with tap.case(f"{name}: suspicious mail is deferred behind its dot, and nothing of it arrives", logs):
		r = send(mta.addr, "seven@sender.example", SEVEN)
		assert r.code == 451 and "4.7.1" in " ".join(r.lines) and "again in 1 seconds" in " ".join(r.lines), r
		assert not sink.messages
	begin = time.monotonic()
	wait_for("the delay", lambda: time.monotonic() - begin > 2)
	with tap.case(f"{name}: it passes when it comes again, marked", logs):
		assert send(mta.addr, "seven@sender.example", SEVEN).code == 250
		data = sink.take().data
		assert b"X-Greylist: delayed " in data and b"X-Spam-Flag: YES" in data and data.count(b"X-Greylist") == 1, data


def main():
	peers.fetch("postfix", "sendmail")
	try:
		netns.enter(HOSTS)
	except OSError as e:
		skip_all(e.strerror)
	tap = Tap()
	for kind in sys.argv[1:] or KINDS:
		for order in ORDERS:
			sink = sinks.Sink()
			site = start_site(order, sink)
			mta = None
			try:
				mta = start_mta(kind, order, site, sink)
				cases(tap, mta, order, sink, lambda: site.logs() + getattr(mta, "log", "")[-3000:])
			except Skip as e:
				tap.skip(f"{kind}, {order}", str(e))
			finally:
				if mta:
					mta.stop()
				site.stop_all()
				sink.close()
	tap.done()


if __name__ == "__main__":
	main()
