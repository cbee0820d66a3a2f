#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""posternctl as an administrator uses it: output, exit status, files and sockets."""
import json
import re
import socket
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import milter  # noqa: E402
from postern import Site  # noqa: E402
from proc import BUILD, ROOT, SLOWER, Dir, free_port, run, wait_for  # noqa: E402
from tap import Tap  # noqa: E402

CTL = BUILD / "posternctl"

# One fault per marked line: what the marker says must be told for that line, and for no other.
BROKEN = """\
greylist {
	dealy 5m;                           #! did you mean "delay"
	delay 5x;                           #! "5x" cannot be read
	delay 6m;                           #! it stands in @:3
	window 99d;                         #! is out of range: expected 1s to 30d
	when sometimes;                     #! expected one of always, suspicious, never
	keep;                               #! keep has no value
	"prefix4" 24;                       #! expected a name without quotes
	text "a\\nb";                        #! \\n is not an escape
	header on off;                      #! header has 2 values
	prefix6 64                          #! goes on in line 12: expected ";" at the end of line 11
	whitelist-keep 3d;
}
acess { maps /etc/mail/access; }            #! did you mean "access"
access {
	maps etc/access;                    #! expected an absolute path
	socket-mode rw;                     #! expected octal digits
	socket 8891@127.0.0.1;              #! expected unix:/path
	dnsbl bl.example;                   #! expected on or off
	dnsbl "b2.example" { cods 127.0.0.2; }      #! did you mean "codes"
	dnsbl "b3.example" { codes 10.0.0.1; }      #! expected addresses within 127.0.0.0/8
	observe spf nosuch;                 #! expected the name of a check
}
delay 5m;                                   #! expected it inside greylist
log file;                                   #! syslog, stderr or an absolute path
}                                           #! closes nothing
list "partners" {
	network 192.0.2.1/24;               #! host bits zero
	domain a..b;                        #! expected a domain name
	file "none.txt";                    #! cannot be opened: No such file
	adress a@b.example;                 #! did you mean "address"
}
relay "in" {                                #! has no spool
	listen 25;                          #! 127.0.0.1:25
	spol /var/spool/postern;            #! did you mean "spool"
	milter x { sockt unix:/x; socket unix:/y }      #! did you mean "socket"
}
list "bad" { file "bad.txt"; }
policy "one" { sender in partnrs; mode observe; }       #! did you mean "partners"
policy "one" { mode enforce; }              #! the other is in @:39
policy "two" {
	recipient a@b.example;
	access.dnsbl off;                   #! read at CONNECT, but recipient (@:42) is known at RCPT only
	greylist.socket unix:/x;            #! read when the program starts
	greylist.wehn never;                #! did you mean "greylist.when"
}
policy "three" { client 10.0.0.0/8; }       #! sets nothing
include "more.conf";
include "missing.conf";                     #! cannot be opened
state { sync 2x }                           #! expected a duration
log stderr; log-level loud; text "abc       #! string has no end
"""
MORE = "# second file\nstate { size 1 }           #! expected 8M to 16T\ninclude main.conf;     #! includes itself\n"
BAD_LIST = "good.example\n1.2.3.4/99               #! expected an address or network\nx y   #! expected a domain name\n"


def marks(name, text):
	"""What must be told: {(file, line): fragment}."""
	out = {}
	for n, line in enumerate(text.splitlines(), 1):
		if m := re.search(r"#! (.*)", line):
			out[name, n] = m[1].strip()
	return out


def ctl(*args, **kw):
	return run([CTL, *args], **kw)


