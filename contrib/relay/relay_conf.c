/* SPDX-License-Identifier: BSD-2-Clause */
/* The relay's settings: one row each.  What is wrong with a value by itself is said
 * here; whether files and sockets exist is found when they are opened. */
#include "contrib/relay/relay_conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/xalloc.h"
#include "common/mail/address.h"
#include "contrib/relay/route.h"

#define MILTERS_MAX 16

bool
relay_listen_parse(struct str text, struct ip *ip, uint16_t *port)
{
	ptrdiff_t colon = str_rindex(text, ':');
	struct str host;
	uint64_t n;

	*ip = (struct ip){ .family = 0 };
	if (colon < 0 ||
	    !str_to_uint(str_sub(text, (size_t)colon + 1, text.len), 1, 65535, &n))
		return false;
	*port = (uint16_t)n;
	host = str_sub(text, 0, (size_t)colon);
	if (host.len == 0 || str_is(host, "*"))
		return true;
	if (str_has(host, ':') && host.p[0] != '[')
		return false; /* where does the address end? */
	return ip_parse(host, ip);
}

static const char *
listen_wrong(struct str value)
{
	struct ip ip;
	uint16_t port;

	return relay_listen_parse(value, &ip, &port)
	    ? NULL
	    : "an address and port: 127.0.0.1:25, [::1]:25 or *:25";
}

static const char *
path_wrong(struct str value)
{
	return value.len > 0 && value.p[0] != '/' ? "an absolute path" : NULL;
}

static const char *
smarthost_wrong(struct str value)
{
	struct route route;

	return value.len > 0 && route_parse(value, &route, NULL) < 0
	    ? "a host as in a mailertable: [192.0.2.1]:25, [host] or domain"
	    : NULL;
}

static const char *
domain_wrong(struct str value)
{
	if (value.len > 0 && value.p[0] == '.')
		value = str_sub(value, 1, value.len);
	return address_domain_ok(value) ? NULL : "a domain, .domain or [address]";
}

static const char *
host_wrong(struct str value)
{
	return value.len == 0 || address_domain_ok(value) ? NULL : "a host name";
}

static const char *
postmaster_wrong(struct str value)
{
	struct address a;

	if (value.len == 0 || (address_parse(value, &a, NULL) == 0 && a.domain.len > 0))
		return NULL;
	return "an address with its domain";
}

/* As milter_chain takes them. */
static const char *
socket_wrong(struct str value)
{
	uint64_t port;
	struct str host;

	if (str_starts(value, STR("unix:")))
		return path_wrong(str_sub(value, 5, value.len));
	if (value.len > 0 && value.p[0] == '/')
		return NULL;
	if (str_cut(&value, '@', &host) && value.len > 0 &&
	    (str_starts(host, STR("inet:")) || str_starts(host, STR("inet6:"))) &&
	    str_cut(&host, ':', &(struct str){ NULL, 0 }) &&
	    str_to_uint(host, 1, 65535, &port))
		return NULL;
	return "unix:/path or inet:port@address";
}

/* --- milter "name" { ... } --- */

#define FILTER(field) offsetof(struct milter_filter_conf, field)
#define SECOND 1000
#define MINUTE (60 * SECOND)

static const struct conf_setting milter_rows[] = {
	{ .name = "socket",
	    .type = CONF_STRING,
	    .offset = FILTER(address),
	    .check = socket_wrong,
	    .help = "where the milter listens" },
	{ .name = "on-failure",
	    .type = CONF_ENUM,
	    .offset = FILTER(on_failure),
	    .def = "tempfail",
	    .choices = "tempfail|reject|accept|quarantine|shutdown",
	    .help = "what becomes of mail when the milter fails" },
	{ .name = "connect-timeout",
	    .type = CONF_TIME_MS,
	    .offset = FILTER(connect_ms),
	    .def = "10s",
	    .min = 10,
	    .max = 10 * MINUTE,
	    .help = "for connecting and negotiating" },
	{ .name = "command-timeout",
	    .type = CONF_TIME_MS,
	    .offset = FILTER(command_ms),
	    .def = "30s",
	    .min = 10,
	    .max = 10 * MINUTE,
	    .help = "for an answer to an envelope step" },
	{ .name = "content-timeout",
	    .type = CONF_TIME_MS,
	    .offset = FILTER(content_ms),
	    .def = "300s",
	    .min = 10,
	    .max = 9 * MINUTE,
	    .help = "for an answer to the message" },
};

