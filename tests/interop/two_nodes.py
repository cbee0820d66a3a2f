#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The recipe of contrib/redis/README for two mail hosts, as it stands there: its commands are
run and its configuration files used, with places of this test put for those of a real host."""
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from clock_shim import shim  # noqa: E402
from milter import Mta  # noqa: E402
from proc import BUILD, ROOT, Dir, Proc, run, wait_for  # noqa: E402
from redis_server import Redis  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

SHIPPED = ROOT / "contrib/redis"


def sections(text):
	"""Title -> the blocks in it that are set off by four blanks, in order."""
	out, title, blocks = {}, None, None
	lines = text.splitlines()
	for i, line in enumerate(lines):
		if i + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[i + 1]):
			title, blocks = line, []
			out[title] = blocks
		elif line.startswith("    ") and blocks is not None:
			if not lines[i - 1].startswith("    "):
				blocks.append("")
			blocks[-1] += line[4:] + "\n"
	return out


def replaced(text, places):
	for old, new in places.items():
		assert old in text, f"{old} stands no more in:\n{text}"
		text = text.replace(old, str(new))
	return text


def mail(addr, sender, rcpt="r@local.test", client="192.0.2.1"):
	"""The answer to the recipient, and X-Greylist."""
	with Mta(addr) as m:
		m.negotiate()
		m.macros("C", j="gate.example")
		m.connect(f"[{client}]", client)
		m.helo("helo.test")
		m.macros("M", i="Q1")
		m.mail(sender)
		answer, header = m.rcpt(rcpt), None
		if answer == [b"c"]:
			m.data()
			m.eoh()
			for edit in m.eom():
				if edit[:1] == b"h" and edit[1:].startswith(b"X-Greylist\0"):
					header = edit[1:].split(b"\0")[1].decode()
		return b"".join(answer), header


class Node:
	"""A mail host of the recipe; ahead: seconds by which its clock is wrong."""
	def __init__(self, tmp, name, conf, ahead=0):
		self.addr = f"unix:{tmp}/{name}.sock"
		self.conf = tmp.write(f"{name}.conf", f"run {{ host {name}.example; log stderr }}\n"
		    "dns { servers 127.0.0.1:9; timeout 100ms; deadline 100ms }\n" + conf.replace("@sock@", self.addr))
		env = shim(ahead) if ahead else {}
		self.p = Proc([BUILD / "postern-greylist", "-f", "-c", self.conf], tmp / f"{name}.log", env=env)
		self.p.wait_listen(self.addr)


def main():
	tap = Tap()
	tmp = Dir()
	recipe = sections((SHIPPED / "README").read_text())
	try:
		redis = Redis(tmp)
	except Skip as e:
		skip_all(str(e))
	tmp.write("users.acl", (SHIPPED / "users.acl").read_text())
	with tap.case("the commands give the user its password"):
		subprocess.run(["sh", "-e"], input=recipe["Users"][0], text=True, check=True, cwd=tmp)
		secret = (tmp / "redis-password").read_text().strip()
		acl = (tmp / "users.acl").read_text()
		assert len(secret) == 64 and re.search(r"^user postern-incoming on #[0-9a-f]{64} ", acl, re.M), acl
		assert secret not in acl
	with redis.conf.open("a") as f:
		f.write(replaced((SHIPPED / "redis.conf").read_text(), {"/run/redis/redis-server.sock": redis.socket,
		    "/etc/redis/users.acl": tmp / "users.acl", "appendonly yes": "appendonly no"}))
	redis.start()
	block, commands = recipe["Two mail hosts, one Redis"]
	conf = replaced(block, {"127.0.0.1:6379": f'"unix:{redis.socket}"',
	    "/etc/postern/redis-password": tmp / "redis-password", "delay 5m": 'delay 5m; socket "@sock@"'})
	a, b = Node(tmp, "gate-a", conf), Node(tmp, "gate-b", conf)

	def text():
		return a.p.text() + b.p.text() + redis.proc.text()

	with tap.case("posternctl finds the files right", text):
		assert "posternctl check -c /etc/postern/postern.conf" in commands
		for node in (a, b):
			status, out, err = run([BUILD / "posternctl", "check", "-c", node.conf])
			assert status == 0, err
	with tap.case("what one deferred is early at the other, as the text says", text):
		answer, _ = mail(a.addr, "s@b.test")
		assert answer.startswith(b"y451 4.7.1 "), answer
		a.p.wait_line(r"why=greylisted")
		answer, _ = mail(b.addr, "s@b.test")
		assert answer.startswith(b"y451 4.7.1 "), answer
		b.p.wait_line(r"why=early .*tries=2")
	quick = conf.replace("delay 5m", "delay 3s")
	clocks(tap, tmp, quick, text)
	with tap.case("they end in order", text):
		assert a.p.stop() == 0 and b.p.stop() == 0
	redis.stop()
	tap.done()


def clocks(tap, tmp, conf, text):
	"""A delay of three seconds that ten minutes would drown, in both directions."""
	if os.environ.get("SAN"):
		return     # a sanitizer wants to be loaded before anything else
	nodes = [Node(tmp, "early", conf, -300), Node(tmp, "late", conf, 300)]
	for n, (one, other) in enumerate((nodes, nodes[::-1])):
		with tap.case(f"clocks ten minutes apart, the {'late' if n else 'early'} one first: the same verdicts", text):
			# both have measured the server's clock by now, or this mail makes them
			for node in nodes:
				mail(node.addr, f"warm{n}@b.test")
			wait_for("both clocks are known", lambda: all(
			    mail(node.addr, f"try{n}@b.test")[0].startswith(b"y451") for node in nodes))
			answer, _ = mail(one.addr, f"s{n}@b.test")
			assert b"again in 3 seconds" in answer, answer
			answer, _ = mail(other.addr, f"s{n}@b.test")
			assert re.search(rb"again in [23] seconds", answer), answer
			def passes():
				answer, header = mail(other.addr, f"s{n}@b.test")
				return header if answer == b"c" else None
			header = wait_for("it passes", passes)
			assert re.match(r"delayed [3-6] seconds", header), header
			answer, header = mail(one.addr, f"s{n}@b.test")
			assert answer == b"c" and ": known; " in header, (answer, header)
	with tap.case("and they end in order", text):
		assert [node.p.stop() for node in nodes] == [0, 0]


if __name__ == "__main__":
	main()
