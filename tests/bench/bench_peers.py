#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What our milters cost on a real Postfix, beside what others cost on the same one.

One Postfix each with no milter, with all of ours, with those of ours that judge content,
with rspamd, with clamav-milter, and with both of these; a daemon that stands in two rows
is one process for both.  The same messages in one run, rounds interleaved and the order
turning, each figure the median over the rounds of a value or of a ratio within one round.
After each measurement the queue empties before the next begins.

	accepted/s	from the first connection to the last 250
	delivered/s	to the arrival of the last message at the next hop
	CPU ms		processor time of the milters' own processes for each message; unlike
			the rates it hardly depends on what else the machine does

The others run as their Debian packages configure them, without Redis; clamd and our
scanner have the same signatures, and everybody's temporary files are in memory;
postern-score has its own rules and, where the package can be had, SpamAssassin's.  Names
are asked of a server here that knows none.

	bench_peers.py [NAME OF A ROW ...]
	BENCH_ROUNDS=5 BENCH_MESSAGES=1000 BENCH_SESSIONS=20 BENCH_SIZE=4096

Needs root (private namespaces) and the packages.  The table goes to BUILD/bench_peers.tsv.
"""
import atexit
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import netns  # noqa: E402
import peers  # noqa: E402
from postern import Site  # noqa: E402
from proc import BUILD, ROOT, Dir, run, wait_for  # noqa: E402
from tap import Skip  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
MESSAGES = int(os.environ.get("BENCH_MESSAGES", "1000"))
SESSIONS = int(os.environ.get("BENCH_SESSIONS", "20"))
SIZE = int(os.environ.get("BENCH_SIZE", "4096"))
CLIENT = "192.0.2.10"
SIGNATURES = ROOT / "tests/vectors/mime/postern-test.ndb"
CONF = """
run { host bench.example; runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; log-level warn }
dns { servers 127.0.0.1:53; timeout 1s; deadline 2s }
state { path "@dir@/state" }
# delay 0: every message writes its triple to the store and passes
greylist { socket "unix:@dir@/run/greylist.sock"; socket-mode 0666; delay 0; auto-whitelist 0 }
access { socket "unix:@dir@/run/access.sock"; socket-mode 0666; maps "@dir@/etc/access";
	dnsbl "bl.example" { codes 127.0.0.2 } }
mime { socket "unix:@dir@/run/mime.sock"; socket-mode 0666; signatures "@dir@/signatures";
	tmp "@tmp@"; quarantine "@dir@/state"; workers 2 }
