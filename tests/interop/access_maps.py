#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 240
"""Where postern-access gets its maps from: text files, however they are saved; .db files of
the real makemap and postmap; a real slapd; a shared map in a real Redis, edited while two
milters serve; our extensions; which entry decided; and a replay of what was logged."""
import fcntl
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import milter  # noqa: E402
import peers  # noqa: E402
import slapd  # noqa: E402
from postern import Site  # noqa: E402
from proc import BUILD, SLOWER, Dir, free_port, run, wait_for  # noqa: E402
from redis_server import Redis  # noqa: E402
from tap import Skip, Tap  # noqa: E402

REFUSED = "550 5.7.1 Access denied"
TEMPORARY = "451 4.3.0 Temporary system failure. Please try again later."

CONF = """
run   { host gate.example; log stderr; drain 3s }
dns   { servers 127.0.0.1:9; timeout 200ms; deadline 300ms }
state { STATE }
access {
	socket "unix:@dir@/run/NAME.sock";
	maps MAPS;
	blocklist-recipients on;
	spf off;
	EXTRA
}
"""


class Gate:
	"""One postern-access with its own configuration."""
	def __init__(self, site, name, maps, extra="", state='path "@dir@/state"'):
		self.site, self.name = site, name
		self.conf = site.file(f"{name}.conf", CONF.replace("NAME", name).replace("MAPS", maps)
		    .replace("EXTRA", extra).replace("STATE", state))
		self.p = site.start(name, [BUILD / "postern-access", "-f", "-c", self.conf], site.dir / f"run/{name}.sock")

	def mta(self, client="198.51.100.1", name=None):
		m = milter.Mta(str(self.site.dir / f"run/{self.name}.sock"), 20)
		m.negotiate()
		m.macros("C", j="gate.example", client_addr=client, client_name=name or f"[{client}]",
		    client_resolve="OK" if name else "FAIL")
		m.connect(name or f"[{client}]", client)
		m.helo("mx.sender.example")
		return m

	def ask(self, sender="a@ok.example", client="198.51.100.1", rcpt=None, name=None):
		"""The reply to MAIL, and where that is good and rcpt is given, to RCPT; '' for good."""
		with self.mta(client, name) as m:
			m.macros("M", i="Q1")
			said = text(m.mail(sender))
			if said == "" and rcpt is not None:
				m.macros("R", i="Q1", rcpt_mailer="local")
				said = text(m.rcpt(rcpt))
		return said

	def stop(self):
		return self.site.stop(self.name)


def text(packets):
	if packets in ([], [b"c"]):
		return ""
	last = packets[-1]
	return last[1:].rstrip(b"\0").decode() if last[:1] == b"y" else last.decode(errors="replace")


def ctl(*argv):
	return run([BUILD / "posternctl", *argv], 30)


# ---- text files ----

