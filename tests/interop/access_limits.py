#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 300
"""Rates, concurrency and penalties of two postern-access on one Redis server, as on two
hosts: what one counted holds at the other; a host that is killed leaves its places; when the
server goes, each host counts alone."""
import json
import os
import re
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter import Mta  # noqa: E402
from proc import BUILD, Dir, Proc, gone, run, wait_for  # noqa: E402
from redis_server import Redis  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

MAP = """ClientRate:203.0.1.1\t3
ClientRate:203.0.2.1\t0
ClientRate:203.0.3.1\tnonsense
ClientConn:203.0.4.1\t2
ClientConn:\t0
Connect:203.0.5.1\tOK
ClientRate:203.0.5.1\t1
To:gone@local.example\tERROR:5.1.1:550 there is nobody of this name
"""
CONF = """
run {{ host gate-{name}.example; log stderr }}
state {{ engine redis; redis "unix:{socket}"; deadline 2s; budget 3s }}    # of a loaded machine
access {{
	socket "unix:{dir}/{name}.sock";
	maps "{dir}/map";
	refuse mail;
	blocklist-recipients on;
	rate "hosts"   {{ per client; connections 5 in 1h }}
	rate "nets"    {{ per network; messages 20 in 1h; burst 12; text "your net sends too much" }}
	rate "open"    {{ per client; at-once 3 }}
	rate "senders" {{ per sender; messages 2 in 1h }}
	rate "domains" {{ per sender-domain; messages 3 in 1h }}
	rate "mailbox" {{ per recipient; recipients 2 in 1h }}
	rate "users"   {{ per user; recipients 3 in 1h; at-once 3 }}
	rate "points"  {{ per sender; recipients 1 in 1h; points 2.5 }}
	penalty harvest {{ after 3 in 1h; keep 1h }}
	penalty flood   {{ after 2 in 1h; keep 1h; text "flooded" }}
	penalty trap    {{ recipient trap@local.example; action reject }}
	penalty early   {{ after 1 in 1h; keep 1h }}
}}
policy "ours" {{ client 10.9.0.0/16; access.rate off }}
"""
FULL = "y421 4.3.2 Too many connections from your host: 5 in 3600 seconds are taken, try again in "
OPEN = "y421 4.3.2 Too many connections at once: 3 are taken, try again later"


class Link:
	"""One connection of a mail server; a reply is text, 'c' to go on."""
	def __init__(self, path, client, auth=None, **macros):
		self.m = Mta(path, 20)
		self.m.negotiate()
		self.m.macros("C", j="gate.example", client_addr=client, **macros)
		assert self.m.connect(f"[{client}]", client) == [b"c"]
		assert self.m.helo("mx.far.example") == [b"c"]
		self.auth = auth

	@staticmethod
	def text(packets):
		return packets[-1].rstrip(b"\0").decode().replace("\r\n", "\n")

	def mail(self, sender):
		self.m.macros("M", i="Q1", **({"auth_authen": self.auth, "auth_type": "PLAIN"} if self.auth else {}))
		return self.text(self.m.mail(sender))

	def rcpt(self, rcpt, **macros):
		self.m.macros("R", i="Q1", **(macros or {"rcpt_mailer": "local"}))
		return self.text(self.m.rcpt(rcpt))

	def reset(self):
		self.m.abort()

	def close(self):
		self.m.close()

	def __enter__(self):
		return self

	def __exit__(self, *exc):
		self.close()


class Host:
	def __init__(self, tmp, name, redis):
		self.path = f"unix:{tmp}/{name}.sock"
		conf = tmp.write(f"{name}.conf", CONF.format(name=name, dir=tmp, socket=redis.socket))
		self.p = Proc([BUILD / "postern-access", "-f", "-c", conf], tmp / f"{name}.log")
		self.p.wait_listen(self.path)

	def link(self, client, auth=None, **macros):
		return Link(self.path, client, auth, **macros)

	def mail(self, client, sender="a@far.example", auth=None):
		with self.link(client, auth) as c:
			return c.mail(sender)


