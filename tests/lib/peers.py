# SPDX-License-Identifier: BSD-2-Clause
"""Real servers for tests: unpacked by peers.sh, never installed, run in a private mount and
process namespace where their fixed paths (/etc/postfix, /etc/mail, /var/spool, users) lie
over the host's like a transparency.  Nobody else sees that, and all of it is gone when the
first process of the namespace ends.

	with Postfix(tmp, port, main="...") as p: ...

The directory tmp/run of the test is /run/postern inside, where the shipped configuration
lines expect the sockets of the milters.  What a server sends to syslog stands in p.log.
"""
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

from proc import ROOT, Proc, gone, listening, wait_for
from tap import Skip

PASSWD = """postfix:x:64025:64025::/var/spool/postfix:/usr/sbin/nologin
smmta:x:64026:64026::/var/lib/sendmail:/usr/sbin/nologin
smmsp:x:64027:64027::/var/lib/sendmail:/usr/sbin/nologin
opendkim:x:64028:64028::/run/opendkim:/usr/sbin/nologin
_rspamd:x:64030:64030::/var/lib/rspamd:/usr/sbin/nologin
clamav:x:64031:64031::/var/lib/clamav:/usr/sbin/nologin
"""
GROUP = "postfix:x:64025:\npostdrop:x:64029:\nsmmta:x:64026:\nsmmsp:x:64027:\nopendkim:x:64028:\n" \
    "_rspamd:x:64030:\nclamav:x:64031:\n"

# $1 unpacked tree, $2 directory of this server, $3 directory of the test, $4 its run
# directory, $5... program.  $2/over is laid over everything.
ENTER = r"""
set -e
tree=$1 own=$2 tmp=$3 run=$4
shift 4
mkdir -p "$own/ns"
mount -t tmpfs -o mode=755 none "$own/ns"
mkdir "$own/ns/up" "$own/ns/work" "$own/ns/root"
cp -a "$tree/." "$own/over/." "$own/ns/up/"     # layers of an overlay may not overlap
mkdir -p "$own/ns/up/run/postern" "$own/ns/up$tmp" "$own/ns/up/dev" "$own/ns/up/proc"
r=$own/ns/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$own/ns/up,workdir=$own/ns/work" "$r"
mount -t proc proc "$r/proc"
mount -t tmpfs -o mode=755 none "$r/dev"
for d in null zero full random urandom; do
	: >"$r/dev/$d"
	mount --bind "/dev/$d" "$r/dev/$d"
done
mount -t tmpfs -o mode=1777 none "$r/tmp"
mkdir -p "$r$tmp"
mount --bind "$tmp" "$r$tmp"
mount --bind "$run" "$r/run/postern"
ln -s "$own/log.sock" "$r/dev/log"
# Not exec: this shell stays the first process, which the kernel ends with its parent; a
# server that changes its user loses that bond.
status=0
chroot "$r" "$@" || status=$?
exit $status
"""


def unpacked(name):
	"""The directory of a peer's files; Skip where it cannot be had."""
	p = subprocess.run([ROOT / "tests/lib/peers.sh", name], capture_output=True, text=True, check=False)
	if p.returncode != 0:
		raise Skip(f"{name}: {(p.stderr.strip().splitlines() or ['no reason given'])[-1]}")
	return Path(p.stdout.split("\n")[0])


def fetch(*kinds):
	"""Unpacks them while there is a network: before netns.enter().  What cannot be had is told
	by the server's own constructor."""
	for kind in kinds:
		try:
			unpacked(kind)
		except Skip:
			pass