def saves(tap, site):
	"""However a file is saved, only whole ones are read."""
	etc = site.dir / "etc"
	path = etc / "map"
	path.write_text("From:one.example REJECT\n")
	mounted = etc / "mounted"
	(mounted / "..1").mkdir(parents=True)
	(mounted / "..1/map").write_text("From:m1.example REJECT\n")
	(mounted / "..data").symlink_to("..1")
	(mounted / "map").symlink_to("..data/map")
	(etc / "target1").write_text("From:t1.example REJECT\n")
	(etc / "turned").symlink_to("target1")
	g = Gate(site, "files", f"text:{path} {mounted}/map {etc}/turned")
	tap.equal([g.ask("a@one.example"), g.ask("a@m1.example"), g.ask("a@t1.example")], [REFUSED] * 3,
	    "several text files in order")

	def in_force(what, *domains, gone=()):
		try:
			wait_for(what, lambda: all(g.ask(f"a@{d}") == REFUSED for d in domains) and
			    all(g.ask(f"a@{d}") == "" for d in gone), 15)
			tap.ok(True, what)
		except Exception as e:
			tap.ok(False, what, f"{e}\n{g.p.text()[-2000:]}")

	with open(path, "w") as f:      # truncates, and writes bit by bit
		for i in range(40):
			f.write(f"From:slow{i}.example REJECT\n")
			f.flush()
			if i % 8 == 0 and (g.ask("a@slow0.example") != "" or g.ask("a@one.example") != REFUSED):
				tap.ok(False, "nothing of a file that is being written is in force")
	in_force("a file written in place is in force when it is closed", "slow0.example", "slow39.example",
	    gone=("one.example",))

	(etc / "map.new").write_text("From:two.example REJECT\n")
	os.rename(etc / "map.new", path)
	in_force("an editor's rename", "two.example", gone=("slow0.example",))

	os.rename(path, etc / "map~")      # vi with a backup: rename, write anew
	path.write_text("From:three.example REJECT\n")
	in_force("an editor's backup and new file", "three.example", gone=("two.example",))
	(etc / "map~").write_text("From:never.example REJECT\n")

	path.unlink()
	g.p.wait_line(r"event=map_gone", 15)
	tap.equal(g.ask("a@three.example"), REFUSED, "a file that is gone stays in force")
	path.write_text("From:four.example REJECT\n")
	in_force("... until it is back", "four.example", gone=("three.example", "never.example"))

	path.write_text("From:five.example REJECT\nnovalue\n")
	g.p.wait_line(r'map:2: key \\?"novalue', 15)
	tap.equal([g.ask("a@five.example"), g.ask("a@four.example")], ["", REFUSED],
	    "a bad line is named, and the old map stays")
	path.write_text("From:five.example 250 yes\nFrom:six.example REJECT\nTry_TLS:x.example NO\nTLS_Srv:y.example OK\n"
	    "tls_srv:z.example OK\n")
	in_force("a line that sendmail would garble is left out, the rest counts", "six.example", gone=("five.example",))
	g.p.wait_line(r"map:1: .*reply code 250", 5)
	left = [l for l in g.p.text().splitlines() if "event=map_line_left" in l]
	tap.equal([len(left), "TLS_Srv: is left to the MTA" in left[-1]], [2, True],
	    "tags of the MTA are named once for each load")

	(mounted / "..2").mkdir()
	(mounted / "..2/map").write_text("From:m2.example REJECT\n")
	(mounted / "..tmp").symlink_to("..2")
	os.rename(mounted / "..tmp", mounted / "..data")
	in_force("a mounted folder whose link was turned", "m2.example", gone=("m1.example",))

	(etc / "target2").write_text("From:t2.example REJECT\n")
	(etc / "turned").unlink()
	(etc / "turned").symlink_to("target2")
	in_force("a link that was made anew", "t2.example", gone=("t1.example",))
	for n in range(3, 33):      # whatever the watcher was doing just then
		(etc / f"target{n}").write_text(f"From:t{n}.example REJECT\n")
		(etc / "turned").unlink()
		(etc / "turned").symlink_to(f"target{n}")
		wait_for(f"link {n}", lambda n=n: g.ask(f"a@t{n}.example") == REFUSED, 15)
	tap.equal(g.stop(), 0, "files: ends well")


def first_start(tap, site):
	for name, content, told in (("missing", None, r"none: cannot open"), ("bad", "x\n", r"bad-map:1: key"),
	    ("half", "From:a.example QUARANTINE:\n", r"half-map:1: .*without a reason")):
		path = site.dir / "etc" / (f"{name}-map" if content else "none")
		if content:
			path.write_text(content)
		conf = site.file(f"{name}.conf", CONF.replace("NAME", name).replace("MAPS", str(path)).replace("EXTRA", "")
		    .replace("STATE", ""))
		p = site.start(name, [BUILD / "postern-access", "-f", "-c", conf], None)
		p.wait_line(told, 20)
		p.stop()
		site.procs.pop(name)
		tap.equal(ctl("check", "-c", conf)[0], 78, f"first start with a {name} map is an error, also for check")


# ---- makemap, postmap ----

