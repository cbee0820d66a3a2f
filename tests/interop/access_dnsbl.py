#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""DNS lists of postern-access as a whole, over the milter protocol, with a real DNS server
whose zone changes: weights, lists of names, welcome, who is spared, when a refusal is given,
and a list that begins to list the world."""
import re
import resource
import signal
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import milter  # noqa: E402
from access_milter import Session  # noqa: E402
from postern import Site  # noqa: E402
from proc import BUILD, SLOWER, Dir, run, wait_for  # noqa: E402
from tap import Tap  # noqa: E402

SOA = "".join(f"{z}.example SOA 60 ns.{z}.example 2\n" for z in ("a", "b", "rhs", "wl", "vip", "w"))
TESTS = "".join(f"2.0.0.127.{z}.example A 1 127.0.0.2\n" for z in ("a", "b", "wl", "vip", "w")) + \
    "test.rhs.example A 1 127.0.0.2\n"
GOOD = SOA + TESTS + """
1.113.0.203.a.example A 127.0.0.2
1.113.0.203.a.example TXT "seen at the trap"
2.113.0.203.a.example A 127.0.0.2
2.113.0.203.b.example A 127.0.0.4
3.113.0.203.a.example A 127.0.0.2
3.113.0.203.b.example A 127.0.0.4
3.113.0.203.wl.example A 127.0.0.2
4.113.0.203.b.example A 127.0.0.9
bad.example.rhs.example A 127.0.0.2
5.113.0.203.w.example A 127.0.0.2
6.113.0.203.w.example A 127.0.0.2
6.113.0.203.vip.example A 127.0.0.2
null.example MX 0 .
good.example MX 10 mx.good.example
fail.example fault servfail
"""
WORLD = GOOD.replace(TESTS, "") + "*.w.example A 127.0.0.2\n" + TESTS

CONF = """
run   { host gate.example; log stderr; drain 3s }
dns   { servers 127.0.0.1:@dns@; timeout 1s; deadline 3s }
access {
	socket "unix:@dir@/run/access.sock";
	metrics @dir@/run/am;
	maps "@dir@/etc/map";
	dnsbl-deadline 2s; dnsbl-probe 3s;
	dnsbl "a.example"   { weight 2.5 }
	dnsbl "b.example"   { weight 1; code 127.0.0.4 weight 2.5 }
	dnsbl "rhs.example" { what helo sender; weight 3 }
	dnsbl "wl.example"  { allow on; weight 1 }
	dnsbl "vip.example" { allow on }
	dnsbl "w.example"   { text "%a is listed by w.example" }
	EXTRA
}
policy "trial" { recipient trial@local.example; mode observe }
"""
SUM = "550 5.7.1 Rejected: {} listed at a.example"
W = "550 5.7.1 {} is listed by w.example"

# what, client, HELO's domain is never listed; authenticated, sender, recipient, reply
ROWS = [
	("below the threshold", "203.0.113.1", None, "a@ok.example", "u@local.example", ""),
	("two lists", "203.0.113.2", None, "a@ok.example", "u@local.example", SUM),
	("two lists, welcome at a third", "203.0.113.3", None, "a@ok.example", "u@local.example", ""),
	("an unknown code", "203.0.113.4", None, "a@bad.example", "u@local.example", ""),
	("a client and its sender's domain", "203.0.113.1", None, "a@bad.example", "u@local.example",
	    "550 5.7.1 Rejected: bad.example listed at rhs.example"),
	("by itself", "203.0.113.5", None, "a@ok.example", "u@local.example", W),
	("by itself, but welcome", "203.0.113.6", None, "a@ok.example", "u@local.example", ""),
	("to postmaster", "203.0.113.5", None, "a@ok.example", "Postmaster@local.example", ""),
	("to abuse", "203.0.113.2", None, "a@ok.example", "abuse@local.example", ""),
	("to somebody like postmaster", "203.0.113.5", None, "a@ok.example", "postmasters@local.example", W),
	("authenticated", "203.0.113.5", "joe", "a@ok.example", "u@local.example", ""),
	("observed by policy", "203.0.113.5", None, "a@ok.example", "trial@local.example", ""),
	("no sender", "203.0.113.5", None, "", "u@local.example", W),
]


def rows(tap, site):
	for what, client, auth, sender, rcpt, want in ROWS:
		with Session(site, client, None, auth) as s:
			tap.equal(s.mail(sender), "", f"{what}: MAIL")
			tap.equal(s.rcpt(rcpt), want.format(client), f"{what}: RCPT")
	with Session(site, "203.0.113.5") as s:
		s.mail("a@ok.example")
		tap.equal([s.rcpt(r) for r in ("u@local.example", "postmaster@local.example", "v@local.example")],
		    [W.format("203.0.113.5"), "", W.format("203.0.113.5")], "each recipient for itself")
		tap.equal(s.end()[-1], b"c", "what postmaster gets")
	with Session(site, "203.0.113.1") as s:
		s.mail("a@passes.example")
		s.rcpt("u@local.example")
		s.end()
	site.procs["access"].wait_line(r'action=continue .*from=a@passes.example .*points=2.5 findings="dnsbl:a.example', 20)
	tap.ok(True, "mail that passes with points is logged")
	text = site.procs["access"].text()
	line = next((x for x in text.splitlines() if "client=203.0.113.2" in x), "")
	for want in ("action=reject", "why=dnsbl", "points=5", "to=u@local.example",
	    'findings="dnsbl:a.example=127.0.0.2(2.5) dnsbl:b.example=127.0.0.4(2.5)"'):
		tap.ok(want in line, f"the log has {want.split('=')[0]}", line)
	tap.ok(re.search(r'would=reject .*to=trial@local.example .*findings="dnsbl:w.example', text), "the log of a trial", text[-2000:])


def senders(tap, site):
	"""The envelope's checks over the wire; a short pause before the greeting."""
	site.file("postern.conf", CONF.replace("EXTRA", "helo-forged reject; sender-unresolvable reject; own-names our.example;"
	    "client-no-name 2.6 \"who is %a?\"; greeting-pause 300ms;"))
	site.procs["access"].send(signal.SIGHUP)
	wait_for("the settings", lambda: try_client(site, "203.0.113.99") != "", 20)
	for what, client, sender, want in (
	    ("null MX", "203.0.113.98", "a@null.example", "550 5.7.27 Sender's domain null.example takes no mail "
	        "(null MX), so we take none from it"),
	    ("no such domain", "203.0.113.98", "a@none.a.example", "553 5.1.8 Sender's domain none.a.example does not "
	        "exist or has no mail host"),
	    ("DNS fails", "203.0.113.98", "a@fail.example", "451 4.1.8 Sender's domain fail.example cannot be looked up at present"),
	    ("a good domain", "203.0.113.98", "a@good.example", ""),
	    ("no name and one list", "203.0.113.1", "a@good.example", "550 5.7.25 who is 203.0.113.1?")):
		begin = time.monotonic()
		with Session(site, client) as s:
			took = time.monotonic() - begin
			tap.equal(s.mail(sender) or s.rcpt("u@local.example"), want, f"sender: {what}")
		tap.ok(took >= 0.29, f"... after the pause ({took:.2f} s)")
	with Session(site, "203.0.113.98") as s:
		s.m.helo("Our.Example")
		s.mail("a@good.example")
		tap.equal(s.rcpt("u@local.example"), "550 5.7.1 HELO Our.Example is our own name or address, not yours", "HELO forged")


