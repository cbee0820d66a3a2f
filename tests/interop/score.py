#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""postern-score as a process tree, with a scripted mail server at its socket: refused,
marked, forged fields, policies, a message that is too large, a jail that is killed, rules
that change."""
import os
import re
import signal
import socket
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter import Mta  # noqa: E402
from proc import BUILD, ROOT, Dir, Proc, wait_for  # noqa: E402
from tap import Tap  # noqa: E402

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
SEVEN = "POSTERN-TEST-MAIL-WITH-SEVEN-POINTS"
# What nobody guesses fast: exponential in the length of the line, refused by its limit.
SLOW = "body SLOW /^(?:a+)+$/\nscore SLOW 3\nbody AFTER /after the storm/\nscore AFTER 1\n"
CONF = """
run {{ host gate.example; log stderr; log-level debug }}
state {{ path "{dir}/state"; size 16M }}
score {{ socket "unix:{dir}/s.sock"; metrics "{dir}/s.metrics"; tmp "{dir}"; workers 2;
  rules "{rules}" "{dir}/own"; {more} }}
policy "observe" {{ recipient domain watched.test; mode observe }}
policy "off"     {{ client 10.0.0.0/8; score.scan off }}
policy "abuse"   {{ recipient abuse@local.test; score.reject 10000 }}
policy "strict"  {{ recipient strict@local.test; score.reject 6; score.tag 2 }}
"""
PLAIN = [("From", "a@b.test"), ("To", "c@local.test"), ("Subject", "hello"),
    ("Date", "Fri, 20 Nov 2026 10:00:00 +0000"), ("Message-Id", "<1@b.test>")]


def children(pid):
	try:
		return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
	except OSError:
		return []


def tree(pid):
	out = []
	for child in children(pid):
		out += [child, *tree(child)]
	return out


def name_of(pid):
	try:
		return Path(f"/proc/{pid}/comm").read_text().strip()
	except OSError:
		return ""


def tell(pids, number):
	for pid in pids:
		try:
			os.kill(pid, number)
		except ProcessLookupError:
			pass     # a jail that is being replaced ends by itself


class Daemon:
	def __init__(self, more="", rules=SLOW):
		self.dir = Dir()
		(Path(str(self.dir)) / "own").mkdir()
		self.rules(rules)
		self.conf(more)
		self.p = Proc([BUILD / "postern-score", "-f", "-c", self.dir / "postern.conf"], self.dir / "log")
		self.p.wait_listen(f"unix:{self.dir}/s.sock")

	def rules(self, text):
		# as a whole: a jail of an earlier reload may just be reading
		new = Path(str(self.dir)) / "own/own.new"
		new.write_text(text)
		new.replace(new.with_suffix(".cf"))

	def conf(self, more=""):
		self.dir.write("postern.conf", CONF.format(dir=self.dir, rules=ROOT / "policy/rules", more=more))

	def jail(self):
		"""Processes of the jail: the master first, then its workers."""
		masters = [p for p in tree(self.p.pid) if name_of(p).startswith("postern-scoreja")]
		return masters

	def one(self, body, headers=PLAIN, rcpts=("c@local.test",), client="192.0.2.1", chunks=None):
		with Mta(f"unix:{self.dir}/s.sock", 60.0) as m:
			m.negotiate()
			m.macros("C", j="gate.example")
			m.connect(f"[{client}]", client)
			m.helo("helo.test")
			m.macros("M", i="Q1")
			m.mail("a@b.test")
			for r in rcpts:
				assert m.rcpt(r) == [b"c"]
			m.data()
			for name, value in headers:
				m.header(name, value)
			m.eoh()
			for chunk in chunks or [body]:
				m.body(chunk)
			return m.eom()


def fields(eom):
	"""What was added, by name."""
	out = {}
	for e in eom:
		if e[:1] == b"h":
			name, value = e[1:].split(b"\0")[:2]
			out[name.decode()] = value.decode()
	return out


def changes(eom):
	"""(index, name, value) in their order."""
	out = []
	for e in eom:
		if e[:1] == b"m":
			name, value = e[5:].split(b"\0")[:2]
			out.append((int.from_bytes(e[1:5], "big"), name.decode(), value.decode()))
	return out


def status_ok(text, yes, score=None):
	assert text.startswith("Yes, " if yes else "No, "), text
	m = re.match(r"(?:Yes|No), score=(-?\d+\.\d|failed) required=(\d+\.\d) tests=\S+", text.replace("\n\t", ""))
	assert m, text
	if score is not None:
		assert m[1] == score, text
	return True


def main():
	tap = Tap()
	d = Daemon()
	text = d.p.text
	with tap.case("honest mail passes with its fields", text):
		eom = d.one("How are you?\r\n")
		assert eom[-1] == b"c", eom
		f = fields(eom)
		assert status_ok(f["X-Spam-Status"], False, "0.0"), f
		assert "tests=none" in f["X-Spam-Status"] and "X-Spam-Flag" not in f and "X-Spam-Level" not in f, f
		assert f["X-Spam-Checker-Version"] == "Postern 1 on gate.example", f
		d.p.wait_line(r"event=score action=continue qid=Q1 client=192\.0\.2\.1 from=a@b\.test to=c@local\.test .*score=0\.0 tests=none")
	with tap.case("GTUBE is refused with 550", text):
		eom = d.one(f"buy\r\n{GTUBE}\r\n")
		assert eom == [b"y550 5.7.1 The message looks like spam; if it is not, please tell the postmaster\0"], eom
		d.p.wait_line(r"event=score action=reject .*score=1000\.0 tests=GTUBE")
	with tap.case("GTUBE in base64 and behind two encodings is refused, too", text):
		import base64
		b64 = base64.encodebytes(f"x\r\n{GTUBE}\r\n".encode()).decode().replace("\n", "\r\n")
		eom = d.one(b64, [*PLAIN, ("Content-Type", "text/plain"), ("Content-Transfer-Encoding", "base64")])
		assert eom[0].startswith(b"y550 5.7.1"), eom
		part = ("--b\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
		    f"<p>{GTUBE.replace('-', '=2D')}</p>\r\n--b--\r\n")
		eom = d.one(part, [*PLAIN, ("Content-Type", 'multipart/mixed; boundary="b"')])
		assert eom[0].startswith(b"y550 5.7.1"), eom
	with tap.case("between the thresholds mail is marked", text):
		eom = d.one(f"{SEVEN}\r\n")
		f = fields(eom)
		assert eom[-1] == b"c" and f["X-Spam-Flag"] == "YES" and f["X-Spam-Level"] == "*" * 7, eom
		assert status_ok(f["X-Spam-Status"], True, "7.0") and "tests=POSTERN_TEST" in f["X-Spam-Status"], f
		d.p.wait_line(r"event=score action=tag .*score=7\.0 tests=POSTERN_TEST")
	with tap.case("forged fields go, the highest index first", text):
		eom = d.one("hi\r\n", [("X-Spam-Status", "No, score=-99"), *PLAIN, ("x-spam-status", "No"), ("X-SPAM-FLAG", "NO"),
		    ("X-Spamless", "stays"), ("X-Spam-Score", "-5")])
		assert eom[-1] == b"c", eom
		gone = changes(eom)
		assert all(v == "" for _, _, v in gone), gone
		by_name = {}
		for i, name, _ in gone:
			by_name.setdefault(name.lower(), []).append(i)
		assert by_name == {"x-spam-status": [2, 1], "x-spam-flag": [1], "x-spam-score": [1]}, gone
		first_added = next(i for i, e in enumerate(eom) if e[:1] == b"h")
		last_removed = max(i for i, e in enumerate(eom) if e[:1] == b"m")
		assert last_removed < first_added, eom
	with tap.case("more forged fields than can be removed are refused", text):
		eom = d.one("hi\r\n", [*PLAIN, *[("X-Spam-Flag", "NO")] * 501])
		assert eom[0].startswith(b"y554 5.6.0"), eom
	with tap.case("pieces of any size say the same", text):
		body = f"one\r\ntwo\r\n{GTUBE}\r\n"
		eom = d.one(None, chunks=[body[i:i + 1] for i in range(len(body))])
		assert eom[0].startswith(b"y550"), eom
	with tap.case("policies: observe, off, and who is most patient decides", text):
		eom = d.one(f"{GTUBE}\r\n", rcpts=("x@watched.test",))
		assert eom == [b"c"], eom
		d.p.wait_line(r"event=score would=reject .*to=x@watched\.test")
		eom = d.one(f"{GTUBE}\r\n", client="10.1.2.3")
		assert eom == [b"c"], eom
		eom = d.one(f"{GTUBE}\r\n", rcpts=("c@local.test", "abuse@local.test"))
		assert eom[-1] == b"c" and fields(eom)["X-Spam-Flag"] == "YES", eom
		assert fields(eom)["X-Spam-Level"] == "*" * 50, eom
		eom = d.one(f"{SEVEN}\r\n", rcpts=("strict@local.test",))
		assert eom[0].startswith(b"y550"), eom
		eom = d.one(f"{SEVEN}\r\n", rcpts=("strict@local.test", "c@local.test"))
		assert eom[-1] == b"c" and fields(eom)["X-Spam-Flag"] == "YES", eom
	with tap.case("what is beyond scan-size is not looked at, and that is told", text):
		filler = ("x" * 70 + "\r\n") * 900
		eom = d.one(None, chunks=[filler] * 9 + [f"{GTUBE}\r\n"])
		assert eom[-1] == b"c" and "partly=yes" in fields(eom)["X-Spam-Status"], eom
		d.p.wait_line(r"event=score .*partly=size")
	with tap.case("a pattern that runs away is stopped, the others count", text):
		eom = d.one("a" * 2000 + "!\r\n\r\nafter the storm\r\n")
		assert eom[-1] == b"c" and "tests=AFTER" in fields(eom)["X-Spam-Status"], eom
	with tap.case("a client's words in the envelope cannot break the line", text):
		with Mta(f"unix:{d.dir}/s.sock", 60.0) as m:
			m.negotiate()
			m.macros("C", j="gate.example")
			m.connect("[192.0.2.9]", "192.0.2.9")
			m.helo("evil)\r\nX: y (")
			m.mail("\"a b\"@c.test")
			m.rcpt("c@local.test")
			m.data()
			for name, value in PLAIN:
				m.header(name, value)
			m.eoh()
			m.body("x\r\n")
			assert m.eom()[-1] == b"c"
	with tap.case("a killed jail worker is replaced, mail goes on", text):
		workers = d.jail()[1:]
		assert workers, tree(d.p.pid)
		tell(workers, signal.SIGKILL)
		eom = d.one(f"{SEVEN}\r\n")
		assert eom[-1] == b"c" and fields(eom)["X-Spam-Flag"] == "YES", eom
	with tap.case("a killed jail master is replaced, meanwhile mail passes, marked", text):
		os.kill(d.jail()[0], signal.SIGKILL)
		eom = d.one(f"{SEVEN}\r\n")
		assert eom[-1] == b"c", eom
		if "score=failed" in fields(eom)["X-Spam-Status"]:
			d.p.wait_line(r"event=score action=continue .*score=failed why=(gone|died)")
		def back():
			f = fields(d.one(f"{SEVEN}\r\n"))
			return f.get("X-Spam-Flag") == "YES"
		wait_for("the jail is back", back)
	with tap.case("stopped workers: unscored after their budget, marked", text):
		d.conf("budget 200ms;")
		d.p.send(signal.SIGHUP)
		def slow():
			tell(d.jail(), signal.SIGSTOP)
			try:
				return fields(d.one(f"{SEVEN}\r\n"))["X-Spam-Status"]
			finally:
				tell(d.jail(), signal.SIGCONT)
		assert wait_for("the short budget", lambda: slow().startswith("No, score=failed required=5.0 tests=none") or None)
		d.p.wait_line(r"event=score action=continue .*score=failed why=(late|time|gone)")
	with tap.case("metrics count", text):
		with socket.socket(socket.AF_UNIX) as s:
			s.connect(f"{d.dir}/s.metrics")
			s.settimeout(10)
			s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
			page = b""
			while more := s.recv(65536):
				page += more
		for action in (b"pass", b"tag", b"refuse", b"observe", b"failed"):
			m = re.search(rb'postern_score_decisions_total\{action="' + action + rb'"\} (\d+)', page)
			assert m and int(m[1]) > 0, (action, page)
	with tap.case("reload: new rules, new settings; a bad file changes nothing", text):
		d.rules("body FRESH /fresh rule/\nscore FRESH 6\n")
		d.conf('subject-tag "[SPAM]"; text "no, thanks";')
		d.p.send(signal.SIGHUP)
		wait_for("the new rule", lambda: "FRESH" in fields(d.one("a fresh rule\r\n")).get("X-Spam-Status", ""))
		eom = d.one("a fresh rule\r\n")
		assert (1, "Subject", "[SPAM] hello") in changes(eom), eom
		eom = d.one("a fresh rule\r\n", [h for h in PLAIN if h[0] != "Subject"])
		assert fields(eom)["Subject"] == "[SPAM]", eom
		assert d.one(f"{GTUBE}\r\n")[0].startswith(b"y550 5.7.1 no, thanks"), eom
		d.rules("body FRESH abc\n")
		d.p.send(signal.SIGHUP)
		d.p.wait_line(r"own\.cf.*1.*FRESH: ..?abc..? is no pattern")
		assert "FRESH" in fields(d.one("a fresh rule\r\n"))["X-Spam-Status"]
	with tap.case("it ends in order and leaves nothing behind", text):
		pids = d.jail()
		assert d.p.stop() == 0
		wait_for("the jail's end", lambda: not any(name_of(p) for p in pids))
		left = [p.name for p in Path(str(d.dir)).iterdir() if p.is_dir() and p.name not in ("own", "state")]
		assert left == [], left
	with tap.case("on-failure tempfail: without a jail the sender comes again", text):
		e = Daemon("on-failure tempfail; budget 300ms;")
		stop = threading.Event()
		def kill():
			while not stop.is_set():
				tell(e.jail()[:1], signal.SIGKILL)
				stop.wait(0.002)
		killer = threading.Thread(target=kill)
		killer.start()
		try:
			eom = wait_for("a message without a jail", lambda: next(
			    (r for r in [e.one(f"{SEVEN}\r\n")] if r[0].startswith(b"y")), None))
		finally:
			stop.set()
			killer.join()
		assert eom[0].startswith(b"y451 4.7.1 "), eom
		e.p.wait_line(r"event=score action=tempfail .*score=failed")
		wait_for("the jail is back", lambda: "X-Spam-Flag" in fields(e.one(f"{SEVEN}\r\n")))
		assert e.p.stop() == 0
	with tap.case("a configuration with bad rules does not start", text):
		f = Dir()
		f.write("bad.cf", "body X /abc\n")
		f.write("postern.conf", f'score {{ rules "{f}/bad.cf"; socket "unix:{f}/s.sock"; }}\n')
		p = Proc([BUILD / "postern-score", "-t", "-c", f / "postern.conf"], f / "log")
		assert p.wait(10) == 78, p.text()
		assert "bad.cf:1: X: the pattern has no end" in p.text(), p.text()
	tap.done()


if __name__ == "__main__":
	main()
