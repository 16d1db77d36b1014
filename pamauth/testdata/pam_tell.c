/* pam_tell FILE: lets everybody in, and writes into FILE what a module and what it starts can see. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <security/pam_modules.h>

extern char **environ;

static void copy(FILE *out, const char *name)
{
	FILE *in = fopen(name, "r");
	int c;

	fprintf(out, "%s: ", name);
	if (in == NULL) {
		fprintf(out, "cannot be read\n");
		return;
	}
	while ((c = getc(in)) != EOF)
		putc(c == 0 ? ' ' : c, out);
	putc('\n', out);
	fclose(in);
}

int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct rlimit core;
	char command[4096];
	char **e;
	FILE *out;

	if (argc != 1 || (out = fopen(argv[0], "a")) == NULL)
		return PAM_SERVICE_ERR;
	for (e = environ; e != NULL && *e != NULL; e++)
		fprintf(out, "variable: %s\n", *e);
	copy(out, "/proc/self/environ");
	getrlimit(RLIMIT_CORE, &core);
	fprintf(out, "dumpable: %d, core: %lu\n", prctl(PR_GET_DUMPABLE), (unsigned long)core.rlim_max);
	fclose(out);
	snprintf(command, sizeof command,
		 "{ echo in the module:; ls -l /proc/$PPID/fd; echo in a program:; ls -l /proc/self/fd; ulimit -Hc; PATH=/bin:/usr/bin env; } >>'%s' 2>&1",
		 argv[0]);
	return system(command) == 0 ? PAM_SUCCESS : PAM_SERVICE_ERR;
}

int pam_sm_acct_mgmt(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return PAM_SUCCESS;
}

int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	return PAM_SUCCESS;
}