def broken(tap, tmp):
	main = tmp.write("main.conf", BROKEN)
	tmp.write("more.conf", MORE)
	tmp.write("bad.txt", BAD_LIST)
	wanted = marks("main.conf", BROKEN) | marks("more.conf", MORE) | marks("bad.txt", BAD_LIST)
	status, out, err = ctl("check", "-c", main)
	tap.equal(status, 78, "check: exit 78 on a broken file")
	tap.equal(out, "", "check: nothing on standard output")
	told = {}
	for line in err.splitlines():
		m = re.fullmatch(r"(\S+?):(\d+): (.*)", line)
		if not tap.ok(m, f"check: file:line in front: {line[:60]}", line):
			continue
		told.setdefault((Path(m[1]).name, int(m[2])), []).append(m[3])
	for place, fragment in wanted.items():
		fragment = fragment.replace("@", str(main))
		text = "\n".join(told.get(place, []))
		tap.ok(fragment in text, f"check: {place[0]}:{place[1]}: {wanted[place]}", f"told: {text!r}")
	extra = {p: t for p, t in told.items() if p not in wanted and p != ("main.conf", BROKEN.count("\n"))}
	tap.equal(extra, {}, "check: right lines are not blamed")
	lines = [(m[1], int(m[2])) for m in re.finditer(r"^(\S+?):(\d+): ", err, re.M)]
	tap.equal(lines, sorted(lines), "check: errors stand in the order of files and lines")
	status, out, err2 = ctl("check", "--json", "-c", main)
	data = json.loads(out)
	tap.equal((status, err2, data["right"], data["more"]), (78, "", False, 0), "check --json: status")
	tap.equal([f"{e['file']}:{e['line']}: {e['text']}" for e in data["errors"]], err.splitlines(),
	    "check --json: the same errors")


SCORE, GREYLIST = 'milter s { socket unix:/s.sock } ', 'milter g { socket unix:/g.sock } '
# what the relays are, and whether mail could wait for its score's sake
TIERS = [
	("no relay here", "", True),
	("one relay for all", f"relay x {{ listen 127.0.0.1:25; spool /x; {GREYLIST}{SCORE}}}", True),
	("in session", f"relay x {{ listen 127.0.0.1:25; spool /x; handoff session; {GREYLIST}smarthost [127.0.0.1]:26 }}\n"
	    f"relay y {{ listen 127.0.0.1:26; spool /y; {SCORE}}}", True),
	("by queue", f"relay x {{ listen 127.0.0.1:25; spool /x; handoff queue; {GREYLIST}smarthost [127.0.0.1]:26 }}\n"
	    f"relay y {{ listen 127.0.0.1:26; spool /y; {SCORE}}}", False),
	("by queue, to another host", f"relay x {{ listen 127.0.0.1:25; spool /x; handoff queue; {GREYLIST}smarthost [192.0.2.1]:25 }}", False),
	("by queue, without greylist", "relay x { listen 127.0.0.1:25; spool /x; handoff queue; smarthost [::1]:26 }\n"
	    f"relay y {{ listen [::1]:26; spool /y; {SCORE}}}", False),
	("by queue, but to others", "relay x { listen 127.0.0.1:25; spool /x; handoff queue; smarthost [127.0.0.1]:27 }\n"
	    f"relay y {{ listen 127.0.0.1:26; spool /y; {SCORE}}}", True),
	("behind the one that scores", f"relay x {{ listen 127.0.0.1:25; spool /x; handoff queue; {SCORE}{GREYLIST}smarthost [127.0.0.1]:26 }}\n"
	    f"relay y {{ listen 127.0.0.1:26; spool /y; }}", True),
]


def suspicious(tap, tmp):
	"""Where score does not face the client nobody hears its tempfail."""
	for name, relays, right in TIERS:
		for n, where in enumerate(("greylist { when suspicious; socket unix:/g.sock }",
		    "greylist { socket unix:/g.sock }\npolicy p { sender a@b.example; greylist.when suspicious }")):
			conf = tmp.write("tiers.conf", f"score {{ socket unix:/s.sock }}\n{where}\n{relays}\n")
			status, _, err = ctl("check", "-c", conf)
			good = status == 0 and not err if right else status == 78 and re.fullmatch(
			    rf'{re.escape(str(conf))}:{n + 2}: .*relay "x" \(.*tiers\.conf:{n + 3}\) hands off by queue.*handoff session.*\n', err)
			tap.ok(good, f"check: when suspicious, {name}{', by policy' if n else ''}", f"{status} {err}")
		conf = tmp.write("tiers.conf", f"score {{ socket unix:/s.sock }}\ngreylist {{ socket unix:/g.sock }}\n{relays}\n")
		tap.ok(ctl("check", "-c", conf)[0] == 0, f"check: when always, {name}")


