#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 300
"""What a client of postern-greylist gets when Redis fails, one way after the other: the
verdict, the time that it took, and the counter that moved; and that greylisting is back
when Redis is.  No mail is ever refused or held up by it."""
import re
import shutil
import signal
import socket
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter_host import MilterHost  # noqa: E402
from proc import BUILD, SLOWER, Dir, Proc, run, wait_for  # noqa: E402
from redis_server import Server  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

DEADLINE_MS, BUDGET_MS, SLACK_MS = 100, 200, 200
AT_ONCE_MS = 60          # once Redis is given up
STORE = "postern_store_redis_"


class Delay:
	"""A go-between that keeps each answer for `seconds`."""
	def __init__(self, port):
		self.to, self.seconds = port, 0.0
		self.listener = socket.create_server(("127.0.0.1", 0))
		self.port = self.listener.getsockname()[1]
		threading.Thread(target=self.accept, daemon=True).start()

	def accept(self):
		while True:
			client = self.listener.accept()[0]
			try:
				server = socket.create_connection(("127.0.0.1", self.to), 5)
				server.settimeout(None)
			except OSError:
				client.close()
				continue
			for a, b, slow in ((client, server, False), (server, client, True)):
				threading.Thread(target=self.copy, args=(a, b, slow), daemon=True).start()

	def copy(self, a, b, slow):
		try:
			while octets := a.recv(65536):
				if slow and self.seconds:
					time.sleep(self.seconds)
				b.sendall(octets)
		except OSError:
			pass
		for s in (a, b):
			try:
				s.shutdown(socket.SHUT_RDWR)
			except OSError:
				pass