class Makemap:
	def __init__(self, directory):
		self.tree = peers.unpacked("sendmail")
		self.libs = {"LD_LIBRARY_PATH": os.pathsep.join(str(p) for p in self.tree.glob("usr/lib/*-linux-gnu*"))}
		self.cf = directory / "empty.cf"
		self.cf.write_text("")

	def __call__(self, kind, path, content, *options):
		status, _, err = run([self.tree / "usr/libexec/sendmail/makemap", "-C", self.cf, *options, kind, path],
		    stdin=content.encode(), env=self.libs)
		if status != 0:
			raise RuntimeError(f"makemap: {err}")


def databases(tap, site):
	etc = site.dir / "etc"
	try:
		makemap = Makemap(etc)
	except Skip as e:
		tap.skip("makemap's files", str(e))
		return
	many = "".join(f"From:n{i}.example\tERROR:5.7.1:550 Nr {i}\n" for i in range(5000))
	spec = []
	for kind in ("hash", "btree"):
		for options, tail in (((), ""), (("-N",), "-nul")):
			path = etc / f"{kind}{tail}"
			path.write_text(f"From:{kind}{tail}.Example\tREJECT\n" + (many if not spec else ""))
			makemap(kind, path, path.read_text(), *options)
			spec.append(f"{kind}:{path}" + (".db" if options else ""))
	g = Gate(site, "db", " ".join(spec))
	for kind in ("hash", "hash-nul", "btree", "btree-nul"):
		tap.equal(g.ask(f"a@{kind}.example"), REFUSED, f"makemap's {kind} is read")
	tap.equal([g.ask(f"a@n{i}.example") for i in (0, 2500, 4999, 5000)],
	    ["550 5.7.1 Nr 0", "550 5.7.1 Nr 2500", "550 5.7.1 Nr 4999", ""], "... all of it")

	path = etc / "hash"
	path.write_text("From:second.example\tREJECT\n" + many)
	status, _, err = ctl("check", "-c", g.conf)
	tap.ok(status == 0 and "hash.db: older than its text" in err, "check: a .db older than its text is told", err)
	stale = Gate(site, "stale", f"hash:{path}")
	stale.p.wait_line(r"event=map_stale .*older than its text", 20)
	tap.equal(stale.ask("a@hash.example"), REFUSED, "... and in the log, while it is in force")
	stale.stop()
	stop = threading.Event()
	odd = []

	def watch():
		while not stop.is_set():
			odd.extend(r for r in (g.ask("a@n4999.example"),) if r != "550 5.7.1 Nr 4999")

	t = threading.Thread(target=watch)
	t.start()
	for _ in range(4):      # in place, over and over: never half of it
		makemap("hash", path, path.read_text())
	try:
		wait_for("the new .db", lambda: g.ask("a@second.example") == REFUSED, 15)
		tap.ok(True, "a .db that makemap writes anew is in force")
	finally:
		stop.set()
		t.join()
	tap.equal(odd, [], "... and never half of it")

	with open(etc / "hash.db", "r+b") as f:      # as makemap holds it while it writes
		fcntl.flock(f, fcntl.LOCK_EX)
		whole = f.read()
		f.seek(0)
		f.truncate()
		f.write(whole[:4096])
		f.flush()
		g.p.send(signal.SIGHUP)
		g.p.wait_line(r"hash.db: .*open for writing", 15)
		tap.equal(g.ask("a@n4999.example"), "550 5.7.1 Nr 4999", "a .db that is locked is left alone")
		f.write(whole[4096:])
	seen = g.p.text().count("event=map_refused")
	with open(etc / "btree.db", "r+b") as f:
		f.truncate(4096)
	wait_for("the refusal of half a file", lambda: g.p.text().count("half a file") > 0 or
	    g.p.text().count("event=map_refused") > seen, 15)
	tap.equal(g.ask("a@btree.example"), REFUSED, "half a .db is refused, the old one stays")
	tap.equal(g.stop(), 0, "db: ends well")
	postmap(tap, site)


