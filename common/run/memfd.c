/* SPDX-License-Identifier: BSD-2-Clause */
/* Sealed memory between processes (memfd_create(2), fcntl(2) F_ADD_SEALS). */
#include "common/run/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALL_SEALS (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)

int
memfd_new(const char *name, struct err *err)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		err_errno(err, "cannot make a memfd");
	return fd;
}

int
memfd_add(int fd, struct str s, struct err *err)
{
	while (s.len > 0) {
		ssize_t n = write(fd, s.p, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(err, "cannot write to a memfd");
		s = str_sub(s, (size_t)n, s.len);
	}
	return 0;
}

int
memfd_seal(int fd, struct err *err)
{
	if (fcntl(fd, F_ADD_SEALS, ALL_SEALS) != 0)
		return err_errno(err, "cannot seal a memfd");
	return 0;
}

int
memfd_map(int fd, uint64_t max, struct str *out, struct err *err)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	*out = (struct str){ "", 0 };
	if (seals < 0 || (seals & ALL_SEALS) != ALL_SEALS)
		return err_set(err, "a file descriptor that is no sealed memfd");
	if (fstat(fd, &st) != 0)
		return err_errno(err, "cannot look at a memfd");
	if (st.st_size < 0 || (uint64_t)st.st_size > max)
		return err_set(err, "a memfd of %lld octets, expected at most %llu",
		    (long long)st.st_size, (unsigned long long)max);
	if (st.st_size == 0)
		return 0;
	void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return err_errno(err, "cannot map a memfd");
	*out = (struct str){ p, (size_t)st.st_size };
	return 0;
}

void
memfd_unmap(struct str s)
{
	if (s.len > 0)
		munmap((void *)(uintptr_t)s.p, s.len);
}
