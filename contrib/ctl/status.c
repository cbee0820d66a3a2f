/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists the daemons that the configuration names, asks each, and tells what it
 * answered. How to ask is probe.c's. */
#include "contrib/ctl/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/mail/milter_wire.h"
#include "contrib/ctl/command.h"
#include "contrib/ctl/common.h"
#include "contrib/ctl/probe.h"
#include "contrib/relay/relay_conf.h"

struct status {
	struct buf out;
	bool json;
	char **only; /* names of daemons to ask; n_only 0: all */
	int n_only;
	unsigned asked, down;
	int64_t timeout_ms;
};

static bool
wanted(const struct status *st, const char *name)
{
	for (int i = 0; i < st->n_only; i++)
		if (strcmp(st->only[i], name) == 0)
			return true;
	return st->n_only == 0;
}

/* What a filter may do to a message, by the bits of its negotiation. */
static void
add_actions(struct buf *out, uint32_t actions, const char *between)
{
	static const char *const names[] = { "add-header", "change-body",
		"add-recipient", "delete-recipient", "change-header", "quarantine",
		"change-sender", "add-recipient-arguments", "choose-macros" };
	bool any = false;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if ((actions >> i & 1) == 0)
			continue;
		buf_addf(out, "%s%s", any ? between : "", names[i]);
		any = true;
	}
}

static void
print_json(struct status *st, const char *name, const char *kind, const char *where,
    const struct probe *p)
{
	char text[640];

	buf_add_cstr(&st->out, st->asked > 1 ? "," : "");
	buf_add_cstr(&st->out, "{\"name\":");
	json_string(&st->out, name);
	buf_addf(&st->out, ",\"kind\":\"%s\",\"socket\":", kind);
	json_string(&st->out, where);
	buf_addf(&st->out, ",\"up\":%s", p->up ? "true" : "false");
	if (!p->up) {
		buf_add_cstr(&st->out, ",\"error\":");
		json_string(&st->out, err_str(&p->err, text, sizeof(text)));
	} else if (strcmp(kind, "milter") == 0) {
		buf_addf(&st->out,
		    ",\"latency_us\":%" PRId64 ",\"version\":%u,\"actions\":[", p->us,
		    p->version);
		buf_add_cstr(&st->out, p->actions == 0 ? "" : "\"");
		add_actions(&st->out, p->actions, "\",\"");
		buf_addf(&st->out, "%s],\"protocol\":%u", p->actions == 0 ? "" : "\"",
		    p->protocol);
	} else {
		buf_addf(&st->out, ",\"latency_us\":%" PRId64 ",\"greeting\":", p->us);
		json_string(&st->out, p->greeting);
	}
	buf_add_char(&st->out, '}');
}

static void
print_text(struct status *st, const char *name, const char *kind, const char *where,
    const struct probe *p)
{
	char text[640];

	buf_addf(
	    &st->out, "%-12s %-6s %-4s %s  ", name, kind, p->up ? "up" : "down", where);
	if (!p->up) {
		buf_addf(&st->out, "%s\n", err_str(&p->err, text, sizeof(text)));
		return;
	}
	buf_addf(
	    &st->out, "%" PRId64 ".%" PRId64 " ms", p->us / 1000, p->us / 100 % 10);
	if (strcmp(kind, "milter") == 0) {
		buf_addf(&st->out, ", version %u, may: ", p->version);
		if (p->actions == 0)
			buf_add_cstr(&st->out, "change nothing");
		add_actions(&st->out, p->actions, ", ");
	} else {
		buf_addf(&st->out, ", 220 %s", p->greeting);
	}
	buf_add_char(&st->out, '\n');
}

static void
tell(struct status *st, const char *name, const char *kind, const char *where,
    const struct probe *p)
{
	st->asked++;
	st->down += !p->up;
	if (st->json)
		print_json(st, name, kind, where, p);
	else
		print_text(st, name, kind, where, p);
}

static void
ask_milter(struct status *st, const char *name, const char *spec)
{
	struct probe p;

	if (!wanted(st, name))
		return;
	probe_milter(spec, st->timeout_ms, &p);
	tell(st, name, "milter", spec, &p);
}

static void
ask_relay(struct status *st, const char *file, const char *name)
{
	struct errs errs = { 0 };
	struct relay_conf *conf = relay_conf_load(file, name, &errs);

	for (size_t i = 0; conf != NULL && i < conf->listen.n; i++) {
		struct probe p;
		struct ip ip;
		uint16_t port;

		if (!relay_listen_parse(str_of(conf->listen.list[i]), &ip, &port))
			continue;
		if (ip.family == 0) /* "*": this host is among all */
			ip_parse(STR("127.0.0.1"), &ip);
		probe_smtp(&ip, port, st->timeout_ms, &p);
		tell(st, name, "relay", conf->listen.list[i], &p);
	}
	ctl_print_errors(&errs);
	errs_clear(&errs);
	relay_conf_free(conf);
}

static void
ask_relays(struct status *st, const char *file)
{
	struct errs errs = { 0 };
	struct conf_tree *tree = conf_parse_file_all(file, &errs);

	for (const struct conf_node *n = conf_root(tree); n != NULL; n = n->next) {
		if (!n->block || !str_is(n->name.text, "relay") || n->n_values != 1)
			continue;
		struct buf name;

		buf_init(&name, CONF_FILE_MAX);
		buf_add_str(&name, n->values[0].text);
		if (wanted(st, buf_cstr(&name)))
			ask_relay(st, file, buf_cstr(&name));
		buf_clear(&name);
	}
	errs_clear(&errs); /* the settings were read from the same file just now */
	conf_free(tree);
}

int
ctl_status(int argc, char **argv)
{
	struct ctl_common common;
	const char *timeout = NULL;
	const struct ctl_option options[] = { { "--timeout", &timeout, NULL } };
	struct status st = { 0 };

	if (ctl_options(&argc, argv, &common, options, 1) != 0)
		return EX_USAGE;
	st.timeout_ms = ctl_timeout_ms("status", timeout);
	if (st.timeout_ms < 0)
		return EX_USAGE;
	struct settings *s = ctl_settings(&common);
	if (s == NULL)
		return EX_CONFIG;
	st.json = common.json;
	st.only = argv + 1;
	st.n_only = argc - 1;
	buf_init(&st.out, CTL_OUTPUT_MAX);
	buf_add_cstr(&st.out, st.json ? "{\"daemons\":[" : "");
	ask_milter(&st, "access", s->access.socket);
	ask_milter(&st, "greylist", s->greylist.socket);
	/* Those of the content tier are asked where the file, or the caller, names them. */
	if (ctl_has_block(s, "mime") || st.n_only > 0)
		ask_milter(&st, "mime", s->mime.socket);
	if (ctl_has_block(s, "score") || st.n_only > 0)
		ask_milter(&st, "score", s->score.socket);
	if (ctl_file(&common) != NULL)
		ask_relays(&st, ctl_file(&common));
	if (st.json)
		buf_addf(&st.out, "],\"down\":%u}\n", st.down);
	settings_unref(s);
	if (st.asked == 0) {
		buf_clear(&st.out);
		return ctl_usage("status", "no daemon of that name is configured");
	}
	int written = ctl_output(&st.out);
	return st.down > 0 ? CTL_DOWN : written;
}
