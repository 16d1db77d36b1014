// Preloaded (ld.so(8)), it gives the process its own wall clock: the machine's, plus the seconds in
// the file that CLOCK_OFFSET names, eight bytes in the machine's order. Go reads the clock through
// the kernel's vDSO (vdso(7)), which no library can replace; but it finds the vDSO in the auxiliary
// vector (getauxval(3)). So before Go reads that, this file is mapped in the vDSO's place. Programs
// that the process starts have the machine's clock, unless they get the variables.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// The offset is at an address that both copies of this file know: the one that ld.so has loaded, and
// the one in the vDSO's place.
#define OFFSET ((volatile long *)0x20000000000)

// __vdso_clock_gettime must need no relocation: a vDSO is not relocated.
int __vdso_clock_gettime(clockid_t clock, struct timespec *t)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"(SYS_clock_gettime), "D"(clock), "S"(t) : "rcx", "r11", "memory");
	if (result == 0 && clock == CLOCK_REALTIME)
		t->tv_sec += *OFFSET;
	return result;
}

static void *map(const char *name, void *where, int how, int flags)
{
	struct stat s;
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &s) != 0)
		abort();
	void *at = mmap(where, s.st_size, how, flags, fd, 0);
	if (at == MAP_FAILED)
		abort();
	close(fd);
	return at;
}

__attribute__((constructor)) static void replace(int argc, char **argv, char **environment)
{
	const char *offset = getenv("CLOCK_OFFSET");
	Dl_info self;
	if (offset == NULL || dladdr(replace, &self) == 0)
		abort();
	map(offset, (void *)OFFSET, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE);
	while (*environment != NULL)
		environment++;
	for (Elf64_auxv_t *a = (Elf64_auxv_t *)(environment + 1); a->a_type != AT_NULL; a++)
		if (a->a_type == AT_SYSINFO_EHDR)
			a->a_un.a_val = (unsigned long)map(self.dli_fname, NULL, PROT_READ | PROT_EXEC, MAP_PRIVATE);
}