def postmap(tap, site):
	"""Long values lie on pages of their own: makemap's lines are too short for that."""
	try:
		tree = peers.unpacked("postfix")
	except Skip as e:
		tap.skip("postmap's files", str(e))
		return
	d = site.dir / "etc/pf"
	d.mkdir()
	(d / "main.cf").write_text(f"compatibility_level=3.6\nmail_owner=daemon\nsetgid_group=games\nqueue_directory={d}\n"
	    f"data_directory={d}\n")
	libs = os.pathsep.join([str(tree / "usr/lib/postfix"), *(str(p) for p in tree.glob("usr/lib/*-linux-gnu*"))])
	long = {f"from:long{i}.example": "550 5.7.1 " + "x" * (900 * i) for i in range(1, 30)}
	(d / "m").write_text("".join(f"{k} {v}\n" for k, v in long.items()))
	for kind in ("hash", "btree"):
		status, _, err = run([tree / "usr/sbin/postmap", "-c", d, f"{kind}:{d}/m"], env={"LD_LIBRARY_PATH": libs})
		if status != 0:
			tap.skip(f"postmap {kind}", err.strip()[-200:])
			continue
		conf = site.file("pf.conf", CONF.replace("NAME", "pf").replace("MAPS", f"{kind}:{d}/m").replace("EXTRA", "")
		    .replace("STATE", ""))
		status, out, err = ctl("explain", "--json", "-c", conf, "--client", "192.0.2.1", "--from", "a@long29.example")
		said = json.loads(out)["access_maps"] if status == 0 else {}
		tap.ok(said.get("entry") == "From:long29.example" and said["text"].startswith("xxxx"),
		    f"postmap's {kind}: values on pages of their own", err or str(said))


# ---- a directory ----

def directory(tap, site):
	try:
		d = slapd.Slapd(site.dir, free_port())
	except Skip as e:
		tap.skip("a directory", str(e))
		return
	d.add("From:ldap.example", "REJECT")
	d.add("Connect:192.0.2", "ERROR:5.7.1:550 not from there")
	d.add("To:gone@local.example", "ERROR:5.1.6:550 has left us")
	d.add("From:host.example", "REJECT", host="gate.example")
	d.add("From:other.example", "REJECT", cluster="another")
	d.add("From:elsewhere.example", "REJECT", name="aliases")
	d.add("From:two.example", "REJECT", "OK")
	d.add("From:odd*(x).example", "REJECT")
	d.start()
	(site.dir / "etc/secret").write_text(slapd.PASSWORD + "\n")
	(site.dir / "etc/first").write_text("From:first.example REJECT\nConnect:[203.0.113.50] OK\n"
	    "From:a@exact.example REJECT\n")
	block = f'ldap "site" {{ uri "{d.uri}"; base "{slapd.BASE}"; bind-dn "{slapd.ADMIN}"; ' \
	    'password-file "@dir@/etc/secret"; cluster mail; timeout 1s; keep 2s; keep-none 1s }'
	g = Gate(site, "ldap", f"{site.dir}/etc/first ldap:site", block)
	for what, answer, expected in (
	    ("a sender", g.ask("a@ldap.example"), REFUSED),
	    ("a sender's parent domain", g.ask("a@sub.LDAP.example"), REFUSED),
	    ("a client's network", g.ask(client="192.0.2.9"), "550 5.7.1 not from there"),
	    ("a recipient", g.ask(rcpt="gone@local.example"), "550 5.1.6 has left us"),
	    ("an entry for this host", g.ask("a@host.example"), REFUSED),
	    ("an entry of another cluster", g.ask("a@other.example"), ""),
	    ("an entry of another map", g.ask("a@elsewhere.example"), ""),
	    ("an entry with two values", g.ask("a@two.example"), ""),
	    ("nothing", g.ask("a@ok.example", rcpt="u@local.example"), ""),
	    ("a file that comes first", g.ask("a@first.example"), REFUSED),
	    ("characters of filters", g.ask("*@*.example"), "")):
		tap.equal(answer, expected, f"ldap: {what}")
	with g.mta() as m:      # more recipients than a view remembers keys
		m.macros("M", i="Q9")
		m.mail("a@ok.example")
		told = set()
		for i in range(700):
			m.macros("R", i="Q9", rcpt_mailer="local")
			told.add(text(m.rcpt(f"u{i}+d@r{i}.sub.local.example")))
	tap.equal(told, {""}, "ldap: seven hundred recipients of one message")
	before = d.searches()
	with g.mta("198.51.100.77", "host.with.many.labels.example") as m:
		m.macros("M", i="Q1")
		m.mail("new+detail@sub.deep.new.example")
		m.macros("R", i="Q1", rcpt_mailer="local")
		m.rcpt("other+x@local.example")
	count = wait_for("the log of slapd", lambda: d.searches() - before, 10)
	tap.ok(count <= 3, f"an envelope costs a question per step, not one per key ({count})")
	d.stop()
	tap.equal(g.ask("a@exact.example", client="203.0.113.50"), REFUSED, "ldap out: what a map before it says counts")
	begin = time.monotonic()
	tap.equal(g.ask("a@unknown.example"), TEMPORARY, "... and what needs the directory is deferred")
	tap.ok(time.monotonic() - begin < 4 * SLOWER, "... in time")
	g.p.wait_line(r"event=map_ldap_out .*ldap:site", 10)
	d.add("From:later.example", "REJECT")
	d.start()
	wait_for("the directory again", lambda: g.ask("a@later.example") == REFUSED, 20)
	tap.ok("event=map_ldap_back" in g.p.text(), "a directory that is back is asked again, and told")
	frozen(tap, g, d)
	tap.equal(g.stop(), 0, "ldap: ends well")
	d.stop()


