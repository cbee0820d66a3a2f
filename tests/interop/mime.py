#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 240
"""postern-mime as a process, with a scripted mail server at its socket: what becomes of
which content for whom, what is kept and told, and what happens when scanners, their master
or their signatures are lost in the middle of it."""
import os
import re
import signal
import struct
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import hostile_mail as hostile  # noqa: E402
from milter import Closed, Mta  # noqa: E402
from proc import BUILD, ROOT, SLOWER, Dir, Proc, gone, wait_for  # noqa: E402
from sink import Sink  # noqa: E402
from tap import Tap  # noqa: E402

SIGNATURES = (ROOT / "tests/vectors/mime/postern-test.ndb").read_text()
SECOND = b"SECOND-TEST-SIGNATURE-%d"
THIRD = bytes.fromhex("5053544e2d544553542d535455422d4e4f542d52554e4e41424c452d37663361")
BUDGET = 3                         # seconds
CONF = """
run {{ host content.example; log stderr; drain 30s }}
state {{ path "{dir}/state"; size 16M }}
mime {{ socket "unix:{dir}/m.sock"; signatures "{dir}/signatures"; tmp "{dir}/tmp";
	quarantine "{dir}/quarantine"; workers 2; budget {budget}; message-size 2M; {more} }}
policy "lab" {{ recipient domain lab.test; mime.forbidden pass }}
policy "watched" {{ recipient domain watched.test; mode observe }}
policy "cut" {{ recipient domain cut.test; mime.infected strip }}
policy "kept" {{ recipient domain kept.test; mime.infected quarantine }}
"""


class Daemon:
	def __init__(self, more="", signatures=SIGNATURES):
		self.dir = Dir()
		for d in ("tmp", "signatures"):
			(self.dir / d).mkdir()
		if signatures:
			self.sign(signatures)
		self.dir.write("postern.conf", CONF.format(dir=self.dir, budget=f"{BUDGET * SLOWER}s", more=more))
		self.p = Proc([BUILD / "postern-mime", "-f", "-c", self.dir / "postern.conf"], self.dir / "log")
		self.p.wait_listen(f"unix:{self.dir}/m.sock")
		if signatures:
			self.p.wait_line("signatures from")

	def sign(self, text):
		"""Put a file of signatures in place, as an updater does."""
		(self.dir / "signatures/new").write_text(text)
		os.rename(self.dir / "signatures/new", self.dir / "signatures/test.ndb")

	def reload(self, expect):
		seen = len(self.p.text())
		self.p.send(signal.SIGHUP)
		wait_for(expect, lambda: re.search(expect, self.p.text()[seen:]), 30)

	def session(self, message, *rcpts, sender="sender@outside.test"):
		"""A message up to its end."""
		m = Mta(f"unix:{self.dir}/m.sock", seconds=60)
		m.negotiate()
		m.macros("C", j="mx.example")
		m.connect("[192.0.2.1]", "192.0.2.1")
		m.helo("client.test")
		m.macros("M", i="Q1")
		m.mail(sender)
		for r in rcpts or ("user@inside.test",):
			m.rcpt(r)
		m.data()
		head, _, body = message.partition(b"\r\n\r\n")
		for field in re.split(rb"\r\n(?![ \t])", head):
			name, value = field.replace(b"\r\n", b"\n").split(b":", 1)
			m.header(name, value if m.protocol & 0x100000 else value[1:])
		m.eoh()
		for at in range(0, len(body), 65535):
			m.body(body[at:at + 65535])
		return m

	def play(self, message, *rcpts):
		with self.session(message, *rcpts) as m:
			return m.eom()

	def start_play(self, message, *rcpts):
		"""The same in a thread; .answers when it is done."""
		def run():
			try:
				t.answers = self.play(message, *rcpts)
			except (OSError, Closed) as e:
				t.answers = [str(e).encode()]
		t = threading.Thread(target=run, daemon=True)
		t.answers = None
		t.start()
		return t

	def masters(self):
		return [p for p in self.p.children() if comm(p) == "postern-scand"]

	def scanners(self):
		return [w for m in self.masters() for w in children(m)]

	def copies(self):
		return {p.name for p in (self.dir / "quarantine").iterdir()}

	def log(self, pattern):
		return self.p.wait_line(pattern)


def comm(pid):
	try:
		return Path(f"/proc/{pid}/comm").read_text().strip()
	except OSError:
		return ""


