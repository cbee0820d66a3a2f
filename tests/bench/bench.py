#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""`make bench`: what each milter costs, as ratios within one run.

The same relay (session handoff to a sink that only counts) runs without milters, with each
alone and with both, side by side.  Rounds are interleaved, the order turning each time, so
that a machine whose speed wanders slows all of them alike; each figure is the median over
the rounds of a ratio or difference to the plain relay of the same round.

	messages/s	many sessions at once, enough to keep the machine busy
	p50, p99	one message at a time: from MAIL to the answer to the final dot

	BENCH_ROUNDS=5 BENCH_MESSAGES=2000 BENCH_SESSIONS=20 BENCH_SIZE=4096
	BENCH_POSTFIX=1		the same with a real Postfix as the relay (needs root)

Then the programs of tests/bench in C run, each printing its own lines.  The table goes to
BUILD/bench.tsv, too.
"""
import os
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from postern import Site  # noqa: E402
from proc import BUILD, Dir, run  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
MESSAGES = int(os.environ.get("BENCH_MESSAGES", "2000"))
SESSIONS = int(os.environ.get("BENCH_SESSIONS", "20"))
SIZE = int(os.environ.get("BENCH_SIZE", "4096"))
QUIET_MESSAGES = max(200, MESSAGES // 4)

CONF = """
run { host bench.example; runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; log-level warn }
dns { servers 127.0.0.1:@dns@; timeout 1s; deadline 2s }
state { path "@dir@/state" }
# delay 0: every message writes its triple to the store and passes
greylist { socket "unix:@dir@/run/greylist.sock"; delay 0; header off; auto-whitelist 0 }
access { socket "unix:@dir@/run/access.sock"; maps "@dir@/etc/access"; dnsbl "bl.example" { codes 127.0.0.2 } }
"""
RELAY = """
relay "%s" {
	listen 127.0.0.1:@%s@; spool "@dir@/spool/%s"; handoff %s;
	relay-domains local.example; smarthost "[127.0.0.1]:@sink@"; xclient 127.0.0.1;
	max-sessions-per-client 1000;
%s}
"""
ACCESS = '\tmilter "access" { socket "unix:@dir@/run/access.sock" }\n'
GREYLIST = '\tmilter "greylist" { socket "unix:@dir@/run/greylist.sock" }\n'
# name, handoff, milters; the first is what the others are compared with
VARIANTS = [
	("plain", "session", ""),
	("access", "session", ACCESS),
	("greylist", "session", GREYLIST),
	("both", "session", ACCESS + GREYLIST),
	("queue", "queue", ""),
]


class Load:
	run_number = 0

	def __init__(self, port, sessions, messages):
		Load.run_number += 1
		status, out, err = run([BUILD / "tests/load", "-c", f"127.0.0.1:{port}", "-p", sessions, "-n", messages,
		    "-s", SIZE, "-u", Load.run_number, "-w", 300], seconds=320)
		if status != 0:
			raise RuntimeError(f"load on port {port}: {err or out}")
		f = out.split("\t")
		self.rate, self.p50, self.p99 = float(f[3]), int(f[4]), int(f[6])


def site_start(tmp):
	site = Site(tmp)
	site.file("access", "From:bad.example\tREJECT\n" +
	    "".join(f"From:d{i}.example\tREJECT\nConnect:10.{i % 256}.{i // 256}\tREJECT\n" for i in range(10000)))
	site.file("zone", "bl.example SOA 60 ns.bl.example 300\n")
	site.file("postern.conf", CONF + "".join(RELAY % (n, n, n, how, milters) for n, how, milters in VARIANTS))
	site.dns()
	site.start("sink", [BUILD / "tests/sink", "-l", f"127.0.0.1:{site.port('sink')}"], site.addr("sink"))
	site.milter("access")
	site.milter("greylist")
	for name, _, _ in VARIANTS:
		site.relay(name)
	return site


def postfixes(site):
	"""(name, port) of real Postfix relays without and with both milters; [] when not asked."""
	if not os.environ.get("BENCH_POSTFIX"):
		return [], []
	import peers  # needs root only where it is used
	servers, ports = [], []
	socks = ", ".join(f"unix:{site.dir}/run/{n}.sock" for n in ("access", "greylist"))
	for name, snippet in (("postfix", ""), ("postfix+both", f"smtpd_milters = {socks}\n")):
		port = site.port(name.replace("+", ""))
		servers.append(peers.Postfix(site.dir, ("127.0.0.1", port), site.addr("sink"), snippet=snippet, name=name))
		ports.append((name, port))
	for sock in (site.dir / "run").glob("*.sock"):
		sock.chmod(0o666)
	return servers, ports


def measure(targets):
	"""name -> list of (busy Load, quiet Load), one per round."""
	seen = {name: [] for name, _ in targets}
	for name, port in targets:
		Load(port, SESSIONS, 200)       # warm: connections, caches, maps
	for r in range(ROUNDS):
		for name, port in targets if r % 2 == 0 else reversed(targets):
			seen[name].append((Load(port, SESSIONS, MESSAGES), Load(port, 1, QUIET_MESSAGES)))
		print(f"round {r + 1} of {ROUNDS}", file=sys.stderr, flush=True)
	return seen


def table(seen):
	base = seen["plain"]
	yield ["relay with", "messages/s", "ratio", "p50 us", "added", "p99 us", "added"]
	for name, rounds in seen.items():
		def median(value):
			return statistics.median(value(own, plain) for own, plain in zip(rounds, base))
		yield [name, f"{median(lambda o, p: o[0].rate):.0f}", f"{median(lambda o, p: o[0].rate / p[0].rate):.2f}",
		    f"{median(lambda o, p: o[1].p50):.0f}", f"{median(lambda o, p: o[1].p50 - p[1].p50):+.0f}",
		    f"{median(lambda o, p: o[1].p99):.0f}", f"{median(lambda o, p: o[1].p99 - p[1].p99):+.0f}"]


def main():
	site = site_start(Dir())
	servers = []
	try:
		servers, ports = postfixes(site)
		seen = measure([(n, site.port(n)) for n, _, _ in VARIANTS] + ports)
	except RuntimeError as e:
		print(f"bench: {e}\n{site.logs()}", file=sys.stderr)
		return 1
	finally:
		for server in servers:
			server.stop()
		site.stop_all()
	rows = list(table(seen))
	print(f"\n{ROUNDS} rounds; busy: {SESSIONS} sessions, {MESSAGES} messages of {SIZE} octets; "
	    f"quiet: 1 session, {QUIET_MESSAGES} messages")
	for row in rows:
		print(row[0].ljust(14) + "".join(c.rjust(12) for c in row[1:]))
	(BUILD / "bench.tsv").write_text("".join("\t".join(r) + "\n" for r in rows))
	status = 0
	for source in sorted(HERE.glob("bench_*.c")):
		print(f"\n{source.stem}", flush=True)
		status |= subprocess.run([BUILD / "tests/bench" / source.stem], check=False).returncode
	return 1 if status else 0


if __name__ == "__main__":
	sys.exit(main())
