/* SPDX-License-Identifier: BSD-2-Clause */
/* A name on its way through client_name.c; seen by client_name_address.c alone. */
#ifndef POSTERN_POLICY_CLIENT_NAME_PRIVATE_H
#define POSTERN_POLICY_CLIENT_NAME_PRIVATE_H

#include "common/base/ip.h"
#include "common/base/str.h"

struct client_name {
	char text[253];
	struct str labels; /* of text, lower case: all before the public suffix */
	size_t head; /* octets before the organisation's own label */
};

enum client_name_has { CLIENT_NAME_NOTHING, CLIENT_NAME_PART, CLIENT_NAME_WHOLE };

/* How much of the address the labels hold. */
enum client_name_has client_name_address(
    const struct client_name *name, const struct ip *ip);

#endif
