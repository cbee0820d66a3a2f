#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 300
"""SPF in postern-access: what each setting makes of each result, the fields that are written,
forged ones that are taken out.  First by the scripted mail server's end of the milter
protocol, then behind our relay, real Postfix and real sendmail, where the mail that arrives
is read.  (Each MTA numbers fields in its own way while they are removed.)
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import milter  # noqa: E402
import netns  # noqa: E402
import peers  # noqa: E402
import sink as sinks  # noqa: E402
import three_mtas as rig  # noqa: E402
from postern import Site  # noqa: E402
from proc import Dir  # noqa: E402
from smtp import Smtp  # noqa: E402
from tap import Skip, Tap  # noqa: E402

ME = "gate.example"
ZONE = """
good.example TXT "v=spf1 ip4:192.0.2.0/24 include:_spf.good.example -all"
_spf.good.example TXT "v=spf1 ip6:2001:db8::/32 -all"
bad.example TXT "v=spf1 -all exp=why.bad.example"
why.bad.example TXT "%{i} is not ours, says %{r}: 100%% sure; ask %{S}"
mute.example TXT "v=spf1 -all"
soft.example TXT "v=spf1 ~all"
wrong.example TXT "v=spf1 a:..example moo -all"
dead.example fault servfail
silent.example fault drop
mail.helo.example TXT "v=spf1 ip4:192.0.2.10 -all"
"""
CONF = """
run { host gate.example; runtime-dir "@dir@/run"; log stderr; drain 2s }
dns { servers 127.0.0.1:@dns@; timeout 300ms; deadline 1s }
state { path "@dir@/state" }
greylist { socket "unix:@dir@/run/greylist.sock"; when never }
access { socket "unix:@dir@/run/access.sock"; refuse REFUSE; spf-deadline 3s; SETTINGS }
policy "trusted" { client 198.51.100.0/24; access.spf off }
relay "gate" {
	listen 127.0.0.1:@gate@; spool "@dir@/spool/gate"; handoff session;
	relay-domains local.example; smarthost "[127.0.0.1]:@sink@"; error-delay 0;
	milter "access"   { socket "unix:@dir@/run/access.sock";   on-failure tempfail }
	milter "greylist" { socket "unix:@dir@/run/greylist.sock"; on-failure tempfail }
}
"""
FAIL_MUTE = "550 5.7.23 SPF validation failed: 192.0.2.1 may not send mail for mute.example; see that domain's SPF record"
FAIL_BAD = "550 5.7.23 bad.example explains: 192.0.2.1 is not ours, says gate.example: 100% sure; ask u%40bad.example"
PERM = '550 5.7.24 SPF validation error, please tell the domain\'s postmaster: record of wrong.example: ' \
    '"moo": no such mechanism'

# settings, then rows: client, user, sender, what MAIL says (a beginning), result in the fields
SETTINGS = [
	("", [
		("192.0.2.1", None, "u@good.example", "", "pass"),
		("2001:db8::5", None, "u@good.example", "", "pass"),
		("203.0.113.5", None, "u@good.example", "", "fail"),
		("192.0.2.1", None, "u@bad.example", "", "fail"),
		("192.0.2.1", None, "u@soft.example", "", "softfail"),
		("192.0.2.1", None, "u@wrong.example", "", "permerror"),
		("192.0.2.1", None, "u@dead.example", "", "temperror"),
		("192.0.2.1", None, "u@silent.example", "", "temperror"),
		("192.0.2.1", None, "u@nothing.example", "", "none"),
		("192.0.2.1", "joe", "u@bad.example", "", None),
		("127.0.0.1", None, "u@bad.example", "", None),
		("198.51.100.7", None, "u@bad.example", "", None),
		("192.0.2.10", None, "", "", "pass"),
		("192.0.2.11", None, "", "", "fail"),
	]),
	("spf off", [("192.0.2.1", None, "u@bad.example", "", None)]),
	("spf fail; auth-results off", [
		("192.0.2.1", None, "u@good.example", "", "pass"),
		("192.0.2.1", None, "u@bad.example", FAIL_BAD, None),
		("192.0.2.1", None, "u@mute.example", FAIL_MUTE, None),
		("192.0.2.11", None, "", "550 5.7.23 SPF validation failed: 192.0.2.11 may not send mail for "
		    "mail.helo.example;", None),
		("192.0.2.1", None, "u@soft.example", "", "softfail"),
		("192.0.2.1", None, "u@wrong.example", "", "permerror"),
		("192.0.2.1", "joe", "u@bad.example", "", None),
	]),
	("spf softfail; spf-temperror tempfail; spf-permerror reject; received-spf off", [
		("192.0.2.1", None, "u@bad.example", FAIL_BAD, None),
		("192.0.2.1", None, "u@soft.example", "550 5.7.23 SPF validation failed: ", None),
		("192.0.2.1", None, "u@wrong.example", PERM, None),
		("192.0.2.1", None, "u@dead.example", "451 4.7.24 SPF validation error, please try again later: ", None),
		("192.0.2.1", None, "u@good.example", "", "pass"),
	]),
	("spf-fail-points 5; spf-softfail-points 4.9; spf-permerror-points 6; authserv-id trust.example", [
		("192.0.2.1", None, "u@mute.example", FAIL_MUTE, None),
		("192.0.2.1", None, "u@soft.example", "", "softfail"),
		("192.0.2.1", None, "u@wrong.example", PERM, None),
	]),
	("spf fail; observe spf", [("192.0.2.1", None, "u@bad.example", "", "fail")]),
]


def configure(site, settings, refuse, hosts=""):
	site.file("zone", ZONE + hosts)
	site.file("postern.conf", CONF.replace("SETTINGS", settings).replace("REFUSE", refuse))


def start(tmp, settings, refuse="mail"):
	site = Site(tmp)
	configure(site, settings, refuse)
	site.dns()
	site.milter("access")
	return site


def text_of(packets):
	last = packets[-1] if packets else b"c"
	# on this wire "%%" stands for "%"
	return last[1:].rstrip(b"\0").decode().replace("%%", "%") if last[:1] == b"y" else ""


class Session(milter.Mta):
	def __init__(self, site, client, auth=None, helo="mail.helo.example"):
		super().__init__(str(site.dir / "run/access.sock"), 20)
		self.auth = {"auth_authen": auth, "auth_type": "PLAIN"} if auth else {}
		self.negotiate()
		self.macros("C", j=ME, client_addr=client, client_name=f"[{client}]", client_resolve="FAIL")
		self.connect(f"[{client}]", client)
		self.helo(helo)

	def sent(self, sender, rcpt="u@local.example", fields=()):
		"""(reply to MAIL, replies to the end: (letter, index, name, value) and the last packet)."""
		self.macros("M", i="Q1", **self.auth)
		reply = text_of(self.mail(sender))
		if reply:
			return reply, []
		self.macros("R", i="Q1", rcpt_mailer="local")
		self.rcpt(rcpt)
		self.data()
		for name, value in fields:
			self.header(name, value)
		self.eoh()
		self.macros("E", i="Q1")
		out = []
		for p in self.eom():
			if p[:1] in b"im":
				name, value = p[5:].split(b"\0")[:2]
				out.append((p[:1].decode(), int.from_bytes(p[1:5], "big"), name.decode(), value.decode()))
			else:
				out.append(p.rstrip(b"\0"))
		return "", out


def written(edits, name):
	return [(e[1], e[3]) for e in edits if e[0] == "i" and e[2] == name]


def row(site, settings, client, auth, sender, at_mail, result):
	identity = "trust.example" if "authserv-id" in settings else ME
	with Session(site, client, auth) as s:
		reply, edits = s.sent(sender)
	assert reply.startswith(at_mail) and bool(reply) == bool(at_mail), reply
	wanted = result if "auth-results off" not in settings else None
	fields = written(edits, "Authentication-Results")
	assert [i for i, _ in fields] == ([0] if wanted else []), edits
	if wanted:
		who = f"smtp.mailfrom={sender}" if sender else "smtp.helo=mail.helo.example"
		assert fields[0][1].startswith(f"{identity};\n\tspf={wanted}"), fields
		assert fields[0][1].endswith(who), fields
	wanted = result if "received-spf off" not in settings else None
	fields = written(edits, "Received-SPF")
	assert [i for i, _ in fields] == ([0 if "auth-results off" in settings else 1] if wanted else []), edits
	if wanted:
		assert fields[0][1].startswith(f"{wanted} ({identity}: "), fields
		assert f"receiver={identity};" in fields[0][1] and "client-ip=" in fields[0][1], fields


def settings(tap):
	for text, rows in SETTINGS:
		site = start(Dir(), text)
		try:
			for r in rows:
				with tap.case(f"{text or 'defaults'} {r[0]} {r[1] or ''} <{r[2]}>: {r[4] or r[3][:10]}", site.logs):
					row(site, text, *r)
		finally:
			site.stop_all()


def reach(tap):
	"""Refusals wait for the recipient: postmaster is reachable."""
	site = start(Dir(), "spf fail", "rcpt")
	try:
		for rcpt, wanted in (("u@local.example", FAIL_BAD), ("Postmaster@local.example", "")):
			with Session(site, "192.0.2.1") as s, tap.case(f"refused at RCPT: {rcpt}", site.logs):
				s.macros("M", i="Q1")
				assert text_of(s.mail("u@bad.example")) == ""
				s.macros("R", i="Q1", rcpt_mailer="local")
				said = text_of(s.rcpt(rcpt))
				assert said == wanted, said
	finally:
		site.stop_all()


MINE, OTHERS = "Authentication-Results", "Received-SPF"
# name, value, ours?
FIELDS = [
	("Authentication-Results", "gate.example; spf=pass smtp.mailfrom=boss@good.example", True),
	("Authentication-Results", "other.example; spf=pass smtp.mailfrom=a@gate.example", False),
	("authentication-results", "(a (b) c)\n\tGATE.example. 1; dkim=pass header.d=good.example", True),
	("Received-SPF", "pass (other.example: fine) receiver=other.example; helo=gate.example", False),
	("Authentication-Results", "\"gate\\.example\"; none", True),
	("Received-SPF", "pass (gate.example: domain of boss@good.example designates 192.0.2.1)", True),
	("Authentication-Results", "gate(x).example; spf=pass", True),
	("Authentication-Results", "gate2.example; spf=pass", False),
	("AUTHENTICATION-RESULTS", "; spf=pass", True),
	("Received-SPF", "pass client-ip=192.0.2.1; receiver=\"Gate.Example\"", True),
	("Authentication-Results", "gate.example.other.example; none", False),
]


def forged(tap):
	site = start(Dir(), "")
	try:
		for auth in (None, "joe"):
			with Session(site, "192.0.2.1", auth) as s, tap.case(f"forged fields, {auth or 'a stranger'}", site.logs):
				_, edits = s.sent("u@good.example", fields=[("From", "x"), *((n, v) for n, v, _ in FIELDS)])
				gone = [(e[2].lower(), e[1]) for e in edits if e[0] == "m"]
				assert all(e[3] == "" for e in edits if e[0] == "m"), edits
				wanted, count = [], {}
				for name, _, ours in FIELDS:
					n = count[name.lower()] = count.get(name.lower(), 0) + 1
					if ours:
						wanted.append((name.lower(), n))
				assert sorted(gone) == sorted(wanted), (gone, wanted)
				for kind in set(n for n, _ in gone):
					indices = [i for n, i in gone if n == kind]
					assert indices == sorted(indices, reverse=True), indices
				kinds = [e[0] for e in edits[:-1]]
				assert kinds == sorted(kinds, reverse=True), "removals before insertions"
				# and nothing is left over for the next message
				_, edits = s.sent("u@good.example", fields=[("Authentication-Results", "other.example; none")])
				assert not [e for e in edits if e[0] == "m"], edits
		for n, end in ((300, b"c"), (301, b"y")):
			with Session(site, "192.0.2.1") as s, tap.case(f"{n} forged fields", site.logs):
				_, edits = s.sent("u@good.example", fields=[("Authentication-Results", f"{ME}; none")] * n)
				assert edits[-1][:1] == end, edits[-1]
				assert len([e for e in edits if e[0] == "m"]) == (300 if end == b"c" else 0), len(edits)
	finally:
		site.stop_all()


def with_mta(tap, kind):
	sink = sinks.Sink()
	site = Site(Dir())
	mta = None
	site.names["sink"] = str(sink.port)
	site.names["dns"] = "53"
	hosts = "".join(f"{'.'.join(reversed(a.split('.')))}.in-addr.arpa PTR {n}\n{n} A {a}\n" for a, n in rig.HOSTS.items())
	configure(site, "spf fail", "rcpt", hosts)
	try:
		site.dns()
		for name in ("access", "greylist"):
			site.milter(name)
			(site.dir / "run" / (name + ".sock")).chmod(0o666)
		mta = rig.start_mta(kind, site, sink)
		logs = lambda: site.logs() + getattr(mta, "log", "")[-3000:]
		with tap.case(f"{kind}: the mail as it arrives", logs):
			arrives(mta, sink, kind)
		with tap.case(f"{kind}: a refusal as the client reads it", logs):
			refused(mta, sink)
	except Skip as e:
		tap.skip(kind, str(e))
	except Exception as e:
		tap.ok(False, f"{kind} starts", f"{e}\n{site.logs()}")
	finally:
		if mta:
			mta.stop()
		site.stop_all()
		sink.close()


def crlf(name, value):
	return f"{name}: " + value.replace("\n", "\r\n") + "\r\n"


def arrives(mta, sink, kind):
	fields = "".join(crlf(n, v) for n, v, _ in FIELDS)
	with Smtp(mta.addr, 30, source="192.0.2.10") as c:
		c.ehlo("mx.sender.example")
		assert c.mail("u@good.example").code == 250
		assert c.rcpt("ann@local.example").code == 250
		end = c.data(f"From: <u@good.example>\r\n{fields}Subject: x\r\n\r\nbody\r\n")
		assert end.code == 250, end
	data = sink.take().data.decode()
	head = data.split("\r\n\r\n")[0].replace("\r\n\t", "\n\t").replace("\r\n ", "\n ").split("\r\n")
	names = [line.split(":", 1)[0].lower() for line in head]
	values = [line.split(":", 1)[1].strip() for line in head]
	trace = [i for i, n in enumerate(names) if n == "received"]
	own = [(n, v) for n, v in zip(names[:trace[0]], values[:trace[0]]) if n in (MINE.lower(), OTHERS.lower())]
	assert [n for n, _ in own] == [MINE.lower(), OTHERS.lower()], head
	assert own[0][1] == f"{ME};\n\tspf=pass smtp.mailfrom=u@good.example", own
	assert own[1][1].startswith(f"pass ({ME}: domain of u@good.example designates 192.0.2.10 as permitted sender)"), own
	left = [(n, v) for n, v in zip(names[trace[0]:], values[trace[0]:]) if n in (MINE.lower(), OTHERS.lower())]
	assert left == [(n.lower(), v) for n, v, ours in FIELDS if not ours], left


def refused(mta, sink):
	with Smtp(mta.addr, 30, source="192.0.2.10") as c:
		c.ehlo("mx.sender.example")
		assert c.mail("u@bad.example").code == 250
		r = c.rcpt("ann@local.example")
		assert r.code == 550 and r.enhanced == "5.7.23", r
		words = " ".join(r.lines)
		assert "bad.example explains: 192.0.2.10 is not ours, says gate.example: 100% sure; ask u%40bad.example" in words, r
	assert not sink.messages


def main():
	tap = Tap()
	if not sys.argv[1:]:
		settings(tap)
		reach(tap)
		forged(tap)
	peers.fetch("postfix", "sendmail")
	try:
		netns.enter(rig.HOSTS)
	except OSError as e:
		tap.skip("three MTAs", e.strerror)
	else:
		for kind in sys.argv[1:] or rig.KINDS:
			with_mta(tap, kind)
	tap.done()


if __name__ == "__main__":
	main()
