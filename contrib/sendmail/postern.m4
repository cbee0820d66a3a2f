dnl SPDX-License-Identifier: BSD-2-Clause
dnl Attaches Postern's envelope milters to sendmail 8.14 or later.  In sendmail.mc, behind
dnl the FEATUREs and before the MAILERs:
dnl
dnl	include(`/usr/local/share/doc/postern/sendmail/postern.m4')dnl
dnl
dnl F=T: when a milter is away, mail waits at its sender (451) and nothing passes unseen.
dnl T=: connect, send, one reply, all of end-of-message.  A milter answers within a second
dnl or two; these bounds are for the day on which it does not.
dnl The order matters: who is refused for good need not be greylisted first.
INPUT_MAIL_FILTER(`postern-access', `S=unix:/run/postern/access.sock, F=T, T=C:30s;S:10s;R:30s;E:5m')dnl
INPUT_MAIL_FILTER(`postern-greylist', `S=unix:/run/postern/greylist.sock, F=T, T=C:30s;S:10s;R:30s;E:5m')dnl
dnl What the milters want to know, beyond what sendmail tells by itself.  They also ask for
dnl it when they are called; these lines serve other milters that do not.
define(`confMILTER_MACROS_CONNECT', confMILTER_MACROS_CONNECT`, {client_addr}, {client_name}, {client_port}, {client_ptr}, {client_resolve}')dnl
