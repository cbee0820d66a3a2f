#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""postern-access as a whole: the scripted mail server's end of the milter protocol, a DNS
server with faults, maps and policies.  Replies, what happens at the end of a message, the
log, reload of maps and settings, bad maps at start."""
import re
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import milter  # noqa: E402
from postern import Site  # noqa: E402
from proc import BUILD, SLOWER, Dir, run, wait_for  # noqa: E402
from tap import Tap  # noqa: E402

ZONE = """
bl.example SOA 60 ns.bl.example 30
9.113.0.203.bl.example A 127.0.0.2
9.113.0.203.bl.example TXT "seen at the trap, https://bl.example/?203.0.113.9"
10.113.0.203.bl.example A 127.0.0.9
11.113.0.203.bl.example A 127.255.255.254
12.113.0.203.bl.example fault drop
13.113.0.203.bl.example A 127.0.0.2
13.113.0.203.bl.example fault delay 300
20.113.0.203.bl.example A 127.0.0.2
"""

MAP = """# the site's access file
From:bad.example\tREJECT
From:later@slow.example\tERROR:4.2.1:450 come back tomorrow
From:drop.example\tDISCARD
From:hold.example\tQUARANTINE:a closer look
From:friend.example\tOK
Connect:192.0.2\tERROR:5.7.1:550 not from there
Connect:203.0.113.20\tOK
Connect:198.51.100.66\tDISCARD
To:gone@local.example\tERROR:5.1.6:550 has left us
To:quiet@\tERROR:550 keep quiet
To:hole@local.example\tDISCARD
Spam:friend@local.example\tFRIEND
TLS_Srv:mx.example\tVERIFY
"""

CONF = """
run   { host gate.example; log stderr; drain 3s }
dns   { servers 127.0.0.1:@dns@; timeout 500ms; deadline 2s }
access {
	socket "unix:@dir@/run/access.sock";
	maps "@dir@/etc/map";
	delay-checks DELAY;
	refuse mail;
	blocklist-recipients on;
	dnsbl-deadline 1s;
	spf off;
	dnsbl "bl.example" { codes 127.0.0.2; text "%a is listed: %t" }
}
policy "inside" { client 203.0.113.9/32; recipient sysop@local.example; mode observe }
policy "trusted" { client 10.0.0.0/8; access.dnsbl off }
EXTRA
"""


class Session:
	"""One connection; each step returns the reply as text, '' for continue."""
	def __init__(self, site, client, name=None, auth=None):
		self.m = milter.Mta(str(site.dir / "run/access.sock"), 20)
		self.m.negotiate()
		self.m.macros("C", j="gate.example", client_addr=client, client_name=name or f"[{client}]",
		    client_resolve="OK" if name else "FAIL")
		self.auth = auth
		assert self.m.connect(name or f"[{client}]", client) in ([b"c"], [])
		assert self.m.helo("mx.sender.example") in ([b"c"], [])

	@staticmethod
	def text(packets):
		if packets in ([], [b"c"]):
			return ""
		last = packets[-1]
		return last[1:].rstrip(b"\0").decode() if last[:1] == b"y" else last.decode(errors="replace")

	def mail(self, sender):
		self.m.macros("M", i="Q1", **({"auth_authen": self.auth, "auth_type": "PLAIN"} if self.auth else {}))
		return self.text(self.m.mail(sender))

	def rcpt(self, rcpt, mailer="local"):
		self.m.macros("R", i="Q1", rcpt_mailer=mailer)
		return self.text(self.m.rcpt(rcpt))

	def end(self):
		self.m.data()
		self.m.header("Subject", "test")
		self.m.eoh()
		self.m.macros("E", i="Q1")
		return [p[:1] + p[1:].rstrip(b"\0") for p in self.m.eom()]

	def __enter__(self):
		return self

	def __exit__(self, *exc):
		self.m.close()


def configure(site, delay, extra=""):
	site.file("map", MAP)
	site.file("zone", ZONE)
	site.file("postern.conf", CONF.replace("DELAY", delay).replace("EXTRA", extra))


# client, confirmed name, authenticated user, sender, recipient, what MAIL says, what RCPT says
AT_ONCE = [
	("plain", "198.51.100.1", None, None, "a@ok.example", "u@local.example", "", ""),
	("sender", "198.51.100.1", None, None, "a@sub.bad.example", "u@local.example",
	    "550 5.7.1 Access denied", None),
	("tempfail", "198.51.100.1", None, None, "later@slow.example", "u@local.example",
	    "450 4.2.1 come back tomorrow", None),
	("client by network", "192.0.2.7", None, None, "a@ok.example", "u@local.example",
	    "550 5.7.1 not from there", None),
	("recipient", "198.51.100.1", None, None, "a@ok.example", "gone@local.example", "",
	    "550 5.1.6 has left us"),
	("user@ of our domain", "198.51.100.1", None, None, "a@ok.example", "quiet@local.example", "",
	    "550 5.0.0 keep quiet"),
	("listed", "203.0.113.9", None, None, "a@ok.example", "u@local.example",
	    "550 5.7.1 203.0.113.9 is listed: seen at the trap, https://bl.example/?203.0.113.9", None),
	("listed, without words", "203.0.113.13", None, None, "a@ok.example", "u@local.example",
	    "550 5.7.1 203.0.113.13 is listed: listed at bl.example", None),
	("another code of the list", "203.0.113.10", None, None, "a@ok.example", "u@local.example", "", ""),
	("the list refuses us", "203.0.113.11", None, None, "a@ok.example", "u@local.example", "", ""),
	("the list is silent", "203.0.113.12", None, None, "a@ok.example", "u@local.example", "", ""),
	("listed, but Connect: OK", "203.0.113.20", None, None, "a@ok.example", "u@local.example", "", ""),
	("listed, but authenticated", "203.0.113.9", None, "joe", "a@ok.example", "u@local.example", "", ""),
	("local client", "127.0.0.1", "localhost", None, "a@ok.example", "u@local.example", "", ""),
	("IPv6", "2001:db8::9", None, None, "a@ok.example", "u@local.example", "", ""),
]

DELAYED = [
	("sender", "198.51.100.1", None, None, "a@bad.example", "u@local.example", "", "550 5.7.1 Access denied"),
	("sender, to a friend", "198.51.100.1", None, None, "a@bad.example", "friend@local.example", "", ""),
	("client", "192.0.2.7", None, None, "a@ok.example", "u@local.example", "", "550 5.7.1 not from there"),
	("client, sender is OK", "192.0.2.7", None, None, "a@friend.example", "u@local.example", "", ""),
	("listed", "203.0.113.9", None, None, "a@ok.example", "u@local.example", "",
	    "550 5.7.1 203.0.113.9 is listed: seen at the trap, https://bl.example/?203.0.113.9"),
	("listed, to a friend", "203.0.113.9", None, None, "a@ok.example", "friend@local.example", "", ""),
	("listed, observed", "203.0.113.9", None, None, "a@ok.example", "sysop@local.example", "", ""),
	("recipient before sender", "198.51.100.1", None, None, "a@bad.example", "gone@local.example", "",
	    "550 5.1.6 has left us"),
	("authenticated", "203.0.113.9", None, "joe", "a@bad.example", "u@local.example", "", ""),
]


def rows(tap, site, table, mode):
	for what, client, name, auth, sender, rcpt, at_mail, at_rcpt in table:
		with Session(site, client, name, auth) as s:
			tap.equal(s.mail(sender), at_mail, f"{mode}: {what}: MAIL")
			if at_rcpt is not None:
				tap.equal(s.rcpt(rcpt), at_rcpt, f"{mode}: {what}: RCPT")


def ends(tap, site):
	with Session(site, "198.51.100.1") as s:
		s.mail("a@hold.example")
		s.rcpt("u@local.example")
		tap.equal(s.end(), [b"qa closer look", b"c"], "QUARANTINE holds the message at its end")
		s.mail("a@ok.example")
		s.rcpt("u@local.example")
		tap.equal(s.end(), [b"c"], "... and not the next one of the connection")
		s.mail("a@drop.example")
		tap.equal(s.rcpt("gone@local.example"), "550 5.1.6 has left us", "recipients are judged after DISCARD")
		s.rcpt("u@local.example")
		tap.equal(s.end(), [b"d"], "DISCARD drops the message at its end")
		s.mail("a@hold.example")
		s.rcpt("hole@local.example")
		tap.equal(s.end(), [b"d"], "DISCARD is stronger than QUARANTINE")
	with Session(site, "198.51.100.66") as s:
		for i in (1, 2):
			s.mail("a@ok.example")
			s.rcpt("u@local.example")
			tap.equal(s.end(), [b"d"], f"DISCARD of a client: message {i}")


def log_lines(tap, site):
	text = site.procs["access"].text()
	line = next((l for l in text.splitlines() if "would=" in l), "")
	tap.ok("would=reject" in line and "to=sysop@local.example" in line and 'findings="dnsbl:bl.example=127.0.0.2(reject)"' in line,
	    "what an observed policy would do stands in the log", line)
	line = next((l for l in text.splitlines() if "gone@local.example" in l), "")
	for want in ("action=reject", "qid=Q1", "client=198.51.100.1", "from=", "why=recipient",
	    "entry=To:gone@local.example", f"map={site.dir}/etc/map", "line=10", "code=550"):
		tap.ok(want in line, f"the log names {want.split('=')[0]}", line)


def many(tap, site, n=40):
	"""Clients whose list is slow do not wait for each other."""
	results = []

	def one():
		with Session(site, "203.0.113.12") as s:
			s.mail("a@ok.example")
			results.append(s.rcpt("u@local.example"))

	begin = time.monotonic()
	threads = [threading.Thread(target=one) for _ in range(n)]
	for t in threads:
		t.start()
	for t in threads:
		t.join()
	took = time.monotonic() - begin
	tap.equal(results, [""] * n, f"{n} clients of a silent list pass")
	tap.ok(took < 6 * SLOWER, f"... in the time of one ({took:.1f} s)")


def new_answer(site, sender):
	with Session(site, "198.51.100.1") as s:
		return s.mail(sender)


def reloads(tap, site):
	tap.equal(new_answer(site, "a@new.example"), "", "before the map changes")
	site.file("map", MAP + "From:new.example\tREJECT\n")
	wait_for("the new map", lambda: new_answer(site, "a@new.example") == "550 5.7.1 Access denied", 20)
	tap.ok(True, "a changed map is in force by itself")
	site.file("map", MAP + "From:new.example\tOK\nFrom:x.example\t250 fine\n")
	p = site.procs["access"]
	p.wait_line(r"map:16: .*reply code 250", 20)
	tap.ok(True, "a line that sendmail would garble is named in the log with file and line")
	wait_for("the rest of that map", lambda: new_answer(site, "a@new.example") == "", 20)
	tap.equal(new_answer(site, "a@x.example"), "", "... and is not in force, the rest is")
	site.file("map", MAP + "From:new.example\tREJECT\nFrom:x.example\tQUARANTINE:\n")
	p.wait_line(r"map:16: .*QUARANTINE: without a reason", 20)
	tap.ok(True, "a faulty line is named in the log with file and line")
	tap.equal(new_answer(site, "a@new.example"), "", "... and the former map stays")
	site.file("map", MAP + "From:new.example\tREJECT\n")
	wait_for("the right map", lambda: new_answer(site, "a@new.example") == "550 5.7.1 Access denied", 20)
	lines = [l for l in p.text().splitlines() if "event=map_line_left" in l and "TLS_Srv: is left to the MTA" in l]
	tap.ok(lines, "entries for the MTA are named, once per load", p.text())
	site.file("map", MAP)
	wait_for("the old map again", lambda: new_answer(site, "a@new.example") == "", 20)
	with Session(site, "198.51.100.1") as old:
		configure(site, "friend")
		p.send(signal.SIGHUP)
		wait_for("the new settings", lambda: new_answer(site, "a@bad.example") == "", 20)
		tap.equal(old.mail("a@bad.example"), "550 5.7.1 Access denied",
		    "a connection keeps the settings that it began with")


def bad_start(tap, site):
	site.file("bad", "From:a.example\tOK\nFrom:b.example\tQUARANTINE:\n")
	site.file("bad.conf", CONF.replace("DELAY", "off").replace("EXTRA", "").replace("/etc/map", "/etc/bad").replace("access.sock", "other.sock"))
	p = site.start("broken", [BUILD / "postern-access", "-f", "-c", site.dir / "etc/bad.conf"], None)
	p.wait_line(r"bad:2: .*QUARANTINE: without a reason", 20)
	tap.ok(True, "a bad map at the start is named with file and line")
	p.stop()
	site.procs.pop("broken")
	site.file("worse.conf", CONF.replace("DELAY", "sometimes").replace("EXTRA", "access { mapps \"x\" }\n"))
	status, out, err = run([BUILD / "postern-access", "-t", "-c", site.dir / "etc/worse.conf"])
	text = out + err
	tap.equal(status, 78, "-t on a broken file")
	tap.ok(re.search(r"worse.conf:\d+: .*sometimes", text) and re.search(r"worse.conf:\d+: .*mapps", text),
	    "... tells every fault", text)


def main():
	tap = Tap()
	tmp = Dir()
	site = Site(tmp)
	try:
		configure(site, "off")
		site.dns()
		site.milter("access")
		rows(tap, site, AT_ONCE, "at once")
		ends(tap, site)
		many(tap, site)
		reloads(tap, site)
		rows(tap, site, DELAYED, "friend")
		log_lines(tap, site)
		bad_start(tap, site)
		tap.equal(site.stop("access"), 0, "TERM ends it")
	except Exception as e:
		tap.ok(False, f"the test runs to its end: {e!r}", site.logs())
	finally:
		site.stop_all()
	tap.done()


if __name__ == "__main__":
	main()