def frozen(tap, g, d):
	"""A directory that takes questions and does not answer."""
	d.proc.send(signal.SIGSTOP)
	try:
		answers = []

		def one(i):
			begin = time.monotonic()
			answers.append((g.ask(f"a@hung{i}.example"), time.monotonic() - begin))

		threads = [threading.Thread(target=one, args=(i,)) for i in range(12)]
		for t in threads:
			t.start()
		for t in threads:
			t.join()
		tap.equal({a for a, _ in answers}, {TEMPORARY}, "a directory that hangs: deferred")
		worst = max(s for _, s in answers)
		tap.ok(worst < 5 * SLOWER, f"... twelve at once, none longer than the limit of its steps ({worst:.1f} s)")
	finally:
		d.proc.send(signal.SIGCONT)
	wait_for("the directory answers", lambda: g.ask("a@ldap.example") == REFUSED, 20)


# ---- the store's map ----

def shared(tap, site):
	try:
		redis = Redis(site.dir)
		redis.start()
	except Skip as e:
		tap.skip("a shared map", str(e))
		return
	state = f'engine redis; redis "unix:{redis.socket}"'
	a = Gate(site, "hosta", "shared:access", state=state)
	b = Gate(site, "hostb", "shared:access", state=state)
	tap.equal([a.ask("a@new.example"), b.ask("a@new.example")], ["", ""], "shared: an empty map")
	worst = 0.0
	for i in range(5):
		status, _, err = ctl("access", "add", "-c", a.conf, f"From:s{i}.example", "REJECT")
		begin = time.monotonic()
		if status != 0:
			tap.ok(False, "posternctl access add", err)
			return
		wait_for("the entry at the other host", lambda i=i: b.ask(f"a@s{i}.example") == REFUSED, 10)
		worst = max(worst, time.monotonic() - begin)
	tap.ok(worst < 1 * SLOWER, f"shared: added at host A, in force at host B within a second ({worst:.2f} s)")
	ctl("access", "del", "-c", b.conf, "from:S0.example")
	wait_for("the removal", lambda: a.ask("a@s0.example") == "", 10)
	tap.ok(True, "... and a removal likewise")
	status, _, err = ctl("access", "add", "-c", a.conf, "--expires", "2099-12-31", "--note", "ticket 4711",
	    "Connect:203.0.113.128/25", "ERROR:5.7.1:550", "not", "you")
	wait_for("a network", lambda: b.ask(client="203.0.113.200") == "550 5.7.1 not you", 10)
	tap.ok("note=\"ticket 4711\"" in b.p.text(), "... networks as keys; the note is logged", b.p.text()[-800:])
	for what, argv in (("a foreign tag", ("TLS_Srv:x", "OK")), ("a bad code", ("From:x", "250 fine")),
	    ("a bad network", ("Connect:192.0.2.1/24", "OK")), ("no reason", ("From:x", "QUARANTINE:"))):
		tap.equal(ctl("access", "add", "-c", a.conf, *argv)[0], 65, f"access add refuses {what}")
	tap.equal(ctl("access", "add", "-c", a.conf, "--expires", "soon", "From:x", "OK")[0], 65, "... and a bad date")
	tap.equal(ctl("access", "del", "-c", a.conf, "From:nobody")[0], 1, "access del: no such entry")
	status, out, _ = ctl("access", "list", "-c", a.conf)
	tap.ok("#: expires 2099-12-31 ticket 4711\nconnect:203.0.113.128/25\tERROR:5.7.1:550 not you\n" in out and
	    "from:s1.example\tREJECT\n" in out and "s0" not in out, "access list is a map file", out)
	status, out, _ = ctl("access", "log", "-c", a.conf, "-n", "2", "--json")
	log = json.loads(out)
	tap.ok(len(log) == 2 and log[0]["entry"]["key"] == "connect:203.0.113.128/25" and log[1]["removed"] and
	    "@gate.example" in log[0]["who"], "access log names who and what, newest first", out)
	redis.kill()
	a.p.wait_line(r"event=map_shared_out", 20)
	tap.equal(a.ask("a@s1.example"), REFUSED, "shared: with the store out the last map stays in force")
	c = Gate(site, "hostc", "shared:access", state=state)
	tap.equal(c.ask("a@any.example"), TEMPORARY, "a start with the store out: mail is deferred")
	redis = Redis(site.dir).start()
	ctl("access", "add", "-c", a.conf, "From:after.example", "REJECT")
	wait_for("the map", lambda: c.ask("a@after.example") == REFUSED and c.ask("a@any.example") == "", 30)
	tap.ok(True, "... until the store is there")
	for g in (a, b, c):
		tap.equal(g.stop(), 0, f"shared: {g.name} ends well")
	redis.stop()


