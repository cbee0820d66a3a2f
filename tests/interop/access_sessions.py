#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 200
"""The access map's engine against whole SMTP sessions of the real sendmail, on random maps.

	access_sessions.py [SEED [ROUNDS]]

Each round draws a configuration and six maps, starts the real program with its own
access_db in force, and speaks eight random sessions with it for each map, from clients
with addresses of their own.  What `posternctl test access` says of the same envelopes must
be what the client was told: where it was refused, code, enhanced code and words; in four
more sessions for each map, of up to four recipients, every reply.  (What is
dropped or held no client can see: access_differential.py looks there.)  The seed is
printed; give it to see the same sessions again.

Not drawn is what sendmail garbles in a session: a ")" alone, which makes it refuse with 553
5.0.0 and the raw entry, and "%" in the words for a connection, which it formats with; nor
"|", which stands between the replies of multi.tsv.
"""
import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import access_differential as ad  # noqa: E402
import netns  # noqa: E402
import peers  # noqa: E402
from proc import BUILD, Dir, Proc, free_port, run  # noqa: E402
from smtp import Smtp  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

MAPS, SESSIONS, MULTI, ROUNDS = 6, 8, 4, 10        # 720 sessions
CLIENTS = [c for c in ad.CLIENTS if "." in c[0] and c[3] in ("OK", "FAIL") and c[2] != "localhost"]
DAEMON = ["FEATURE(`no_default_msa')", "define(`confTO_IDENT', `0')", "define(`confPID_FILE', `@dir@/pid')",
    "define(`confBAD_RCPT_THROTTLE', `0')", "define(`confREFUSE_LA', `1000')", "define(`confQUEUE_LA', `1000')",
    "define(`confMIN_FREE_BLOCKS', `0')", "define(`confDELIVERY_MODE', `queueonly')"]
# its own names: no file of the host's says who a client is
INSIDE = 'hostname mx.home.test && mount --bind "$1/hosts" /etc/hosts && ' \
    'mount --bind "$1/nsswitch" /etc/nsswitch.conf && shift && exec "$@"'


class Draw(ad.Draw):
	def text(self):
		while True:
			text = super().text()
			if "%" not in text and "|" not in text and ")" not in re.sub(r"\(a \(b\) c\)|\(c\)|\\\)", "", text):
				return text


class Server(ad.Sendmail):
	"""The real program on a port of its own."""
	def __init__(self, directory):
		super().__init__(directory)
		self.proc, self.addr = None, None
		(self.dir / "nsswitch").write_text("hosts: files\npasswd: files\ngroup: files\n")
		with open(self.dir / "hosts", "a", encoding="ascii") as f:
			f.writelines(f"{c[0]} {c[2]}\n" for c in CLIENTS if c[2])

	def serve(self, features):
		self.stop()
		self.addr = ("127.0.0.1", free_port())
		self.configure([*features, *DAEMON, f"DAEMON_OPTIONS(`Family=inet, Name=MTA, Port={self.addr[1]}, Addr=127.0.0.1')"])
		self.map("x.invalid\tOK\n")
		self.proc = Proc(["unshare", "-u", "-m", "sh", "-c", INSIDE, "sh", self.dir, self.program, "-bD", "-C",
		    self.dir / "t.cf"], self.dir / "out", env=self.env)
		self.proc.wait_listen(self.addr)

	def map(self, text):
		p = self.call([self.makemap, "-C", self.dir / "t.cf", "hash", self.dir / "access"], text)
		if p.returncode != 0:
			raise RuntimeError(f"makemap: {p.stderr.decode()}\n{text}")

	def stop(self):
		if self.proc:
			self.proc.stop()
		self.proc = None

	def session(self, envelope):
		"""(command that was refused or "", code, enhanced, words)"""
		client, helo, sender, rcpt = envelope
		with Smtp(self.addr, 30, source=client[0]) as c:
			stage, r = "connect", c.greeting
			if r.code == 220:
				stage, r = "helo", c.ehlo(helo)
			if r.code == 250:
				stage, r = "mail", c.cmd(f"MAIL FROM:{sender}")
			if r.code == 250:
				stage, r = "rcpt", c.cmd(f"RCPT TO:{rcpt}")
			if r.code != 421:
				c.cmd("QUIT")
		said = " ".join(r.lines)
		m = re.match(r"(\d\.\d+\.\d+) (.*)$", said)
		enhanced, words = (m[1], m[2]) if m else ("", said)
		if r.code in (450, 550, 553) and f"{sender if stage == 'mail' else rcpt}... " in words:
			words = words.split("... ", 1)[1]
		return ("" if r.code == 250 else stage), r.code, enhanced, words


	def replies(self, client, sender, rcpts):
		"""The replies to MAIL and to each RCPT, without addresses; taken is taken."""
		with Smtp(self.addr, 30, source=client) as c:
			if c.greeting.code != 220:
				return [str(c.greeting.code)]
			c.ehlo("helo.test")
			out = []
			for a, command in ((sender, "MAIL FROM:"), *((r, "RCPT TO:") for r in rcpts)):
				r = c.cmd(command + a)
				words = f"{r.code} {' '.join(r.lines)}".replace(f"{a}... ", "", 1)
				out.append("250" if r.code == 250 else " ".join(words.split()))
				if r.code == 421:
					return out
			c.cmd("QUIT")
		return out