def stats(site):
	status, out, err = run([BUILD / "posternctl", "stats", "-c", site.dir / "etc/postern.conf", "access"])
	assert status == 0, out + err
	return out


def try_client(site, client, rcpt="u@local.example"):
	with Session(site, client) as s:
		return s.mail("a@ok.example") or s.rcpt(rcpt)


def the_world(tap, site):
	"""The zone changes under load; nobody is refused who was not listed before."""
	p = site.procs["access"]
	tap.equal(try_client(site, "203.0.113.5"), W.format("203.0.113.5"), "before: the list is believed")
	tap.ok(re.search(r'postern_access_dnsbl_up\{list="w.example",what="client"\} 1', stats(site)), "a list in use: metric")
	refused, counts, go = [], [0], [True]

	def load(k):
		i = 0
		while go[0]:
			client = f"198.18.{k}.{i % 250 + 1}"
			reply = try_client(site, client)
			if reply:
				refused.append((client, reply))
			counts[0] += 1
			i += 1

	threads = [threading.Thread(target=load, args=(k,)) for k in range(4)]
	for t in threads:
		t.start()
	wait_for("some clients", lambda: counts[0] > 50, 20)
	site.file("zone", WORLD)
	begin = time.monotonic()
	site.procs["dns"].send(signal.SIGHUP)
	p.wait_line(r"event=dnsbl list=w.example state=set-aside why=\"lists everything\"", 60)
	took = time.monotonic() - begin
	seen = counts[0]
	wait_for("more clients", lambda: counts[0] > seen + 100, 60)
	go[0] = False
	for t in threads:
		t.join()
	tap.equal(refused, [], f"no mail of {counts[0]} is refused by a list that lists the world")
	tap.ok(took < 60, f"it is set aside within a minute ({took:.2f} s)")
	tap.equal(try_client(site, "203.0.113.5"), "", "... and refuses nobody")
	tap.ok(re.search(r'postern_access_dnsbl_up\{list="w.example",what="client"\} 0', stats(site)), "set aside: metric")
	tap.equal(try_client(site, "203.0.113.2"), SUM.format("203.0.113.2"), "the other lists go on")
	site.file("zone", GOOD)
	site.procs["dns"].send(signal.SIGHUP)
	p.wait_line(r"event=dnsbl list=w.example state=back", 60 * SLOWER)
	tap.equal(try_client(site, "203.0.113.55"), "", "back: a client that is clean")
	site.file("zone", GOOD + "57.113.0.203.w.example A 127.0.0.2\n")
	site.procs["dns"].send(signal.SIGHUP)
	wait_for("the list counts again", lambda: try_client(site, "203.0.113.57") != "", 20)
	tap.ok(True, "... and one that is listed")


