# SPDX-License-Identifier: BSD-2-Clause
"""An SMTP server that records envelopes and raw octets, and misbehaves by script.

	sink = Sink(lambda stage, s: "451 4.3.0 later" if stage == "rcpt" else None)

The script is asked at each stage - connect, helo, mail, rcpt, data, body (all octets are
there, not yet answered), dot, quit, rset - and answers None (go on), reply text, DROP, or
HANG (answer nothing until the sink closes).  The octets of a message are kept exactly as
they came, with the stuffed dots removed; its end is CRLF . CRLF and nothing else.
"""
import re
import socket
import threading

from proc import wait_for

DROP, HANG = object(), object()


class Message:
	def __init__(self, session, mail, rcpts, data):
		self.helo, self.peer, self.xforward = session.helo, session.peer, dict(session.xforward)
		self.mail, self.rcpts, self.data = mail, rcpts, data

	@property
	def sender(self):
		return path(self.mail)

	@property
	def recipients(self):
		return [path(r) for r in self.rcpts]

	def headers(self, name):
		"""The raw values (bytes, unfolded) of the header fields of that name."""
		head = self.data.split(b"\r\n\r\n", 1)[0]
		fields = re.sub(rb"\r\n([ \t])", rb"\1", head).split(b"\r\n")
		want = name.lower().encode() + b":"
		return [f[len(want):].strip() for f in fields if f.lower().startswith(want)]

	@property
	def body(self):
		return self.data.split(b"\r\n\r\n", 1)[1] if b"\r\n\r\n" in self.data else b""


def path(arg):
	m = re.match(r"<([^>]*)>", arg)
	return m[1] if m else arg.split(" ")[0]


class Session:
	def __init__(self, sock, peer):
		self.sock, self.peer = sock, peer
		self.buf = b""
		self.helo, self.mail, self.rcpts, self.xforward = "", None, [], {}
		self.lines = []            # every command line, raw

	def read_until(self, mark):
		while mark not in self.buf:
			more = self.sock.recv(262144)
			if not more:
				return None
			at = max(0, len(self.buf) - len(mark))
			self.buf += more
			if mark in self.buf[at:]:
				break
		got, self.buf = self.buf.split(mark, 1)
		return got

	def read_data(self):
		"""The message as the sender meant it, or None when the link ended before."""
		chunks = bytearray(b"\r\n")        # a dot line can be the very first
		chunks += self.buf
		self.buf = b""
		seen = 0
		while (end := chunks.find(b"\r\n.\r\n", max(0, seen - 5))) < 0:
			seen = len(chunks)
			more = self.sock.recv(262144)
			if not more:
				return None
			chunks += more
		self.buf = bytes(chunks[end + 5:])
		return bytes(chunks[:end + 2]).replace(b"\r\n.", b"\r\n")[2:]


