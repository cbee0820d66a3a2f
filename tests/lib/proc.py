# SPDX-License-Identifier: BSD-2-Clause
"""Programs under test: started, waited for, stopped by pid, everything with a deadline.

A test program and all that it starts stay in one process group, so tests/run.py can end
them all; nothing here is ever ended by name.
"""
import atexit
import errno
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("BUILD", "build"))
BUILD = BUILD if BUILD.is_absolute() else ROOT / BUILD
SAN = os.environ.get("SAN", "")
SLOWER = 4 if SAN else 1       # every deadline is this much longer under a sanitizer


class Timeout(Exception):
	pass


def wait_for(what, condition, seconds=10.0):
	"""Polls until condition() is true and returns its value; Timeout after seconds."""
	end = time.monotonic() + seconds * SLOWER
	while True:
		value = condition()
		if value:
			return value
		if time.monotonic() >= end:
			raise Timeout(f"not within {seconds * SLOWER:g} s: {what}")
		time.sleep(0.01)


def free_port(host="127.0.0.1"):
	"""A free TCP port below the range from which the kernel takes the ports of clients:
	a port asked for with bind(0) can be somebody's client port before it is used."""
	for _ in range(1000):
		port = random.SystemRandom().randrange(10240, 32000)
		with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as t, \
		    socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u:
			try:
				t.bind((host, port))
				u.bind((host, port))
				return port
			except OSError:
				pass
	raise OSError(errno.EADDRINUSE, "no free port found")


def address(text):
	"""'127.0.0.1:25', 'inet:25@127.0.0.1', '/run/x.sock' or 'unix:/run/x.sock'."""
	text = str(text)
	if m := re.fullmatch(r"inet:(\d+)@(.+)", text):
		return m[2], int(m[1])
	if text.startswith("unix:"):
		return text[5:]
	if text.startswith("/"):
		return text
	host, port = text.rsplit(":", 1)
	return host, int(port)


def connect(addr, seconds=10.0, source=None):
	"""A connected stream socket to what address() reads, or to (host, port); source: the
	address to come from."""
	if isinstance(addr, (str, Path)):
		addr = address(addr)
	if isinstance(addr, tuple):
		return socket.create_connection(addr, seconds * SLOWER, (source, 0) if source else None)
	s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
	s.settimeout(seconds * SLOWER)
	try:
		s.connect(addr)
	except BaseException:
		s.close()
		raise
	return s


def listening(addr):
	"""Looks at the kernel's tables, so the server does not see a connection.  They know a
	UNIX socket by the name at bind(): ours get theirs by rename from path.new."""
	if isinstance(addr, (str, Path)):
		addr = address(addr)
	if isinstance(addr, tuple):
		host, port = addr
		want = ".".join(reversed(host.split(".")))
		hexed = "".join(f"{int(b):02X}" for b in want.split(".")) + f":{port:04X}"
		for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
			f = line.split()
			if f[3] == "0A" and f[1] in (hexed, f"00000000:{port:04X}"):
				return True
		return False
	for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
		f = line.split(None, 7)
		if len(f) == 8 and f[7] in (addr, addr + ".new") and f[3] == "00010000":
			return os.path.exists(addr)
	return False


def gone(pid):
	"""The process has ended, whether or not its parent has looked yet."""
	try:
		return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
	except (FileNotFoundError, ProcessLookupError):
		return True


class Dir:
	"""A temporary directory with a short name (a UNIX socket's path holds 107 octets)."""
	def __init__(self, keep=False):
		self.path = Path(tempfile.mkdtemp(prefix="pst"))
		if not keep:
			atexit.register(shutil.rmtree, self.path, True)

	def __truediv__(self, name):
		return self.path / name

	def __fspath__(self):
		return str(self.path)

	def __str__(self):
		return str(self.path)

	def write(self, name, text):
		path = self.path / name
		path.parent.mkdir(parents=True, exist_ok=True)
		path.write_bytes(text if isinstance(text, bytes) else text.encode())
		return path


class Proc:
	"""One program.  Its stdout and stderr go to log; text() is what stands there.  keep: it
	outlives this process, in a session of its own."""
	def __init__(self, argv, log, env=None, cwd=None, keep=False):
		self.argv = [str(a) for a in argv]
		self.log = Path(log)
		self.seen = 0
		with open(self.log, "ab") as out:
			self.begin = out.tell()
			self.p = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
			    env=dict(os.environ, **(env or {})), cwd=cwd, start_new_session=keep)
		self.pid = self.p.pid
		if not keep:
			atexit.register(self.stop)

	def text(self):
		with open(self.log, "rb") as f:
			f.seek(self.begin)
			return f.read().decode("utf-8", "replace")

	def alive(self):
		return self.p.poll() is None

	def _or_dead(self, found):
		if not found and not self.alive():
			raise RuntimeError(f"{self.argv[0]} ended with {self.p.returncode}:\n{self.text()[-4000:]}")
		return found

	def wait_listen(self, *addrs, seconds=15.0):
		for a in addrs:
			wait_for(f"{self.argv[0]} listens on {a}", lambda: self._or_dead(listening(a)), seconds)
		return self

	def wait_line(self, pattern, seconds=10.0):
		"""The first match in the log; ended programs fail at once."""
		rx = re.compile(pattern, re.M)
		return wait_for(f"{self.argv[0]} says {pattern!r}", lambda: self._or_dead(rx.search(self.text())),
		    seconds)

	def send(self, sig):
		os.kill(self.pid, sig)

	def wait(self, seconds=10.0):
		return self.p.wait(seconds * SLOWER)

	def stop(self, sig=signal.SIGTERM, seconds=10.0):
		"""Ends it; returns the exit status, negative for the signal that ended it."""
		atexit.unregister(self.stop)
		if self.alive():
			self.p.send_signal(sig)
			try:
				self.p.wait(seconds * SLOWER)
			except subprocess.TimeoutExpired:
				self.p.kill()
				self.p.wait()
				raise Timeout(f"{self.argv[0]} did not end after {sig!r}; killed") from None
		return self.p.returncode

	def kill(self):
		return self.stop(signal.SIGKILL)

	def children(self):
		"""The pids of its direct children, from the kernel."""
		try:
			return [int(p) for t in Path(f"/proc/{self.pid}/task").iterdir()
			    for p in (t / "children").read_text().split()]
		except FileNotFoundError:
			return []

	def __enter__(self):
		return self

	def __exit__(self, *exc):
		self.stop()


def run(argv, seconds=30.0, stdin=b"", env=None, cwd=None):
	"""Runs to the end: (status, stdout, stderr), texts as str."""
	p = subprocess.run([str(a) for a in argv], input=stdin, capture_output=True, cwd=cwd,
	    timeout=seconds * SLOWER, env=dict(os.environ, **(env or {})), check=False)
	return p.returncode, p.stdout.decode("utf-8", "replace"), p.stderr.decode("utf-8", "replace")
