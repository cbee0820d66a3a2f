# SPDX-License-Identifier: BSD-2-Clause
"""A Redis server of a test's own: unpacked by peers.sh, never installed, on a UNIX socket in
the directory of the test.

	with Redis(tmp) as r: ... state {{ engine redis; redis "unix:{r.socket}" }} ...
"""
import os
from pathlib import Path

from peers import unpacked
from proc import Proc, connect, run, wait_for


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
