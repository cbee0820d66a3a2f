/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening and closing in the right order: SPF borrows the resolver. */
#include "policy/greylist_env.h"

#include "common/base/log.h"

int
judge_env_open(struct judge_env *e, struct settings *s, struct err *err)
{
	const struct resolver_conf conf = settings_resolver(&s->dns);
	struct err no_list;

	*e = (struct judge_env){ .resolver = resolver_new(&conf, err) };
	if (e->resolver != NULL)
		e->spf = spf_new(e->resolver, 0, err);
	if (e->spf != NULL)
		e->opener = store_opener_new(s, err);
	if (e->opener == NULL) {
		judge_env_close(e);
		return -1;
	}
	e->suffixes = suffixes_open(s->dns.public_suffixes, &no_list);
	if (e->suffixes == NULL)
		log_err("suffixes", &no_list);
	return 0;
}

void
judge_env_close(struct judge_env *e)
{
	suffixes_close(e->suffixes);
	store_opener_free(e->opener);
	spf_free(e->spf);
	resolver_free(e->resolver);
	*e = (struct judge_env){ .opener = NULL };
}
