#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 300
"""kill -9 of each milter's worker at each step of a message, up to behind the first of its
edits, under sendmail, Postfix and our relay with the lines that we ship: the sender sees
4xx, no mail arrives, least of all a half edited one, and the next mail passes whole.

All milters that are built stand in one chain, each behind a proxy that sees the packets
and kills on the spot.  A row of MILTERS is what a milter needs here; a milter without one
fails.  Then 20 sessions at once while each milter's worker is killed in turn.

	milter_killed.py [MTA ...]
"""
import os
import re
import signal
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import netns  # noqa: E402
import peers  # noqa: E402
import sink as sinks  # noqa: E402
from milter_proxy import Plan, Proxy, worker_of  # noqa: E402
from postern import Site  # noqa: E402
from proc import BUILD, ROOT, Dir, Proc, wait_for  # noqa: E402
from smtp import ProtocolError, Smtp, stuffed  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

CLIENT, NAME = "192.0.2.10", "mx.sender.example"
SENDER, RCPT, HELD = "alice@sender.example", "ann@local.example", "eve@held.example"
BASE = """
run { host gate.example; runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; drain 2s }
dns { servers 127.0.0.1:53; timeout 1s; deadline 2s }
state { path "@dir@/state" }
"""
# Which edits a milter sends: of headers, body, or a quarantine for HELD's mail; its settings;
# files of etc/.
MILTERS = {
	"access": ("q", 'maps "@dir@/etc/access"; delay-checks friend;', {"access": "From:held.example\tQUARANTINE:to be looked at\n"}),
	"greylist": ("h", "delay 0;", {}),
	"mime": ("hb", f'signatures "{ROOT}/tests/vectors/mime/postern-test.ndb"; tmp "@dir@/state"; '
	    'quarantine "@dir@/state"; workers 1;', {}),
	"score": ("h", 'rules "@dir@/etc/rules.cf"; tmp "@dir@/state"; workers 1; tag 2; reject 100;',
	    {"rules.cf": "body WORDS /a line of the text/\nscore WORDS 3.0\n"}),
}
RELAY = """
relay "gate" {
	listen 127.0.0.1:@gate@; spool "@dir@/spool/gate"; handoff %s;
	relay-domains local.example; smarthost "[127.0.0.1]:@sink@"; error-delay 0;
%s}
"""
# The steps of a dialogue at which the client sees a reply.
CONNECT, HELO, MAIL, RCPT_TO, DATA, END = range(6)
STEPS = ("connect", "helo", "mail", "rcpt", "data", "end")
# name, letter of the packet, step of the client during which it passes
STAGES = [("negotiation", "O", CONNECT), ("connect", "C", CONNECT), ("helo", "H", HELO), ("mail", "M", MAIL),
    ("rcpt", "R", RCPT_TO), ("data", "T", DATA), ("headers", "L", END), ("end of headers", "N", END),
    ("body", "B", END), ("end of message", "E", END)]
# What a filter has not judged anything of may be told to its next worker all over again, as
# our relay does; then the mail passes, whole.
BEFORE_MAIL = "OCH"
KINDS = ("sendmail", "postfix", "relay, session handoff", "relay, queue handoff")
SESSIONS = 20

PROGRAM = b"TVqQAAMAAAAEAAAA//8AALgAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n" * 40
# more than two packets of body even when it is replaced
TEXT = b"".join(b"this is a line of the text, number %d\r\n" % n for n in range(5000))


def message(msgid):
	return (b"From: <%s>\r\nTo: <%s>\r\nSubject: x\r\nMessage-ID: <%s>\r\nMIME-Version: 1.0\r\n"
	    b'Content-Type: multipart/mixed; boundary="=-edge"\r\n\r\n--=-edge\r\nContent-Type: text/plain\r\n\r\n%s'
	    b'--=-edge\r\nContent-Type: application/octet-stream; name="setup.exe"\r\n'
	    b'Content-Disposition: attachment; filename="setup.exe"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
	    b"%s--=-edge--\r\n" % (SENDER.encode(), RCPT.encode(), msgid.encode(), TEXT, PROGRAM))