def embedded(tap, site):
	"""The same without a server: the store of this host."""
	g = Gate(site, "own", "shared:access", state='path "@dir@/state"')
	status, _, err = ctl("access", "add", "-c", g.conf, "From:own.example", "REJECT")
	tap.equal((status, err), (0, ""), "embedded store: access add beside a daemon")
	wait_for("the entry", lambda: g.ask("a@own.example") == REFUSED, 10)
	tap.ok(True, "... is in force")
	g.stop()


# ---- extensions, explain, replay ----

EXTENDED = """# networks, notes, dates
Connect:192.0.2.0/25 REJECT
Connect:192.0.2.64/26 OK
Connect:192.0.2 ERROR:5.7.1:550 by prefix
Connect:192.0.2.0/24 ERROR:5.7.1:550 by network
Connect:IPv6:2001:db8::/33 REJECT
Connect:IPv6:2001:db8:0:5 OK
#: expires 2001-01-01 long ago
From:old.example REJECT
#: expires 2099-01-01 ticket 4711
From:noted.example REJECT
"""


def extensions(tap, site):
	path = site.dir / "etc/extended"
	path.write_text(EXTENDED)
	plain = Gate(site, "plain", str(path))
	tap.equal([plain.ask(client="192.0.2.1"), plain.ask("a@old.example"), plain.ask(client="2001:db8::1")],
	    ["550 5.7.1 by prefix", REFUSED, ""], "without extensions the file means what it means to sendmail")
	plain.stop()
	g = Gate(site, "ext", str(path), "extensions on;")
	for what, client, expected in (("longest network wins", "192.0.2.65", ""), ("a network in it", "192.0.2.1", REFUSED),
	    ("a key of sendmail's before a network of its length", "192.0.2.200", "550 5.7.1 by prefix"),
	    ("IPv6", "2001:db8:1::1", REFUSED), ("IPv6: a longer key of sendmail's", "2001:db8:0:5::1", ""),
	    ("IPv6: outside", "2001:db8:8000::1", "")):
		tap.equal(g.ask(client=client), expected, f"networks: {what}")
	tap.equal(g.ask("a@old.example"), "", "an entry that has expired is not there")
	tap.equal(g.ask("a@noted.example"), REFUSED, "an entry that expires later is")
	tap.ok('note="ticket 4711"' in g.p.text(), "its note is logged with the hit", g.p.text()[-500:])
	explains(tap, g, path)
	replays(tap, site, g)
	tap.equal(g.stop(), 0, "ext: ends well")