def children(pid):
	try:
		return [int(p) for t in Path(f"/proc/{pid}/task").iterdir()
		    for p in (t / "children").read_text().split()]
	except OSError:
		return []


def send(pids, sig):
	for p in pids:
		try:
			os.kill(p, sig)
		except ProcessLookupError:
			pass


def passes(answers):
	return answers[-1] == b"c" and all(a[:1] in b"hm" for a in answers[:-1])


def code(answers):
	return answers[-1][1:4].decode() if answers[-1][:1] == b"y" else answers[-1].decode("latin-1")


def body_of(answers):
	return b"".join(a[1:] for a in answers if a[:1] == b"b")


def changes(answers):
	"""(index, name, value) of changed header fields."""
	return [(struct.unpack(">I", a[1:5])[0], *a[5:].split(b"\0")[:2]) for a in answers if a[:1] == b"m"]


def added(answers):
	return [tuple(a[1:].split(b"\0")[:2]) for a in answers if a[:1] == b"h"]


def exe(name="evil.exe"):
	return hostile.multipart(hostile.text(), hostile.attachment(b"no program at all", name),
	    hostile.attachment(b"a picture", "p.png"))


def plain(n=0):
	return hostile.HEAD + b"X-Number: %d\r\n\r\nhello %d\r\n" % (n, n)


EICAR = hostile.multipart(hostile.text(), hostile.attachment(hostile.EICAR))


def verdicts(tap, d):
	text = d.p.text
	with tap.case("plain mail passes and is marked", text):
		answers = d.play(plain())
		assert passes(answers), answers
		[(name, value)] = added(answers)
		assert name == b"X-Virus-Scanned" and re.fullmatch(rb"ClamAV \S+/3 signatures at content\.example",
		    value), answers
	with tap.case("marks that came with it are removed", text):
		answers = d.play(b"X-Virus-Scanned: clean, honestly\r\nx-virus-scanned: me too\r\n" + plain())
		assert passes(answers) and len(added(answers)) == 1, answers
		assert sorted(changes(answers)) == [(1, b"X-Virus-Scanned", b""), (2, b"X-Virus-Scanned", b"")], answers
	with tap.case("a virus is refused, and kept to the octet", text):
		before = d.copies()
		answers = d.play(EICAR)
		assert code(answers) == "550" and b"Eicar-Test-Signature" in answers[-1], answers
		[copy] = d.copies() - before
		head, _, mail = (d.dir / "quarantine" / copy).read_bytes().partition(b"\n\n")
		assert mail == EICAR
		notes = dict(line.split(": ", 1) for line in head.decode().splitlines())
		assert notes["Reason"] == "infected" and notes["Envelope-From"] == "sender@outside.test", notes
		assert notes["Envelope-To"] == "<user@inside.test>" and notes["Client"] == "192.0.2.1", notes
		d.log(rf"event=mime action=reject qid=Q1 .*why=infected .*quarantine={copy[:-4]}")
	with tap.case("a virus in archives in a message in a message", text):
		for name in ("nested-zip-in-message", "base64-message", "uuencode"):
			answers = d.play(hostile.MESSAGES[name]())
			assert code(answers) == "550", (name, answers)
	with tap.case("what cannot be read in full never passes", text):
		for name in ("many-parts", "deep-zip", "encrypted", "deep-multiparts"):
			before = d.copies()
			answers = d.play(hostile.MESSAGES[name]())
			assert answers == [b"d"] and len(d.copies() - before) == 1, (name, answers)
	with tap.case("an office document with hundreds of members passes", text):
		assert passes(d.play(hostile.MESSAGES["office"]()))
	with tap.case("too large a message is refused", text):
		answers = d.play(hostile.multipart(hostile.text(b"x" * 3_000_000)))
		assert code(answers) == "552", answers