def namespaces():
	"""Skip where this host lets nobody make a private mount namespace with an overlay."""
	if os.geteuid() != 0:
		raise Skip("private mount namespaces with several users need root")
	p = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--propagation", "private", "sh", "-c",
	    "d=$(mktemp -d) && mount -t tmpfs none $d && mkdir $d/u $d/w $d/r && "
	    "mount -t overlay overlay -o lowerdir=/,upperdir=$d/u,workdir=$d/w $d/r; s=$?; umount -R $d; "
	    "rmdir $d; exit $s"], capture_output=True, text=True, check=False)
	if p.returncode != 0:
		raise Skip("private mount namespace denied: " + (p.stderr.strip().splitlines() or [""])[-1])


class Peer:
	"""One server.  tmp: directory of the test (proc.Dir or path), named below by name;
	hosts: {address: name} of the clients that it will see, forth and back."""
	kind = ""

	def __init__(self, tmp, name=None, hosts=None):
		self.tmp = Path(os.fspath(tmp))
		self.own = self.tmp / (name or self.kind)
		self.over = self.own / "over"
		self.run = self.tmp / "run"
		self.run.mkdir(exist_ok=True)
		self.run.chmod(0o755)     # sendmail refuses a socket below a group-writable directory
		self.tmp.chmod(0o755)     # other users must reach the sockets
		self.tree = unpacked(self.kind)
		namespaces()
		self.over.mkdir(parents=True)
		self.own.chmod(0o755)
		self.proc, self.log_lines = None, []
		self.file("etc/passwd", Path("/etc/passwd").read_text() + PASSWD)
		self.file("etc/group", Path("/etc/group").read_text() + GROUP)
		self.file("etc/hosts", "127.0.0.1 localhost\n" +
		    "".join(f"{a} {n}\n" for a, n in (hosts or {}).items()))
		self.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
		self.file("etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:1\n")

	def file(self, path, text, mode=0o644):
		"""A file inside the namespace, by its absolute path there."""
		p = self.over / path.lstrip("/")
		p.parent.mkdir(parents=True, exist_ok=True)
		p.write_text(text)
		p.chmod(mode)
		return p

	def start(self, argv):
		self._syslog()
		self.proc = Proc(["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
		    "sh", "-c", ENTER, "sh", self.tree, self.own, self.tmp, self.run, *argv], self.own / "out")

	def _syslog(self):
		sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		sock.bind(os.fspath(self.own / "log.sock"))
		(self.own / "log.sock").chmod(0o666)

		def read():
			while True:
				try:
					self.log_lines.append(sock.recv(65536).decode("utf-8", "replace").rstrip("\n\0"))
				except OSError:
					return

		self.log_socket = sock
		threading.Thread(target=read, daemon=True).start()

	@property
	def log(self):
		out = self.proc.text() if self.proc else ""
		return out + "\n".join(self.log_lines) + "\n"

	def wait_listen(self, addr, seconds=20.0):
		def up():
			if listening(addr):
				return True
			if not self.proc.alive():
				raise RuntimeError(f"{self.kind} ended with {self.proc.p.returncode}:\n{self.log[-4000:]}")
			return False
		try:
			wait_for(f"{self.kind} listens on {addr}", up, seconds)
		except Exception as e:
			text = self.log[-4000:]
			self.stop()
			raise RuntimeError(f"{e}\n{text}") from None
		return self

	def stop(self):
		if self.proc:
			first = self.proc.children()
			self.proc.stop(signal.SIGKILL)
			# its namespace ends with its first process, which ends after all others
			wait_for("the namespace ends", lambda: all(gone(p) for p in first))
			self.log_socket.close()

	def __enter__(self):
		return self

	def __exit__(self, *exc):
		self.stop()


