#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Connection and envelope checks on a real Postfix: ours by milter beside Postfix's own, the
restrictions of smtpd and postscreen, in one run.

All judge the same: eight DNS lists, the form of the HELO name, and whether the sender's
domain exists; that they do is shown first, by a client, a name and a sender that they must
refuse.  Each measured session comes from another address (HAProxy's PROXY line), which no
list has, greets, names a sender and a recipient, and quits.  Names are asked of a server here, once
at once and once with every answer 20 ms late, which is nearer to the Internet.  Rounds are
interleaved and their order turns; each figure is the median over the rounds.

	sessions/s	from the first connection to the last reply
	ms	from connect to the reply to RCPT, of half of the sessions
	ratio	to the Postfix without checks in the same round

postscreen asks its lists before the greeting and lets nobody in before its shortest
greeting pause, one second, is over; it keeps no cache here, so that every session is a new
client.  The other checks are then smtpd's.

	BENCH_ROUNDS=3 BENCH_MESSAGES=1000 BENCH_SESSIONS=20

Needs root (private namespaces) and the package.  The table goes to
BUILD/bench_postscreen.tsv.
"""
import os
import statistics
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import netns  # noqa: E402
import peers  # noqa: E402
from postern import Site  # noqa: E402
from proc import BUILD, Dir, run  # noqa: E402
from smtp import Smtp  # noqa: E402

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SESSIONS = int(os.environ.get("BENCH_SESSIONS", "20"))
MESSAGES = int(os.environ.get("BENCH_MESSAGES", "1000"))
LISTS = [f"l{i}.example" for i in range(8)]
CONF = """
run { host bench.example; runtime-dir "@dir@/run"; log "@dir@/log/postern.log"; log-level warn }
dns { servers 127.0.0.1:53; timeout 1s; deadline 2s }
state { path "@dir@/state" }
access { socket "unix:@dir@/run/access.sock"; socket-mode 0666; spf off; auth-results off; received-spf off;
	log-envelopes off; %s helo-syntax reject; sender-unresolvable reject }
""" % " ".join(f'dnsbl "{z}" {{ }}' for z in LISTS)
ZONE = "".join(f"{z} SOA 60 ns.{z} 300\n2.0.0.127.{z} A 127.0.0.2\n" for z in LISTS) + \
    "sender.example SOA 60 ns.sender.example 300\nsender.example MX 10 mx.sender.example\n" \
    "9.100.51.198.l7.example A 127.0.0.2\nmx.sender.example A 192.0.2.10\nload.example SOA 60 ns.load.example 300\n"
SLOW = ZONE + "* fault delay 20\n"

PROXY = "smtpd_peername_lookup = no\nsmtpd_upstream_proxy_protocol = haproxy\n"
RBL = ", ".join(f"reject_rbl_client {z}" for z in LISTS)
ENVELOPE = """smtpd_helo_required = yes
smtpd_helo_restrictions = reject_invalid_helo_hostname
smtpd_sender_restrictions = reject_unknown_sender_domain
"""
SCREEN = "smtpd_peername_lookup = no\npostscreen_upstream_proxy_protocol = haproxy\n" + ENVELOPE + f"""
postscreen_access_list =
postscreen_greet_action = enforce
postscreen_greet_wait = 1s
postscreen_dnsbl_action = enforce
postscreen_dnsbl_sites = {", ".join(LISTS)}
postscreen_cache_map =
"""


class Screened(peers.Postfix):
	"""postscreen in front of smtpd."""
	def file(self, path, text, mode=0o644):
		if path.endswith("master.cf"):
			first, rest = text.split("\n", 1)
			text = (first.replace(" n - n - - smtpd", " n - n - 1 postscreen") +
			    "\nsmtpd pass - - n - - smtpd\ndnsblog unix - - n - 0 dnsblog\n" + rest)
		return super().file(path, text, mode)


def start(site):
	"""name -> server"""
	out = {}
	for name, cls, snippet, milters in (
	    ("no checks", peers.Postfix, PROXY, []),
	    ("postern-access", peers.Postfix, PROXY, [f"unix:{site.dir}/run/access.sock"]),
	    ("smtpd restrictions", peers.Postfix, PROXY + ENVELOPE + f"smtpd_client_restrictions = {RBL}\n", []),
	    ("postscreen", Screened, SCREEN, [])):
		label = "p" + "".join(c for c in name if c.isalnum())
		out[name] = cls(site.dir, site.addr(label), ("127.0.0.1", 9), milters=milters, snippet=snippet, name=label)
	return out


def verify(name, server):
	"""Each check refuses what it must, and nothing else."""
	for client, helo, sender, good in (("198.51.100.1", "ok.example", "a@sender.example", True),
	    ("198.51.100.9", "ok.example", "a@sender.example", False),
	    ("198.51.100.2", "-x-.example", "a@sender.example", False),
	    ("198.51.100.3", "ok.example", "a@none.example", False)):
		s = Smtp(server.addr, greeting=False)
		s.send(f"PROXY TCP4 {client} 127.0.0.1 40000 25\r\n")
		replies = [s.reply(), s.ehlo(helo), s.mail(sender), s.rcpt("u@local.example")]
		assert all(r.code < 400 for r in replies) == (good or name == "no checks"), (name, client, replies)
		s.close()


def measure(name, server, number):
	"""(sessions/s, ms)"""
	status, out, err = run([BUILD / "tests/load", "-c", f"127.0.0.1:{server.addr[1]}", "-x", "-e", "-p", SESSIONS,
	    "-n", MESSAGES, "-u", number, "-t", "local.example", "-w", 600], seconds=620)
	if status != 0:
		raise RuntimeError(f"{name}: {err or out}{server.log[-3000:]}")
	fields = out.split("\t")
	return float(fields[3]), int(fields[4]) / 1000


def rounds(servers, number):
	seen = {name: [] for name in servers}
	names = list(servers)
	for r in range(ROUNDS + 1):
		for name in names if r % 2 == 0 else reversed(names):
			number[0] += 1
			got = measure(name, servers[name], number[0])
			if r > 0:       # the first warms processes
				seen[name].append(got)
		print(f"round {r} of {ROUNDS}", file=sys.stderr, flush=True)
	return seen


def table(what, seen):
	base = seen["no checks"]
	for name, got in seen.items():
		yield [what, name, f"{statistics.median(g[0] for g in got):.0f}",
		    f"{statistics.median(g[0] / b[0] for g, b in zip(got, base)):.2f}",
		    f"{statistics.median(g[1] for g in got):.1f}"]


def main():
	peers.fetch("postfix")
	try:
		netns.enter([])
	except OSError as e:
		print(f"bench_postscreen: {e.strerror}: not measured")
		return 0
	site = Site(Dir())
	site.names["dns"] = "53"
	servers, number = {}, [0]
	rows = [["DNS", "Postfix with", "sessions/s", "ratio", "ms"]]
	try:
		site.file("zone", ZONE)
		site.file("postern.conf", CONF)
		site.dns()
		site.milter("access")
		servers = start(site)
		for what, zone in (("at once", ZONE), ("20 ms", SLOW)):
			site.file("zone", zone)
			site.stop("dns")
			site.dns()
			for name, server in servers.items():
				verify(name, server)
			rows += table(what, rounds(servers, number))
	finally:
		for s in servers.values():
			s.stop()
		site.stop_all()
	text = "\n".join("\t".join(r) for r in rows) + "\n"
	(BUILD / "bench_postscreen.tsv").write_text(text)
	print(text, end="")
	return 0


if __name__ == "__main__":
	sys.exit(main())
