# SPDX-License-Identifier: BSD-2-Clause
"""The demo's rows about content (attachments, viruses, spam, mail going out, scanners that die
or hang) and about a Redis server that goes away.  Mixed into Demo, which sends and judges."""
import base64
import io
import os
import re
import signal
import threading
import time
import zipfile
from pathlib import Path

from mails import decided, message
from postern import unique
from proc import SLOWER, Timeout, gone, wait_for

# In two halves, so that no scanner of the reader's stumbles over this file.
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STAND" + b"ARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STAND" + "ARD-ANTI-UBE-TEST-EMAIL*C.34X"
SEVEN_POINTS = "POSTERN-TEST-MAIL-WITH-SEVEN-POINTS"     # a rule of policy/rules
PROGRAM = b"MZ" + bytes(range(256)) * 8
BUDGET = 5                  # seconds, as mime.budget in etc/postern.conf
SCANNERS = 3                # mime.workers, and a spare one
TICK = 1 / os.sysconf("SC_CLK_TCK")

ALICE = ("203.0.113.5", "alice@partner.example", "ann@local.example")       # known to the greylist
CAROL = ("10.0.0.66", "carol@local.example", "dave@customer.example")       # one of our own


def zipped(members):
	out = io.BytesIO()
	with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
		for name, data in members:
			z.writestr(name, data)
	return out.getvalue()


