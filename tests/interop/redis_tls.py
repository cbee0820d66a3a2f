#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Redis behind the stunnel configurations that are shipped: two greylist daemons, each by a
tunnel of its own, with the user of the incoming tier.  Strangers, wrong names and tunnels
that end."""
import hashlib
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
from milter import Mta  # noqa: E402
from peers import unpacked  # noqa: E402
from proc import BUILD, ROOT, SLOWER, Dir, Proc, free_port, wait_for  # noqa: E402
from redis_server import Redis  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

SHIPPED = ROOT / "contrib/redis"
SECRET = "a long and random secret"
CONF = """
run {{ host {name}.example; log stderr }}
dns {{ servers 127.0.0.1:9; timeout 100ms; deadline 100ms }}
state {{ engine redis; redis 127.0.0.1:{port}; user postern-incoming; password-file "{secret}";
	deadline 1s; budget 2s }}
greylist {{ socket "unix:{dir}/{name}.sock"; delay 1s }}
"""


def certificates(tmp):
	"""Two CAs; of the first: redis, host; of the second: stranger."""
	def openssl(*words):
		subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, cwd=tmp)
	for ca in ("ca", "other"):
		openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		    "-subj", f"/CN={ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.pem")
	for name, ca in (("redis", "ca"), ("host", "ca"), ("stranger", "other")):
		openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
		    f"/CN={name}.example", "-keyout", f"{name}.key", "-out", f"{name}.csr")
		(tmp / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}.example\n")
		openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
		    "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")


class Tunnel:
	"""A shipped configuration with the places of this test; changes: further replacements."""
	def __init__(self, tmp, tree, kind, name, port, places, **changes):
		text = (SHIPPED / f"stunnel-{kind}.conf").read_text()
		places = {**changes, "/etc/postern/tls": tmp, "/run/stunnel/": f"{tmp}/{name}-",
		    "foreground = no": "foreground = yes", **places}
		for old, new in places.items():
			assert old in text, old
			text = text.replace(old, str(new))
		self.tmp, self.name, self.port = tmp, name, port
		self.conf = tmp.write(f"{name}.stunnel", text)
		self.argv = [tree / "usr/bin/stunnel4", self.conf]
		libs = sorted(map(str, tree.glob("usr/lib/*-linux-gnu")))
		self.env = {"LD_LIBRARY_PATH": ":".join(libs)}
		self.start()

	def start(self):
		self.p = Proc(self.argv, self.tmp / f"{self.name}.log", env=self.env)
		self.p.wait_listen(f"inet:{self.port}@127.0.0.1")
		return self


class Host:
	def __init__(self, tmp, name, port):
		self.path = f"unix:{tmp}/{name}.sock"
		conf = tmp.write(f"{name}.conf", CONF.format(name=name, dir=tmp, port=port, secret=tmp / "secret"))
		self.p = Proc([BUILD / "postern-greylist", "-f", "-c", conf], tmp / f"{name}.log")
		self.p.wait_listen(self.path)

	def rcpt(self, sender):
		"""'deferred', or the reason in X-Greylist"""
		with Mta(self.path) as m:
			m.negotiate()
			m.macros("C", j="gate.example")
			m.connect("[192.0.2.1]", "192.0.2.1")
			m.helo("helo.test")
			m.macros("M", i="Q1")
			m.mail(sender)
			answer = m.rcpt("r@local.test")
			if b"".join(answer).startswith(b"y451 4.7.1 "):
				return "deferred"
			m.data()
			m.eoh()
			for edit in m.eom():
				if edit[:1] == b"h" and edit[1:].startswith(b"X-Greylist\0"):
					return edit[1:].split(b"\0")[1].decode()
			return f"{answer!r}"


def main():
	tap = Tap()
	tmp = Dir()
	try:
		tree = unpacked("stunnel")
		digest = hashlib.sha256(SECRET.encode()).hexdigest()
		acl = re.sub(r"(?m)^(user postern-incoming) off >CHANGE-ME ", rf"\1 on #{digest} ",
		    (SHIPPED / "users.acl").read_text())
		assert digest in acl
		redis = Redis(tmp, f"aclfile {tmp.write('users.acl', acl)}").start()
	except Skip as e:
		skip_all(str(e))
	tmp.write("secret", SECRET + "\n")
	certificates(tmp)
	tls, a_port, b_port, c_port, d_port = (free_port() for _ in range(5))
	server = Tunnel(tmp, tree, "server", "server", tls,
	    {"192.0.2.10:6380": f"127.0.0.1:{tls}", "/run/redis/redis-server.sock": redis.socket})

	def client(name, port, **changes):
		return Tunnel(tmp, tree, "client", name, port,
		    {"127.0.0.1:6379\nconnect": f"127.0.0.1:{port}\nconnect", "192.0.2.10:6380": f"127.0.0.1:{tls}"},
		    **changes)
	a_tls, b_tls = client("a-tls", a_port), client("b-tls", b_port)
	a, b = Host(tmp, "a", a_port), Host(tmp, "b", b_port)

	def text():
		return "".join(f"{p.log.name}:\n{p.text()[-2000:]}" for p in (a.p, b.p, server.p, a_tls.p, b_tls.p))

	with tap.case("two hosts share one Redis by TLS", text):
		assert a.rcpt("s@b.test") == "deferred"
		assert wait_for("B lets it pass", lambda: (b.rcpt("s@b.test") or "").startswith("delayed "))
		assert ": known; " in a.rcpt("s@b.test")
	with tap.case("nothing but TLS is spoken between the hosts", text):
		with socket.create_connection(("127.0.0.1", tls), 5) as s:
			s.settimeout(5)
			s.sendall(b"PING\r\n")
			try:
				assert b"PONG" not in s.recv(100)
			except OSError:
				pass
	with tap.case("who has no certificate of the CA is refused", text):
		client("c-tls", c_port, **{"cert = /etc/postern/tls/host.pem": f"cert = {tmp}/stranger.pem",
		    "key = /etc/postern/tls/host.key": f"key = {tmp}/stranger.key"})
		c = Host(tmp, "c", c_port)
		assert ": store=down; " in c.rcpt("new@c.test")
		server.p.wait_line(r"(?i)certificate verify failed|unable to get local issuer|peer did not return")
	with tap.case("a server by another name is refused", text):
		wrong = client("d-tls", d_port, **{"checkHost = redis.example": "checkHost = other.example"})
		d = Host(tmp, "d", d_port)
		assert ": store=down; " in d.rcpt("new@d.test")
		wrong.p.wait_line(r"(?i)no matching host name|certificate verify failed|checkhost")
	with tap.case("a tunnel that ends: mail passes, marked, and hardly waits; back, it is deferred", text):
		a_tls.p.kill()
		begin = time.monotonic()
		assert ": store=down; " in a.rcpt("t1@b.test")
		for i in range(10):
			assert ": store=down; " in a.rcpt(f"t2{i}@b.test")
		assert time.monotonic() - begin < 5 * SLOWER
		assert b.rcpt("t3@b.test") == "deferred"
		a_tls.start()
		wait_for("deferred again", lambda: a.rcpt(f"t{time.monotonic()}@b.test") == "deferred", 15)
	with tap.case("they end in order", text):
		assert a.p.stop() == 0 and b.p.stop() == 0
	tap.done()


if __name__ == "__main__":
	main()