static const struct conf_table milter_table = { "milter", milter_rows,
	sizeof(milter_rows) / sizeof(milter_rows[0]),
	sizeof(struct milter_filter_conf) };

static void
milters_clear(void *field)
{
	struct milter_filters *f = field;

	for (size_t i = 0; i < f->n; i++) {
		free(f->list[i].name);
		conf_clear(&milter_table, &f->list[i]);
	}
	free(f->list);
	*f = (struct milter_filters){ NULL, 0 };
}

static void
milter_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct milter_filters *f = field;
	const struct conf_word *at = &node->name;
	struct milter_filter_conf filter;

	if (node->n_values != 1 || node->values[0].text.len == 0) {
		errs_add(errs, at->file, at->line,
		    "milter: expected one name, as in milter \"access\" { ... }");
		return;
	}
	if (f->n == MILTERS_MAX) {
		errs_add(errs, at->file, at->line, "more than %d milters", MILTERS_MAX);
		return;
	}
	conf_defaults(&milter_table, &filter);
	(void)conf_apply(&milter_table, node, &filter, errs);
	if (filter.address == NULL || filter.address[0] == '\0')
		errs_add(errs, at->file, at->line, "milter \"%.*s\" has no socket",
		    STR_ARG(node->values[0].text));
	filter.name = str_dup(node->values[0].text);
	f->list = xreallocarray(f->list, f->n + 1, sizeof(*f->list));
	f->list[f->n++] = filter;
}

static void
milters_print(const void *field, struct buf *out)
{
	const struct milter_filters *f = field;

	for (size_t i = 0; i < f->n; i++)
		(void)buf_addf(out, "%s%s { socket %s }", i == 0 ? "" : " ",
		    f->list[i].name, f->list[i].address);
}

/* --- relay "name" { ... } --- */

#define AT(field) .offset = offsetof(struct relay_conf, field)
#define MAX_SECONDS (10 * 365 * 86400)

