# SPDX-License-Identifier: BSD-2-Clause
"""A host with some of the milters and a scripted mail server in front of them, for tests of
what daemons and hosts have in common.

	a = MilterHost(tmp, "a", {"greylist": "delay 1h"}, state="...", more="policy ...")
	r = a.mail("s@b.test", "r@local.test", client="192.0.2.1")
	assert r.deferred() or r.header("X-Greylist")
"""
import re
import time

from milter import Mta
from proc import BUILD, Proc


# a port where nobody listens: the kernel says so at once
NO_DNS = "servers 127.0.0.1:9; timeout 100ms; deadline 100ms"


class Result:
	"""What a mail met: rcpts: answer of each recipient; eoh, eom: answers, None where the
	mail did not come so far; ms: time from the first RCPT to the last answer, by step."""
	def __init__(self):
		self.rcpts, self.eoh, self.eom, self.ms = [], None, None, {}

	def final(self):
		"""The refusal of the only recipient or of the mail; b"c" where it passed."""
		for answers in [*self.rcpts, self.eoh or [], (self.eom or [])[-1:]]:
			for a in answers:
				if a[:1] in b"yrtd" and a[:1]:
					return a
		return b"c"

	def passed(self):
		return self.eom is not None and self.eom[-1:] == [b"c"]

	def deferred(self, code=b"451 4.7.1 "):
		return self.final()[1:].startswith(code)

	def wait(self):
		"""The seconds that the refusal names."""
		m = re.search(rb" (\d+) seconds", self.final())
		return int(m[1]) if m else None

	def headers(self, name):
		return [e[1:].split(b"\0")[1].decode() for e in self.eom or []
		    if e[:1] == b"h" and e[1:].split(b"\0")[0].decode() == name]

	def header(self, name):
		return (self.headers(name) or [None])[0]

	def __repr__(self):
		return f"rcpts={self.rcpts} eoh={self.eoh} eom={self.eom}"


class MilterHost:
	"""milters: name -> further settings of its block, in the order in which a mail server
	has them.  dns: the server to ask, or what stands in the block; none: nobody answers."""
	def __init__(self, tmp, name, milters, state=None, more="", env=None, dns=None):
		self.name, self.dir, self.order = name, tmp, list(milters)
		blocks = "\n".join(f'{m} {{ socket "unix:{tmp}/{name}.{m}"; {text} }}' for m, text in milters.items())
		dns = f"servers {dns}" if dns and " " not in dns else dns or NO_DNS
		self.conf = tmp.write(f"{name}.conf", f"run {{ host gate-{name}.example; log stderr }}\ndns {{ {dns} }}\n"
		    f"state {{ {state or f'path {tmp}/state; size 16M'} }}\n{blocks}\n{more}\n")
		self.procs = {}
		for m in milters:
			self.procs[m] = Proc([BUILD / f"postern-{m}", "-f", "-c", self.conf], tmp / f"{name}.{m}.log", env=env)
		for m in milters:
			self.procs[m].wait_listen(self.socket(m))

	def socket(self, milter):
		return f"unix:{self.dir}/{self.name}.{milter}"

	def log(self, milter, pattern, seconds=10):
		return self.procs[milter].wait_line(pattern, seconds)

	def text(self):
		return "".join(f"== {self.name} {m}\n{p.text()[-3000:]}" for m, p in self.procs.items())

	def stop(self):
		return [p.stop() for p in self.procs.values()]

	def mail(self, sender, *rcpts, client="192.0.2.1", name=None, helo="helo.test", auth=None,
	    headers=(("From", "a@b.test"), ("Subject", "hello")), body="hello\r\n", end=True, only=None):
		"""One mail through all milters in their order, as sendmail and Postfix do it: a step goes
		to the next milter when the one before let it pass."""
		r, links = Result(), []
		try:
			for m in [only] if only else self.order:
				links.append(self._open(m, client, name, helo, auth, sender))
			self._rcpts(r, links, rcpts)
			if [b"c"] in r.rcpts and end:
				self._content(r, links, headers, body)
		finally:
			for link in links:
				link.close()
		return r

	def _open(self, milter, client, name, helo, auth, sender):
		m = Mta(self.socket(milter), 30)
		m.negotiate()
		m.macros("C", j="gate.example", **({"client_resolve": "OK"} if name else {}))
		m.connect(name or f"[{client}]", client)
		m.helo(helo)
		m.macros("M", i="Q1", **({"auth_authen": auth} if auth else {}))
		answer = m.mail(sender)
		assert answer in ([b"c"], []), answer
		return m

	def _rcpts(self, r, links, rcpts):
		began = time.monotonic()
		for rcpt in rcpts:
			answer = [b"c"]
			for link in links:
				answer = link.rcpt(rcpt) or [b"c"]
				if answer != [b"c"]:
					break
			r.rcpts.append(answer)
		r.ms["rcpt"] = (time.monotonic() - began) * 1000

	def _content(self, r, links, headers, body):
		began = time.monotonic()
		r.eoh, r.eom = [], []
		for link in links:
			link.data()
			for field, value in headers:
				link.header(field, value)
			r.eoh = link.eoh()
			if r.eoh not in ([b"c"], []):
				r.eom = None
				break
			link.body(body)
			answer = link.eom()
			r.eom = r.eom[:-1] + answer
			if answer[-1] != b"c":
				break
		r.ms["eom"] = (time.monotonic() - began) * 1000