def check(tap, tmp):
	good = tmp.write("good.conf", "greylist { delay 1m }\nrelay x { listen 127.0.0.1:25; spool /x; }\n")
	tap.equal(ctl("check", "-c", good), (0, f"{good}: configuration is right\n", ""), "check: a right file")
	tap.equal(json.loads(ctl("check", "--json", "-c", good)[1]),
	    {"file": str(good), "right": True, "more": 0, "errors": []}, "check --json: a right file")
	status, _, err = ctl("check", "-c", tmp / "none.conf")
	tap.equal((status, err), (78, f"{tmp}/none.conf: cannot be opened: No such file or directory\n"),
	    "check: a missing file")
	many = tmp.write("many.conf", "greylist {\n" + "nonsense 1;\n" * 1000 + "}\n")
	status, _, err = ctl("check", "-c", many)
	tap.equal((status, len(err.splitlines()), err.splitlines()[-1]), (78, 201, "and 800 more"),
	    "check: a thousand errors")
	tmp.write("access", "Connect:192.0.2 REJECT\n")
	example = (ROOT / "policy/postern.conf.example").read_text().replace("/etc/mail", str(tmp)).replace(
	    "/usr/local/share/postern/rules", str(ROOT / "policy/rules"))
	status, out, err = ctl("check", "-c", tmp.write("example.conf", example))
	tap.equal((status, err), (0, ""), "check: the shipped example is right")
	tmp.write("access", "From:a@b.example 220 no\n# x\nbad\n")
	maps = tmp.write("maps.conf", f"access {{ maps {tmp}/access {tmp}/none; }}\n")
	status, out, err = ctl("check", "-c", maps)
	tap.ok(status == 78 and all(f"\n{tmp}/{place}" in "\n" + err for place in ("access:1: ", "access:3: ", "none")),
	    "check: reads the access maps", err)
	rcpts = tmp.write("rcpts.conf", f'access {{ recipients "a" {{ domains a.example; maps {tmp}/none ldap:none }} }}\n')
	status, out, err = ctl("check", "-c", rcpts)
	tap.ok(status == 78 and f"{tmp}/none" in err + out and f"{rcpts}:1: recipients: ldap:none: " in err + out,
	    "check: reads the maps of recipients", err + out)
	directory = tmp.write("directory.conf", "access {\n\tmaps ldap:none;\n}\n")
	tap.equal(ctl("check", "-c", directory), (78, "", f'{directory}:2: maps: ldap:none: expected a block ldap "none" '
	    "{ ... }\n"), "check: a directory that no block describes, with its line")
	secrets = tmp.write("secrets.conf", f'access {{ dnsbl bl.example {{ key-file {tmp}/nokey }} '
	    f'ldap d {{ bind-dn cn=x; password-file {tmp}/nopass }} maps ldap:d }}\n')
	status, _, err = ctl("check", "-c", secrets)
	tap.equal((status, err), (0, "".join(f"posternctl: warning: access.{what}: {tmp}/{file}: No such file or directory\n"
	    for what, file in (("dnsbl.key-file", "nokey"), ("ldap.password-file", "nopass")))),
	    "check: secrets that are not there")
	tmp.write("bad.cf", "body GOOD /x/\nbody BAD x\nscore GOOD many\n")
	rules = tmp.write("rules.conf", f"score {{ rules {tmp}/bad.cf {tmp}/no.cf; }}\n")
	status, out, err = ctl("check", "-c", rules)
	tap.ok(status == 78 and all(f"\n{tmp}/{place}" in "\n" + err for place in ("bad.cf:2: ", "bad.cf:3: ", "no.cf")),
	    "check: reads the rule files", err)
	suspicious(tap, tmp)
	odd = tmp.write("odd.conf", b"policy \"\xff\" { }\n")
	tap.ok("\ufffd" in json.loads(ctl("check", "--json", "-c", odd)[1])["errors"][0]["text"],
	    "check --json: stays UTF-8 whatever the file holds")