class Sink:
	def __init__(self, script=None, host="127.0.0.1", port=0, extensions=("PIPELINING", "8BITMIME",
	    "SIZE 0", "ENHANCEDSTATUSCODES", "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE")):
		self.script = script or (lambda stage, session: None)
		self.extensions = extensions
		self.messages, self.sessions = [], []
		self.lock = threading.Lock()
		self.closing = threading.Event()
		self.listener = socket.create_server((host, port), backlog=128)
		self.addr = self.listener.getsockname()
		self.port = self.addr[1]
		threading.Thread(target=self._accept, daemon=True).start()

	def _accept(self):
		while True:
			try:
				sock, peer = self.listener.accept()
			except OSError:
				return
			sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
			s = Session(sock, peer)
			with self.lock:
				self.sessions.append(s)
			threading.Thread(target=self._serve, args=(s,), daemon=True).start()

	def _serve(self, s):
		try:
			self._dialogue(s)
		except (OSError, _Dropped):
			pass
		finally:
			s.sock.close()

	def _say(self, s, stage, usual):
		"""Sends the script's answer or the usual one; True when it is a 2xx or 3xx."""
		what = self.script(stage, s)
		if what is HANG:
			self.closing.wait()
		if what is DROP or what is HANG:
			raise _Dropped
		text = what or usual
		if text:
			s.sock.sendall(text.replace("\n", "\r\n").encode("latin-1") + b"\r\n")
		return text is None or text[0] in "23"

	def _dialogue(self, s):
		if not self._say(s, "connect", "220 sink.example ESMTP"):
			return
		while (raw := s.read_until(b"\r\n")) is not None:
			s.lines.append(raw)
			line = raw.decode("latin-1")
			verb, _, arg = line.partition(" ")
			if not self._command(s, verb.upper(), arg):
				return

	def _command(self, s, verb, arg):
		if verb in ("EHLO", "HELO"):
			s.helo, s.mail, s.rcpts = arg, None, []
			names = ("sink.example", *self.extensions) if verb == "EHLO" else ("sink.example",)
			self._say(s, "helo", "\n".join(f"250{' ' if n is names[-1] else '-'}{n}" for n in names))
		elif verb == "MAIL" and s.mail is not None:
			s.sock.sendall(b"503 5.5.1 nested MAIL\r\n")
		elif verb == "MAIL":
			s.pending = arg[5:].lstrip()
			if self._say(s, "mail", "250 2.1.0 ok"):
				s.mail, s.rcpts = s.pending, []
		elif verb == "RCPT" and s.mail is not None:
			s.pending = arg[3:].lstrip()
			if self._say(s, "rcpt", "250 2.1.5 ok"):
				s.rcpts.append(s.pending)
		elif verb == "DATA" and s.rcpts:
			self._data(s)
		elif verb in ("RCPT", "DATA"):
			s.sock.sendall(b"503 5.5.1 MAIL and RCPT first\r\n")
		elif verb == "RSET":
			s.mail, s.rcpts = None, []
			self._say(s, "rset", "250 2.0.0 ok")
		elif verb == "XFORWARD":
			s.xforward.update(p.split("=", 1) for p in arg.split() if "=" in p)
			self._say(s, "xforward", "250 2.0.0 ok")
		elif verb == "NOOP":
			self._say(s, "noop", "250 2.0.0 ok")
		elif verb == "QUIT":
			self._say(s, "quit", "221 2.0.0 bye")
			return False
		else:
			s.sock.sendall(b"500 5.5.2 unknown command\r\n")
		return True

	def _data(self, s):
		if not self._say(s, "data", "354 go on"):
			return
		data = s.read_data()
		if data is None:
			raise _Dropped
		message = Message(s, s.mail, list(s.rcpts), data)
		s.message = message
		s.mail, s.rcpts = None, []
		if self.script("body", s) is DROP:
			raise _Dropped
		what = self.script("dot", s)
		if what is HANG:
			self.closing.wait()
		if what is DROP or what is HANG:
			raise _Dropped
		reply = what or "250 2.0.0 taken"
		if reply[0] == "2":
			with self.lock:
				self.messages.append(message)
		s.sock.sendall(reply.replace("\n", "\r\n").encode("latin-1") + b"\r\n")

	def wait(self, count=1, seconds=15.0):
		"""The messages, once there are count of them."""
		wait_for(f"{count} messages in the sink", lambda: len(self.messages) >= count, seconds)
		return self.messages

	def take(self, seconds=15.0):
		"""Waits for one message and removes it from the list."""
		self.wait(1, seconds)
		with self.lock:
			return self.messages.pop(0)

	def close(self):
		self.closing.set()
		try:
			self.listener.shutdown(socket.SHUT_RDWR)   # wakes accept()
		except OSError:
			pass
		self.listener.close()
		with self.lock:
			for s in self.sessions:
				try:
					s.sock.shutdown(socket.SHUT_RDWR)
				except OSError:
					pass

	def __enter__(self):
		return self

	def __exit__(self, *exc):
		self.close()


class _Dropped(Exception):
	pass