class Bench:
	"""The daemon, the server and what is between them."""
	def __init__(self, tmp):
		self.tmp = tmp
		self.redis = Server(tmp, "redis", "enable-protected-configs yes")
		self.between = Delay(self.redis.port)
		self.host = MilterHost(tmp, "a", {"greylist": f"delay 1h; metrics {tmp}/metrics"},
		    f"engine redis; redis 127.0.0.1:{self.between.port}; deadline {DEADLINE_MS}ms; budget {BUDGET_MS}ms")
		self.n = 0

	def mail(self, sender=None):
		"""(the verdict in a word, milliseconds at RCPT)"""
		self.n += 1
		r = self.host.mail(sender or f"s{self.n}@b.test", "r@local.test")
		if r.deferred():
			return "deferred", r.ms["rcpt"]
		m = re.search(r": (store=\w+); ", r.header("X-Greylist") or "")
		return m[1] if m and r.passed() else repr(r), r.ms["rcpt"]

	def metrics(self):
		status, out, err = run([BUILD / "posternctl", "stats", "-c", self.host.conf, "greylist"])
		assert status == 0, out + err
		return {k: float(v) for k, v in re.findall(r"(?m)^([a-z_]+(?:\{[^}]*\})?) ([0-9.]+)$", out)}

	def cli(self, *words):
		out = self.redis.cli(*words)
		assert not out.startswith(("ERR", "(error)")), (words, out)
		return out

	# ---- what is done to it, and undone ----

	def down(self):
		self.redis.proc.kill()
		return self.redis.start

	def hung(self):
		self.redis.proc.send(signal.SIGSTOP)
		return lambda: self.redis.proc.send(signal.SIGCONT)

	def slow(self):
		self.between.seconds = 1.0
		def heal():
			self.between.seconds = 0
		return heal

	def loading(self):
		"""It starts and says LOADING for as long as it reads what it had."""
		for part in range(4):
			self.cli("EVAL", "for i = 1, 10000 do redis.call('SET', 'x' .. ARGV[1] .. 'y' .. i, i) end", "0", str(part))
		self.cli("SAVE")
		self.redis.proc.kill()
		text = self.redis.conf.read_text()
		self.redis.conf.write_text(text + "key-load-delay 500\nloading-process-events-interval-bytes 1024\n")
		self.redis.start()
		wait_for("it is loading", lambda: "LOADING" in self.redis.cli("GET", "x"))
		def heal():
			self.redis.proc.kill()
			shutil.rmtree(self.redis.own / "dump.rdb", ignore_errors=True)
			(self.redis.own / "dump.rdb").unlink(missing_ok=True)
			self.redis.conf.write_text(text)
			self.redis.start()
		return heal

	def replica(self):
		self.cli("REPLICAOF", "127.0.0.1", "1")
		return lambda: self.cli("REPLICAOF", "NO", "ONE")

	def setting(self, name, bad, good):
		def begin():
			self.cli("CONFIG", "SET", name, bad)
			return lambda: self.cli("CONFIG", "SET", name, good)
		return begin

	def misconf(self):
		"""It could not save, and so takes no writes."""
		self.cli("CONFIG", "SET", "save", "3600 1000000")
		gone = self.tmp / "gone"
		gone.mkdir(exist_ok=True)
		self.cli("CONFIG", "SET", "dir", str(gone))
		gone.rmdir()
		self.redis.cli("BGSAVE")
		wait_for("it failed to save", lambda: "rdb_last_bgsave_status:err" in self.cli("INFO", "persistence"))
		def heal():
			self.cli("CONFIG", "SET", "dir", str(self.redis.own))
			self.cli("CONFIG", "SET", "save", "")
		return heal

	def password(self):
		"""It wants one that we do not have, from all that come."""
		self.cli("CONFIG", "SET", "requirepass", "other")
		self.redis.cli("-a", "other", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
		return lambda: self.redis.cli("-a", "other", "CONFIG", "SET", "requirepass", "")

	def rights(self):
		self.cli("ACL", "SETUSER", "default", "-eval", "-evalsha")
		return lambda: self.cli("ACL", "SETUSER", "default", "+eval", "+evalsha")

	def busy(self):
		self.cli("CONFIG", "SET", "busy-reply-threshold", "20")
		p = Proc([self.redis.tree / "usr/bin/redis-cli", "-p", self.redis.port, "EVAL", "while true do end", "0"],
		    self.tmp / "busy", env=self.redis.env)
		wait_for("it is busy", lambda: "BUSY" in self.redis.cli("PING"))
		def heal():
			self.redis.cli("SCRIPT", "KILL")
			p.wait()
		return heal

	def flushed(self):
		self.cli("SCRIPT", "FLUSH")
		return lambda: None

	def wrong_types(self):
		"""A list lies wherever the last mail left something."""
		self.cli("EVAL", "for _, k in ipairs(redis.call('KEYS', '*')) do redis.call('DEL', k) redis.call('LPUSH', k, 'x') end",
		    "0")
		return lambda: None


def row(tap, b, name, begin, verdict, counters, opens=True, sender=None):
	"""sender: of every mail; else each mail is a triple of its own."""
	with tap.case(name, lambda: b.host.text()):
		assert b.mail(sender)[0] == "deferred"
		before = b.metrics()
		heal = begin()
		took = []
		for i in range(8):
			got, ms = b.mail(sender)
			assert got == verdict, (i, got)
			took.append(ms)
		moved = {k: v - before.get(k, 0) for k, v in b.metrics().items() if v > before.get(k, 0)}
		heal()
		told = [f"{c} +{sum(v for k, v in moved.items() if k.startswith(STORE + c)):.0f}" for c in counters]
		print(f"# {name}: {verdict}, first {took[0]:.0f} ms, then {sorted(took[1:])[3]:.0f} ms; {', '.join(told)}")
		assert took[0] < (BUDGET_MS + SLACK_MS) * SLOWER, took
		assert sorted(took[1:])[3] < AT_ONCE_MS * SLOWER, took
		for c in counters:
			assert any(k.startswith(STORE + c) for k in moved), (c, moved)
		assert (STORE + "breaker_opened_total" in moved) == opens, moved
		decisions = 'postern_greylist_decisions_total{verdict="%s"}' % (
		    "deferred" if verdict == "deferred" else "store_out")
		assert moved.get(decisions) == 8, moved
		wait_for("greylisting is back", lambda: b.mail()[0] == "deferred", 20)


def restarting(tap, b):
	"""Mail goes on while it is killed and started: passed or deferred, and soon deferred."""
	with tap.case("restarting", lambda: b.host.text()):
		seen = set()
		for _ in range(3):
			heal = b.down()
			seen.add(b.mail()[0])
			heal()
			def deferred():
				got = b.mail()[0]
				if got != "deferred":
					seen.add(got)
				return got == "deferred"
			wait_for("deferred again", deferred, 5)
		print(f"# restarting: {sorted(seen)}, deferred again within 5 s each time")
		assert seen == {"store=down"}, seen


def main():
	tap = Tap()
	try:
		b = Bench(Dir())
	except Skip as e:
		skip_all(str(e))
	away = "connections_total{outcome=\"refused\"}"
	row(tap, b, "down", b.down, "store=down", ["breaker_opened_total", "refused_total"])
	row(tap, b, "hung", b.hung, "store=down", ["timeouts_total", "breaker_opened_total", "refused_total"])
	row(tap, b, "slow", b.slow, "store=down", ["timeouts_total", "breaker_opened_total", "refused_total"])
	restarting(tap, b)
	row(tap, b, "loading", b.loading, "store=down", ["refused_total"])
	row(tap, b, "read-only", b.replica, "store=down", ['errors_total{class="away"}', "breaker_opened_total"])
	row(tap, b, "full", b.setting("maxmemory", "1", "0"), "store=full", ['errors_total{class="full"}'], False)
	row(tap, b, "cannot save", b.misconf, "store=down", ['errors_total{class="refused"}'], False)
	row(tap, b, "no replica", b.setting("min-replicas-to-write", "1", "0"), "store=down",
	    ['errors_total{class="refused"}'], False)
	row(tap, b, "no right", b.rights, "store=down", ['errors_total{class="refused"}'], False)
	row(tap, b, "another password", b.password, "store=down", [away, "refused_total"])
	row(tap, b, "busy", b.busy, "store=down", ["breaker_opened_total", "refused_total"])
	row(tap, b, "scripts flushed", b.flushed, "deferred", ['errors_total{class="noscript"}'], False)
	row(tap, b, "wrong types", b.wrong_types, "deferred", ["bad_values_total"], False, "same@b.test")
	with tap.case("it ends in order", lambda: b.host.text()):
		assert b.host.stop() == [0]
	tap.done()


if __name__ == "__main__":
	main()