EXPLAIN = """\
greylist { delay 10m }
policy "partners" { sender domain partner.example; greylist.when never; greylist.delay 1m }
policy "inside" { client 10.0.0.0/8 authenticated; greylist.delay 2m; mode observe }
policy "bounces" { sender null; greylist.delay 3m }
"""


def explain(tap, tmp):
	conf = tmp.write("explain.conf", EXPLAIN)

	def setting(name, *args):
		status, out, err = ctl("explain", "--json", "-c", conf, *args)
		if status != 0 or err:
			return status, err
		data = json.loads(out)
		(s,) = [s for s in data["settings"] if s["name"] == name]
		return [p["name"] for p in data["policies"]], s["value"], s["policy"], s["line"]

	for args, wanted in (
		((), ([], "10m", None, 1)),
		(("--client", "10.1.1.1"), (["inside"], "2m", "inside", 3)),
		(("--client", "10.1.1.1", "--from", "a@partner.example", "--to", "b@c.example"),
		    (["partners", "inside"], "1m", "partners", 2)),
		(("--client=192.0.2.1", "--from=<a@z.example>", "--to=<b@c.example>"), ([], "10m", None, 1)),
		(("--auth", "--client", "192.0.2.1", "--from", "a@z.example"), (["inside"], "2m", "inside", 3)),
		(("--from", "<>"), (["bounces"], "3m", "bounces", 4)),
		(("--from", ""), (["bounces"], "3m", "bounces", 4)),
	):
		tap.equal(setting("greylist.delay", *args), wanted, "explain --json " + " ".join(args))
	tap.equal(setting("mode", "--client", "10.1.1.1"), (["inside"], "observe", "inside", 3), "explain --json: mode")
	tap.equal(setting("greylist.keep"), ([], "35d", None, 0), "explain --json: a default")
	status, out, err = ctl("explain", "-c", conf, "--client", "10.1.1.1")
	tap.equal((status, err), (0, ""), "explain: status")
	for line in (f'policy "inside" matches ({conf}:3)', f'policy "inside" ({conf}:3)', f"{conf}:1", "default"):
		# delay comes from inside, which hides line 1: so nothing else names it
		found = line in out
		tap.ok(found != (line == f"{conf}:1"), f"explain: text {'without' if line == f'{conf}:1' else 'with'} {Path(line).name}", out)
	tap.ok(re.search(r"^greylist\.delay +2m +policy \"inside\"", out, re.M), "explain: one setting per line", out)
	for args, why in (
		(("--client", "10.1"), "expected an IP address"),
		(("--to", "a@b.example"), "--to needs --from"),
		(("--from", "a@@b"), "--from"),
		(("--from", "a@b.example", "--to", "<>"), "--to"),
		(("--from",), "lacks its value"),
		(("--clinet", "x"), "is not known"),
		(("--auth=1",), "takes no value"),
		(("x",), "expected no argument"),
	):
		status, out, err = ctl("explain", "-c", conf, *args)
		tap.ok(status == 64 and why in err and "usage: posternctl explain" in err and not out,
		    "explain: wrong use: " + " ".join(args), f"{status} {err}")
	bad = tmp.write("bad.conf", "zzz { }\n")
	status, out, err = ctl("explain", "-c", bad)
	tap.ok(status == 78 and f"{bad}:1: " in err, "explain: a broken file")


class Talker:
	"""A UNIX socket that does one thing with each client."""
	def __init__(self, path, talk):
		self.s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
		self.s.bind(str(path))
		self.s.listen(8)
		self.talk = talk
		self.kept = []
		threading.Thread(target=self.serve, daemon=True).start()

	def serve(self):
		while True:
			c, _ = self.s.accept()
			if not self.talk(c):
				c.close()
			else:
				self.kept.append(c)


