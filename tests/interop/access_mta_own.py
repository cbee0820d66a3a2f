#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 120
"""What each MTA says itself beside postern-access: postern-access(5), "What no milter can
see", held against our relay, real Postfix and real sendmail, word for word where it names
codes.  A row that fails here is a sentence of that page that is not true (any more).
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import netns  # noqa: E402
import peers  # noqa: E402
import sink as sinks  # noqa: E402
from three_mtas import HOSTS, KINDS, Relay, snippet  # noqa: E402
from postern import Site  # noqa: E402
from proc import Dir  # noqa: E402
from smtp import Smtp  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

CONF = """
run { host gate.example; runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; drain 2s }
dns { servers 127.0.0.1:53; timeout 1s; deadline 2s }
state { path "@dir@/state" }
greylist { socket "unix:@dir@/run/greylist.sock"; when never }
access { socket "unix:@dir@/run/access.sock"; maps "@dir@/etc/access"; blocklist-recipients on; spf off }
relay "gate" {
	listen 127.0.0.1:@gate@; spool "@dir@/spool/gate"; handoff session;
	relay-domains local.example; smarthost "[127.0.0.1]:@sink@"; error-delay 0;
	milter "access" { socket "unix:@dir@/run/access.sock"; on-failure tempfail }
}
"""
CODES = [450, 451, 452, 550, 551, 552, 553, 554]
ADDRESSED = (450, 550, 553)        # the codes before whose text sendmail puts the address
ACCESS = """Connect:198.51.100.66	ERROR:5.7.1:554 words for the host
Connect:198.51.100.67	ERROR:4.7.1:421 words for the host
To:ghost@home.example	ERROR:5.1.1:550 words of the map
""" + "".join(f"From:c{c}.example\tERROR:{c // 100}.7.1:{c} words\nTo:c{c}@local.example\tERROR:{c // 100}.7.1:{c} words\n"
    for c in CODES)
POSTFIX = "\nmydestination = home.example\nlocal_recipient_maps = inline:{{ann = x}}\n"
HOME = "LOCAL_DOMAIN(`home.example')dnl\n"
STRICT = HOME + "undefine(`_ACCEPT_UNRESOLVABLE_DOMAINS_')dnl\nundefine(`_ACCEPT_UNQUALIFIED_SENDERS_')dnl\n"
STRANGER, GOOD = "192.0.2.10", "<alice@sender.example>"
# what is typed; for each MTA code, enhanced code and words of the reply
SYNTAX = [
	("MAIL", "<u@>", "501 5.1.7", "501 5.1.7", "553 5.1.3"),
	("MAIL", "<@d.example>", "501 5.1.7", "553 5.1.3 User address required", "553 5.1.3"),
	("MAIL", "<u@@d.example>", "501 5.1.7", "553 5.1.3 Invalid route address", "553 5.1.3"),
	("MAIL", "<a@b@d.example>", "501 5.1.7", "553 5.1.3 Invalid route address", "553 5.1.3"),
	("MAIL", "<u@d..example>", "501 5.1.7", "501 5.1.7", "553 5.1.2"),
	("RCPT", "<u@>", "501 5.1.3", "501 5.1.3", "553 5.1.3"),
	("RCPT", "<@local.example>", "501 5.1.3", "553 5.1.3 User address required", "553 5.1.3"),
	("RCPT", "<a@b@local.example>", "501 5.1.3", "554 5.7.1", "553 5.1.3"),
	("RCPT", "<u@d..example>", "501 5.1.3", "501 5.1.3", "553 5.1.2"),
	("RCPT", "<u@[1.2.3]>", "501 5.1.3", "501 5.1.3", "550 5.7.1"),
	# without a domain: the sender's host or a local user
	("MAIL", "<u>", "553 5.1.7", "250 2.1.0", "250 2.1.0"),
	("RCPT", "<nosuchuser>", "553 5.1.3", "554 5.7.1", "550 5.1.1"),
	# relaying
	("RCPT", "<x@foreign.example>", "550 5.7.1 relaying denied", "554 5.7.1", "550 5.7.1"),
	("RCPT", "<u%foreign.example@local.example>", "550 5.7.1 relaying denied", "554 5.7.1", "550 5.7.1"),
]
# users of a domain that the MTA delivers itself; our relay has none
LOCAL = [
	("RCPT", "<nosuchuser@home.example>", "550 5.7.1", "550 5.1.1 User unknown", "550 5.1.1 User unknown"),
	("RCPT", "<ghost@home.example>", "550 5.7.1", "550 5.1.1 User unknown", "550 5.1.1 User unknown"),
	("RCPT", "<ann@home.example>", "550 5.7.1", "250 2.1.5", "250 2.1.5"),
]


class LocalUsers(peers.Sendmail):
	"""One that knows who is local: without an aliases file it cannot say."""
	def start(self, argv):
		mc = self.over / "etc/mail/sendmail.mc"
		mc.write_text(mc.read_text().replace("ALIAS_FILE', `'", "ALIAS_FILE', `/etc/mail/aliases'"))
		self.file("etc/mail/aliases", "ann: root\n")
		begin = "&& exec /usr/libexec/sendmail/sendmail "
		assert begin in argv[-1], argv
		super().start([*argv[:-1], argv[-1].replace(begin, "&& /usr/libexec/sendmail/sendmail "
		    "-bi -C/etc/mail/sendmail.cf " + begin)])


def start_mta(kind, site, sink, m4=HOME):
	if kind == "postern-relay":
		return Relay(site)
	addr = ("127.0.0.1", site.port("peer"))
	milter = snippet("postfix/postern-main.cf" if kind == "postfix" else "sendmail/postern.m4")
	if kind == "postfix":
		return peers.Postfix(site.dir, addr, sink.addr, snippet=milter + POSTFIX, hosts=HOSTS)
	return LocalUsers(site.dir, addr, sink.addr, snippet=milter + m4, hosts=HOSTS)


def ask(mta, *commands, client=STRANGER):
	"""The reply to the last of them."""
	with Smtp(mta.addr, 30, source=client) as c:
		assert c.greeting.code == 220, c.greeting
		c.ehlo("mx.sender.example")
		for command in commands:
			reply = c.cmd(command)
		return " ".join(f"{reply.code} {' '.join(reply.lines)}".split())


def typed(mta, verb, address):
	if verb == "MAIL":
		return ask(mta, "MAIL FROM:" + address)
	return ask(mta, "MAIL FROM:" + GOOD, "RCPT TO:" + address)


def rows(tap, mta, table, logs):
	for verb, address, *wanted in table:
		want = wanted[KINDS.index(mta.kind)]
		with tap.case(f"{mta.kind}: {verb} {address}: {want}", logs):
			reply = typed(mta, verb, address)
			assert reply.startswith(want[:9]) and want[9:] in reply, reply


def address_of_reply(tap, mta, logs):
	for code in CODES:
		for verb, address in (("MAIL", f"<u@c{code}.example>"), ("RCPT", f"<c{code}@local.example>")):
			front = f"{address}... " if mta.kind == "sendmail" and code in ADDRESSED else ""
			with tap.case(f"{mta.kind}: the map's {code} to {verb}: {front or 'no address'}", logs):
				reply = typed(mta, verb, address)
				assert reply == f"{code} {code // 100}.7.1 {front}words", reply


def connect(tap, mta, logs):
	for client, want in (("198.51.100.66", "554 5.7.1 words for the host"), ("198.51.100.67", "421 4.7.1 words for the host")):
		with tap.case(f"{mta.kind}: a refusal at connect is said to MAIL: {want[:9]}", logs):
			reply = ask(mta, "MAIL FROM:" + GOOD, client=client)
			assert reply == want, reply


def strict(tap, mta, logs):
	"""Senders that sendmail judges itself when it is not told to leave them."""
	for address, want in (("<u>", "553 5.5.4 <u>... Domain name required for sender address u"),
	    ("<u@nosuch.invalid>", "553 5.1.8 <u@nosuch.invalid>... Domain of sender address u@nosuch.invalid does not exist")):
		with tap.case(f"sendmail: MAIL {address}: {want[:9]}", logs):
			reply = typed(mta, "MAIL", address)
			assert reply == want, reply


def with_mta(tap, kind, play, m4=HOME):
	sink = sinks.Sink()
	site = Site(Dir())
	site.names.update(sink=str(sink.port), dns="53")
	site.file("access", ACCESS)
	site.file("zone", "".join(f"{'.'.join(reversed(a.split('.')))}.in-addr.arpa PTR {n}\n{n} A {a}\n"
	    for a, n in HOSTS.items()))
	site.file("postern.conf", CONF)
	mta = None
	try:
		site.dns()
		for name in ("access", "greylist"):
			site.milter(name)
			(site.dir / "run" / (name + ".sock")).chmod(0o666)
		mta = start_mta(kind, site, sink, m4)
		play(mta, lambda: site.logs() + getattr(mta, "log", "")[-3000:])
	except Skip as e:
		tap.skip(kind, str(e))
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

	def play(mta, logs):
		rows(tap, mta, SYNTAX + LOCAL, logs)
		address_of_reply(tap, mta, logs)
		connect(tap, mta, logs)

	for kind in sys.argv[1:] or KINDS:
		with_mta(tap, kind, play)
	if not sys.argv[1:] or "sendmail" in sys.argv[1:]:
		with_mta(tap, "sendmail", lambda mta, logs: strict(tap, mta, logs), STRICT)
	tap.done()


if __name__ == "__main__":
	main()
