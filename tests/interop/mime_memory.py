#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 400
"""postern-mime with signatures of the size of real ones: how long it takes to start and to
reload, and that scanners share what was loaded.

	mime_memory.py [MEGABYTES]      what the engine has resident at least; 500

Fails when four scanners, each after a hundred messages, have 100 MB or more of their own
together (Private_Clean + Private_Dirty of /proc/PID/smaps_rollup), or when the engine has
less than was asked for: then the base that is generated here is too small to show it.
"""
import random
import re
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import hostile_mail as hostile  # noqa: E402
from milter import play_message  # noqa: E402
from proc import BUILD, ROOT, SAN, Dir, Proc, wait_for  # noqa: E402
from tap import Tap  # noqa: E402

CONF = """
run {{ host content.example; log stderr }}
state {{ path "{dir}/state"; size 16M }}
mime {{ socket "unix:{dir}/m.sock"; signatures "{dir}/signatures"; tmp "{dir}/tmp";
	quarantine "{dir}/quarantine"; workers {workers}; budget 60s; infected reject }}
"""
WORKERS = 3                        # at once; with the warm spare there are four processes
PRIVATE_MAX = 100                  # MB, of four
MESSAGES = 400
NDB_OCTETS = 850                   # what a signature of one kind costs, about; measured
HDB_OCTETS = 90


def generate(directory, megabytes):
	"""Half of the memory in body signatures, the rest in hashes.  Returns how many."""
	r = random.Random(1)
	n_ndb, n_hdb = megabytes * 1_000_000 * 6 // 10 // NDB_OCTETS, megabytes * 1_000_000 * 6 // 10 // HDB_OCTETS
	with open(directory / "large.ndb", "w") as f:
		for i in range(n_ndb):
			f.write(f"Large.Body.{i}:0:*:{r.randbytes(40).hex()}\n")
	with open(directory / "large.hdb", "w") as f:
		for i in range(n_hdb):
			f.write(f"{r.randbytes(16).hex()}:{r.randrange(100, 10_000_000)}:Large.Hash.{i}\n")
	(directory / "postern-test.ndb").write_text((ROOT / "tests/vectors/mime/postern-test.ndb").read_text())
	return n_ndb + n_hdb


def smaps(pid):
	"""Kilobytes by name, from smaps_rollup."""
	text = Path(f"/proc/{pid}/smaps_rollup").read_text()
	return {k: int(v) for k, v in re.findall(r"^(\w+): +(\d+) kB$", text, re.M)}


def children(pid):
	return [int(p) for t in Path(f"/proc/{pid}/task").iterdir() for p in (t / "children").read_text().split()]


def master(p):
	def is_scand(pid):
		try:
			return Path(f"/proc/{pid}/comm").read_text().strip() == "postern-scand"
		except OSError:
			return False
	found = [c for c in p.children() if is_scand(c)]
	return found[0] if len(found) == 1 else None


def traffic(addr, n):
	"""Mails of four kinds from eight sessions; returns seconds and wrong answers."""
	mails = [(hostile.MESSAGES[k](), good) for k, good in (("plain", b"c"), ("eicar", b"y"),
	    ("same-zip-twice", b"c"), ("nested-zip-in-message", b"y"))]
	wrong, todo, lock = [], list(range(n)), threading.Lock()

	def run():
		while True:
			with lock:
				if not todo:
					return
				i = todo.pop()
			mail, good = mails[i % 4]
			answer = play_message(addr, b"X-Number: %d\r\n" % i + mail)[-1]
			if answer[:1] != good:
				wrong.append(answer)
	began = time.monotonic()
	threads = [threading.Thread(target=run) for _ in range(8)]
	for t in threads:
		t.start()
	for t in threads:
		t.join()
	return time.monotonic() - began, wrong


def main():
	megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 500
	if SAN:
		print("1..0 # SKIP a sanitizer keeps a memory of its own of every scanner")
		return
	tap, d = Tap(), Dir()
	for name in ("tmp", "signatures"):
		(d / name).mkdir()
	d.write("postern.conf", CONF.format(dir=d, workers=WORKERS))
	began = time.monotonic()
	n = generate(d / "signatures", megabytes)
	print(f"# {n} signatures generated in {time.monotonic() - began:.1f} s", flush=True)
	began = time.monotonic()
	with Proc([BUILD / "postern-mime", "-f", "-c", d / "postern.conf"], d / "log") as p:
		addr = f"unix:{d}/m.sock"
		p.wait_listen(addr)
		p.wait_line("signatures from", 600)
		wait_for("scanners", lambda: master(p) and len(children(master(p))) == WORKERS + 1, 60)
		print(f"# started in {time.monotonic() - began:.1f} s", flush=True)
		resident = smaps(master(p))["Rss"] / 1000
		tap.ok(resident >= megabytes, f"the engine has {resident:.0f} MB resident, at least {megabytes}")
		took, wrong = traffic(addr, MESSAGES)
		print(f"# {MESSAGES} messages in {took:.1f} s", flush=True)
		tap.ok(not wrong, "every message has its answer", str(wrong[:3]))
		own = [smaps(pid) for pid in children(master(p))]
		private = [(s["Private_Clean"] + s["Private_Dirty"]) / 1000 for s in own]
		print("# own memory of the scanners, MB: " + ", ".join(f"{x:.1f}" for x in private), flush=True)
		print("# proportional share, MB: " + ", ".join(f"{s['Pss'] / 1000:.0f}" for s in own), flush=True)
		tap.equal(len(private), WORKERS + 1, "four scanners")
		tap.ok(sum(private) < PRIVATE_MAX, f"they own {sum(private):.1f} MB together, less than {PRIVATE_MAX}")
		before, began = master(p), time.monotonic()
		p.send(signal.SIGHUP)
		wait_for("the new engine", lambda: "takes over from" in p.text(), 600)
		print(f"# reloaded in {time.monotonic() - began:.1f} s, meanwhile the old engine serves", flush=True)
		wait_for("the old engine is gone", lambda: master(p) not in (None, before), 60)
		took, wrong = traffic(addr, 40)
		tap.ok(not wrong, "and the new one answers", str(wrong[:3]))
		began = time.monotonic()
		tap.equal(p.stop(seconds=60), 0, "it ends in order")
		print(f"# ended in {time.monotonic() - began:.1f} s", flush=True)
	tap.done()


main()