def smtp_server(greeting):
	"""A listening port that greets and keeps what it is told."""
	s, heard = socket.create_server(("127.0.0.1", 0)), []

	def serve():
		while True:
			c, _ = s.accept()
			with c:
				c.sendall(greeting)
				c.settimeout(5 * SLOWER)
				heard.append(c.recv(100))
	threading.Thread(target=serve, daemon=True).start()
	return s.getsockname()[1], heard


def daemons(tap):
	"""Our own milters, started as an administrator does."""
	site = Site(Dir())
	site.file("access", "From:bad@a.example REJECT\n")
	conf = site.file("postern.conf", """log @dir@/log/postern; runtime-dir @dir@/run; state { path @dir@/state }
		greylist { socket unix:@dir@/run/greylist.sock; metrics @dir@/run/gm }
		access { socket unix:@dir@/run/access.sock; metrics @dir@/run/am; maps @dir@/etc/access }\n""")
	content = site.file("content.conf", """log @dir@/log/postern; runtime-dir @dir@/run;
		mime { socket unix:@dir@/run/mime.sock; metrics @dir@/run/mm; tmp @dir@/run;
			signatures @dir@/etc/none; quarantine @dir@/run }\n""")
	with tap.case("daemons: check, status and stats of our own milters", site.logs):
		try:
			site.milter("access")
			site.milter("greylist")
			assert ctl("check", "-c", conf)[0] == 0
			status, out, err = ctl("status", "-c", conf)
			assert status == 0 and out.count(" up ") == 2 and not err, out + err
			with milter.Mta(site.dir / "run/access.sock") as mta:
				mta.negotiate()
				mta.connect("mx.a.example", "192.0.2.1")
				mta.mail("bad@a.example")
			status, out, err = ctl("stats", "-c", conf, "access")
			assert status == 0 and re.search(r"^postern_access_\w+(\{.*\})? [1-9]", out, re.M), out + err
			status, out, err = ctl("check", "-c", content)
			assert status == 0 and err.splitlines() == ["posternctl: warning: mime.signatures: "
			    f"{site.dir}/etc/none: No such file or directory"], out + err
			site.start("mime", [BUILD / "postern-mime", "-f", "-c", content], f"unix:{site.dir}/run/mime.sock")
			status, out, err = ctl("status", "-c", content, "mime")
			assert status == 0 and re.match(r"mime +milter up .*change-body", out), out + err
			assert "mime" in ctl("status", "-c", content)[1] and "mime" not in ctl("status", "-c", conf)[1]
			status, out, err = ctl("stats", "-c", content)
			assert status == 0 and out.startswith(f"# mime {site.dir}/run/mm\n"), out + err
		finally:
			site.stop_all()


def relays(tap, tmp):
	good, heard = smtp_server(b"220-mx.example\r\n220 ready\r\n")
	busy, _ = smtp_server(b"421 4.3.2 too busy\r\n")
	free = free_port()
	conf = tmp.write("relays.conf", f"""relay in {{ spool /x; listen 127.0.0.1:{good} *:{good} }}
		relay out {{ spool /y; listen 127.0.0.1:{busy} }}\nrelay gone {{ spool /z; listen 127.0.0.1:{free} }}\n""")
	status, out, err = ctl("status", "-c", conf, "in")
	tap.ok(status == 0 and len(re.findall(r"^in +relay +up .* ms, 220 mx.example ready$", out, re.M)) == 2,
	    "status: a relay on two sockets", out + err)
	wait_for("goodbyes", lambda: len(heard) == 2)
	tap.equal(heard, [b"QUIT\r\n"] * 2, "status: says goodbye to a relay")
	status, out, err = ctl("status", "-c", conf, "out", "gone")
	tap.ok(status == 1 and "answered 421 4.3.2 too busy" in out and "Connection refused" in out,
	    "status: relays that do not serve", out + err)
	data = json.loads(ctl("status", "--json", "-c", conf, "in", "gone")[1])
	tap.equal((data["down"], [(d["kind"], d["up"]) for d in data["daemons"]], data["daemons"][0]["greeting"]),
	    (1, [("relay", True), ("relay", True), ("relay", False)], "mx.example ready"), "status --json: relays")