def explains(tap, g, path):
	status, out, _ = ctl("explain", "-c", g.conf, "--client", "192.0.2.1")
	tap.ok(f"entry Connect:192.0.2.0/25 ({path}:2)" in out, "explain names the entry that decided", out[-300:])
	status, out, _ = ctl("explain", "-c", g.conf, "--client", "198.51.100.1", "--from", "a@noted.example", "--to",
	    "u@local.example", "--json")
	said = json.loads(out)["access_maps"]
	tap.equal((said["action"], said["stage"], said["entry"], said["line"], said["note"], said["code"]),
	    ("reject", "MAIL", "From:noted.example", 11, "ticket 4711", 550), "explain --json does, too")


def replays(tap, site, g):
	"""Real envelopes, the log as the daemon wrote it, another map."""
	g.ask("a@noted.example", rcpt="u@local.example")
	g.ask("b@quiet.example", rcpt="u@local.example")
	g.ask('"odd \\" one"@quiet.example', rcpt="u@local.example")
	g.ask("", client="192.0.2.1", rcpt="u@local.example")
	with g.mta() as m:      # two recipients, authenticated
		m.macros("M", i="Q2", auth_authen="joe", auth_type="PLAIN")
		m.mail("c@quiet.example")
		for rcpt in ("u@local.example", "v@local.example"):
			m.macros("R", i="Q2", rcpt_mailer="local")
			m.rcpt(rcpt)
	log = site.dir / "log/day"
	lines = g.p.text().splitlines()
	wait_for("the envelopes in the log", lambda: len(re.findall("event=envelope .*qid=Q2", g.p.text())) == 2, 10)
	log.write_text("".join(f"Nov 20 12:00:00 gate postern-access[1]: {l.split(': ', 1)[1]}\n" if ": " in l else l + "\n"
	    for l in g.p.text().splitlines()))
	status, out, err = ctl("access", "replay", "-c", g.conf, log)
	count = int(re.search(r"(\d+) envelopes, 0 would", out)[1]) if " 0 would" in out else -1
	tap.ok(status == 0 and count >= len([l for l in lines if "event=envelope" in l]),
	    f"replay with the same map: nothing differs ({count} envelopes)", out + err)
	other = site.dir / "etc/other"
	other.write_text("From:quiet.example ERROR:5.7.1:550 too quiet\nFrom:noted.example REJECT\nConnect:192.0.2.1 REJECT\n")
	status, out, err = ctl("access", "replay", "-c", g.conf, "--map", other, "--json", log)
	found = json.loads(out)
	tap.equal(status, 1, "replay with another map: the exit status tells")
	quiet = [d for d in found["differences"] if d["from"].endswith("quiet.example")]
	tap.ok(len(quiet) == 4 and all(d["was"] == "continue" and d["is"] == "reject" and d["entry"] == "From:quiet.example"
	    and d["map_line"] == 1 for d in quiet), "... and each envelope that would differ is named", out)
	tap.ok(not any(d["from"] == "a@noted.example" for d in found["differences"]), "... and no other", out)
	status, out, err = ctl("access", "replay", "-c", g.conf, "--map", other, log)
	tap.ok(re.search(r"day:\d+: continue -> reject client=198.51.100.1 from=b@quiet.example to=u@local.example .*"
	    r"entry=From:quiet.example map=.*/other:1", out), "... in words as well", out)
	tap.equal(ctl("access", "replay", "-c", g.conf, site.dir / "log/no-such")[0], 66, "a log that is not there")