def strips(tap, d):
	text = d.p.text
	with tap.case("a forbidden part goes, the rest stays to the octet", text):
		mail = exe()
		answers = d.play(mail)
		assert answers[-1] == b"c" and len(added(answers)) == 1 and not changes(answers), answers
		parts, seen = mail.partition(b"\r\n\r\n")[2].split(b"--b1"), body_of(answers).split(b"--b1")
		assert len(seen) == 5 and [seen[i] for i in (0, 1, 3, 4)] == [parts[i] for i in (0, 1, 3, 4)], seen
		assert b"evil.exe" in seen[2] and b"forbidden-name" in seen[2], seen[2]
		assert b"bm8gcHJvZ3JhbSBhdCBhbGw" not in seen[2]
		assert seen[2].startswith(b"\r\nContent-Type: text/plain; charset=utf-8\r\n"), seen[2]
	with tap.case("a message that is a forbidden part becomes the explanation", text):
		answers = d.play(hostile.HEAD + hostile.attachment(b"no program", "evil.exe"))
		assert answers[-1] == b"c" and body_of(answers).startswith(b"An attachment was removed"), answers
		fields = {name: value for _, name, value in changes(answers)}
		assert fields == {b"Content-Type": b"text/plain; charset=utf-8", b"Content-Disposition": b"",
		    b"Content-Transfer-Encoding": b"8bit"}, answers
	with tap.case("a virus can be cut out, too", text):
		answers = d.play(EICAR, "a@cut.test")
		assert answers[-1] == b"c" and b"Eicar-Test-Signature" in body_of(answers), answers
	with tap.case("but not what lies between the parts", text):
		hidden = EICAR.replace(b"--b1\r\n", THIRD + b"\r\n--b1\r\n", 1)
		answers = d.play(hidden, "a@cut.test")
		assert code(answers) == "550", answers
	with tap.case("each copy of a forbidden archive goes", text):
		answers = d.play(hostile.MESSAGES["same-zip-twice"]())
		assert answers[-1] == b"c" and body_of(answers).count(b"Reason: forbidden-name (evil.exe)") == 2, answers
	with tap.case("hostile names cause no hostile answers", text):
		name = "\u202egpj.exe" + "\u00e9" * 300
		mail = hostile.multipart(hostile.text(), *[hostile.attachment(b"%d" % i, name + ".exe") for i in range(60)])
		answers = d.play(mail.decode().encode("utf-8"))
		assert answers[-1] == b"c" and body_of(answers).count(b"Reason: forbidden-name") == 60, answers[-1]


def people(tap, d, sink):
	text = d.p.text
	with tap.case("who may have programs gets them, unless others get the same message", text):
		assert passes(d.play(exe(), "a@lab.test"))
		assert not passes(d.play(exe(), "a@inside.test"))
		assert not passes(d.play(exe(), "a@lab.test", "b@inside.test"))
		assert not passes(d.play(exe(), "b@inside.test", "a@lab.test"))
	with tap.case("observing changes nothing and tells what would be", text):
		answers = d.play(EICAR, "a@watched.test")
		assert answers == [b"c"], answers
		d.log(r"event=mime would=reject .*to=a@watched\.test .*why=infected")
		answers = d.play(exe(), "a@watched.test")
		assert answers == [b"c"], answers
		d.log(r"event=mime would=strip ")
		assert code(d.play(EICAR, "a@watched.test", "b@inside.test")) == "550"
	with tap.case("quarantine is silent, and the postmaster is told", text):
		before = d.copies()
		answers = d.play(EICAR, "a@kept.test", "b@kept.test")
		assert answers == [b"d"], answers
		[copy] = d.copies() - before
		notice = wait_for("the notice", lambda: next((m for m in sink.messages
		    if copy[:-4].encode() in m.body), None))
		assert notice.sender == "" and notice.recipients == ["postmaster@inside.test"], notice
		assert notice.headers("Auto-Submitted") == [b"auto-generated"], notice.data
		assert b"Eicar-Test-Signature" in notice.headers("Subject")[0], notice.data
		assert b"First recipient: <a@kept.test>, 2 in all" in notice.body
		assert b"was not delivered" in notice.body, notice.body
	with tap.case("a notice about a cut does not speak of a lost message", text):
		d.play(EICAR, "a@cut.test")
		wait_for("the notice", lambda: any(b"Attachments were removed" in m.body for m in sink.messages))
	with tap.case("no copy, no answer but to try again", text):
		os.rename(d.dir / "quarantine", d.dir / "away")
		(d.dir / "quarantine").write_text("in the way")
		try:
			for rcpt in ("a@kept.test", "a@inside.test"):
				answers = d.play(EICAR, rcpt)
				assert code(answers) == "451", answers
			assert passes(d.play(plain()))
		finally:
			os.unlink(d.dir / "quarantine")
			os.rename(d.dir / "away", d.dir / "quarantine")
		assert d.play(EICAR, "a@kept.test") == [b"d"]


