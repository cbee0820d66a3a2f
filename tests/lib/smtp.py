# SPDX-License-Identifier: BSD-2-Clause
"""An SMTP client that sends exactly the octets it is told and reads replies strictly
(RFC 5321 4.2): every line code + '-' or ' ', one code per reply, CRLF."""
import re
import socket

from proc import SLOWER, connect


class ProtocolError(Exception):
	pass


class Closed(ProtocolError):
	"""The server closed the connection where a reply was due."""


class Reply:
	def __init__(self, code, lines):
		self.code, self.lines = code, lines

	@property
	def text(self):
		return "\n".join(self.lines)

	@property
	def enhanced(self):
		m = re.match(r"([245]\.\d{1,3}\.\d{1,3})(?: |$)", self.lines[-1])
		return m[1] if m else ""

	def __repr__(self):
		return f"{self.code} {' / '.join(self.lines)}"


def octets(x):
	return x if isinstance(x, (bytes, bytearray)) else x.encode("latin-1")


def stuffed(message):
	"""What goes over the wire for a message that consists of CRLF lines: dots doubled, the
	final dot line behind it.  A message without a final CRLF gets one."""
	message = octets(message)
	if message and not message.endswith(b"\r\n"):
		message += b"\r\n"
	if message.startswith(b"."):
		message = b"." + message
	return message.replace(b"\r\n.", b"\r\n..") + b".\r\n"


class Smtp:
	"""addr: (host, port), or text that proc.address() reads."""
	def __init__(self, addr, seconds=30.0, greeting=True, helo=None, source=None):
		self.seconds = seconds * SLOWER
		self.sock = connect(addr, seconds, source)
		self.sock.settimeout(self.seconds)
		if self.sock.family == socket.AF_INET:
			self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		self.buf = b""
		self.extensions = {}
		self.greeting = self.reply() if greeting else None
		if helo:
			self.ehlo(helo)

	def send(self, data):
		self.sock.sendall(octets(data))

	def line(self):
		while b"\n" not in self.buf:
			more = self.sock.recv(65536)
			if not more:
				raise Closed(f"connection closed; last octets {self.buf!r}")
			self.buf += more
		line, self.buf = self.buf.split(b"\n", 1)
		if not line.endswith(b"\r"):
			raise ProtocolError(f"reply line without CR: {line!r}")
		return line[:-1].decode("latin-1")

	def reply(self):
		code, lines = None, []
		while True:
			line = self.line()
			m = re.fullmatch(r"([2-5][0-9][0-9])(?:([ -])(.*))?", line, re.S)
			if not m or code not in (None, m[1]):
				raise ProtocolError(f"bad reply line {line!r} after {lines!r}")
			code = m[1]
			lines.append(m[3] or "")
			if m[2] != "-":
				return Reply(int(code), lines)

	def cmd(self, text):
		self.send(octets(text) + b"\r\n")
		return self.reply()

	def pipeline(self, *commands):
		"""All commands in one write, then one reply for each."""
		self.send(b"".join(octets(c) + b"\r\n" for c in commands))
		return [self.reply() for _ in commands]

	def ehlo(self, name="client.example"):
		r = self.cmd(f"EHLO {name}")
		self.extensions = {}
		for line in r.lines[1:] if r.code == 250 else []:
			word, _, rest = line.partition(" ")
			self.extensions[word.upper()] = rest
		return r

	def helo(self, name="client.example"):
		return self.cmd(f"HELO {name}")

	def xclient(self, **attrs):
		"""xclient(ADDR="192.0.2.1", NAME="mx.example"): the server greets again."""
		return self.cmd("XCLIENT " + " ".join(f"{k}={v}" for k, v in attrs.items()))

	def mail(self, sender, params=""):
		return self.cmd(f"MAIL FROM:<{sender}>" + (" " + params if params else ""))

	def rcpt(self, rcpt, params=""):
		return self.cmd(f"RCPT TO:<{rcpt}>" + (" " + params if params else ""))

	def data(self, message):
		"""DATA and, after 354, the message; the reply to whichever was the last."""
		r = self.cmd("DATA")
		if r.code != 354:
			return r
		self.send(stuffed(message))
		return self.reply()

	def quit(self):
		try:
			return self.cmd("QUIT")
		finally:
			self.close()

	def at_end(self):
		"""True when the server closed and sent nothing more."""
		return self.buf == b"" and self.sock.recv(1) == b""

	def close(self):
		self.sock.close()

	def __enter__(self):
		return self

	def __exit__(self, *exc):
		self.close()


def send_mail(addr, sender, rcpts, message, client=None, helo="client.example", params="", seconds=30.0,
    source=None):
	"""A whole transaction.  client: XCLIENT attributes; source: address to come from.  Returns a dict of replies:
	'connect' (only if refused), 'mail', 'rcpt' (list), 'data'; it ends where nothing goes on."""
	out = {"rcpt": []}
	with Smtp(addr, seconds, source=source) as c:
		if c.greeting.code != 220:
			return dict(out, connect=c.greeting)
		c.ehlo(helo)
		if client:
			r = c.xclient(**client)
			if r.code != 220:
				return dict(out, connect=r)
			c.ehlo(helo)
		out["mail"] = c.mail(sender, params)
		if out["mail"].code == 250:
			out["rcpt"] = [c.rcpt(r) for r in rcpts]
			if any(r.code in (250, 251) for r in out["rcpt"]):
				out["data"] = c.data(message)
		try:
			c.quit()
		except (ProtocolError, OSError):
			pass
	return out


def verdict(replies):
	"""The first reply of a transaction that decided its fate."""
	for key in ("connect", "mail"):
		if key in replies and replies[key].code >= 400:
			return replies[key]
	if "data" in replies:
		return replies["data"]
	return replies["rcpt"][-1]