def metrics_text(c):
	c.settimeout(5 * SLOWER)
	while c.recv(100):
		pass
	c.sendall(b"# HELP x_total what\n# TYPE x_total counter\nx_total 7\nx_sum{a=\"b c\"} 0.25\n")
	return False


def status(tap, tmp):
	conf = tmp.write("status.conf", f"greylist {{ socket unix:{tmp}/g }}\naccess {{ socket unix:{tmp}/a }}\n")
	status, out, err = ctl("status", "-c", conf)
	tap.ok(status == 1 and len(re.findall(r"^\w+ +milter +down .*No such file", out, re.M)) == 2 and not err,
	    "status: both down", out + err)
	with milter.Milter(tmp / "g", answer=(6, 0x11, 0x1)) as filt, milter.Milter(tmp / "a", answer=(2, 0, 0)):
		status, out, err = ctl("status", "-c", conf)
		tap.ok(status == 0 and not err and re.search(r"^greylist +milter +up .* ms, version 6, may: "
		    r"add-header, change-header$", out, re.M), "status: up, with what it may do", out + err)
		tap.ok(re.search(r"^access +milter +up .* version 2, may: change nothing$", out, re.M),
		    "status: an old version", out)
		data = json.loads(ctl("status", "--json", "-c", conf)[1])
		g = [d for d in data["daemons"] if d["name"] == "greylist"][0]
		tap.equal((data["down"], g["up"], g["version"], g["actions"], g["protocol"], g["kind"], g["socket"]),
		    (0, True, 6, ["add-header", "change-header"], 1, "milter", f"unix:{tmp}/g"), "status --json: up")
		tap.ok(0 < g["latency_us"] < 5000000 * SLOWER, "status --json: latency")
		letters = [link.letters() for link in filt.links]
		tap.ok(all(x in ("O", "OQ") for x in letters) and letters, "status: says goodbye", str(letters))
	with milter.Milter(("127.0.0.1", 0)) as filt:
		inet = tmp.write("inet.conf", f"greylist {{ socket inet:{filt.addr[1]}@127.0.0.1 }}\n"
		    f"access {{ socket unix:{tmp}/none }}\n")
		status, out, err = ctl("status", "-c", inet, "greylist")
		tap.ok(status == 0 and len(out.splitlines()) == 1, "status: one daemon, over TCP", out + err)
		data = json.loads(ctl("status", "--json", "-c", inet)[1])
		tap.equal((data["down"], [d["up"] for d in data["daemons"]]), (1, [False, True]), "status --json: one down")
	for name, talk, why in (
		("closes", lambda c: c.recv(100) and False, "closed the connection instead of negotiating"),
		("hangs", lambda c: True, "no answer in time"),
		("babbles", lambda c: (c.recv(100), c.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n"), False)[2],
		    "packet"),
		("tempfails", lambda c: (c.recv(100), c.sendall(b"\0\0\0\1t"), False)[2],
		    "answered 't' instead of negotiating"),
		("is cut short", lambda c: (c.recv(100), c.sendall(b"\0\0\0\5O\0\0\0\6"), False)[2], ""),
	):
		path = tmp / name.replace(" ", "")
		Talker(path, talk)
		conf = tmp.write("odd.conf", f"greylist {{ socket unix:{path} }}\n")
		status, out, err = ctl("status", "--timeout", "1s" if SLOWER == 1 else "5s", "-c", conf, "greylist")
		tap.ok(status == 1 and " down " in out and why in out, f"status: a daemon that {name}", out + err)
	for args in (("nobody",), ("--timeout", "x"), ("--timeout", "0")):
		tap.equal(ctl("status", "-c", conf, *args)[0], 64, "status: wrong use: " + " ".join(args))


def stats(tap, tmp):
	Talker(tmp / "gm", metrics_text)
	conf = tmp.write("stats.conf", f"greylist {{ metrics {tmp}/gm }}\n")
	status, out, err = ctl("stats", "-c", conf)
	tap.ok(status == 0 and f"# greylist {tmp}/gm\n" in out and "\nx_total 7\n" in out, "stats: text", out + err)
	tap.equal(json.loads(ctl("stats", "--json", "-c", conf)[1]),
	    {"greylist": {"x_total": 7, 'x_sum{a="b c"}': "0.25"}}, "stats --json")
	both = tmp.write("both.conf", f"greylist {{ metrics unix:{tmp}/gm }}\naccess {{ metrics {tmp}/none }}\n")
	status, out, err = ctl("stats", "-c", both)
	tap.ok(status == 69 and "x_total 7" in out and "access" in err, "stats: one daemon does not answer", out + err)
	status, out, err = ctl("stats", "--json", "-c", both)
	tap.ok(status == 69 and list(json.loads(out)) == ["greylist"], "stats --json: what answers is told", out + err)
	status, out, err = ctl("stats", "-c", both, "greylist")
	tap.equal(status, 0, "stats: of one daemon")
	none = tmp.write("nometrics.conf", "")
	status, out, err = ctl("stats", "-c", none)
	tap.ok(status == 78 and "expected metrics" in err, "stats: no metrics configured", out + err)


def tests(tap, tmp):
	vectors = ROOT / "tests/vectors/access"
	status, out, err = ctl("test", "access", vectors)
	rows = sum(len((vectors / f).read_text().splitlines()) for f in ("cases.tsv", "multi.tsv"))
	tap.ok(status == 0 and not err and out.startswith("# ") and len(out.splitlines()) > rows // 2,
	    "test access: a result per case", out[:500] + err)
	tap.equal(ctl("test", "access", tmp / "nothing")[0], 66, "test access: no such folder")
	columns = ("time", "client_ip", "client_name", "helo", "sender", "recipient", "spf")
	rest = ("192.0.2.1", "mx.a.example", "mx.a.example", "a@a.example", "b@b.example", "none")
	events = "\n".join("\t".join(e) for e in (columns, ("1000000",) + rest, ("1000090",) + rest)) + "\n"
	conf = tmp.write("grey.conf", "greylist { delay 1m }\n")
	for args, codes in (((), ["451", "451"]), (("-c", conf), ["451", "250"])):
		status, out, err = ctl("test", "greylist", *args, stdin=events.encode())
		rows = [dict(zip(out.splitlines()[0].split("\t"), row.split("\t"))) for row in out.splitlines()[1:]]
		tap.equal((status, err, [r["code"] for r in rows]), (0, "", codes), f"test greylist {'-c' if args else ''}")
	tap.equal(ctl("test", "greylist", stdin=b"nonsense\n")[0], 65, "test greylist: events that cannot be read")
	for args in ((), ("nonsense",), ("access",), ("greylist", "x")):
		tap.equal(ctl("test", *args)[0], 64, "test: wrong use: " + " ".join(args))


def usage(tap):
	status, out, err = ctl()
	tap.ok(status == 64 and "usage: posternctl COMMAND" in err and not out, "no command", out + err)
	status, out, err = ctl("chekc")
	tap.ok(status == 64 and 'did you mean "check"?' in err, "an unknown command", err)
	status, out, err = ctl("help")
	tap.ok(status == 0 and not err, "help")
	page = (ROOT / "contrib/ctl/posternctl.8").read_text()
	for name in re.findall(r"^  (\w+) ", out, re.M):
		status, text, _ = ctl("help", name)
		tap.ok(status == 0 and text.startswith(f"usage: posternctl {name}"), f"help {name}", text)
		tap.ok(re.search(rf"^\.It Cm {name}\b", page, re.M), f"{name} stands in the manual page")
		for option in re.findall(r"--(\w+)", text):
			tap.ok(f"Fl -{option}" in page, f"{name} --{option} stands in the manual page")
	tap.equal(ctl("help", "nonsense")[0], 64, "help of an unknown command")


def main():
	tap = Tap()
	tmp = Dir()
	broken(tap, tmp)
	check(tap, tmp)
	explain(tap, tmp)
	status(tap, tmp)
	relays(tap, tmp)
	stats(tap, tmp)
	daemons(tap)
	tests(tap, tmp)
	usage(tap)
	tap.done()


if __name__ == "__main__":
	main()