def until_answered(d, t, action):
	"""Do something to every scanner, again and again, until the answer is there."""
	end = time.monotonic() + 60 * SLOWER
	seen = {}
	while t.answers is None:
		assert time.monotonic() < end, "no answer"
		for pid in d.scanners():
			seen.setdefault(pid, time.monotonic())
			action(pid, time.monotonic() - seen[pid])
		time.sleep(0.001)
	return t.answers


def stop_then_kill(pid, age):
	send([pid], signal.SIGSTOP)
	if age > 0.5:
		send([pid], signal.SIGKILL)


def resume(d):
	send(d.scanners(), signal.SIGCONT)


def hold_all(d, n):
	"""All scanners stand still: one that dies is counted until it is reaped, and its
	successor comes after."""
	def held():
		pids = d.scanners()
		send(pids, signal.SIGSTOP)
		return len(pids) == n and d.scanners() == pids and all(state(p) == "T" for p in pids) and pids
	return wait_for("scanners that stand still", held)


def state(pid):
	try:
		return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
	except OSError:
		return None


def losses(tap, d):
	text = d.p.text
	with tap.case("a scanner killed in the middle: another one does it", text):
		pids = hold_all(d, 3)
		t = d.start_play(plain(1))
		wait_for("the question is under way", lambda: t.answers is not None or waiting(d))
		for pid in sorted(pids):
			send([pid], signal.SIGKILL)
			wait_for("a new scanner", lambda: pid not in d.scanners() and len(d.scanners()) == 3)
			if "died over a job, which is tried again" in d.p.text():
				break
		send(pids, signal.SIGCONT)
		t.join(60 * SLOWER)
		assert t.answers is not None and passes(t.answers), t.answers
		d.log("died over a job, which is tried again")
	with tap.case("killed again and again: tried twice, then 451; the third time it is kept", text):
		for n in (1, 2):
			# each try has come through another tier, which told so
			t = d.start_play(b"Received: from a.test by b.test id %d; today\r\n" % n + plain(2))
			answers = until_answered(d, t, stop_then_kill)
			assert code(answers) == "451", answers
			d.log(rf"scanners died over Q1, failure {n} of this content")
		before = d.copies()
		answers = until_answered(d, d.start_play(plain(2)), stop_then_kill)
		assert answers == [b"d"], answers
		[copy] = d.copies() - before
		assert (d.dir / "quarantine" / copy).read_bytes().endswith(b"\n\n" + plain(2))
		resume(d)
		assert d.play(plain(2)) == [b"d"]
		assert passes(d.play(plain(3)))
	with tap.case("scanners that hang are replaced within their budget", text):
		began = time.monotonic()
		answers = until_answered(d, d.start_play(plain(4)), lambda pid, age: send([pid], signal.SIGSTOP))
		took = time.monotonic() - began
		assert code(answers) == "451", answers
		assert BUDGET * SLOWER * 2 - 0.5 <= took < BUDGET * SLOWER * 3, took
		d.log("scanners took too long over Q1, failure 1")
		resume(d)
		assert passes(d.play(plain(4)))
	with tap.case("no directory of a lost scanner is left", text):
		wait_for("directories of the living only", lambda: len(list((d.dir / "tmp").iterdir())) ==
		    len(d.scanners()) == 3)
	with tap.case("the master killed: 451 for what was under way, then a new one", text):
		pids = hold_all(d, 3)
		t = d.start_play(plain(5))
		wait_for("the question is under way", lambda: t.answers is not None or waiting(d))
		[master] = d.masters()
		os.kill(master, signal.SIGKILL)
		t.join(60 * SLOWER)
		assert t.answers is not None and code(t.answers) == "451", t.answers
		wait_for("a new master", lambda: d.masters() not in ([], [master]), 30)
		wait_for("mail passes again", lambda: passes(d.play(plain(6))), 60)
		wait_for("its scanners are gone, too", lambda: all(gone(p) for p in pids))
		assert code(d.play(EICAR)) == "550"
		wait_for("and their directories", lambda: len(list((d.dir / "tmp").iterdir())) == 3)


def waiting(d):
	"""Whether the master has a job: it keeps the message until the answer."""
	for m in d.masters():
		for fd in Path(f"/proc/{m}/fd").iterdir():
			try:
				if os.readlink(fd).startswith("/memfd:message"):
					return True
			except OSError:
				pass
	return False


