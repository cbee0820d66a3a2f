/* SPDX-License-Identifier: BSD-2-Clause */
/* Replays files through one fuzz target, in any build: each file named on the command
 * line is one test case of `make check`, printed as TAP.  The octets lie in a block of
 * exactly their length, so a sanitizer sees a read behind the end.  What the target
 * finds wrong ends the process; the row that is missing then is the failure. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

#define SEED_MAX (16 * 1024 * 1024) /* octets; a larger seed is a mistake */

/* The whole file in a block of its exact size, or NULL with errno set. */
static uint8_t *
file_read(const char *path, size_t *size)
{
	struct stat st;
	uint8_t *data = NULL;
	FILE *f = fopen(path, "rb");

	if (f == NULL)
		return NULL;
	if (fstat(fileno(f), &st) != 0)
		goto out;
	if (!S_ISREG(st.st_mode) || st.st_size > SEED_MAX) {
		errno = EFBIG;
		goto out;
	}
	*size = (size_t)st.st_size;
	data = malloc(*size > 0 ? *size : 1);
	if (data != NULL && fread(data, 1, *size, f) != *size) {
		free(data);
		data = NULL;
		errno = EIO;
	}
out:
	fclose(f);
	return data;
}

int
main(int argc, char **argv)
{
	int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (LLVMFuzzerInitialize != NULL)
		LLVMFuzzerInitialize(&argc, &argv);
	printf("1..%d\n", argc - 1);
	for (int i = 1; i < argc; i++) {
		size_t size = 0;
		uint8_t *data = file_read(argv[i], &size);

		if (data == NULL) {
			printf("not ok %d - %s: %s\n", i, argv[i], strerror(errno));
			failed = 1;
			continue;
		}
		(void)LLVMFuzzerTestOneInput(data, size);
		free(data);
		printf("ok %d - %s\n", i, argv[i]);
	}
	return failed;
}
