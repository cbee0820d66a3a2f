# SPDX-License-Identifier: BSD-2-Clause
"""A directory server of a test's own: slapd, unpacked by peers.sh, never installed, with the
attributes of sendmail's schema.

	d = Slapd(tmp, port); d.start(); d.add("From:bad.example", "REJECT"); d.stop()
"""
import os
from pathlib import Path

from peers import unpacked
from proc import Proc, listening, run, wait_for

BASE = "dc=site,dc=example"
ADMIN, PASSWORD = f"cn=admin,{BASE}", "a secret (of *this* test)"
ATTRIBUTES = ("sendmailMTACluster", "sendmailMTAHost", "sendmailMTAMapName", "sendmailMTAKey", "sendmailMTAMapValue")


def schema():
	"""The attributes that sendmail's own filter asks for, as case-blind ASCII."""
	out = [f"attributetype ( 1.3.6.1.4.1.6152.10.3.1.{10 + i} NAME '{name}' EQUALITY "
	    f"{'caseExactIA5Match' if name.endswith('Value') else 'caseIgnoreIA5Match'} "
	    "SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )" for i, name in enumerate(ATTRIBUTES)]
	return "\n".join(out + ["objectclass ( 1.3.6.1.4.1.6152.10.3.2.13 NAME 'sendmailMTAMapObject' SUP top STRUCTURAL "
	    "MUST ( sendmailMTAMapName $ sendmailMTAKey ) "
	    "MAY ( sendmailMTACluster $ sendmailMTAHost $ sendmailMTAMapValue ) )"]) + "\n"


class Slapd:
	def __init__(self, tmp, port):
		self.tree = unpacked("slapd")
		self.dir = Path(os.fspath(tmp)) / "slapd"
		(self.dir / "db").mkdir(parents=True)
		self.port, self.proc = port, None
		self.uri = f"ldap://127.0.0.1:{port}"
		self.env = {"LD_LIBRARY_PATH": os.pathsep.join(str(p) for p in self.tree.glob("usr/lib/*-linux-gnu*"))}
		(self.dir / "sendmail.schema").write_text(schema())
		self.conf = self.dir / "slapd.conf"
		self.conf.write_text(f"""include {self.tree}/etc/ldap/schema/core.schema
include {self.dir}/sendmail.schema
modulepath {self.tree}/usr/lib/ldap
moduleload back_mdb
pidfile {self.dir}/pid
database mdb
suffix "{BASE}"
rootdn "{ADMIN}"
rootpw "{PASSWORD}"
directory {self.dir}/db
access to * by users read by anonymous auth
""")
		self.serial = 0
		self.slap("slapadd", f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: site\no: site\n")

	def slap(self, tool, text):
		"""Offline tools; the server must be down, or the change is an addition."""
		ldif = self.dir / "in.ldif"
		ldif.write_text(text)
		status, out, err = run([self.tree / "usr/sbin" / tool, "-f", self.conf, "-l", ldif], env=self.env)
		if status != 0:
			raise RuntimeError(f"{tool}: {out}{err}")

	def add(self, key, *values, cluster="mail", host=None, name="access"):
		self.serial += 1
		text = f"dn: cn=e{self.serial},{BASE}\nobjectClass: sendmailMTAMapObject\nobjectClass: extensibleObject\n" \
		    f"cn: e{self.serial}\nsendmailMTAMapName: {name}\nsendmailMTAKey: {key}\n"
		text += f"sendmailMTAHost: {host}\n" if host else f"sendmailMTACluster: {cluster}\n"
		self.slap("slapadd", text + "".join(f"sendmailMTAMapValue: {v}\n" for v in values))

	def start(self):
		self.proc = Proc([self.tree / "usr/sbin/slapd", "-f", self.conf, "-h", self.uri, "-d", "256"],
		    self.dir / "log", env=self.env)
		wait_for("slapd listens", self._up, 30)

	def _up(self):
		if not self.proc.alive():
			raise RuntimeError("slapd ended:\n" + self.proc.text()[-3000:])
		return listening(("127.0.0.1", self.port))

	def searches(self):
		return self.proc.text().count(" SRCH base=")

	def stop(self):
		self.proc.stop()
		wait_for("slapd let go of its port", lambda: not listening(("127.0.0.1", self.port)))
