# SPDX-License-Identifier: BSD-2-Clause
"""Postern's own programs for whole-program tests, one directory, one postern.conf.

	site = Site(tmp)
	site.configure(TEXT, access=..., zone=...)
	site.dns(); site.milter("access"); site.relay("incoming"); ...

@name@ in a text becomes what site.names holds under it: `dir`, and one free port for every
other name, chosen when it is first seen.
"""
import os
import re
import signal
import time
from pathlib import Path

from proc import BUILD, Proc, free_port, listening, wait_for


class Site:
	def __init__(self, path, keep=False):
		self.dir = Path(os.fspath(path))
		self.keep = keep
		self.names = {"dir": str(self.dir)}
		self.procs = {}
		for d in ("etc", "run", "log", "state", "spool"):
			(self.dir / d).mkdir(exist_ok=True)
		(self.dir / "run").chmod(0o755)

	def port(self, name):
		if name not in self.names:
			port = free_port()
			while str(port) in self.names.values():
				port = free_port()
			self.names[name] = str(port)
		return int(self.names[name])

	def addr(self, name):
		return ("127.0.0.1", self.port(name))

	def fill(self, text):
		return re.sub(r"@([a-z][a-z0-9]*)@", lambda m: self.names.get(m[1]) or str(self.port(m[1])), text)

	def file(self, name, text):
		"""A file below etc/, with its @names@ filled in."""
		path = self.dir / "etc" / name
		path.write_text(self.fill(text))
		return path

	def start(self, name, argv, ready):
		"""ready: what to wait for: an address, or None."""
		p = self.procs[name] = Proc(argv, self.dir / "log" / (name + ".out"), keep=self.keep)
		if ready is not None:
			p.wait_listen(ready)
		return p

	def dns(self, zone="zone"):
		port = self.port("dns")
		p = self.start("dns", [BUILD / "tests/dnsd", "-p", port, "-z", self.dir / "etc" / zone], None)
		p.wait_line(rf"^{port}$")
		return p

	def sink(self, name="sink"):
		return self.start(name, [BUILD / "tests/sink", "-l", f"127.0.0.1:{self.port(name)}", "-m",
		    self.dir / "Maildir"], self.addr(name))

	def milter(self, name, conf="postern.conf"):
		return self.start(name, [BUILD / ("postern-" + name), "-f", "-c", self.dir / "etc" / conf],
		    self.dir / "run" / (name + ".sock"))

	def relay(self, name, conf="postern.conf"):
		(self.dir / "spool" / name).mkdir(exist_ok=True)
		return self.start(name, [BUILD / "postern-relay", "-f", "-c", self.dir / "etc" / conf, name],
		    self.addr(name))

	def stop(self, name, sig=signal.SIGTERM):
		"""Ends one program and all its processes; the port or socket may be taken again."""
		p = self.procs.pop(name)
		status = p.stop(sig, 40)
		if name in self.names:
			wait_for(f"{name} let go of its port", lambda: not listening(self.addr(name)))
		return status

	def stop_all(self):
		for name in reversed(list(self.procs)):
			try:
				self.procs[name].stop(signal.SIGTERM, 40)
			except Exception as e:
				print(f"# {name}: {e}", flush=True)
		self.procs.clear()

	def logs(self, lines=40):
		"""The ends of all log files, for the diagnosis of a failure."""
		out = []
		for path in sorted((self.dir / "log").iterdir()):
			text = path.read_text(errors="replace").splitlines()
			out += [f"== {path.name}"] + text[-lines:]
		return "\n".join(out)

	# the Maildir

	def maildir(self):
		new = self.dir / "Maildir/new"
		return sorted(new.iterdir()) if new.exists() else []

	def find(self, msgid):
		"""Files of the Maildir with that Message-ID, as (envelope lines, message)."""
		found = []
		for path in self.maildir():
			data = path.read_bytes()
			if f"<{msgid}>".encode() in data:
				found.append(split_envelope(data))
		return found

	def wait_mail(self, msgid, count=1, seconds=20):
		wait_for(f"{count} of <{msgid}> in the Maildir", lambda: len(self.find(msgid)) >= count, seconds)
		return self.find(msgid)

	def spooled(self, msgid):
		"""Names of the relays whose spool holds that Message-ID in some file."""
		needle = f"<{msgid}>".encode()
		out = []
		for spool in sorted((self.dir / "spool").iterdir()):
			if any(needle in read(p) for p in spool.rglob("*") if p.is_file()):
				out.append(spool.name)
		return out


def read(path):
	try:
		return path.read_bytes()
	except FileNotFoundError:      # delivered at this moment
		return b""


def split_envelope(data):
	"""What the sink wrote in front, and the message as it came."""
	head = []
	while data.startswith((b"Return-Path: ", b"Delivered-To: ")):
		line, data = data.split(b"\r\n", 1)
		head.append(line.decode("latin-1"))
	return head, data


def without_trace(message):
	"""The message without the trace fields on top and without what our filters add."""
	head, mark, body = message.partition(b"\r\n\r\n")
	fields = re.split(rb"\r\n(?![ \t])", head)
	while fields and fields[0].startswith((b"Received:", b"Authentication-Results:", b"Received-SPF:")):
		del fields[0]
	kept = [f for f in fields if not f.startswith((b"X-Greylist:", b"X-Postern-", b"X-Virus-Scanned:", b"X-Spam-"))]
	return b"\r\n".join(kept) + mark + body


def unique(prefix="m"):
	unique.count += 1
	return f"{prefix}.{os.getpid()}.{time.time_ns()}.{unique.count}@sender.example"


unique.count = 0