def assert_whole(got, built):
	"""A mail that arrived bears the marks of all milters, and the text in full."""
	body = got.body
	assert TEXT in body and body.rstrip().endswith(b"--=-edge--"), (len(body), body[-300:])
	if "greylist" in built:
		assert len(got.headers("X-Greylist")) == 1, got.data[:2000]
	if "mime" in built:
		assert len(got.headers("X-Virus-Scanned")) == 1, got.data[:2000]
		assert PROGRAM[:70] not in body, body[-3000:]
	if "score" in built:
		assert b"WORDS" in b" ".join(got.headers("X-Spam-Status")), got.data[:2000]


def milters_built():
	"""In the order of a chain: who needs the envelope alone first."""
	names = [p.parent.name for p in (ROOT / "milters").glob("*/main.c")]
	order = list(MILTERS)
	return sorted(names, key=lambda n: (order.index(n) if n in order else 99, n))


class Instance:
	"""One daemon of a milter, with a socket of its own behind the proxy."""
	count = 0

	def __init__(self, site, name):
		Instance.count += 1
		self.name, self.program = name, "postern-" + name
		label = f"{name}{Instance.count}"
		self.socket = site.dir / "up" / label
		settings = MILTERS[name][1]
		conf = site.file(label + ".conf", f'{BASE}{name} {{ socket "unix:{self.socket}"; {settings} }}\n')
		self.proc = Proc([BUILD / self.program, "-f", "-c", conf], site.dir / "log" / label)

	def ready(self):
		self.proc.wait_listen(self.socket)
		self.worker = worker_of(self.proc, self.program)
		return self

	def kill(self):
		os.kill(self.worker, signal.SIGKILL)

	def wait_next(self):
		"""Another worker has taken the place."""
		old = self.worker
		wait_for("the next worker", lambda: worker_of(self.proc, self.program) != old)
		self.worker = worker_of(self.proc, self.program)


class Rig:
	"""One MTA with all milters behind proxies, and the sink behind it."""
	def __init__(self, kind, built):
		self.kind, self.built, self.mta = kind, built, None
		self.sink, self.site = sinks.Sink(), Site(Dir())
		(self.site.dir / "up").mkdir()
		self.site.names.update(sink=str(self.sink.port), dns="53")
		self.site.file("zone", f"sender.example SOA 60 ns.sender.example 30\n{NAME} A {CLIENT}\n")
		for name in built:
			for file, text in MILTERS[name][2].items():
				self.site.file(file, text)
		self.site.dns()
		self.usual = {n: Instance(self.site, n) for n in built}
		self.proxies = {n: Proxy(self.site.dir / "run" / f"{n}.sock", i.ready().socket)
		    for n, i in self.usual.items()}
		self.serial = 0

	def start(self):
		if self.kind.startswith("relay"):
			chain = "".join(f'\tmilter "{n}" {{ socket "unix:@dir@/run/{n}.sock"; on-failure tempfail }}\n'
			    for n in self.built)
			self.site.file("postern.conf", BASE + RELAY % (self.kind.split()[1], chain))
			self.site.relay("gate")
			self.addr = self.site.addr("gate")
			return self
		self.addr = ("127.0.0.1", self.site.port("peer"))
		if self.kind == "postfix":
			self.mta = peers.Postfix(self.site.dir, self.addr, self.sink.addr,
			    snippet=postfix_lines(self.built), hosts={CLIENT: NAME})
		else:
			self.mta = peers.Sendmail(self.site.dir, self.addr, self.sink.addr,
			    snippet=sendmail_lines(self.built), hosts={CLIENT: NAME})
		return self

	def msgid(self, what):
		self.serial += 1
		return f"{self.serial}.{re.sub('[^a-z]', '', what)}@sender.example"

	def take(self, msgid):
		"""The mail with that Message-ID, once it is in the sink; it is removed there."""
		def find():
			return next((m for m in self.sink.messages if f"<{msgid}>".encode() in m.data), None)
		got = wait_for(f"<{msgid}> in the sink", find, 30)
		self.sink.messages.remove(got)
		return got

	def queued(self):
		"""Files of messages in the MTA's own queue."""
		top, places = self.site.dir, ["spool/gate"]
		if self.mta:
			# unshare, the shell that is the first process in there, the server below its chroot
			shell = self.mta.proc.children()[0]
			server = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()[0]
			top = Path(f"/proc/{server}/root/var/spool")
			places = ["mqueue"] if self.kind == "sendmail" else [
			    f"postfix/{d}" for d in ("incoming", "active", "deferred", "hold", "corrupt")]
		missing = [place for place in places if not (top / place).is_dir()]
		assert not missing, missing
		return [p for place in places for p in (top / place).rglob("*") if p.is_file() and holds_mail(p)]

	def logs(self):
		return self.site.logs() + (self.mta.log[-4000:] if self.mta else "")

	def close(self):
		if self.mta:
			self.mta.stop()
		self.site.stop_all()
		for i in self.usual.values():
			i.proc.stop(seconds=30)
		for p in self.proxies.values():
			p.close()
		self.sink.close()


