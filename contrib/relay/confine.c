/* SPDX-License-Identifier: BSD-2-Clause */
/* Landlock for the relay's processes. */
#include "contrib/relay/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

/* Rights of Landlock's first version: everything to do with files. */
#define ALL_RIGHTS ((1ull << 13) - 1)
#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)

/* Resolver, name services, the C library; one that is not there is left out. */
static const char *const system_folders[] = { "/etc", "/usr", "/lib", "/lib64", "/dev",
	"/proc", "/sys", "/run/systemd/resolve" };

static int
allow_folder(int rules, const char *folder, struct err *err)
{
	struct landlock_path_beneath_attr below = { .allowed_access = READ_RIGHTS };
	long rc;

	below.parent_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (below.parent_fd < 0)
		return errno == ENOENT || errno == ENOTDIR
		    ? 0
		    : err_errno(err, "cannot open %s", folder);
	rc = syscall(
	    SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0);
	close(below.parent_fd);
	return rc == 0 ? 0 : err_errno(err, "cannot allow %s", folder);
}

/* The folder of a file: the file itself may be replaced by a new one. */
static int
allow_folder_of(int rules, const char *path, struct err *err)
{
	char folder[PATH_MAX];
	char *slash;

	if (strlen(path) >= sizeof(folder))
		return err_set(err, "path too long: %.100s", path);
	(void)snprintf(folder, sizeof(folder), "%s", path);
	slash = strrchr(folder, '/');
	if (slash == NULL)
		return 0;
	slash[slash == folder ? 1 : 0] = '\0';
	return allow_folder(rules, folder, err);
}

static int
restrict_by(int rules, const char *const *paths, size_t n, struct err *err)
{
	for (size_t i = 0; i < sizeof(system_folders) / sizeof(system_folders[0]); i++)
		if (allow_folder(rules, system_folders[i], err) < 0)
			return -1;
	for (size_t i = 0; i < n; i++)
		if (paths[i] != NULL && paths[i][0] != '\0' &&
		    allow_folder_of(rules, paths[i], err) < 0)
			return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, rules, 0) != 0)
		return err_errno(err, "cannot restrict files by Landlock");
	return 0;
}

int
confine_files(const char *const *paths, size_t n, bool *active, struct err *err)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = ALL_RIGHTS };
	int rules, rc;

	*active = false;
	if (SANITIZED)
		return 0;
	rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (rules < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
		return 0;
	if (rules < 0)
		return err_errno(err, "cannot make a Landlock ruleset");
	rc = restrict_by(rules, paths, n, err);
	close(rules);
	*active = rc == 0;
	return rc;
}
