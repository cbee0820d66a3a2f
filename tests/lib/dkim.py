# SPDX-License-Identifier: BSD-2-Clause
"""opendkim as a signer and as a verifier, with a key made for the test."""
import os
from pathlib import Path

import peers
from proc import run

DOMAIN, SELECTOR = "sender.example", "test"


def make_key(tmp):
	"""(private key as text, public record as text)"""
	path = Path(os.fspath(tmp)) / "dkim.pem"
	status, _, err = run(["openssl", "genrsa", "-out", path, "2048"])
	if status != 0:
		raise RuntimeError(err)
	status, public, err = run(["openssl", "rsa", "-in", path, "-pubout"])
	if status != 0:
		raise RuntimeError(err)
	b64 = "".join(l for l in public.splitlines() if "-----" not in l)
	return path.read_text(), f"v=DKIM1; k=rsa; p={b64}"


def signer(tmp, key, socket_path):
	return peers.Opendkim(tmp, socket_path, f"Mode s\nDomain {DOMAIN}\nSelector {SELECTOR}\n"
	    "KeyFile /etc/dkim.pem\nCanonicalization relaxed/simple\nInternalHosts 0.0.0.0/0\n"
	    "OversignHeaders From", {"/etc/dkim.pem": key}, name="signer")


def verifier(tmp, record, socket_path):
	return peers.Opendkim(tmp, socket_path, "Mode v\nTestPublicKeys /etc/dkim.keys\nAlwaysAddARHeader yes\n"
	    "InternalHosts 192.0.2.255\n", {"/etc/dkim.keys": f"{SELECTOR}._domainkey.{DOMAIN} {record}\n"},
	    name="verifier")