def quiet_world(tap, site):
	"""Without mail the test points alone tell."""
	p = site.procs["access"]
	begin = time.monotonic()
	site.file("zone", WORLD.replace("*.w.example", "*.a.example"))
	site.procs["dns"].send(signal.SIGHUP)
	p.wait_line(r"list=a.example state=set-aside", 60)
	tap.ok(time.monotonic() - begin < 60, "a list without clients is set aside as well")
	site.file("zone", GOOD.replace("2.0.0.127.b.example A 1 127.0.0.2\n", ""))
	site.procs["dns"].send(signal.SIGHUP)
	p.wait_line(r"list=b.example state=set-aside why=\"lists nothing\"", 60)
	tap.ok(True, "... and one that lists nothing any more")


def thousand(tap, site, n=1000):
	"""All at once: every connection is answered, and rightly."""
	links = []
	for i in range(n):
		m = milter.Mta(str(site.dir / "run/access.sock"), 60)
		m.sock.settimeout(120)
		m.negotiate()
		links.append(m)
	begin = time.monotonic()
	for i, m in enumerate(links):
		client = f"198.19.{i // 250}.{i % 250 + 1}" if i % 100 else "203.0.113.5"
		m.macros("C", j="gate.example", client_addr=client, client_name=f"[{client}]", client_resolve="FAIL")
		m.sock.sendall(milter.packet("C", milter.z(f"[{client}]") + b"4" + struct.pack(">H", 25) + milter.z(client)))
	for letter, payload in (("H", b"mx.sender.example\0"), ("M", b"<a@ok.example>\0"), ("R", b"<u@local.example>\0")):
		for m in links:     # the answer to the step before, then the next step
			m.answer(letter)
		for m in links:
			m.sock.sendall(milter.packet(letter, payload))
	replies = [m.answer("R") for m in links]
	took = time.monotonic() - begin
	wrong = [(i, r) for i, r in enumerate(replies) if (r != [b"c"]) != (i % 100 == 0)]
	tap.equal(wrong, [], f"{n} connections at once: each has its answer ({took:.1f} s)")
	for m in links:
		m.close()
	wait_for("the next connection", lambda: try_client(site, "203.0.113.77") == "", 60)
	tap.ok(True, "... and no thread is stuck")


def times(tap, site):
	"""When the refusal is given; observe; postmaster as others."""
	for extra, sender, rcpt, at_mail, at_rcpt in (
	    ("refuse mail;", "a@ok.example", "u@local.example", W, None),
	    ("observe dnsbl;", "a@ok.example", "u@local.example", "", ""),
	    ("reach-postmaster off;", "a@ok.example", "postmaster@local.example", "", W),
	    ("check-local on; refuse mail; delay-checks on;", "a@ok.example", "u@local.example", "", W),
	    ("reject-points 0;", "a@ok.example", "u@local.example", "", W)):
		p = site.procs["access"]
		seen = len(p.text())
		site.file("postern.conf", CONF.replace("EXTRA", extra))
		p.send(signal.SIGHUP)

		def replies():
			with Session(site, "203.0.113.5") as s:
				mail = s.mail(sender)
				return mail, None if mail else s.rcpt(rcpt)
		want = (at_mail.format("203.0.113.5"), at_rcpt and at_rcpt.format("203.0.113.5"))
		try:
			wait_for(extra, lambda: replies() == want, 20)
		except Exception:
			pass
		tap.equal(replies(), want, extra)
		if "observe" in extra:
			tap.ok("would=reject" in p.text()[seen:] and 'findings="?dnsbl:w.example' in p.text()[seen:],
			    "observe: what would be is logged", p.text()[seen:])
	site.file("bad.conf", CONF.replace("EXTRA", "observe nonsense;"))
	status, out, err = run([BUILD / "postern-access", "-t", "-c", site.dir / "etc/bad.conf"])
	tap.ok(status == 78 and re.search(r'bad.conf:\d+: observe: "nonsense" cannot stand here: expected the name of a check', out + err),
	    "a check that does not exist is named", out + err)


def main():
	tap = Tap()
	_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192) if hard > 0 else 8192, hard))
	site = Site(Dir())
	try:
		site.file("map", "From:never.example\tREJECT\n")
		site.file("zone", GOOD)
		site.file("postern.conf", CONF.replace("EXTRA", ""))
		site.dns()
		site.milter("access")
		rows(tap, site)
		thousand(tap, site)
		senders(tap, site)
		times(tap, site)
		site.file("postern.conf", CONF.replace("EXTRA", ""))
		site.procs["access"].send(signal.SIGHUP)
		the_world(tap, site)
		quiet_world(tap, site)
		tap.equal(site.stop("access"), 0, "TERM ends it")
	except Exception as e:
		tap.ok(False, f"the test runs to its end: {e!r}", site.logs())
	finally:
		site.stop_all()
	tap.done()


if __name__ == "__main__":
	main()