class Test:
	def __init__(self, tmp, redis):
		self.tmp, self.redis = tmp, redis
		tmp.write("map", MAP)
		self.a, self.b, self.c = (Host(tmp, n, redis) for n in "abc")
		self.hosts = (self.a, self.b)
		self.tap = Tap()
		self.n = 0

	def case(self, name):
		return self.tap.case(name, lambda: "A:\n" + self.a.p.text()[-9000:] + "B:\n" + self.b.p.text()[-9000:])

	def client(self):
		"""An address in a network that nobody used yet."""
		self.n += 1
		return f"198.{18 + self.n // 250}.{self.n % 250}.7"

	def sender(self):
		self.n += 1
		return f"a@far{self.n}.example"

	def connections(self):
		who = self.client()
		with self.case("connections of a client are counted over both hosts"):
			for i in range(5):
				assert self.hosts[i % 2].mail(who, self.sender()) == "c"
			for h in self.hosts:
				r = h.mail(who, self.sender())
				assert r.startswith(FULL), r
			assert self.a.mail(self.client(), self.sender()) == "c"
		with self.case("... of IPv6 by the /64"):
			for i in range(5):
				assert self.a.mail(f"2001:db8:1:2::{i}", self.sender()) == "c"
			assert self.b.mail("2001:db8:1:2::99", self.sender()).startswith(FULL)
			assert self.b.mail("2001:db8:1:3::99", self.sender()) == "c"
		with self.case("a policy spares our own"):
			for _ in range(7):
				assert self.a.mail("10.9.1.1", self.sender()) == "c"
		with self.case("a network is counted together, with its own text"):
			net = self.client()[:-1]
			for i in range(12):
				assert self.hosts[i % 2].mail(f"{net}{i}", self.sender()) == "c", i
			assert self.a.mail(f"{net}50", self.sender()) == "y451 4.7.1 your net sends too much"

	def envelopes(self):
		sender = self.sender()
		with self.case("messages of a sender, in whatever case it is written"):
			assert self.a.mail(self.client(), sender) == "c"
			assert self.b.mail(self.client(), sender.upper()) == "c"
			r = self.a.mail(self.client(), sender)
			assert re.match(r"y451 4\.7\.1 Too many messages from this sender: 2 in 3600 seconds are taken, "
			    r"try again in 1[78]\d\d seconds$", r), r
		with self.case("messages of a sender's domain"):
			for i in range(3):
				assert self.hosts[i % 2].mail(self.client(), f"u{i}@many.example") == "c"
			r = self.a.mail(self.client(), "new@many.example")
			assert r.startswith("y451 4.7.1 Too many messages from this sender's domain"), r
		with self.case("the null sender is nobody: not counted"):
			for _ in range(4):
				assert self.a.mail(self.client(), "") == "c"
		with self.case("mail to a recipient"):
			for h, wanted in ((self.a, "c"), (self.b, "c"), (self.a, "y451 4.7.1 Too many messages to this recipient")):
				with h.link(self.client()) as c:
					assert c.mail(self.sender()) == "c"
					r = c.rcpt("box@local.example")
					assert r.startswith(wanted), r
		with self.case("what one recipient used up is not held against the next"):
			with self.a.link(self.client()) as c:
				assert c.mail(self.sender()) == "c"
				# refused by the map, so the rate of this one is never looked at
				assert [c.rcpt("gone@local.example")[:10] for _ in range(2)] == ["y550 5.1.1"] * 2
				assert c.rcpt("after.gone@local.example") == "c"
		with self.case("an authenticated user, wherever from; somebody else is not kept"):
			for i in range(5):
				with self.hosts[i % 2].link(self.client(), "ann") as c:
					assert c.mail(self.sender()) == "c"
					r = c.rcpt(f"u{i}@other.example")
					assert r.startswith("c" if i < 3 else "y451 4.7.1 Too many recipients from this user"), (i, r)
			with self.a.link(self.client(), "bob") as c:
				assert c.mail(self.sender()) == "c" and c.rcpt("u9@other.example") == "c"
		with self.case("points instead of a refusal: alone they do nothing, and are logged"):
			sender = self.sender()
			for i in range(3):
				with self.a.link(self.client()) as c:
					assert c.mail(sender).startswith("c" if i < 2 else "y451"), i
					if i < 2:
						assert c.rcpt(f"p{i}@other.example") == "c"

	def places(self):
		who = self.client()
		with self.case("connections at one time, over both hosts; who leaves makes room"):
			open_ = [self.a.link(who), self.b.link(who), self.a.link(who)]
			assert [c.mail(self.sender()) for c in open_] == ["c"] * 3
			with self.b.link(who) as c:
				r = c.mail(self.sender())
				assert r == OPEN, r
			open_.pop(0).close()
			# the bucket of connections is nearly full: 5 an hour
			def room():
				with self.b.link(who) as c:
					return c.mail(self.sender()) != OPEN
			wait_for("room", room)
			for c in open_:
				c.close()
		with self.case("messages at one time; a host is killed with all places taken"):
			self.held = [self.c.link(self.client(), "stuck") for _ in range(3)]
			assert [c.mail(self.sender()) for c in self.held] == ["c"] * 3
			r = self.a.mail(self.client(), self.sender(), "stuck")
			assert r == "y451 4.7.1 Too many messages at once: 3 are taken, try again later", r
			self.stay = [self.a.link(self.client(), "stay") for _ in range(3)]
			assert [c.mail(self.sender()) for c in self.stay] == ["c"] * 3
			pids = [self.c.p.p.pid, *self.c.p.children()]
			for pid in pids:
				os.kill(pid, signal.SIGKILL)
			wait_for("its end", lambda: all(gone(p) for p in pids))
			self.killed = time.monotonic()

	def healed(self):
		with self.case("... and its places are free again by themselves"):
			wait_for("free places", lambda: self.a.mail(self.client(), self.sender(), "stuck") == "c", 90)
			# ... but not those of a host that lives
			r = self.b.mail(self.client(), self.sender(), "stay")
			assert r.startswith("y451 4.7.1 Too many messages at once"), r
			for c in self.stay:
				c.close()
			wait_for("free places", lambda: self.b.mail(self.client(), self.sender(), "stay") == "c", 10)
			print(f"# free {time.monotonic() - self.killed:.0f} s after the kill")

	def from_map(self):
		with self.case("ClientRate: of the map: three a minute, over both hosts"):
			for i in range(3):
				assert self.hosts[i % 2].mail("203.0.1.1", self.sender()) == "c"
			for h in self.hosts:
				assert h.mail("203.0.1.1", self.sender()) == "y421 4.3.2 Connection rate limit exceeded."
		with self.case("ClientRate: 0 is no limit, and nonsense lets nobody in"):
			assert self.a.mail("203.0.2.1", self.sender()) == "c"
			assert self.a.mail("203.0.3.1", self.sender()) == "y421 4.3.2 Connection rate limit exceeded."
		with self.case("ClientConn: of the map: two at a time"):
			with self.a.link("203.0.4.1") as one, self.b.link("203.0.4.1") as two:
				# places are asked for when a client comes; who comes later must find them taken
				assert one.mail(self.sender()) == "c" and two.mail(self.sender()) == "c"
				assert self.a.mail("203.0.4.1", self.sender()) == "y421 4.3.2 Too many open connections."
		with self.case("where Connect: has spoken ClientRate: is not asked"):
			for _ in range(3):
				assert self.a.mail("203.0.5.1", self.sender()) == "c"

	def refused(self, who, text):
		for h in self.hosts:
			r = h.mail(who, self.sender())
			assert r.startswith(text), r

	def penalties(self):
		harvest = "y421 4.7.0 Your network asked for too many addresses that nobody has"
		for name, macros, wanted in (("the map's", {}, "y550 5.1.1"),
		    ("the mail server's", {"rcpt_mailer": "error", "rcpt_host": "5.1.1", "rcpt_addr": "User unknown"}, "c")):
			who = self.client()
			with self.case(f"harvesting, {name} unknown recipients: the network is refused on both hosts"):
				with self.a.link(who) as c:
					assert c.mail(self.sender()) == "c"
					for i in range(2):
						r = c.rcpt("gone@local.example", **macros)
						assert r.startswith(wanted), r
				assert self.b.mail(who, self.sender()) == "c"
				with self.b.link(who) as c:
					assert c.mail(self.sender()) == "c"
					c.rcpt("gone@local.example", **macros)
				self.refused(who.rsplit(".", 1)[0] + ".99", harvest)
				self.b.p.wait_line(r"event=penalty kind=harvest network=198\.18\.\d+\.0/24 keep=3600")
		with self.case("who goes too far is refused in the same connection"):
			with self.a.link(self.client()) as c:
				assert c.mail(self.sender()) == "c"
				for _ in range(3):
					assert c.rcpt("gone@local.example").startswith("y550 5.1.1")
				assert c.rcpt("good@local.example").startswith(harvest)
				c.reset()
				assert c.mail(self.sender()).startswith(harvest)
		with self.case("other refusals of the mail server are no harvesting"):
			who = self.client()
			with self.a.link(who) as c:
				assert c.mail(self.sender()) == "c"
				for _ in range(4):
					assert c.rcpt("x@local.example", rcpt_mailer="error", rcpt_host="4.2.0", rcpt_addr="busy") == "c"
			assert self.b.mail(who, self.sender()) == "c"
		with self.case("an authenticated user may mistype"):
			who = self.client()
			with self.a.link(who, "carl") as c:
				assert c.mail(self.sender()) == "c"
				for _ in range(4):
					c.rcpt("gone@local.example")
			assert self.b.mail(who, self.sender()) == "c"
		with self.case("a trapped address: refused for ever, that is for a while"):
			who = self.client()
			with self.a.link(who) as c:
				assert c.mail(self.sender()) == "c" and c.rcpt("Trap@local.example") == "c"
			self.refused(who, "y554 5.7.1 Your network wrote to addresses that nobody can know")
		with self.case("who talks before the greeting, as our relay tells"):
			who = self.client()
			with self.a.link(who, early_talker="yes") as c:
				c.mail(self.sender())
			self.refused(who, "y421 4.7.0 Your network talked before our greeting")
		with self.case("over a limit twice: a flood"):
			who = self.client()
			for i in range(6):
				self.hosts[i % 2].mail(who, self.sender())
			assert self.a.mail(who, self.sender()).startswith(FULL)
			self.refused(who, "y421 4.7.0 flooded")
		with self.case("postmaster is reached from there all the same"):
			with self.a.link(who) as c:
				assert c.mail("") == "y421 4.7.0 flooded"      # refuse mail: nobody can know yet

	def lifted(self):
		conf = self.tmp / "a.conf"
		who = self.client()
		net = who[:-1] + "0/24"
		with self.case("posternctl lists the penalties and lifts one"):
			with self.a.link(who) as c:
				assert c.mail(self.sender()) == "c" and c.rcpt("trap@local.example") == "c"
			status, out, err = run([BUILD / "posternctl", "penalty", "list", "-c", conf])
			assert status == 0 and re.search(rf"(?m)^{net}\ttrap\tsince .*Z\tuntil .*Z\tweight 1$", out), (status, out, err)
			assert "\tharvest\t" in out and "\tflood\t" in out and "\tearly\t" in out, out
			status, out, err = run([BUILD / "posternctl", "penalty", "list", "-c", conf, "--json", who])
			row, = json.loads(out)
			assert (row["network"], row["kind"], row["weight"]) == (net, "trap", 1), row
			assert self.b.mail(who, self.sender()).startswith("y554")
			assert run([BUILD / "posternctl", "penalty", "clear", "-c", conf, who])[0] == 0
			assert self.b.mail(who, self.sender()) == "c" and self.a.mail(who, self.sender()) == "c"
			assert run([BUILD / "posternctl", "penalty", "clear", "-c", conf, who])[0] == 1
		with self.case("posternctl penalty without sense"):
			for argv in ((), ("clear",), ("clear", "mx.example"), ("list", "1.2.3.4", "5.6.7.8"), ("drop",)):
				assert run([BUILD / "posternctl", "penalty", *argv])[0] == 64, argv

	def at_connect(self):
		text = (self.tmp / "a.conf").read_text().replace("refuse mail", "refuse connect").replace("a.sock", "d.sock")
		conf = self.tmp.write("d.conf", text)
		p = Proc([BUILD / "postern-access", "-f", "-c", conf], self.tmp / "d.log")
		p.wait_listen(f"unix:{self.tmp}/d.sock")
		with self.case("refuse connect: a penalty is told at the door"):
			who = self.client()
			with self.a.link(who) as c:
				assert c.mail(self.sender()) == "c"
				c.rcpt("trap@local.example")     # its own rate may be used up: it counts all the same

			def door():
				with Mta(f"unix:{self.tmp}/d.sock", 20) as m:
					m.negotiate()
					m.macros("C", j="gate.example", client_addr=who)
					return Link.text(m.connect(f"[{who}]", who))
			# its link to the server may not be open yet
			wait_for("a refusal", lambda: door().startswith("y554 5.7.1 Your network wrote to addresses"))
			assert p.stop() == 0

	def alone(self):
		with self.case("without the server each host counts for itself, and says so"):
			self.redis.kill()
			who = self.client()
			for h in self.hosts:
				for i in range(5):
					assert h.mail(who, self.sender()) == "c", i
				r = h.mail(who, self.sender())
				assert r.startswith(FULL), r
			self.a.p.wait_line(r"event=access\.store .*this host counts alone")
		with self.case("... places and penalties as well"):
			who = self.client()
			with self.a.link(who) as one, self.a.link(who) as two, self.a.link(who) as three, self.a.link(who) as four:
				assert [c.mail(self.sender()) for c in (one, two, three)] == ["c"] * 3
				assert four.mail(self.sender()) == OPEN
			who = self.client()
			with self.a.link(who) as c:
				assert c.mail(self.sender()) == "c" and c.rcpt("trap@local.example") == "c"
			assert self.a.mail(who, self.sender()).startswith("y554 5.7.1")
			assert self.b.mail(who, self.sender()) == "c"
		with self.case("the server is back: they count together again"):
			self.redis.start()

			def together():
				who = self.client()
				got = [self.hosts[i % 2].mail(who, self.sender()) for i in range(6)]
				return got[5].startswith(FULL)
			wait_for("counted together", together, 20)
			self.a.p.wait_line(r"event=access\.store .*all hosts count together")
		with self.case("they end in order"):
			assert self.a.p.stop() == 0 and self.b.p.stop() == 0


def main():
	tmp = Dir()
	try:
		redis = Redis(tmp).start()
	except Skip as e:
		skip_all(str(e))
	t = Test(tmp, redis)
	t.places()
	t.connections()
	t.envelopes()
	t.from_map()
	t.penalties()
	t.lifted()
	t.at_connect()
	t.healed()
	t.alone()
	t.tap.done()


if __name__ == "__main__":
	main()