MASTER_CF = """smtpd_addr inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""

MAIN_CF = """compatibility_level = 3.6
queue_directory = /var/spool/postfix
myhostname = {name}
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = all
inet_protocols = ipv4
relay_domains = {domains}
relay_transport = smtp:[{next_host}]:{next_port}
default_transport = smtp:[{next_host}]:{next_port}
smtpd_relay_restrictions = reject_unauth_destination
smtp_host_lookup = native
lmtp_host_lookup = native
smtp_dns_support_level = disabled
smtp_tls_security_level = none
local_recipient_maps =
alias_maps =
alias_database =
message_size_limit = 52428800
smtpd_authorized_xclient_hosts = {xclient}
smtpd_client_connection_rate_limit = 0
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
minimal_backoff_time = 2s
queue_run_delay = 2s
"""


class Postfix(Peer):
	"""Relays mail for domains to next_hop (host, port).  snippet: text of main.cf lines that
	a postmaster adds; milters: smtpd_milters, where no snippet names them."""
	kind = "postfix"

	def __init__(self, tmp, addr, next_hop, domains=("local.example",), milters=(), snippet="",
	    xclient=("127.0.0.1",), name=None, hosts=None):
		super().__init__(tmp, name, hosts)
		host, port = addr
		main = MAIN_CF.format(name="postfix.example", domains=" ".join(domains), next_host=next_hop[0],
		    next_port=next_hop[1], xclient=" ".join(xclient))
		if milters:
			main += f"smtpd_milters = {' '.join(milters)}\n"
		self.file("etc/postfix/main.cf", main + snippet)
		self.file("etc/postfix/master.cf", MASTER_CF.replace("smtpd_addr", f"{host}:{port}"))
		self.file("etc/postfix/dynamicmaps.cf", "")
		self.addr = addr
		self.start(["sh", "-c", "mkdir -p /var/spool/postfix /var/lib/postfix && "
		    "chown postfix /var/lib/postfix && exec /usr/sbin/postfix start-fg"])
		self.wait_listen(addr)


SENDMAIL_MC = """divert(-1)
divert(0)dnl
include(`/usr/share/sendmail/cf/m4/cf.m4')dnl
VERSIONID(`interop')
OSTYPE(`debian')dnl
DOMAIN(`generic')dnl
undefine(`confHOST_STATUS_DIRECTORY')dnl
define(`confDOMAIN_NAME', `sendmail.example')dnl
define(`confDELIVERY_MODE', `interactive')dnl
define(`confTO_IDENT', `0')dnl
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch')dnl
define(`confPID_FILE', `/run/sendmail.pid')dnl
define(`STATUS_FILE', `/etc/mail/statistics')dnl
define(`ALIAS_FILE', `')dnl
define(`confMIN_FREE_BLOCKS', `0')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confBAD_RCPT_THROTTLE', `0')dnl
define(`confLOG_LEVEL', `14')dnl
dnl the clients' addresses are on this host's loopback, and yet strangers
define(`confDONT_PROBE_INTERFACES', `True')dnl
define(`confPRIVACY_FLAGS', `')dnl
define(`SMART_HOST', `relay:[{next_host}]')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {next_port}')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
DAEMON_OPTIONS(`Family=inet, Name=MTA, Port={port}, Addr={host}')dnl
{relay}
{snippet}
MAILER(`local')dnl
MAILER(`smtp')dnl
"""


class Sendmail(Peer):
	"""Relays mail for domains to next_hop (host, port).  snippet: m4 text that a postmaster
	adds to sendmail.mc, after the FEATUREs and before the MAILERs."""
	kind = "sendmail"

	def __init__(self, tmp, addr, next_hop, domains=("local.example",), snippet="", name=None,
	    hosts=None):
		super().__init__(tmp, name, hosts)
		host, port = addr
		relay = "\n".join(f"RELAY_DOMAIN(`{d}')dnl" for d in domains)
		self.file("etc/mail/sendmail.mc", SENDMAIL_MC.format(host=host, port=port, next_host=next_hop[0],
		    next_port=next_hop[1], relay=relay, snippet=snippet))
		self.file("etc/mail/service.switch", "hosts files\naliases files\n")
		self.file("etc/mail/local-host-names", "sendmail.example\n")
		self.file("etc/mail/statistics", "")
		self.addr = addr
		self.start(["sh", "-c", "umask 022; cd /etc/mail && mkdir -p /var/spool/mqueue && "
		    "chmod 700 /var/spool/mqueue && chown root:root /var/spool/mqueue && "
		    "m4 sendmail.mc >sendmail.cf && exec /usr/libexec/sendmail/sendmail "
		    "-bD -q2s -C/etc/mail/sendmail.cf"])
		self.wait_listen(addr)


class Opendkim(Peer):
	"""Signs and verifies; conf: lines of opendkim.conf beside the socket."""
	kind = "opendkim"

	def __init__(self, tmp, socket_path, conf, files=None, name=None):
		super().__init__(tmp, name)
		self.socket = Path(socket_path)
		for path, text in (files or {}).items():
			self.file(path, text, 0o600)
		self.file("etc/opendkim.conf", f"Socket local:{self.socket}\nSyslog yes\nLogResults yes\n"
		    f"UMask 000\n{conf}\n")
		self.start(["/usr/sbin/opendkim", "-f", "-x", "/etc/opendkim.conf"])
		self.wait_listen(os.fspath(self.socket))

	def inside(self, argv, stdin=b""):
		"""Runs a tool of the package on the host side, with its libraries."""
		libs = ":".join(str(p) for p in (self.tree / "usr/lib").glob("*-linux-gnu*"))
		return subprocess.run([self.tree / argv[0].lstrip("/"), *argv[1:]], input=stdin, capture_output=True,
		    env=dict(os.environ, LD_LIBRARY_PATH=libs), check=False)


class Rspamd(Peer):
	"""As the package configures it, with its milter on 127.0.0.1:11332; files: what a
	postmaster adds, by path."""
	kind = "rspamd"
	milter = ("127.0.0.1", 11332)

	def __init__(self, tmp, files=None, name=None, hosts=None):
		super().__init__(tmp, name, hosts)
		for path, text in (files or {}).items():
			self.file(path, text)
		self.start(["sh", "-c", "mkdir -p /var/lib/rspamd /var/log/rspamd /run/rspamd && "
		    "chown _rspamd:_rspamd /var/lib/rspamd /var/log/rspamd /run/rspamd && "
		    "exec /usr/bin/rspamd -c /etc/rspamd/rspamd.conf -f -u _rspamd -g _rspamd"])
		self.wait_listen(self.milter, 180)    # compiles its patterns first


class Clamd(Peer):
	"""The scanning daemon on a UNIX socket, with signatures: {file name: text}."""
	kind = "clamav"

	def __init__(self, tmp, signatures, name="clamd"):
		super().__init__(tmp, name)
		self.socket = self.run / "clamd.sock"
		for file, text in signatures.items():
			self.file(f"var/lib/clamav/{file}", text)
		self.file("etc/clamav/clamd.conf", f"LocalSocket {self.socket}\nLocalSocketMode 666\n"
		    "FixStaleSocket true\nUser root\nForeground true\nLogSyslog true\n"
		    "DatabaseDirectory /var/lib/clamav\nScanMail true\nScanArchive true\n")
		self.start(["/usr/sbin/clamd", "-c", "/etc/clamav/clamd.conf"])
		self.wait_listen(os.fspath(self.socket), 60)


class ClamavMilter(Peer):
	"""Has a running Clamd look at each message."""
	kind = "clamav"

	def __init__(self, tmp, clamd, name="clamav-milter"):
		super().__init__(tmp, name)
		self.socket = self.run / "clamav-milter.sock"
		self.file("etc/clamav/clamav-milter.conf", f"MilterSocket {self.socket}\nMilterSocketMode 666\n"
		    f"ClamdSocket unix:{clamd.socket}\nFixStaleSocket true\nUser root\nForeground true\n"
		    "LogSyslog true\nOnInfected Reject\nAddHeader Replace\n")
		self.start(["/usr/sbin/clamav-milter", "-c", "/etc/clamav/clamav-milter.conf"])
		self.wait_listen(os.fspath(self.socket), 60)
