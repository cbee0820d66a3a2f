/* SPDX-License-Identifier: BSD-2-Clause */
/* Landlock, seccomp and limits.  The allow list is what libclamav, PCRE2, iconv and our
 * own parsers were seen to need; mmap and mprotect may not make memory executable, so
 * just-in-time code is made in the master, before the fork. */
#include "common/run/jail_lockdown.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static const int allowed[] = { SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv),
	SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64), SCMP_SYS(lseek),
	SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx),
	SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(access), SCMP_SYS(faccessat),
	SCMP_SYS(openat), SCMP_SYS(open), SCMP_SYS(getdents64), SCMP_SYS(unlink),
	SCMP_SYS(unlinkat), SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir),
	SCMP_SYS(rename), SCMP_SYS(ftruncate), SCMP_SYS(dup),
	SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(brk), SCMP_SYS(madvise),
	SCMP_SYS(futex), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday), SCMP_SYS(time),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(poll), SCMP_SYS(ppoll),
	SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
	SCMP_SYS(getrandom), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(getuid),
	SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(umask),
	SCMP_SYS(getrusage), SCMP_SYS(times), SCMP_SYS(sched_yield),
	SCMP_SYS(memfd_create), SCMP_SYS(sysinfo), SCMP_SYS(uname), SCMP_SYS(restart_syscall),
	SCMP_SYS(exit), SCMP_SYS(exit_group) };

/* What the sanitizers' run times want at exit and in reports. */
static const int allowed_sanitized[] = { SCMP_SYS(clone), SCMP_SYS(clone3),
	SCMP_SYS(wait4), SCMP_SYS(ptrace), SCMP_SYS(prctl), SCMP_SYS(readlink),
	SCMP_SYS(readlinkat), SCMP_SYS(getppid), SCMP_SYS(arch_prctl), SCMP_SYS(pipe),
	SCMP_SYS(pipe2), SCMP_SYS(sched_getaffinity), SCMP_SYS(prlimit64),
	SCMP_SYS(getrlimit), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(mlock),
	SCMP_SYS(personality), SCMP_SYS(ioctl), SCMP_SYS(process_vm_readv) };

/* Of fcntl() what concerns the own descriptors: its other commands make the kernel send
 * signals to processes of one's choice. */
static const unsigned allowed_fcntl[] = { F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD, F_SETFD,
	F_GETFL, F_SETFL, F_GETLK, F_SETLK, F_SETLKW, F_ADD_SEALS, F_GET_SEALS };

static int
add_rules(scmp_filter_ctx ctx)
{
	/* Third argument of both: the protection wanted. */
	static const struct scmp_arg_cmp no_exec = {
		.arg = 2, .op = SCMP_CMP_MASKED_EQ, .datum_a = PROT_EXEC, .datum_b = 0
	};
	int rc = 0;

	for (size_t i = 0; i < sizeof(allowed_fcntl) / sizeof(allowed_fcntl[0]); i++)
		rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1,
		    SCMP_A1(SCMP_CMP_EQ, allowed_fcntl[i], 0));
	/* abort() signals its own process; nobody else's. */
	rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
	    SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0));

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	if (SANITIZED) {
		rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 0);
		rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 0);
		for (size_t i = 0;
		     i < sizeof(allowed_sanitized) / sizeof(allowed_sanitized[0]); i++)
			rc |= seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed_sanitized[i], 0);
		return rc;
	}
	rc |= seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, &no_exec);
	rc |= seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, &no_exec);
	return rc;
}

static int
lock_syscalls(struct err *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));

	if (ctx == NULL)
		return err_set(err, "cannot make a seccomp filter");
	int rc = add_rules(ctx);
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	if (rc != 0)
		return err_set(err, "cannot load the seccomp filter: error %d", rc);
	return 0;
}

/* glibc 2.36 has no wrappers for these three. */
static int
landlock_create(const struct landlock_ruleset_attr *attr)
{
	return (int)syscall(SYS_landlock_create_ruleset, attr, sizeof(*attr), 0);
}

/* Rights of Landlock's first version: everything to do with files. */
#define FILE_RIGHTS ((1ull << 13) - 1)
#define DIR_RIGHTS (FILE_RIGHTS & ~(unsigned long long)LANDLOCK_ACCESS_FS_EXECUTE)

static int
lock_files(const char *dir, struct err *err)
{
	struct landlock_ruleset_attr attr = { .handled_access_fs = FILE_RIGHTS };
	struct landlock_path_beneath_attr below = { .allowed_access = DIR_RIGHTS };
	int rules = landlock_create(&attr);

	/* A kernel without Landlock leaves seccomp, an unprivileged user and the unit's
	 * own file-system view; it is told once by the master. */
	if (rules < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
		return 0;
	if (rules < 0)
		return err_errno(err, "cannot make a Landlock ruleset");
	below.parent_fd = open(dir, O_PATH | O_CLOEXEC);
	if (below.parent_fd < 0) {
		close(rules);
		return err_errno(err, "cannot open %s", dir);
	}
	long rc = syscall(
	    SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0);
	if (rc == 0)
		rc = syscall(SYS_landlock_restrict_self, rules, 0);
	close(below.parent_fd);
	close(rules);
	return rc == 0 ? 0 : err_errno(err, "cannot restrict files by Landlock");
}

static uint64_t
own_size(void)
{
	unsigned long long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f == NULL)
		return 0;
	if (fscanf(f, "%llu", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int
limit(int what, uint64_t value, struct err *err)
{
	struct rlimit rl = { .rlim_cur = value, .rlim_max = value };

	if (setrlimit((__rlimit_resource_t)what, &rl) != 0)
		return err_errno(err, "cannot set a limit");
	return 0;
}

static int
lock_limits(const struct jail_conf *conf, struct err *err)
{
	/* The sanitizers reserve terabytes of address space. */
	if (conf->memory > 0 && !SANITIZED &&
	    limit(RLIMIT_AS, own_size() + conf->memory, err) != 0)
		return -1;
	if (conf->cpu_s > 0 && limit(RLIMIT_CPU, (uint64_t)conf->cpu_s, err) != 0)
		return -1;
	if (limit(RLIMIT_FSIZE, conf->file_size, err) != 0 ||
	    limit(RLIMIT_CORE, 0, err) != 0 || limit(RLIMIT_NOFILE, 64, err) != 0)
		return -1;
	return SANITIZED ? 0 : limit(RLIMIT_NPROC, 0, err);
}

int
jail_lockdown(const struct jail_conf *conf, const char *dir, struct err *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return err_errno(err, "cannot give up new privileges");
	if (!SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return err_errno(err, "cannot become undumpable");
	if (lock_limits(conf, err) != 0 || lock_files(dir, err) != 0)
		return -1;
	return lock_syscalls(err);
}