def holds_mail(path):
	try:
		return b"@sender.example>" in path.read_bytes()
	except OSError:
		return False


def postfix_lines(built):
	"""The shipped lines, with the line of the milters told of all that are built."""
	text = (ROOT / "contrib/postfix/postern-main.cf").read_text()
	socks = ", ".join(f"unix:/run/postern/{n}.sock" for n in built)
	text, n = re.subn(r"^smtpd_milters = .*$", f"smtpd_milters = {socks}", text, flags=re.M)
	assert n == 1 and "milter_default_action = tempfail" in text
	return text


def sendmail_lines(built):
	"""The shipped lines; milters that they do not name get the line of one that they do."""
	text = (ROOT / "contrib/sendmail/postern.m4").read_text()
	line = re.search(r"^INPUT_MAIL_FILTER\(`postern-greylist'.*$", text, re.M)[0]
	assert "F=T" in line
	more = "\n".join(line.replace("greylist", n) for n in built if f"`postern-{n}'" not in text)
	return text.replace(line, line + "\n" + more if more else line)


class Attempt:
	"""A whole transaction.  replies: one for each step that was reached; during(step) is
	called while it is under way: before its reply is awaited, or behind it for the envelope."""
	def __init__(self, addr, msgid, behind=lambda step: None, second=None, sender=SENDER):
		self.sender = sender
		self.replies, self.closed, self.later = [], False, []
		try:
			with Smtp(addr, 60, greeting=False, source=CLIENT) as c:
				self.dialogue(c, msgid, behind)
				if second and self.refused() is not None:
					self.again(c, second)
		except (ProtocolError, OSError) as e:
			self.closed = repr(e)

	def dialogue(self, c, msgid, behind):
		for step, line in enumerate((None, f"EHLO {NAME}", f"MAIL FROM:<{self.sender}>",
		    f"RCPT TO:<{RCPT}>", "DATA")):
			self.replies.append(c.reply() if line is None else c.cmd(line))
			if self.refused() is not None:
				return
			behind(step)
		text = stuffed(message(msgid))
		c.send(text[:len(text) // 2])
		behind(END)
		c.send(text[len(text) // 2:])
		self.replies.append(c.reply())

	def refused(self):
		"""The step of the first refusal."""
		return next((n for n, r in enumerate(self.replies) if r.code >= 400), None)

	def again(self, c, msgid):
		"""Another mail over the same connection, if the server still talks."""
		for line in ("RSET", f"EHLO {NAME}", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RCPT}>"):
			self.later.append(c.cmd(line))
			if self.later[-1].code >= 400:
				return
		self.later.append(c.data(message(msgid)))


def assert_deferred(a, first, last):
	"""4xx at a step from first to last, and no 5xx."""
	assert not any(r.code >= 500 for r in a.replies + a.later), (a.replies, a.later)
	step = a.refused()
	assert step is not None, f"not refused: {a.replies} {a.closed}"
	assert first <= step <= last, f"refused at {STEPS[step]}: {a.replies}"


def passed(a):
	return len(a.replies) == 6 and a.replies[-1].code == 250


def next_mail(rig, what):
	msgid = rig.msgid("after" + what)
	a = Attempt(rig.addr, msgid)
	assert passed(a), (a.replies, a.closed)
	assert_whole(rig.take(msgid), rig.built)


def assert_begun_anew(rig, proxy, msgid):
	"""The MTA told everything, from the client on, to the next worker, and that one agreed."""
	letters = proxy.links[-1][0].replace("D", "")
	assert re.search("^OCH.*M.*R.*E", letters), proxy.links
	assert_whole(rig.take(msgid), rig.built)


def killed_at(rig, instance, plan, first, last, behind, sender=SENDER):
	"""The case itself; plan.kill ends instance's worker."""
	name = instance.name
	proxy = rig.proxies[name]
	msgid, second = rig.msgid(name), rig.msgid("second" + name)
	proxy.upstream = os.fspath(instance.ready().socket)
	proxy.arm(plan)
	try:
		a = Attempt(rig.addr, msgid, behind, second, sender)
		assert plan.fired, f"never came: {a.replies} {a.closed}"
		if (plan.after or "E") in BEFORE_MAIL and passed(a):
			assert_begun_anew(rig, proxy, msgid)
		else:
			assert_deferred(a, first, last)
		instance.wait_next()
		next_mail(rig, name)
		if len(a.later) == 5 and a.later[-1].code == 250:
			assert_whole(rig.take(second), rig.built)
		assert not rig.sink.messages, [m.data[:500] for m in rig.sink.messages]
		assert not proxy.faults, proxy.faults
	finally:
		proxy.disarm()
		proxy.upstream = os.fspath(rig.usual[name].socket)
		rig.sink.messages.clear()


def at_stage(rig, instance, letter, step):
	plan = Plan(instance.kill, after=letter)

	def behind(now):
		# a step that the milter does not hear of: the worker dies while it is over
		if now == step and plan.left_out and not plan.fired:
			plan.strike()
			assert plan.broken.wait(20)

	class Bound:
		"""Where an answer was due the refusal comes at once or one step late."""
		def __ge__(self, seen):
			late = MAIL if step <= HELO else min(step + 1, END)
			return seen <= (END if plan.silent else late)
	killed_at(rig, instance, plan, 0 if step <= HELO else step, Bound(), behind)


def after_edit(rig, instance, which):
	plan = Plan(instance.kill, edits=1, which=which)
	killed_at(rig, instance, plan, END, END, lambda step: None, HELD if which == "q" else SENDER)
	assert plan.passed and plan.passed[-1] in which, plan.passed


def rows_of(name):
	"""(title, function of rig and instance) for every kill of a milter."""
	for title, letter, step in STAGES:
		yield f"at {title}", lambda rig, i, letter=letter, step=step: at_stage(rig, i, letter, step)
	edits = MILTERS[name][0]
	if "h" in edits:
		yield "behind its first edit", lambda rig, i: after_edit(rig, i, "himbe+-2")
	if "b" in edits:
		yield "in the middle of a new body", lambda rig, i: after_edit(rig, i, "b")
	if "q" in edits:
		yield "behind its quarantine", lambda rig, i: after_edit(rig, i, "q")


def matrix(tap, rig):
	for name in rig.built:
		rows = list(rows_of(name))
		# one daemon a row: a supervisor starts its second worker at once, the next ones later
		instances = [Instance(rig.site, name) for _ in rows]
		for (title, play), instance in zip(rows, instances):
			with tap.case(f"{rig.kind}: postern-{name} killed {title}", rig.logs):
				play(rig, instance)
		for i in instances:
			i.proc.send(signal.SIGTERM)
		for i in instances:
			i.proc.wait(40)


class Client(threading.Thread):
	"""Sends mails one after another, each until it is taken."""
	def __init__(self, rig, number, stop):
		super().__init__(daemon=True)
		self.rig, self.number, self.stop_event = rig, number, stop
		self.taken, self.refusals, self.wrong = [], [], []

	def run(self):
		while not self.stop_event.is_set():
			msgid = f"load{self.number}.{len(self.taken)}.{len(self.refusals)}@sender.example"
			a = Attempt(self.rig.addr, msgid)
			codes = [r.code for r in a.replies]
			if len(codes) == 6 and codes[-1] == 250:
				self.taken.append(msgid)
			else:
				self.refusals.append(msgid)
				if any(c >= 500 for c in codes) or a.refused() is None:
					self.wrong.append((a.replies, a.closed))


def load(rig):
	"""Each milter's worker dies once while SESSIONS clients send."""
	stop = threading.Event()
	clients = [Client(rig, n, stop) for n in range(SESSIONS)]
	for c in clients:
		c.start()

	def taken():
		return sum(len(c.taken) for c in clients)
	try:
		wait_for("every client's first mail", lambda: all(c.taken for c in clients), 60)
		for instance in rig.usual.values():
			before = taken()
			instance.kill()
			instance.wait_next()
			wait_for("mail goes on", lambda: taken() >= before + SESSIONS, 60)
	finally:
		stop.set()
		for c in clients:
			c.join(60)
	wrong = [w for c in clients for w in c.wrong]
	assert not wrong, wrong[:5]
	refused = [m for c in clients for m in c.refusals]
	assert refused, "no session met a dead worker"
	assert_arrived(rig, [m for c in clients for m in c.taken], refused)


def assert_arrived(rig, taken, refused):
	rig.sink.wait(len(taken), 60)
	seen = {}
	for m in rig.sink.messages:
		assert_whole(m, rig.built)
		msgid = m.headers("Message-ID")[0].decode().strip("<>")
		seen[msgid] = seen.get(msgid, 0) + 1
	assert set(seen) == set(taken), (set(taken) - set(seen), set(seen) & set(refused))
	assert all(n == 1 for n in seen.values()), {m: n for m, n in seen.items() if n > 1}
	rig.sink.messages.clear()


def with_mta(tap, kind, built):
	rig = None
	try:
		rig = Rig(kind, built)
		rig.start()
		with tap.case(f"{kind}: a mail passes all milters", rig.logs):
			next_mail(rig, "start")
		matrix(tap, rig)
		with tap.case(f"{kind}: {SESSIONS} sessions while each milter is killed", rig.logs):
			load(rig)
		with tap.case(f"{kind}: nothing refused is left in the queue", rig.logs):
			wait_for("an empty queue", lambda: not rig.queued())
			assert not rig.sink.messages, [m.data[:500] for m in rig.sink.messages]
	except Skip as e:
		tap.skip(kind, str(e))
	except Exception as e:
		tap.ok(False, f"{kind} starts", f"{e}\n{rig.logs() if rig else ''}")
	finally:
		if rig:
			rig.close()


def main():
	peers.fetch("postfix", "sendmail")
	try:
		netns.enter([CLIENT])
	except OSError as e:
		skip_all(e.strerror)
	tap = Tap()
	built = milters_built()
	missing = [n for n in built if n not in MILTERS]
	tap.equal(missing, [], "every milter that is built has its row here")
	for kind in sys.argv[1:] or KINDS:
		with_mta(tap, kind, [n for n in built if n in MILTERS])
	tap.done()


if __name__ == "__main__":
	main()
