# SPDX-License-Identifier: BSD-2-Clause
"""Stands between a mail server and a milter on a UNIX socket, hands packets through whole,
and has the milter's process killed when a wanted one has passed.

	proxy = Proxy(path, upstream)
	plan = proxy.arm(Plan(kill, after="R"))       the next connection is watched
	plan = proxy.arm(Plan(kill, edits=1))         one edit packet reaches the server

Once the plan fires, nothing of the milter reaches the server any more, whatever it wrote
before it died; when the kernel closes the milter's end, the proxy closes the server's.
Both in the way of the kernel: what was not read when a socket is closed becomes a reset.
"""
import os
import select
import socket
import struct
import threading

from milter import NO_REPLY, NO_STEP
from proc import wait_for

EDITS = "himbe+-2q"


class Plan:
	"""kill: a function that ends the milter's process, called once.  after: letter of the
	command behind which it dies, before any answer; where the milter leaves that step out, the
	step's macros count for it, and else the caller kills by strike().  edits: so many packets
	of an edit (of which: letters) pass to the server, then it dies."""
	def __init__(self, kill, after=None, edits=0, which=EDITS):
		self.kill, self.after, self.edits, self.which = kill, after, edits, which
		self.lock = threading.Lock()
		self.fired = self.left_out = self.silent = False
		self.passed = ""                # letters of the edits that the server got
		self.broken = threading.Event() # the server's end is closed

	def negotiated(self, protocol):
		if self.after:
			self.left_out = bool(protocol & NO_STEP.get(self.after, 0))
			self.silent = self.left_out or bool(protocol & NO_REPLY.get(self.after, 0))

	def strike(self):
		with self.lock:
			if self.fired:
				return
			self.kill()
			self.fired = True

	def on_command(self, letter, payload):
		# Not at negotiation: a link that nobody has taken from the queue of the listening
		# socket outlives the process.  Its answer tells that it was taken.
		if letter == self.after != "O" or (self.left_out and letter == "D" and payload[:1] == self.after.encode()):
			self.strike()

	def on_answer(self, letter):
		"""An edit has passed."""
		self.passed += letter
		if letter in self.which and self.edits:
			self.edits -= 1
			if self.edits == 0:
				self.strike()


class Stream:
	"""Octets in, whole packets out."""
	def __init__(self):
		self.buf = bytearray()

	def packets(self, octets):
		self.buf += octets
		while len(self.buf) >= 4:
			n = struct.unpack(">I", self.buf[:4])[0]
			if len(self.buf) < 4 + n:
				return
			whole = bytes(self.buf[:4 + n])
			del self.buf[:4 + n]
			yield chr(whole[4]), whole[5:], whole


class Proxy:
	def __init__(self, path, upstream, mode=0o666):
		self.path, self.upstream, self.plan = os.fspath(path), os.fspath(upstream), None
		self.faults = []                # what should not happen in here
		self.links = []                 # of each connection the letters that the server sent, [str]
		self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
		self.listener.bind(self.path)
		os.chmod(self.path, mode)
		self.listener.listen(256)
		threading.Thread(target=self._accept, daemon=True).start()

	def arm(self, plan):
		self.plan = plan
		return plan

	def disarm(self):
		self.plan = None

	def _accept(self):
		while True:
			try:
				server, _ = self.listener.accept()
			except OSError:
				return
			# a plan is for one link: the server may come again, and finds the next worker
			plan, self.plan = self.plan, None
			threading.Thread(target=self._link, args=(server, self.upstream, plan), daemon=True).start()

	def _link(self, server, upstream, plan):
		milter = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
		try:
			milter.connect(upstream)
			self._relay(server, milter, plan)
		except OSError:
			pass                    # either end went away: so does the other
		except Exception as e:  # noqa: BLE001 - shown by the test
			self.faults.append(repr(e))
		finally:
			server.close()
			milter.close()
			if plan and plan.fired:
				plan.broken.set()

	def _relay(self, server, milter, plan):
		commands, answers, seen = Stream(), Stream(), [""]
		self.links.append(seen)
		while True:
			watched = [milter] if plan and plan.fired else [server, milter]
			for end in select.select(watched, [], [])[0]:
				octets = end.recv(262144)
				if not octets:
					return
				if plan and plan.fired:
					continue        # the last words of the dead
				if end is server:
					self._commands(commands.packets(octets), milter, plan, seen)
				else:
					self._answers(answers.packets(octets), server, plan)

	@staticmethod
	def _commands(packets, milter, plan, seen):
		for letter, payload, whole in packets:
			seen[0] += letter
			milter.sendall(whole)
			if plan:
				plan.on_command(letter, payload)
				if plan.fired:
					return

	@staticmethod
	def _answers(packets, server, plan):
		for letter, payload, whole in packets:
			if plan and letter == "O":
				plan.negotiated(struct.unpack(">III", payload[:12])[2])
				if plan.after == "O":
					plan.strike()
					return
			server.sendall(whole)
			if plan and letter in EDITS:
				plan.on_answer(letter)
				if plan.fired:
					return

	def close(self):
		try:
			self.listener.shutdown(socket.SHUT_RDWR)
		except OSError:
			pass
		self.listener.close()
		os.unlink(self.path)


def worker_of(proc, name):
	"""The pid of the worker of a supervisor, told from its other children by program."""
	def find():
		for pid in proc.children():
			try:
				if os.path.basename(os.readlink(f"/proc/{pid}/exe")) == name:
					return pid
			except OSError:
				pass
		return None
	return wait_for(f"a worker of {name}", find)