class Load:
	"""Sessions that send plain mail one after the other; bad: what did not pass."""
	def __init__(self, d, n):
		self.d, self.bad, self.count, self.ending = d, [], 0, False
		self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(n)]
		for t in self.threads:
			t.start()

	def run(self, i):
		n = i * 1_000_000
		while not self.ending:
			n += 1
			try:
				answers = self.d.play(plain(n))
			except (OSError, Closed) as e:
				answers = [repr(e).encode()]
			if not passes(answers):
				self.bad.append(answers)
			self.count += 1

	def stop(self):
		self.ending = True
		for t in self.threads:
			t.join(60 * SLOWER)
		return self.bad


def signed(n):
	return f"Second:0:*:{(SECOND % n).hex()}\n"


def signatures(tap, d):
	text = d.p.text
	with tap.case("signatures are exchanged under load, and nobody notices", text):
		load = Load(d, 6)
		for n in (1, 2, 3):
			mail = hostile.multipart(hostile.text(), hostile.attachment(SECOND % n))
			assert passes(d.play(mail)), n
			d.sign(SIGNATURES + signed(n))
			assert passes(d.play(mail)), "nobody told it to read them yet"
			d.reload("jail [0-9]+ takes over from")
			assert code(d.play(mail)) == "550", n
		bad = load.stop()
		assert not bad and load.count > 20, (load.count, bad[:3])
		wait_for("one master", lambda: len(d.masters()) == 1)
	with tap.case("broken signatures: told, and the old ones serve on", text):
		d.sign("This is no signature\n")
		load = Load(d, 3)
		d.reload("the new jail did not come up; the old one goes on")
		d.log(r"err event=jail-load .*signatures in \S+ cannot be read")
		assert code(d.play(EICAR)) == "550"
		assert code(d.play(hostile.multipart(hostile.attachment(SECOND % 3)))) == "550"
		bad = load.stop()
		assert not bad and load.count > 3, (load.count, bad[:3])
		d.sign(SIGNATURES)
		d.reload("jail [0-9]+ takes over from")
		assert passes(d.play(hostile.multipart(hostile.attachment(SECOND % 3))))


def crowd(tap, d):
	text = d.p.text
	with tap.case("twenty sessions at once, each with its own answer", text):
		kinds = [(plain, passes), (lambda n: EICAR.replace(b"test", b"%d" % n, 1), lambda a: code(a) == "550"),
		    (lambda n: exe(f"evil{n}.exe"), lambda a: a[-1] == b"c" and body_of(a) != b""),
		    (lambda n: hostile.MESSAGES["encrypted"](), lambda a: a == [b"d"])]
		sent = [(d.start_play(kinds[n % 4][0](n)), n) for n in range(20)]
		for t, n in sent:
			t.join(60 * SLOWER)
			assert t.answers is not None and kinds[n % 4][1](t.answers), (n, t.answers)
			if n % 4 == 2:
				assert b"evil%d.exe" % n in body_of(t.answers), (n, t.answers)


def unsigned(tap):
	e = Daemon(signatures="")
	with tap.case("without signatures nothing passes", e.p.text):
		e.log(r"err event=jail-load")
		answers = e.play(plain())
		assert code(answers) == "451", answers
		assert not e.masters() or not e.scanners()
	with tap.case("when they come, mail passes", e.p.text):
		e.sign(SIGNATURES)
		wait_for("a loaded engine", lambda: "signatures from" in e.p.text(), 60)
		assert passes(e.play(plain()))
		assert e.p.stop() == 0


def ending(tap, d):
	with tap.case("told to end, it finishes what it has begun", d.p.text):
		pids = hold_all(d, 3)
		t = d.start_play(plain(7))
		wait_for("the question is under way", lambda: t.answers is not None or waiting(d))
		d.p.send(signal.SIGTERM)
		wait_for("no new sessions", lambda: not (d.dir / "m.sock").exists())
		send(pids, signal.SIGCONT)
		t.join(60 * SLOWER)
		assert t.answers is not None and passes(t.answers), t.answers
		assert d.p.wait(60) == 0
		wait_for("no scanner is left", lambda: all(gone(p) for p in pids))
		assert not list((d.dir / "tmp").iterdir())


def main():
	tap = Tap()
	with Sink() as sink:
		d = Daemon(f'notify postmaster@inside.test; notify-via "127.0.0.1:{sink.port}"')
		verdicts(tap, d)
		strips(tap, d)
		people(tap, d, sink)
		losses(tap, d)
		signatures(tap, d)
		crowd(tap, d)
		unsigned(tap)
		ending(tap, d)
	tap.done()


if __name__ == "__main__":
	main()