score { socket "unix:@dir@/run/score.sock"; socket-mode 0666; tmp "@tmp@"; rules %s }
"""
ENVELOPE, CONTENT = ("access", "greylist"), ("mime", "score")


def rules():
	"""Folders and files for postern-score."""
	out = [ROOT / "policy/rules/postern.cf"]
	try:
		out.append(peers.unpacked("spamassassin") / "usr/share/spamassassin")
	except Skip as e:
		print(f"SpamAssassin's rules: {e}", file=sys.stderr)
	return out


def site_start(own_rules):
	site = Site(Dir())
	site.names.update(dns="53", tmp=tempfile.mkdtemp(prefix="pst", dir="/dev/shm"))
	atexit.register(shutil.rmtree, site.names["tmp"], True)
	site.file("access", "From:bad.example\tREJECT\n" +
	    "".join(f"From:d{i}.example\tREJECT\nConnect:10.{i % 256}.{i // 256}\tREJECT\n" for i in range(10000)))
	site.file("zone", "bl.example SOA 60 ns.bl.example 300\n")
	(site.dir / "signatures").mkdir()
	(site.dir / "signatures/test.ndb").write_text(SIGNATURES.read_text())
	site.file("postern.conf", CONF % " ".join(f'"{r}"' for r in own_rules))
	site.dns()
	for name in ENVELOPE + CONTENT:
		site.milter(name)
	return site


def cpu_ms(pid):
	"""Of a process and all below it, the ended ones included."""
	try:
		f = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
		below = [p for t in Path(f"/proc/{pid}/task").iterdir() for p in (t / "children").read_text().split()]
	except (FileNotFoundError, ProcessLookupError):
		return 0
	return sum(map(int, f[11:15])) * 1000 / os.sysconf("SC_CLK_TCK") + sum(map(cpu_ms, below))


class Variant:
	"""A Postfix with milters and a sink of its own that tells what arrived.  procs: of the
	milters."""
	def __init__(self, site, name, milters, procs):
		self.procs = procs
		self.name, label = name, "p" + "".join(c for c in name if c.isalnum())
		self.addr = site.addr(label)
		port = site.port(label + "sink")
		self.sink = site.start(label + "sink", [BUILD / "tests/sink", "-v", "-l", f"127.0.0.1:{port}"],
		    ("127.0.0.1", port))
		self.postfix = peers.Postfix(site.dir, self.addr, ("127.0.0.1", port), milters=[milters] if milters else [],
		    name=label, hosts={CLIENT: "mx.sender.example"})
		self.arrived = 0

	def measure(self, number, messages):
		"""(accepted/s, delivered/s, CPU ms a message)"""
		begin, used = time.monotonic(), sum(cpu_ms(p.pid) for p in self.procs)
		status, out, err = run([BUILD / "tests/load", "-c", f"127.0.0.1:{self.addr[1]}", "-p", SESSIONS,
		    "-n", messages, "-s", SIZE, "-u", number, "-S", CLIENT, "-t", "local.example", "-w", 300], seconds=320)
		if status != 0:
			raise RuntimeError(f"{self.name}: {err or out}{self.postfix.log[-2000:]}")
		self.arrived += messages
		wait_for(f"{messages} messages behind {self.name}",
		    lambda: self.sink.text().count("\nmessage ") >= self.arrived, 300)
		return (float(out.split("\t")[3]), messages / (time.monotonic() - begin),
		    (sum(cpu_ms(p.pid) for p in self.procs) - used) / messages)


def variants(site, servers):
	"""Starts all; servers gets what has to be stopped."""
	def ours(*names):
		return ", ".join(f"unix:{site.dir}/run/{n}.sock" for n in names), [site.procs[n] for n in names]

	def rspamd():
		server = servers_once(servers, "rspamd", lambda: peers.Rspamd(site.dir, hosts={CLIENT: "mx.sender.example"}))
		return f"inet:127.0.0.1:{server.milter[1]}", [server.proc]

	def clamav():
		clamd = servers_once(servers, "clamd", lambda: peers.Clamd(site.dir, {"test.ndb": SIGNATURES.read_text()}))
		server = servers_once(servers, "clamav-milter", lambda: peers.ClamavMilter(site.dir, clamd))
		return f"unix:{server.socket}", [server.proc, clamd.proc]

	def both():
		(one, its), (other, those) = rspamd(), clamav()
		return f"{one}, {other}", its + those

	table = [("no milter", ours), ("access, greylist, mime, score", lambda: ours(*ENVELOPE, *CONTENT)),
	    ("mime, score", lambda: ours(*CONTENT)), ("score", lambda: ours("score")), ("rspamd", rspamd),
	    ("mime", lambda: ours("mime")), ("clamav-milter", clamav), ("rspamd, clamav-milter", both)]
	wanted = sys.argv[1:]
	out = []
	for name, milters in table:
		if not wanted or name in wanted or name == "no milter":
			out.append(Variant(site, name, *milters()))
			servers["Postfix with " + name] = out[-1].postfix
	return out


def servers_once(servers, name, start):
	if name not in servers:
		servers[name] = start()
	return servers[name]


def measure(all_variants):
	"""name -> what measure() gave, one per round"""
	seen = {v.name: [] for v in all_variants}
	number = 0
	for v in all_variants:
		number += 1
		v.measure(number, 200)          # warm: connections, caches, compiled rules
	for r in range(ROUNDS):
		for v in all_variants if r % 2 == 0 else reversed(all_variants):
			number += 1
			seen[v.name].append(v.measure(number, MESSAGES))
		print(f"round {r + 1} of {ROUNDS}", file=sys.stderr, flush=True)
	return seen


def table(seen):
	base = seen["no milter"]
	yield ["Postfix with", "accepted/s", "ratio", "delivered/s", "ratio", "CPU ms"]
	for name, rounds in seen.items():
		row = [name]
		for i in (0, 1):
			row += [f"{statistics.median(o[i] for o in rounds):.0f}",
			    f"{statistics.median(o[i] / p[i] for o, p in zip(rounds, base)):.2f}"]
		yield row + [f"{statistics.median(o[2] for o in rounds):.2f}"]


def main():
	peers.fetch("postfix", "rspamd", "clamav")
	own_rules = rules()
	try:
		netns.enter([CLIENT])
	except OSError as e:
		print(f"bench_peers: {e.strerror}: not measured")
		return 0
	servers, site = {}, site_start(own_rules)
	try:
		seen = measure(variants(site, servers))
	except Skip as e:
		print(f"bench_peers: {e}: not measured")
		return 0
	except Exception as e:  # noqa: BLE001 - told with what the programs say
		print(f"bench_peers: {e}\n{site.logs()}" + "".join(s.log[-1500:] for s in servers.values()), file=sys.stderr)
		return 1
	finally:
		for server in reversed(servers.values()):
			server.stop()
		site.stop_all()
	rows = list(table(seen))
	print(f"\n{ROUNDS} rounds; {SESSIONS} sessions, {MESSAGES} messages of {SIZE} octets")
	for row in rows:
		print(row[0].ljust(32) + "".join(c.rjust(13) for c in row[1:]))
	(BUILD / "bench_peers.tsv").write_text("".join("\t".join(r) + "\n" for r in rows))
	return 0


if __name__ == "__main__":
	sys.exit(main())
