/* SPDX-License-Identifier: BSD-2-Clause */
/* libclamav in process.  The traps: without CL_SCAN_HEURISTIC_EXCEEDS_MAX an archive that
 * passes a limit counts as clean; the cache keys on MD5; names inside archives come only
 * by the (unstable) file inspection callback, which is why nobody else includes clamav.h. */
#include "milters/mime/scand/clam.h"

#include <clamav.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"

struct clam {
	struct cl_engine *engine;
	char version[80];
};

/* What a scan's callback reports to; libclamav hands it through. */
struct scan {
	void (*member)(void *arg, const char *name);
	void *arg;
};

static void
tell_member(const struct scan *s, const char *name, size_t size)
{
	size_t len = name == NULL ? 0 : strlen(name);

	if (len == 0 || s == NULL || s->member == NULL)
		return;
	/* A folder is no file, whatever its name ends in. */
	if (size > 0 || (name[len - 1] != '/' && name[len - 1] != '\\'))
		s->member(s->arg, name);
}

static cl_error_t
on_file(int fd, const char *type, const char **ancestors, size_t parent_size,
    const char *name, size_t size, const char *buffer, uint32_t recursion, uint32_t attrs,
    void *context)
{
	const struct scan *s = context;

	(void)fd;
	(void)type;
	(void)ancestors;
	(void)parent_size;
	(void)buffer;
	(void)attrs;
	if (recursion > 0)
		tell_member(s, name, size);
	return CL_CLEAN;
}

/* Members that are not unpacked, for they are encrypted, are told by this one only. */
static cl_error_t
on_meta(const char *container, unsigned long container_size, const char *name,
    unsigned long size, int encrypted, unsigned position, void *context)
{
	const struct scan *s = context;

	(void)container;
	(void)container_size;
	(void)encrypted;
	(void)position;
	tell_member(s, name, size);
	return CL_CLEAN;
}

static int
set_number(struct cl_engine *e, enum cl_engine_field field, uint64_t value, struct err *err)
{
	if (cl_engine_set_num(e, field, (long long)value) != CL_SUCCESS)
		return err_set(err, "libclamav refuses setting %d = %llu", (int)field,
		    (unsigned long long)value);
	return 0;
}

static int
set_limits(struct cl_engine *e, const struct clam_conf *conf, struct err *err)
{
	if (set_number(e, CL_ENGINE_MAX_SCANSIZE, conf->scan_size, err) != 0 ||
	    set_number(e, CL_ENGINE_MAX_FILESIZE, conf->file_size, err) != 0 ||
	    set_number(e, CL_ENGINE_MAX_RECURSION, conf->recursion, err) != 0 ||
	    set_number(e, CL_ENGINE_MAX_FILES, conf->files, err) != 0 ||
	    set_number(e, CL_ENGINE_MAX_SCANTIME, conf->time_ms, err) != 0 ||
	    set_number(e, CL_ENGINE_PCRE_MATCH_LIMIT, 100000, err) != 0 ||
	    set_number(e, CL_ENGINE_DISABLE_CACHE, 1, err) != 0 ||
	    set_number(e, CL_ENGINE_BYTECODE_MODE, CL_BYTECODE_MODE_INTERPRETER, err) != 0)
		return -1;
	return 0;
}

struct clam *
clam_load(const struct clam_conf *conf, struct err *err)
{
	struct clam *c = xcalloc(1, sizeof(*c));
	unsigned signatures = 0;
	cl_error_t rc;

	if ((rc = cl_init(CL_INIT_DEFAULT)) != CL_SUCCESS ||
	    (c->engine = cl_engine_new()) == NULL) {
		err_set(err, "libclamav does not start: %s", cl_strerror(rc));
		goto fail;
	}
	if (set_limits(c->engine, conf, err) != 0)
		goto fail;
	cl_engine_set_clcb_file_inspection(c->engine, on_file);
	cl_engine_set_clcb_meta(c->engine, on_meta);
	rc = cl_load(conf->signatures, c->engine, &signatures, CL_DB_STDOPT);
	if (rc != CL_SUCCESS) {
		err_set(err, "signatures in %s cannot be read: %s", conf->signatures,
		    cl_strerror(rc));
		goto fail;
	}
	if (signatures == 0) {
		err_set(err, "no signatures in %s, expected at least one", conf->signatures);
		goto fail;
	}
	rc = cl_engine_compile(c->engine);
	if (rc != CL_SUCCESS) {
		err_set(err, "signatures in %s cannot be compiled: %s", conf->signatures,
		    cl_strerror(rc));
		goto fail;
	}
	snprintf(c->version, sizeof(c->version), "ClamAV %s/%u signatures", cl_retver(),
	    signatures);
	return c;
fail:
	clam_free(c);
	return NULL;
}

void
clam_free(struct clam *c)
{
	if (c == NULL)
		return;
	if (c->engine != NULL)
		cl_engine_free(c->engine);
	free(c);
}

int
clam_set_dir(struct clam *c, const char *dir, struct err *err)
{
	if (cl_engine_set_str(c->engine, CL_ENGINE_TMPDIR, dir) != CL_SUCCESS)
		return err_set(err, "libclamav refuses the directory %s", dir);
	return 0;
}

const char *
clam_version(const struct clam *c)
{
	return c->version;
}

/* libclamav tells limits and encryption as viruses of these names. */
static enum scan_state
state_of(const char *virus)
{
	if (strncmp(virus, "Heuristics.Limits.", 18) == 0)
		return SCAN_LIMIT;
	if (strncmp(virus, "Heuristics.Encrypted.", 21) == 0)
		return SCAN_ENCRYPTED;
	return SCAN_INFECTED;
}

void
clam_scan(struct clam *c, struct str octets, const char *name,
    void (*member)(void *arg, const char *name), void *arg, struct clam_result *out)
{
	struct cl_scan_options options = { .general = CL_SCAN_GENERAL_HEURISTICS,
		.parse = ~0u,
		.heuristic = CL_SCAN_HEURISTIC_EXCEEDS_MAX |
		    CL_SCAN_HEURISTIC_ENCRYPTED_ARCHIVE | CL_SCAN_HEURISTIC_ENCRYPTED_DOC };
	struct scan s = { member, arg };
	const char *virus = NULL;
	unsigned long scanned = 0;

	*out = (struct clam_result){ .state = SCAN_CLEAN };
	if (octets.len == 0)
		return;
	cl_fmap_t *map = cl_fmap_open_memory(octets.p, octets.len);
	if (map == NULL) {
		*out = (struct clam_result){ SCAN_ERROR, "out of memory" };
		return;
	}
	cl_error_t rc = cl_scanmap_callback(map, name[0] == '\0' ? NULL : name, &virus,
	    &scanned, c->engine, &options, &s);
	cl_fmap_close(map);
	if (rc == CL_CLEAN)
		return;
	if (rc == CL_VIRUS && virus != NULL) {
		out->state = state_of(virus);
		snprintf(out->virus, sizeof(out->virus), "%s", virus);
		return;
	}
	/* A part that an unpacker gives up on was not read in full. */
	out->state = rc == CL_EMAXREC || rc == CL_EMAXSIZE || rc == CL_EMAXFILES ||
	        rc == CL_ETIMEOUT
	    ? SCAN_LIMIT
	    : SCAN_ERROR;
	snprintf(out->virus, sizeof(out->virus), "%s", cl_strerror(rc));
}