static const struct conf_setting rows[] = {
	{ .name = "host",
	    .stage = STAGE_CONNECT,
	    .type = CONF_STRING,
	    AT(host),
	    .check = host_wrong,
	    .help = "our name in greeting and Received" },
	{ .name = "listen",
	    .stage = STAGE_START,
	    .type = CONF_LIST,
	    AT(listen),
	    .check = listen_wrong,
	    .help = "addresses and ports" },
	{ .name = "spool",
	    .stage = STAGE_START,
	    .type = CONF_STRING,
	    AT(spool),
	    .check = path_wrong,
	    .help = "directory of the queue" },
	{ .name = "handoff",
	    .stage = STAGE_CONNECT,
	    .type = CONF_ENUM,
	    AT(handoff),
	    .def = "queue",
	    .choices = "queue|session",
	    .help = "answer the client from our disk, or with the next tier's answer" },
	{ .name = "failed",
	    .stage = STAGE_CONNECT,
	    .type = CONF_ENUM,
	    AT(failed),
	    .def = "bounce",
	    .choices = "bounce|quarantine",
	    .help = "what becomes of mail that cannot be delivered" },
	{ .name = "relay-domains",
	    .stage = STAGE_CONNECT,
	    .type = CONF_LIST,
	    AT(relay_domains),
	    .check = domain_wrong,
	    .help = "recipients' domains taken from anybody" },
	{ .name = "relay-domains-file",
	    .stage = STAGE_CONNECT,
	    .type = CONF_STRING,
	    AT(relay_domains_file),
	    .check = path_wrong,
	    .help = "more of them, one a line" },
	{ .name = "relay-clients",
	    .stage = STAGE_CONNECT,
	    .type = CONF_NET_LIST,
	    AT(relay_clients),
	    .help = "clients that may send anywhere" },
	{ .name = "xclient",
	    .stage = STAGE_CONNECT,
	    .type = CONF_NET_LIST,
	    AT(xclient),
	    .help = "hosts trusted with XCLIENT and XFORWARD" },
	{ .name = "mailertable",
	    .stage = STAGE_CONNECT,
	    .type = CONF_STRING,
	    AT(mailertable),
	    .check = path_wrong,
	    .help = "routes by domain" },
	{ .name = "smarthost",
	    .stage = STAGE_CONNECT,
	    .type = CONF_STRING,
	    AT(smarthost),
	    .check = smarthost_wrong,
	    .help = "the route of all other domains" },
	{ .name = "postmaster",
	    .stage = STAGE_CONNECT,
	    .type = CONF_STRING,
	    AT(postmaster),
	    .check = postmaster_wrong,
	    .help = "the address of <postmaster>" },
	{ .name = "client-names",
	    .stage = STAGE_CONNECT,
	    .type = CONF_BOOL,
	    AT(client_names),
	    .def = "on",
	    .help = "look up clients' names" },
	{ .name = "milter",
	    .stage = STAGE_CONNECT,
	    .type = CONF_CUSTOM,
	    AT(milters),
	    .parse = milter_parse,
	    .clear = milters_clear,
	    .print = milters_print,
	    .size = sizeof(struct milter_filters),
	    .block = true,
	    .help = "a filter, in order" },
	{ .name = "message-size",
	    .stage = STAGE_CONNECT,
	    .type = CONF_SIZE,
	    AT(message_size),
	    .def = "50M",
	    .min = 65536,
	    .max = (int64_t)1 << 31,
	    .help = "largest message" },
	{ .name = "in-flight",
	    .stage = STAGE_CONNECT,
	    .type = CONF_SIZE,
	    AT(in_flight),
	    .def = "512M",
	    .min = 1 << 20,
	    .max = (int64_t)1 << 40,
	    .help = "messages kept in memory at once by a listener" },
	{ .name = "max-rcpts",
	    .stage = STAGE_CONNECT,
	    .type = CONF_INT,
	    AT(max_rcpts),
	    .def = "1000",
	    .min = 100,
	    .max = ENVELOPE_RCPTS_MAX,
	    .help = "recipients of a message" },
	{ .name = "max-sessions",
	    .stage = STAGE_CONNECT,
	    .type = CONF_INT,
	    AT(max_sessions),
	    .def = "1000",
	    .min = 1,
	    .max = 20000,
	    .help = "connections of a listener" },
	{ .name = "max-sessions-per-client",
	    .stage = STAGE_CONNECT,
	    .type = CONF_INT,
	    AT(max_sessions_per_client),
	    .def = "50",
	    .min = 1,
	    .max = 20000,
	    .help = "connections of one client address to a listener" },
	{ .name = "command-timeout",
	    .stage = STAGE_CONNECT,
	    .type = CONF_TIME,
	    AT(command_timeout),
	    .def = "300",
	    .min = 1,
	    .max = 3600,
	    .help = "for a whole command line" },
	{ .name = "data-timeout",
	    .stage = STAGE_CONNECT,
	    .type = CONF_TIME,
	    AT(data_timeout),
	    .def = "180",
	    .min = 1,
	    .max = 3600,
	    .help = "grace for the text" },
	{ .name = "error-delay",
	    .stage = STAGE_CONNECT,
	    .type = CONF_TIME_MS,
	    AT(error_delay_ms),
	    .def = "1s",
	    .min = 0,
	    .max = 60000,
	    .help = "pause that grows with errors" },
	{ .name = "greet-pause",
	    .stage = STAGE_CONNECT,
	    .type = CONF_TIME_MS,
	    AT(greet_pause_ms),
	    .def = "0",
	    .min = 0,
	    .max = 60000,
	    .help = "how long strangers wait for the greeting" },
	{ .name = "handoff-timeout",
	    .stage = STAGE_CONNECT,
	    .type = CONF_TIME,
	    AT(handoff_timeout),
	    .def = "240",
	    .min = 1,
	    .max = 400,
	    .help = "for the next tier's answer to the message" },
	{ .name = "retry-min",
	    .stage = STAGE_CONNECT,
	    .type = CONF_TIME,
	    AT(retry_min),
	    .def = "300",
	    .min = 1,
	    .max = 86400,
	    .help = "first pause between tries" },
	{ .name = "retry-max",
	    .stage = STAGE_CONNECT,
	    .type = CONF_TIME,
	    AT(retry_max),
	    .def = "4000",
	    .min = 1,
	    .max = 86400,
	    .help = "longest pause between tries" },
	{ .name = "lifetime",
	    .stage = STAGE_CONNECT,
	    .type = CONF_TIME,
	    AT(lifetime),
	    .def = "5d",
	    .min = 1,
	    .max = MAX_SECONDS,
	    .help = "how long mail is tried" },
	{ .name = "listeners",
	    .stage = STAGE_CONNECT,
	    .type = CONF_INT,
	    AT(listeners),
	    .def = "2",
	    .min = 1,
	    .max = 64,
	    .help = "processes that take mail" },
	{ .name = "deliveries",
	    .stage = STAGE_CONNECT,
	    .type = CONF_INT,
	    AT(deliveries),
	    .def = "100",
	    .min = 1,
	    .max = 5000,
	    .help = "deliveries at once" },
	{ .name = "deliveries-per-host",
	    .stage = STAGE_CONNECT,
	    .type = CONF_INT,
	    AT(deliveries_per_host),
	    .def = "20",
	    .min = 1,
	    .max = 5000,
	    .help = "deliveries at once to one host" },
	{ .name = "min-free",
	    .stage = STAGE_CONNECT,
	    .type = CONF_SIZE,
	    AT(min_free),
	    .def = "75M",
	    .min = 0,
	    .max = (int64_t)1 << 50,
	    .help = "room on the disk below which no mail is taken" },
	{ .name = "dir-sync",
	    .stage = STAGE_CONNECT,
	    .type = CONF_ENUM,
	    AT(dir_sync),
	    .def = "auto",
	    .choices = "auto|always",
	    .help = "whether the directory is synced with each batch" },
};

