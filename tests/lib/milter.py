# SPDX-License-Identifier: BSD-2-Clause
"""Both ends of the milter protocol, octet by octet, for tests.

Mta plays the mail server against a milter:

	with Mta(path) as m:
		m.negotiate()
		m.macros("C", j="mta.example")
		assert m.connect("mx.example", "192.0.2.1") == [b"c"]

Milter plays a filter against a mail server, by script: a function (letter, payload,
link) -> None (answer 'c'), one reply, or a list of replies; DROP closes the link and
HANG answers nothing (DROP may also end a list).  A reply is the letter followed by its payload.
"""
import os
import re
import socket
import struct
import threading

from proc import SLOWER, connect

DROP, HANG = object(), object()
ACTIONS, PROTOCOL = 0x1ff, 0x1fffff
# protocol bit "no reply to", by command
NO_REPLY = {"C": 0x1000, "H": 0x2000, "M": 0x4000, "R": 0x8000, "T": 0x10000, "U": 0x20000,
    "N": 0x40000, "B": 0x80000, "L": 0x80}
NO_STEP = {"C": 0x1, "H": 0x2, "M": 0x4, "R": 0x8, "B": 0x10, "L": 0x20, "N": 0x40, "U": 0x100,
    "T": 0x200}
FINAL = b"cardtysf4"


class Closed(Exception):
	pass


def octets(x):
	return x if isinstance(x, bytes) else x.encode("latin-1")


def packet(letter, payload=b""):
	return struct.pack(">I", len(payload) + 1) + octets(letter) + payload


def z(*texts):
	return b"".join(octets(t) + b"\0" for t in texts)


def read_exact(sock, n):
	out = b""
	while len(out) < n:
		more = sock.recv(n - len(out))
		if not more:
			raise Closed(f"{len(out)} of {n} octets")
		out += more
	return out


def read_packet(sock):
	n = struct.unpack(">I", read_exact(sock, 4))[0]
	if not 1 <= n <= 2 ** 24:
		raise Closed(f"packet length {n}")
	data = read_exact(sock, n)
	return chr(data[0]), data[1:]


class Mta:
	"""The mail server's end of one connection."""
	def __init__(self, addr, seconds=10.0):
		self.sock = connect(addr, seconds)
		self.sock.settimeout(seconds * SLOWER)
		self.protocol = 0

	def negotiate(self, version=6, actions=ACTIONS, protocol=PROTOCOL):
		self.sock.sendall(packet("O", struct.pack(">III", version, actions, protocol)))
		letter, data = read_packet(self.sock)
		if letter != "O" or len(data) < 12:
			raise Closed(f"answer to negotiation: {letter} {data!r}")
		self.version, self.actions, self.protocol = struct.unpack(">III", data[:12])
		self.macro_lists = {}
		rest = data[12:]
		while len(rest) > 4:
			stage = struct.unpack(">I", rest[:4])[0]
			names, rest = rest[4:].split(b"\0", 1)
			self.macro_lists[stage] = names.decode()
		return self

	def macros(self, letter, **values):
		"""Names of several letters are sent in braces: client_addr -> {client_addr}."""
		pairs = []
		for k, v in values.items():
			pairs += [k if len(k) == 1 else "{" + k + "}", v]
		self.sock.sendall(packet("D", octets(letter) + z(*pairs)))

	def command(self, letter, payload=b""):
		"""The packets of the answer (letter + payload), [] where none is due."""
		if self.protocol & NO_STEP.get(letter, 0):
			return []
		self.sock.sendall(packet(letter, payload))
		if self.protocol & NO_REPLY.get(letter, 0):
			return []
		return self.answer(letter)

	def answer(self, letter):
		out = []
		while True:
			kind, data = read_packet(self.sock)
			if kind == "p":
				continue
			out.append(octets(kind) + data)
			if octets(kind) in [bytes([c]) for c in FINAL] or letter != "E":
				return out

	def connect(self, host, addr=None, port=25, family=None):
		family = family or ("U" if addr is None else "6" if ":" in addr else "4")
		return self.command("C", z(host) + octets(family) +
		    (b"" if family == "U" else struct.pack(">H", port) + z(addr)))

	def helo(self, name):
		return self.command("H", z(name))

	def mail(self, sender, *params):
		return self.command("M", z(f"<{sender}>", *params))

	def rcpt(self, rcpt, *params):
		return self.command("R", z(f"<{rcpt}>", *params))

	def data(self):
		return self.command("T")

	def header(self, name, value):
		return self.command("L", z(name, value))

	def eoh(self):
		return self.command("N")

	def body(self, chunk):
		return self.command("B", octets(chunk))

	def eom(self):
		return self.command("E")

	def abort(self):
		self.sock.sendall(packet("A"))

	def close(self):
		try:
			self.sock.sendall(packet("Q"))
		except OSError:
			pass
		self.sock.close()

	def __enter__(self):
		return self

	def __exit__(self, *exc):
		self.close()


