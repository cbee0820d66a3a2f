#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# check: timeout 180
"""What one daemon finds out about a client, all hosts' greylisting knows: a virus takes the
whitelisting away.  Without a store the other daemons go on."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lib"))
import hostile_mail as hostile  # noqa: E402
from milter_host import MilterHost  # noqa: E402
from proc import ROOT, Dir, wait_for  # noqa: E402
from redis_server import Redis  # noqa: E402
from tap import Skip, Tap, skip_all  # noqa: E402

GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
VIRUS_HEAD, _, VIRUS_BODY = hostile.multipart(hostile.text(),
    hostile.attachment(hostile.EICAR)).decode("latin-1").partition("\r\n\r\n")
VIRUS = tuple(tuple(f.split(": ", 1)) for f in VIRUS_HEAD.replace("\r\n\t", " ").replace("\r\n ", " ").split("\r\n"))


def mime(tmp):
	for d in ("tmp", "signatures", "quarantine"):
		(tmp / d).mkdir(exist_ok=True)
	(tmp / "signatures/test.ndb").write_text((ROOT / "tests/vectors/mime/postern-test.ndb").read_text())
	return f'signatures "{tmp}/signatures"; tmp "{tmp}/tmp"; quarantine "{tmp}/quarantine"; workers 1'


def score(tmp):
	return f'tmp "{tmp}"; workers 1; rules "{ROOT}/policy/rules"'


def whitelisted(host, client):
	"""Makes the client one."""
	host.mail("w@b.test", "w@local.test", client=client)
	wait_for("its retry passes", lambda: host.mail("w@b.test", "w@local.test", client=client).passed())
	r = host.mail("other@b.test", "w@local.test", client=client)
	assert r.passed() and "auto-whitelisted" in r.header("X-Greylist"), r


def main():
	tap = Tap()
	tmp = Dir()
	try:
		redis = Redis(tmp).start()
	except Skip as e:
		skip_all(str(e))
	state = f'engine redis; redis "unix:{redis.socket}"'
	grey = "delay 1s; auto-whitelist 1"
	a = MilterHost(tmp, "a", {"greylist": grey}, state)
	b = MilterHost(tmp, "b", {"greylist": grey, "score": score(tmp), "mime": mime(tmp)}, state,
	    'policy "watched" { recipient domain watched.test; mode observe }')
	b.log("mime", "signatures from", 30)

	def text():
		return a.text() + b.text()

	with tap.case("a virus at B takes the whitelisting at A away", text):
		whitelisted(a, "192.0.2.1")
		r = b.mail("v@b.test", "v@local.test", client="192.0.2.77", only="mime", headers=VIRUS, body=VIRUS_BODY)
		assert r.final().startswith(b"y550 5.7.1"), r
		wait_for("A defers what is new from there", lambda: a.mail("new@b.test", "v@local.test").deferred())
	with tap.case("a virus of our own users, or one that is only watched, tells nobody", text):
		whitelisted(a, "198.51.100.1")
		for kind in ({"auth": "u"}, {"client": "127.0.0.1"}):
			r = b.mail("v@b.test", "v@local.test", **{"client": "198.51.100.7", **kind}, only="mime",
			    headers=VIRUS, body=VIRUS_BODY)
			assert r.final().startswith(b"y550 5.7.1"), r
		r = b.mail("v@b.test", "v@watched.test", client="198.51.100.7", only="mime", headers=VIRUS, body=VIRUS_BODY)
		assert r.passed(), r
		r = a.mail("new@b.test", "v@local.test", client="198.51.100.1")
		assert r.passed() and "auto-whitelisted" in r.header("X-Greylist"), r
	with tap.case("without the store viruses and spam are refused as before", text):
		redis.kill()
		for only, headers, body in (("mime", VIRUS, VIRUS_BODY), ("score", VIRUS[:2], GTUBE + "\r\n")):
			r = b.mail("v@b.test", "v@local.test", only=only, headers=headers, body=body)
			assert r.final().startswith(b"y550 5.7.1"), r
			r = b.mail("v@b.test", "v@local.test", only=only)
			assert r.passed() and r.ms["eom"] < 5000, r
		redis.start()
	with tap.case("they end in order", text):
		assert a.stop() == [0] and b.stop() == [0, 0, 0]
	tap.done()


if __name__ == "__main__":
	main()