def slow_archive(members=30, size=400_000):
	"""A small archive with much in it: every file differs, so that no scanner knows it."""
	return zipped((f"log.{i}", b"%d\r\n" % i + b"one line is like another\r\n" * (size // 26)) for i in range(members))


def attachment(name, data, kind="application/octet-stream"):
	text = base64.encodebytes(data).replace(b"\n", b"\r\n")
	return (f'Content-Type: {kind}; name="{name}"\r\nContent-Transfer-Encoding: base64\r\n'
	    f'Content-Disposition: attachment; filename="{name}"\r\n\r\n').encode() + text


def multipart(envelope, msgid, *parts):
	"""A message with a short text and these parts; envelope: client, sender, recipient."""
	edge = "=-edge-" + str(len(msgid))
	text = b"Content-Type: text/plain; charset=us-ascii\r\n\r\nSee what I have attached.\r\n"
	head = (f"From: <{envelope[1]}>\r\nTo: <{envelope[2]}>\r\nSubject: with an attachment\r\n"
	    f"Message-ID: <{msgid}>\r\nDate: Mon, 16 Nov 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n"
	    f'Content-Type: multipart/mixed; boundary="{edge}"\r\n\r\n').encode()
	return head + b"".join(b"--" + edge.encode() + b"\r\n" + p for p in (text, *parts)) + f"--{edge}--\r\n".encode()


def activity(pid):
	"""Its state as one letter, and its processor time in seconds."""
	try:
		fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
	except (FileNotFoundError, ProcessLookupError):
		return "X", 0.0
	return fields[0], (int(fields[11]) + int(fields[12])) * TICK


def children(pid):
	try:
		return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
	except (FileNotFoundError, ProcessLookupError):
		return []


class Sending:
	"""A mail on its way while the demo does something else; reply() waits for what came of it."""
	def __init__(self, send):
		self.begin = time.monotonic()
		self.result = None
		self.thread = threading.Thread(target=self.run, args=(send,), daemon=True)
		self.thread.start()

	def run(self, send):
		try:
			self.result = send()
		except OSError as e:
			self.result = e
		self.seconds = time.monotonic() - self.begin

	def reply(self):
		self.thread.join(60 * SLOWER)
		if isinstance(self.result, Exception) or self.result is None:
			raise self.result or Timeout("a mail on its way has no reply")
		return self.result


class ContentRows:
	# what the postmaster has been told

	def quarantined(self, msgid):
		"""The files of the quarantine that hold that Message-ID."""
		needle = f"<{msgid}>".encode()
		return [p for p in sorted((self.site.dir / "quarantine").glob("*.eml")) if needle in p.read_bytes()]

	def notices(self):
		return [p for p in self.site.maildir() if b"\r\nFrom: Postern <postmaster@" in p.read_bytes()]

	def notice_about(self, copy):
		"""The notice that names this file of the quarantine has been delivered."""
		try:
			return wait_for("a notice", lambda: [p for p in self.notices() if copy.name.encode() in p.read_bytes()], 10)
		except Timeout:
			return []

	def told(self, msgid, *lines):
		"""What is wrong with copy and notice of what was kept; nothing: ''.  lines: of the copy's head."""
		copies = self.quarantined(msgid)
		if len(copies) != 1:
			return f"{len(copies)} copies in quarantine"
		self.told_of += 1
		head = copies[0].read_text("latin-1").split("\n\n", 1)[0]
		for line in lines:
			if line not in head:
				return f"the copy lacks {line!r}"
		return "" if len(self.notice_about(copies[0])) == 1 else "the postmaster was not told"

	# attachments and viruses

	def attachments(self):
		msgid = unique()
		data = multipart(ALICE, msgid, attachment("setup.exe", PROGRAM), attachment("prices.csv", b"bread;2\r\n", "text/csv"))
		r = self.send(*ALICE, data)
		self.lies(msgid, "Maildir")
		got = self.site.find(msgid)[0][1] if self.site.find(msgid) else b""
		wanted = {"the text": b"See what I have attached.", "the table": base64.b64encode(b"bread;2\r\n"),
		    "the explanation": b"\r\nReason: forbidden-"}
		more = "; ".join(f"{what} is missing" for what, octets in wanted.items() if octets not in got)
		if base64.b64encode(PROGRAM[:54]) in got:
			more += "; the program is still there"
		self.row("a program attached: taken out", (250, ""), decided(r), msgid, "Maildir", "content", more)

	def viruses(self):
		msgid = unique()
		nested = zipped([("inner.zip", zipped([("readme.txt", EICAR)]))])
		inner = multipart(ALICE, "inner@partner.example", attachment("outer.zip", nested, "application/zip"))
		data = multipart(ALICE, msgid, b"Content-Type: message/rfc822\r\n\r\n" + inner)
		r = self.send(*ALICE, data)
		self.row("EICAR: zip in zip in a mail in the mail", (550, "Eicar-Test-Signature"), decided(r), msgid,
		    "quarantine", "content", self.told(msgid, "Reason: infected", f"Envelope-From: {ALICE[1]}"))

	def spam(self):
		msgid = unique()
		r = self.send(*ALICE, message(msgid, body=GTUBE + "\r\n"))
		self.row("GTUBE", (550, "5.7.1 The message looks like spam"), decided(r), msgid, tier="content")
		msgid = unique()
		r = self.send(*ALICE, message(msgid, body=SEVEN_POINTS + "\r\n"))
		self.lies(msgid, "Maildir")
		got = self.site.find(msgid)[0][1] if self.site.find(msgid) else b""
		marks = (b"\r\nX-Spam-Flag: YES\r\n", b"\r\nX-Spam-Status: Yes, score=7.0 ")
		more = "".join(f"no {m.strip().decode()}; " for m in marks if m not in got)
		self.row("between the thresholds: marked", (250, ""), decided(r), msgid, "Maildir", "content", more)

	# mail of our own users: it enters at the content tier

	def outgoing(self):
		msgid = unique()
		r = self.send(*CAROL, multipart(CAROL, msgid, attachment("readme.txt", EICAR)), tier="content")
		self.row("EICAR going out, from 10/8", (550, "Eicar-Test-Signature"), decided(r), msgid, "quarantine",
		    "content", self.told(msgid, "Reason: infected", f"Client: {CAROL[0]}"))
		msgid = unique()
		r = self.send(*CAROL, message(msgid, sender=CAROL[1], to=CAROL[2]), tier="content")
		log = (self.site.dir / "log/postern.log").read_text(errors="replace")
		asked = re.findall(rf"event=(greylist|access)\b.*{re.escape(CAROL[0])}", log)
		self.row("clean, going out, on a DNS list: not asked", (250, ""), decided(r), msgid, "Maildir", "content",
		    f"{asked[0]} was asked" if asked else "")

	# scanners

	def scanners(self):
		"""The jailed processes of postern-scand, once all of them are there."""
		def all_there():
			for supervisor_child in self.site.procs["mime"].children():
				if Path(f"/proc/{supervisor_child}/comm").read_text().startswith("postern-scand"):
					return children(supervisor_child)
			return []
		return wait_for("scanners", all_there)

	def scanning(self, before, seconds=20):
		"""Stops the scanner that is in the middle of a scan, whichever it is, and names it.
		before: what rested() told; who came later still has to start, and is the last to get
		work."""
		def busy():
			for pid, (_, used) in before.items():
				if activity(pid)[1] > used + 2 * TICK:
					os.kill(pid, signal.SIGSTOP)
					return pid
			return None
		return wait_for("a scanner at work", busy, seconds)

	def rested(self):
		"""{pid: activity} of the scanners, when all have started and have nothing to do."""
		last = [None]
		def still():
			now = {pid: activity(pid) for pid in self.scanners()}
			same, last[0] = now == last[0], now
			time.sleep(2 * TICK)
			return same and len(now) == SCANNERS and all(state == "S" for state, _ in now.values()) and now
		return wait_for("scanners at rest", still, 20)

	def sent_over_dead_scanners(self, data):
		"""The replies when the scanner dies amid the scan, and so does the next one, which tries
		the same content once more."""
		before = self.rested()
		way = Sending(lambda: self.send(*ALICE, data))
		for _ in range(2):
			scanner = self.scanning(before)
			del before[scanner]
			os.kill(scanner, signal.SIGKILL)
			wait_for("its end", lambda: gone(scanner))
		return way.reply()

	def scanner_killed(self):
		msgid = unique()
		data = multipart(ALICE, msgid, attachment("logs.zip", slow_archive(), "application/zip"))
		r = self.sent_over_dead_scanners(data)
		self.row("two scanners killed -9 amid its scan", (451, "4.7.1"), decided(r), msgid, tier="content")
		r = self.send(*ALICE, data)
		self.row("... the same mail, sent again", (250, ""), decided(r), msgid, "Maildir", "content")

	def scanners_die_of_it(self):
		"""Content that costs scanners at each try is kept, or it would cost them for days."""
		msgid = unique()
		data = multipart(ALICE, msgid, attachment("logs.zip", slow_archive(), "application/zip"))
		codes = [decided(self.sent_over_dead_scanners(data)).code for _ in range(2)]
		r = self.sent_over_dead_scanners(data)
		more = "" if codes == [451, 451] else f"answered {codes} before"
		self.row("scanners die of it, the third time", (250, ""), decided(r), msgid, "quarantine", "content",
		    more or self.told(msgid, "Reason: poison"))

	def scanner_hangs(self):
		msgid, other = unique(), unique()
		data = multipart(ALICE, msgid, attachment("logs.zip", slow_archive(), "application/zip"))
		before = self.rested()
		way = Sending(lambda: self.send(*ALICE, data))
		hung = self.scanning(before)
		r = self.send(*ALICE, message(other))
		more = "" if not gone(hung) else "its scanner was gone already"
		self.row("a scan hangs: the next mail meanwhile", (250, ""), decided(r), other, "Maildir", "content", more)
		r = way.reply()
		more = "" if gone(hung) else "its scanner is still there; "
		if not BUDGET - 0.5 < way.seconds < (BUDGET + 7) * SLOWER:
			more += f"it took {way.seconds:.1f} s"
		self.row(f"... its scanner is replaced after {BUDGET} s", (250, ""), decided(r), msgid, "Maildir", "content", more)

	# state at a Redis server

	def redis_down(self):
		log = self.site.dir / "log/postern.log"
		start = log.stat().st_size

		def since():
			with open(log, "rb") as f:
				f.seek(start)
				return f.read().decode("utf-8", "replace")
		self.site.procs.pop("redis")
		self.redis.kill()
		msgid = unique()
		r = self.send("192.0.2.40", "new@sender.example", "ann@local.example", message(msgid))
		try:
			more = ""
			wait_for("store=down", lambda: re.search(r"event=greylist action=continue .*store=down", since()), 5)
		except Timeout:
			more = "no store=down in the log"
		self.row("Redis killed: a stranger's first mail", (250, ""), decided(r), msgid, "Maildir", more=more)
		self.redis.start()
		self.site.procs["redis"] = self.redis.proc
		try:
			more = ""
			wait_for("store_up", lambda: "event=store_up" in since(), 10)
		except Timeout:
			more = "no store_up in the log"
		msgid = unique()
		r = self.send("192.0.2.41", "newer@sender.example", "ann@local.example", message(msgid))
		self.row("Redis started again: the next stranger", (451, "4.7.1"), decided(r), msgid, more=more)