def wrong(told, row):
	"""None, or what differs.  row: id, stage, code, enhanced, text, action ..."""
	stage, code, enhanced, words = told
	if row[5] in ("accept", "discard", "quarantine"):
		return None if code == 250 else f"accepted by us, told {told}"
	if code != int(row[2]) or enhanced != row[3] or words.split() != row[4].split():
		return f"ours {row[1:6]}, told {told}"
	at = {"connect": ("connect", "helo", "mail"), "mail": ("mail",), "rcpt": ("rcpt",)}[row[1]]
	return None if stage in at else f"ours at {row[1]}, told at {stage}"


def envelope(draw, delayed):
	_, helo, sender, rcpt = draw.envelope(delayed)
	return draw.r.choice(CLIENTS), helo, sender, rcpt


def telling(draw, world, text, delayed):
	"""Of many envelopes those with the most to tell: most random ones meet no entry."""
	drawn = [envelope(draw, delayed) for _ in range(6 * SESSIONS)]
	by_fate = {}
	for e, row in zip(drawn, ad.ours(world, text, drawn)):
		by_fate.setdefault(tuple(row[1:6]), []).append((e, row))
	out = []
	while len(out) < SESSIONS:
		for fate in sorted(by_fate):
			out += by_fate[fate][:1]
			del by_fate[fate][:1]
	return out[:SESSIONS]


def several(server, draw, world, delayed):
	"""Sessions with several recipients: [what differs]."""
	drawn = []
	for _ in range(MULTI):
		rcpts = [draw.envelope(delayed)[3] for _ in range(8)]
		drawn.append((draw.r.choice(CLIENTS)[0], draw.plain_sender(), [r for r in rcpts if " " not in r][:4]))
	rows = [f"{i}\tv\tmaps/m.access\t{c}\t{s}\t{' '.join(r)}" for i, (c, s, r) in enumerate(drawn)]
	(world / "cases.tsv").unlink()
	(world / "multi.tsv").write_text("\n".join(["id\tvariant\taccess\tclient_addr\tmail_from\trcpts", *rows]) + "\n")
	status, out, err = run([BUILD / "posternctl", "test", "access", world])
	(world / "multi.tsv").unlink()
	assert status == 0, err
	found = []
	for (client, sender, rcpts), line in zip(drawn, out.splitlines()[1:]):
		cells = line.replace("\\\\", "\\").split("\t")
		ours = ["250" if r.startswith("250 ") else " ".join(r.split()) for r in (cells[2], *cells[3].split(" | "))]
		told = server.replies(client, sender, rcpts)
		if cells[1] != "220":
			ours = [cells[1][:3]]
		if told[0].startswith("421"):
			ours = ours[:1]
		if told != ours:
			found.append(f"ours {ours}, told {told}\n{client} {sender} {rcpts}")
	return found


def play(server, draw, world):
	"""One configuration: [what differs], [actions]."""
	features, delayed = draw.features()
	server.serve(features)
	ad.write_world(world, features)
	found, actions = [], []
	for _ in range(MAPS):
		text = draw.map()
		server.map(text)
		for e, row in telling(draw, world, text, delayed):
			told = wrong(server.session(e), row)
			actions.append(row[5])
			if told:
				found.append(f"{told}\n{' '.join(features)}\n{e}\n{text}")
		found += [f"{d}\n{' '.join(features)}\n{text}" for d in several(server, draw, world, delayed)]
		actions += ["several recipients"] * MULTI
	return found, actions


def main():
	seed = sys.argv[1] if len(sys.argv) > 1 else str(int.from_bytes(os.urandom(4), "big"))
	rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
	peers.fetch("sendmail")
	tmp = Dir()
	try:
		peers.namespaces()
		server = Server(tmp)
		netns.enter([c[0] for c in CLIENTS])
	except Skip as e:
		skip_all(str(e))
	except OSError as e:
		skip_all(e.strerror)
	tap = Tap()
	print(f"# seed {seed}", flush=True)
	draw = Draw(seed)
	all_actions = []
	try:
		for i in range(rounds):
			with tap.case(f"seed {seed}, configuration {i + 1}: {MAPS * (SESSIONS + MULTI)} sessions", lambda: server.proc.text()[-1000:]):
				found, actions = play(server, draw, Path(os.fspath(tmp)) / "world")
				all_actions += actions
				assert not found, f"{len(found)} differ\n" + "\n\n".join(found[:3])
	finally:
		server.stop()
	print("# told:", ", ".join(f"{a} {all_actions.count(a)}" for a in sorted(set(all_actions))), flush=True)
	tap.ok(len(all_actions) == rounds * MAPS * (SESSIONS + MULTI), f"{len(all_actions)} sessions judged by both")
	tap.done()


if __name__ == "__main__":
	main()