static const struct conf_table table = { "relay", rows, sizeof(rows) / sizeof(rows[0]),
	sizeof(struct relay_conf) };

const struct conf_table *
relay_conf_table(void)
{
	return &table;
}

const struct conf_table *
relay_milter_table(void)
{
	return &milter_table;
}

void
relay_conf_free(struct relay_conf *c)
{
	if (c == NULL)
		return;
	free(c->name);
	conf_clear(&table, c);
	free(c);
}

struct relay_conf *
relay_conf_of(const struct conf_node *block, struct errs *errs)
{
	struct relay_conf *c = xcalloc(1, sizeof(*c));
	const struct conf_word *at = &block->name;

	conf_defaults(&table, c);
	(void)conf_apply(&table, block, c, errs);
	if (block->n_values != 1 || block->values[0].text.len == 0) {
		errs_add(errs, at->file, at->line,
		    "relay: expected one name, as in relay \"incoming\" { ... }");
		c->name = xstrdup("");
	} else {
		c->name = str_dup(block->values[0].text);
	}
	if (c->listen.n == 0)
		errs_add(
		    errs, at->file, at->line, "relay \"%s\" has no listen", c->name);
	if (c->spool[0] == '\0')
		errs_add(
		    errs, at->file, at->line, "relay \"%s\" has no spool", c->name);
	if (c->message_size > c->in_flight)
		errs_add(errs, at->file, at->line,
		    "relay \"%s\": in-flight is smaller than message-size", c->name);
	if (c->retry_min > c->retry_max)
		errs_add(errs, at->file, at->line,
		    "relay \"%s\": retry-min is longer than retry-max", c->name);
	return c;
}