def lists(tap, site):
	"""A day's envelopes against another set of DNS lists."""
	site.file("zone", "bl.example SOA 60 ns.bl.example 30\n2.0.0.127.bl.example A 127.0.0.2\n"
	    "9.113.0.203.bl.example A 127.0.0.2\n8.113.0.203.bl.example A 127.0.0.4\n")
	site.dns()
	(site.dir / "etc/empty").write_text("")
	maps = f"{site.dir}/etc/empty"

	def conf(name, block):
		path = site.file(f"{name}.conf", CONF.replace("NAME", name).replace("MAPS", maps).replace("STATE", "")
		    .replace("EXTRA", "refuse rcpt; " + block).replace("127.0.0.1:9;", "127.0.0.1:@dns@;"))
		return path

	g = Gate(site, "lists", maps, "")
	g.stop()
	g.conf = conf("lists", 'dnsbl "bl.example" { codes 127.0.0.2 127.0.0.4; probe off }')
	g.p = site.start("lists", [BUILD / "postern-access", "-f", "-c", g.conf], site.dir / "run/lists.sock")
	told = [g.ask(client=c, rcpt="u@local.example")[:9] for c in ("203.0.113.9", "203.0.113.8", "203.0.113.7")]
	tap.equal(told, ["550 5.7.1", "550 5.7.1", ""], "lists: two clients are listed")
	log = site.dir / "log/lists-day"
	wait_for("the envelopes", lambda: g.p.text().count("event=envelope") == 3, 10)
	log.write_text(g.p.text())
	tap.ok(ctl("access", "replay", "-c", g.conf, log)[1].endswith("3 envelopes, 0 would be judged differently\n"),
	    "replay with the same lists: nothing differs")
	for what, block, clients in (
	    ("a list that is gone", "", ["203.0.113.9", "203.0.113.8"]),
	    ("one code less", 'dnsbl "bl.example" { codes 127.0.0.2; probe off }', ["203.0.113.8"]),
	    ("light weights", 'dnsbl "bl.example" { codes 127.0.0.2 127.0.0.4; weight 1; probe off }',
	        ["203.0.113.9", "203.0.113.8"]),
	    ("a weight that is enough", 'dnsbl "bl.example" { codes 127.0.0.2 127.0.0.4; weight 5; probe off }', []),
	    ("a list that only watches", 'observe dnsbl; dnsbl "bl.example" { codes 127.0.0.2 127.0.0.4; probe off }',
	        ["203.0.113.9", "203.0.113.8"])):
		status, out, err = ctl("access", "replay", "--json", "-c", conf("other", block), log)
		seen = [(d["client"], d["was"], d["is"]) for d in json.loads(out)["differences"]] if out else err
		tap.equal((status, seen), (1 if clients else 0, [(c, "reject", "continue") for c in clients]),
		    f"replay with {what}")
	g.stop()


def main():
	tap = Tap()
	tmp = Dir()
	site = Site(tmp)
	parts = {f.__name__: f for f in (saves, first_start, databases, directory, shared, embedded, extensions, lists)}
	for name in sys.argv[1:] or parts:
		try:
			parts[name](tap, site)
		except Exception as e:
			tap.ok(False, f"{name}: runs to its end: {e!r}", site.logs())
		finally:
			site.stop_all()
	tap.done()


if __name__ == "__main__":
	main()
