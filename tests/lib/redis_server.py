# SPDX-License-Identifier: BSD-2-Clause
"""A Redis server of a test's own: unpacked by peers.sh, never installed, on a UNIX socket in
the directory of the test.

	with Redis(tmp) as r: ... state {{ engine redis; redis "unix:{r.socket}" }} ...
"""
import os
from pathlib import Path

from peers import unpacked
from proc import Proc, connect, free_port, run, wait_for


class Redis:
	"""tmp: a directory (the socket's path must fit 107 octets); options: lines of its
	configuration; keep: it outlives this process."""
	def __init__(self, tmp, options="", keep=False):
		self.tree = unpacked("redis")
		self.own = Path(os.fspath(tmp)) / "redis"
		self.own.mkdir(exist_ok=True)
		self.socket = self.own / "redis.sock"
		self.keep = keep
		self.proc = None
		libs = sorted(self.tree.glob("usr/lib/*-linux-gnu"))
		self.env = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, libs))}
		self.conf = self.own / "redis.conf"
		self.conf.write_text(f"port 0\nunixsocket {self.socket}\nunixsocketperm 777\ndaemonize no\n"
		    f'save ""\nappendonly no\ndir {self.own}\n'
		    f"maxmemory 256mb\nmaxmemory-policy volatile-ttl\n{options}\n")

	def start(self):
		self.proc = Proc([self.tree / "usr/bin/redis-server", self.conf], self.own / "log", env=self.env,
		    keep=self.keep)
		wait_for("redis-server answers", self.answers, 20)
		return self

	def answers(self):
		if not self.proc.alive():
			raise RuntimeError("redis-server ended:\n" + self.proc.text()[-4000:])
		try:
			with connect(str(self.socket), 5) as s:
				s.sendall(b"PING\r\n")
				return s.recv(64).startswith((b"+PONG", b"-NOAUTH"))
		except OSError:
			return False

	def cli(self, *words):
		"""What redis-cli prints for a command."""
		status, out, err = run([self.tree / "usr/bin/redis-cli", "-s", self.socket, *words], env=self.env)
		if status != 0:
			raise RuntimeError(f"redis-cli {words}: {out}{err}")
		return out.strip()

	def stop(self):
		return self.proc.stop()

	def kill(self):
		self.proc.kill()
		self.socket.unlink(missing_ok=True)

	def __enter__(self):
		return self.start()

	def __exit__(self, *exc):
		self.stop()


class Server:
	"""One server on a TCP port of 127.0.0.1; words: further arguments of the program."""
	def __init__(self, tmp, name, options, *words):
		self.tree = unpacked("redis")
		self.own = Path(os.fspath(tmp)) / name
		self.own.mkdir(exist_ok=True)
		self.port = free_port()
		self.env = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, sorted(self.tree.glob("usr/lib/*-linux-gnu"))))}
		self.conf = self.own / "redis.conf"
		self.conf.write_text(f'port {self.port}\nbind 127.0.0.1\ndaemonize no\nsave ""\ndir {self.own}\n{options}\n')
		self.argv = [self.tree / "usr/bin/redis-server", self.conf, *words]
		self.start()

	def start(self):
		self.proc = Proc(self.argv, self.own / "log", env=self.env).wait_listen(f"inet:{self.port}@127.0.0.1")
		return self

	def cli(self, *words):
		"""What redis-cli prints, or '' when the server is away."""
		return run([self.tree / "usr/bin/redis-cli", "-h", "127.0.0.1", "-p", self.port, *words],
		    env=self.env)[1].strip()


class Watched:
	"""A master, its replica and three sentinels; the master's name is postern."""
	def __init__(self, tmp):
		self.servers = [Server(tmp, "redis0", "repl-diskless-sync-delay 0")]
		self.servers.append(Server(tmp, "redis1",
		    f"repl-diskless-sync-delay 0\nreplicaof 127.0.0.1 {self.servers[0].port}"))
		watch = f"sentinel monitor postern 127.0.0.1 {self.servers[0].port} 2\n" \
		    "sentinel down-after-milliseconds postern 500\nsentinel failover-timeout postern 2000"
		self.sentinels = [Server(tmp, f"sentinel{i}", watch, "--sentinel") for i in range(3)]
		wait_for("sentinels and replica know each other", self.settled, 30)

	def settled(self):
		return "master_link_status:up" in self.servers[1].cli("INFO", "replication") and all(
		    "status=ok" in t and "slaves=1,sentinels=3" in t
		    for t in (s.cli("INFO", "sentinel") for s in self.sentinels))

	def setting(self):
		"""The statements of section state."""
		return "sentinel " + " ".join(f"127.0.0.1:{s.port}" for s in self.sentinels) + "; master postern;"

	def stop(self):
		for s in self.sentinels + self.servers:
			s.proc.stop()
