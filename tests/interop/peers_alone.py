#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The real servers work here at all: each takes a mail by SMTP and hands it to a sink."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import dkim  # noqa: E402
import milter  # noqa: E402
import netns  # noqa: E402
import peers  # noqa: E402
import sink as sinks  # noqa: E402
import smtp  # noqa: E402
from proc import Dir  # noqa: E402
from tap import Tap, skip_all  # noqa: E402

MESSAGE = b"From: <a@sender.example>\r\nSubject: through\r\nMessage-ID: <1@sender.example>\r\n\r\n.dot\r\nend\r\n"


def passes(server, sink):
	r = smtp.send_mail(server.addr, "a@sender.example", ["b@local.example"], MESSAGE, source="192.0.2.1")
	assert r.get("data") and r["data"].code == 250, r
	got = sink.take(20)
	assert got.sender == "a@sender.example" and got.recipients == ["b@local.example"]
	assert got.body == b".dot\r\nend\r\n", got.data
	r = smtp.send_mail(server.addr, "a@sender.example", ["b@foreign.example"], MESSAGE, source="192.0.2.1")
	assert r["rcpt"][0].code in (550, 554), r


def signs_and_verifies():
	tmp = Dir()
	key, record = dkim.make_key(tmp)
	with dkim.signer(tmp, key, tmp / "sign.sock"), dkim.verifier(tmp, record, tmp / "verify.sock"):
		edits = milter.play_message(tmp / "sign.sock", MESSAGE)
		added = [e for e in edits if e[:1] in b"hi" and b"DKIM-Signature" in e]
		assert len(added) == 1 and edits[-1] in (b"c", b"a"), edits
		value = added[0].split(b"\0")[-2].replace(b"\n", b"\r\n")
		signed = b"DKIM-Signature:" + (b" " if value[:1] not in b" \t" else b"") + value + b"\r\n" + MESSAGE
		for message, wanted in ((signed, b"dkim=pass"), (signed.replace(b"end", b"END"), b"dkim=fail")):
			edits = milter.play_message(tmp / "verify.sock", message)
			assert any(b"Authentication-Results" in e and wanted in e for e in edits), (wanted, edits)


def main():
	peers.fetch("postfix", "sendmail", "opendkim")
	try:
		netns.enter(["192.0.2.1"])
	except OSError as e:
		skip_all(e.strerror)
	tap = Tap()
	for kind, port in ((peers.Postfix, 2501), (peers.Sendmail, 2502)):
		server = None
		with tap.case(f"{kind.kind} relays a mail and refuses a stranger's", lambda: server.log if server else ""):
			with sinks.Sink() as sink, kind(Dir(), ("127.0.0.1", port), sink.addr,
			    hosts={"192.0.2.1": "mx.sender.example"}) as server:
				passes(server, sink)
	with tap.case("opendkim signs, a second one verifies and notices a change"):
		signs_and_verifies()
	tap.done()


if __name__ == "__main__":
	main()
