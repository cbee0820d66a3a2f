#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""opendkim behind our relay: it signs what passes, and the signature still verifies when the
message has left the relay; a second relay that asks a verifying opendkim says so itself."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import dkim  # noqa: E402
import milter  # noqa: E402
import netns  # noqa: E402
import peers  # noqa: E402
import sink as sinks  # noqa: E402
from postern import Site  # noqa: E402
from proc import Dir  # noqa: E402
from smtp import send_mail  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

CONF = """
run { host gate.example; log "@dir@/log/postern.log" }
dns { servers 127.0.0.1:@dns@; timeout 1s; deadline 2s }
relay "out" {
	listen 127.0.0.1:@out@; spool "@dir@/spool/out"; handoff queue;
	relay-clients 127.0.0.0/8; smarthost "[127.0.0.1]:@in@"; retry-min 1s; retry-max 2s;
	milter "sign" { socket "unix:@dir@/run/sign.sock"; on-failure tempfail }
}
relay "in" {
	listen 127.0.0.1:@in@; spool "@dir@/spool/in"; handoff session;
	relay-domains local.example; smarthost "[127.0.0.1]:@sink@";
	milter "verify" { socket "unix:@dir@/run/verify.sock"; on-failure tempfail }
}
"""
HEAD = b"From: Alice <alice@sender.example>\r\nTo: ann@local.example\r\nMessage-ID: <%d@sender.example>\r\n" \
    b"Date: Mon, 16 Nov 2026 10:00:00 +0000\r\n"
MESSAGES = {
	"plain": b"Subject: plain\r\n\r\nHello.\r\n",
	"no body": b"Subject: nothing\r\n\r\n",
	"folded headers, odd case": b"sUBJECT: folded\r\n over\r\n\t lines  \r\nX-Empty:\r\n\r\nx\r\n",
	"leading dots and blank lines at the end": b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\r\n\r\n",
	"8 bit": b"Subject: 8\r\n\r\ncaf\xc3\xa9 \xff\xfe\r\n",
	"200 kB": b"Subject: big\r\n\r\n" + b"all work and no play  \r\n" * 9000,
}


def authenticated(message):
	return [f for f in message.headers("Authentication-Results") if b"dkim=" in f]


def passes(tap, site, tmp, sink, logs):
	for n, (name, text) in enumerate(MESSAGES.items()):
		with tap.case(f"signed, relayed twice, verified: {name}", logs):
			r = send_mail(site.addr("out"), "alice@sender.example", ["ann@local.example"], HEAD % n + text)
			assert r["data"].code == 250, r
			got = sink.take()
			assert got.headers("DKIM-Signature"), got.data[:1000]
			assert any(b"dkim=pass" in f for f in authenticated(got)), got.data[:2000]
			edits = milter.play_message(tmp / "run/verify.sock", got.data)
			assert any(b"dkim=pass" in e for e in edits), edits
			changed = got.data.replace(b"Subject: ", b"Subject: X", 1).replace(b"sUBJECT: ", b"sUBJECT: X", 1)
			edits = milter.play_message(tmp / "run/verify.sock", changed)
			assert any(b"dkim=fail" in e for e in edits), edits


def main():
	peers.fetch("opendkim")
	try:
		netns.enter()
	except OSError as e:
		skip_all(e.strerror)
	tap = Tap()
	tmp = Dir()
	site = Site(tmp)
	key, record = dkim.make_key(tmp)
	sink = sinks.Sink()
	site.names["sink"] = str(sink.port)
	site.file("zone", "sender.example MX 10 mx.sender.example\n")
	site.file("postern.conf", CONF)
	try:
		with dkim.signer(tmp, key, tmp / "run/sign.sock") as signer, \
		    dkim.verifier(tmp, record, tmp / "run/verify.sock") as verifier:
			site.dns()
			site.relay("in")
			site.relay("out")
			passes(tap, site, tmp, sink, lambda: site.logs() + signer.log[-2000:] + verifier.log[-2000:])
			site.stop_all()
	except Skip as e:
		tap.skip("opendkim behind our relay", str(e))
	tap.done()


if __name__ == "__main__":
	main()