bool
relay_conf_check(const struct conf_node *block, struct errs *errs)
{
	size_t before = errs->n + errs->dropped;

	relay_conf_free(relay_conf_of(block, errs));
	return errs->n + errs->dropped == before;
}

/* `host` outside blocks or inside `run`: both name the whole installation. */
static const struct conf_word *
site_host(const struct conf_node *n)
{
	for (; n != NULL; n = n->next) {
		const struct conf_word *inside = NULL;

		if (!n->block && str_is(n->name.text, "host") && n->n_values == 1 &&
		    address_domain_ok(n->values[0].text))
			return &n->values[0];
		if (n->block && str_is(n->name.text, "run"))
			inside = site_host(n->children);
		if (inside != NULL)
			return inside;
	}
	return NULL;
}

/* The name of the whole installation, else of this machine. */
static char *
default_host(const struct conf_node *root)
{
	char name[256] = "";
	const struct conf_word *host = site_host(root);

	if (host != NULL)
		return str_dup(host->text);
	if (gethostname(name, sizeof(name) - 1) < 0 || !address_domain_ok(str_of(name)))
		return xstrdup("localhost");
	return xstrdup(name);
}

static struct relay_conf *
from_tree(
    const struct conf_tree *tree, const char *file, const char *name, struct errs *errs)
{
	const struct conf_node *root = conf_root(tree);
	struct relay_conf *found = NULL;

	for (const struct conf_node *n = root; n != NULL; n = n->next) {
		if (!n->block || !str_is(n->name.text, "relay") || n->n_values != 1 ||
		    !str_is(n->values[0].text, name))
			continue;
		if (found != NULL)
			errs_add(errs, n->name.file, n->name.line,
			    "relay \"%s\" is there twice", name);
		else
			found = relay_conf_of(n, errs);
	}
	if (found == NULL)
		errs_add(errs, file, 0, "expected a block relay \"%s\" { ... }", name);
	else if (found->host[0] == '\0') {
		free(found->host);
		found->host = default_host(root);
	}
	return found;
}

static struct relay_conf *
finish(struct conf_tree *tree, const char *file, const char *name, struct errs *errs)
{
	size_t before = errs->n + errs->dropped;
	struct relay_conf *c = tree == NULL ? NULL : from_tree(tree, file, name, errs);

	conf_free(tree);
	if (errs->n + errs->dropped == before)
		return c;
	relay_conf_free(c);
	return NULL;
}

struct relay_conf *
relay_conf_load(const char *path, const char *name, struct errs *errs)
{
	return finish(conf_parse_file(path, errs), path, name, errs);
}

struct relay_conf *
relay_conf_from_text(
    struct str text, const char *file, const char *name, struct errs *errs)
{
	return finish(conf_parse_text(text, file, errs), file, name, errs);
}

static bool
differs(const struct conf_setting *row, const struct relay_conf *x,
    const struct relay_conf *y)
{
	struct buf a, b;
	bool differ;

	buf_init(&a, 1u << 20);
	buf_init(&b, 1u << 20);
	conf_print(row, x, &a);
	conf_print(row, y, &b);
	differ = !str_eq(buf_str(&a), buf_str(&b));
	buf_clear(&a);
	buf_clear(&b);
	return differ;
}

bool
relay_conf_queue_differs(const struct relay_conf *from, const struct relay_conf *to)
{
	static const char *const names[] = { "host", "failed", "retry-min", "retry-max",
		"lifetime", "min-free", "dir-sync" };
	bool differ = false;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		differ =
		    differ || differs(conf_find(&table, str_of(names[i])), from, to);
	return differ;
}

void
relay_conf_restart_needed(
    const struct relay_conf *from, const struct relay_conf *to, struct errs *errs)
{
	for (size_t i = 0; i < table.n; i++)
		if (rows[i].stage == STAGE_START && differs(&rows[i], from, to))
			errs_add(errs, NULL, 0,
			    "relay \"%s\": %s changes with a restart only; kept",
			    from->name, rows[i].name);
}
