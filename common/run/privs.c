/* SPDX-License-Identifier: BSD-2-Clause */
/* Groups first, then gid, then uid, and the proof that the way back is closed. */
#include "common/run/privs.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

static int
become(const char *user, uid_t uid, gid_t gid, struct err *err)
{
	if (geteuid() == uid && getuid() == uid && getegid() == gid)
		return 0;
	if (geteuid() != 0)
		return err_set(err, "only root can become user \"%s\"", user);
	if (initgroups(user, gid) < 0 || setresgid(gid, gid, gid) < 0 ||
	    setresuid(uid, uid, uid) < 0)
		return err_errno(err, "becoming user \"%s\"", user);
	if (uid != 0 && (setuid(0) == 0 || seteuid(0) == 0))
		return err_set(err, "root's rights could be taken back");
	return 0;
}

int
privs_drop(const char *user, const char *group, struct err *err)
{
	struct passwd *pw = NULL;
	struct group *gr = NULL;

	if (user != NULL && (pw = getpwnam(user)) == NULL)
		return err_set(err, "user \"%s\" does not exist", user);
	if (group != NULL && (gr = getgrnam(group)) == NULL)
		return err_set(err, "group \"%s\" does not exist", group);
	if (pw == NULL && gr != NULL && gr->gr_gid != getegid() &&
	    (setgroups(1, &gr->gr_gid) < 0 ||
		setresgid(gr->gr_gid, gr->gr_gid, gr->gr_gid) < 0))
		return err_errno(err, "becoming group \"%s\"", group);
	if (pw != NULL &&
	    become(user, pw->pw_uid, gr != NULL ? gr->gr_gid : pw->pw_gid, err) < 0)
		return -1;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_errno(err, "no_new_privs");
	return 0;
}

void
privs_raise_files(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return;
	rlim_t want = r.rlim_max < 65536 ? r.rlim_max : 65536;
	if (r.rlim_cur < want) {
		r.rlim_cur = want;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}