def play_message(addr, message, sender="a@sender.example", rcpt="b@local.example", client="127.0.0.1"):
	"""A whole message (CRLF lines) through a filter; returns the packets that answer its end."""
	head, _, body = message.partition(b"\r\n\r\n")
	with Mta(addr, 30) as m:
		m.negotiate()
		m.macros("C", j="mta.example")
		m.connect("mx.sender.example", client)
		m.helo("mx.sender.example")
		m.mail(sender)
		m.rcpt(rcpt)
		m.data()
		for field in re.split(rb"\r\n(?![ \t])", head):
			name, value = field.replace(b"\r\n", b"\n").split(b":", 1)
			m.header(name, value if m.protocol & 0x100000 or value[:1] != b" " else value[1:])
		m.eoh()
		for at in range(0, len(body), 65535):
			m.body(body[at:at + 65535])
		return m.eom()


class Link:
	"""One connection of a mail server to a Milter, with all packets that came."""
	def __init__(self, sock):
		self.sock, self.packets, self.macros = sock, [], {}

	def letters(self):
		return "".join(p[0] for p in self.packets)


class Milter:
	"""addr: path of a UNIX socket, or (host, port).  answer: the triple of the negotiation,
	cut to what the server offers; lists: octets behind it."""
	def __init__(self, addr, script=None, answer=(6, ACTIONS, 0), lists=b""):
		self.script = script or (lambda letter, payload, link: None)
		self.negotiation, self.lists = answer, lists
		self.links, self.lock = [], threading.Lock()
		self.closing = threading.Event()
		self.addr = addr
		if isinstance(addr, tuple):
			self.listener = socket.create_server(addr, backlog=128)
			self.addr = self.listener.getsockname()[:2]
		else:
			self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
			self.listener.bind(os.fspath(addr))
			self.listener.listen(128)
		threading.Thread(target=self._accept, daemon=True).start()

	def _accept(self):
		while True:
			try:
				sock, _ = self.listener.accept()
			except OSError:
				return
			link = Link(sock)
			with self.lock:
				self.links.append(link)
			threading.Thread(target=self._serve, args=(link,), daemon=True).start()

	def _serve(self, link):
		try:
			while True:
				letter, data = read_packet(link.sock)
				link.packets.append((letter, data))
				if letter == "Q" or not self._one(link, letter, data):
					return
		except (OSError, Closed):
			pass
		finally:
			link.sock.close()

	def _one(self, link, letter, data):
		if letter == "D":
			parts = data[1:].split(b"\0")[:-1]
			link.macros.setdefault(chr(data[0]), {}).update(zip(parts[::2], parts[1::2]))
			return True
		what = self.script(letter, data, link)
		if what is HANG:
			self.closing.wait()
		if what is DROP or what is HANG:
			return False
		if letter == "O" and what is None:
			version, actions, protocol = self.negotiation
			offered = struct.unpack(">III", data[:12])
			what = b"O" + struct.pack(">III", min(version, offered[0]), actions & offered[1],
			    protocol & offered[2]) + self.lists
		if letter == "A":
			return True
		if what is None:
			what = b"" if letter != "E" and self.negotiation[2] & NO_REPLY.get(letter, 0) else b"c"
		for reply in what if isinstance(what, list) else [what]:
			if reply is DROP:
				return False
			if reply:
				link.sock.sendall(packet(reply[:1], reply[1:]))
		return True

	def close(self):
		self.closing.set()
		try:
			self.listener.shutdown(socket.SHUT_RDWR)
		except OSError:
			pass
		self.listener.close()
		with self.lock:
			for link in self.links:
				try:
					link.sock.shutdown(socket.SHUT_RDWR)
				except OSError:
					pass
		if not isinstance(self.addr, tuple):
			try:
				os.unlink(self.addr)
			except FileNotFoundError:
				pass

	def __enter__(self):
		return self

	def __exit__(self, *exc):
		self.close()
