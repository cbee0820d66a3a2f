#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 240
"""Every recorded message of tests/vectors/mime through the real postern-mime: mail that
must pass leaves untouched, and of what must be stopped at least as much is stopped as
ever before."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter import Mta  # noqa: E402
from proc import BUILD, ROOT, Dir, Proc  # noqa: E402
from tap import Tap  # noqa: E402

VECTORS = ROOT / "tests/vectors/mime"
# (stopped today, of all) by tier; the first may only rise
FLOORS = {"A": (401, 408), "B": (22, 25), "C": (6, 12)}
CONF = """
run {{ host content.example; log stderr }}
state {{ path "{dir}/state"; size 16M }}
mime {{ socket "unix:{dir}/m.sock"; signatures "{vectors}/postern-test.ndb";
	tmp "{dir}/tmp"; quarantine "{dir}/quarantine"; workers 2 }}
"""


def split(message):
	"""Header fields as an MTA hands them to a milter, and the body."""
	fields, pos = [], 0
	while True:
		end = message.find(b"\r\n", pos)
		if end < 0:
			return fields, b""
		line = message[pos:end]
		if line == b"":
			return fields, message[end + 2:]
		if line[:1] in (b" ", b"\t") and fields:
			fields[-1][1] += b"\n" + line
		elif b":" in line and b" " not in line.split(b":", 1)[0].rstrip():
			name, value = line.split(b":", 1)
			fields.append([name.rstrip(b" \t\0"), value[1:] if value[:1] == b" " else value])
		else:
			return fields, message[pos:]
		pos = end + 2


def play(addr, message):
	fields, body = split(message)
	with Mta(addr, seconds=60) as m:
		m.negotiate()
		m.macros("C", j="mx.example")
		m.connect("[192.0.2.1]", "192.0.2.1")
		m.helo("client.test")
		m.macros("M", i="Q1")
		m.mail("sender@outside.test")
		m.rcpt("user@inside.test")
		m.data()
		for name, value in fields:
			m.header(name.decode("latin-1"), value.decode("latin-1"))
		m.eoh()
		for at in range(0, len(body), 60000):
			m.body(body[at:at + 60000])
		return m.eom()


def stopped(answers):
	return answers[-1][:1] in (b"y", b"r", b"d", b"t") or any(a[:1] == b"b" for a in answers)


def main():
	tap, d = Tap(), Dir()
	(Path(d) / "tmp").mkdir()
	d.write("postern.conf", CONF.format(dir=d, vectors=VECTORS))
	rows = [line.split("\t") for line in (VECTORS / "manifest.tsv").read_text().splitlines()[1:]]
	caught, missed = dict.fromkeys(FLOORS, 0), []
	with Proc([BUILD / "postern-mime", "-f", "-c", d / "postern.conf"], d / "log") as p:
		p.wait_listen(f"unix:{d}/m.sock")
		p.wait_line("signatures from")
		for file, _, _, _, expected, _, tier in (r[:7] for r in rows):
			answers = play(f"unix:{d}/m.sock", (VECTORS / file).read_bytes())
			if expected == "must_pass":
				edits = {a[:1] for a in answers[:-1]}
				tap.ok(answers[-1] == b"c" and edits <= {b"h"}, f"passes untouched: {file}",
				    str(answers)[:500])
			elif stopped(answers):
				caught[tier] += 1
			else:
				missed.append(file)
	for tier, (floor, total) in FLOORS.items():
		seen = sum(r[4] == "must_detect" and r[6] == tier for r in rows)
		tap.equal(seen, total, f"tier {tier}: all messages are there")
		tap.ok(caught[tier] >= floor, f"tier {tier}: {caught[tier]} of {total} stopped, at least {floor}",
		    "\n".join(missed))
	tap.done()


main()
