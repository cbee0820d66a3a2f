# SPDX-License-Identifier: BSD-2-Clause
"""A network of the test's own: enter() puts this process, and all that it starts, into a
network namespace whose loopback holds the addresses that clients of the test come from.
Nobody else sees it; port 25 and 53 are free in it.  Call it before any thread starts."""
import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891c
IFF_UP = 1


def _inet(addr):
	return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(addr))


def enter(addresses=()):
	"""Raises OSError where the host denies it."""
	libc = ctypes.CDLL(None, use_errno=True)
	if libc.unshare(CLONE_NEWNET) != 0:
		e = ctypes.get_errno()
		raise OSError(e, "network namespace denied: " + os.strerror(e))
	with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
		for n, addr in enumerate(("127.0.0.1", *addresses)):
			name = (b"lo" if n == 0 else b"lo:%d" % n).ljust(16, b"\0")
			fcntl.ioctl(s, SIOCSIFADDR, name + _inet(addr))
			fcntl.ioctl(s, SIOCSIFNETMASK, name + _inet("255.0.0.0" if n == 0 else "255.255.255.255"))
		flags = struct.unpack("=16sH", fcntl.ioctl(s, SIOCGIFFLAGS, struct.pack("=16sH14x", b"lo", 0))[:18])[1]
		fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("=16sH14x", b"lo", flags | IFF_UP))
