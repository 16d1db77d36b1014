// A PAM module that fails for the users in its arguments and succeeds for all others.
//
// An argument is USER=ACTION or USER=ACTION:N, for instance "hang=sleep:300". After an action that
// returns, the rest of the stack decides.
#define _GNU_SOURCE
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <security/pam_modules.h>
#include <security/pam_ext.h>

#define MEGABYTE (1 << 20)

static void leak(long megabytes) {
	char *p = malloc(megabytes * MEGABYTE);
	if (p) memset(p, 1, megabytes * MEGABYTE);
}

// Allocates memory until there is none left. The limit protects the machine.
static void eat(void) {
	struct rlimit r = {64 * MEGABYTE, 64 * MEGABYTE};
	setrlimit(RLIMIT_AS, &r);
	for (;;) memset(malloc(MEGABYTE), 1, MEGABYTE);
}

// Leaves a process behind, in its own session and without its parent.
static void leave_child(void) {
	if (fork() != 0) return;
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	setsid();
	if (fork() != 0) _exit(0);
	for (;;) pause();
}

static int flood(pam_handle_t *h) {
	for (;;) pam_info(h, "there is no end to this");
	return PAM_SUCCESS;
}

// Sends many messages, and fails when one is not accepted.
static int messages(pam_handle_t *h, long n) {
	while (n-- > 0)
		if (pam_info(h, "one more message") != PAM_SUCCESS) return PAM_CONV_ERR;
	return PAM_SUCCESS;
}

static int prompt(pam_handle_t *h, long n) {
	while (n-- > 0) {
		char *said = 0;
		if (pam_prompt(h, PAM_PROMPT_ECHO_OFF, &said, "again: ") != PAM_SUCCESS) return PAM_AUTH_ERR;
		free(said);
	}
	return PAM_SUCCESS;
}

static void close_all(void) {
	for (int fd = 0; fd < 4096; fd++) close(fd);
}

static void print(void) {
	for (int i = 0; i < 2000; i++) {
		printf("HTTP/1.1 200 OK\r\nStatus: 200 OK\r\n\r\n{\"token\":\"printed\"}\n");
		fprintf(stderr, "printed by a module\n");
	}
	fflush(stdout);
}

// Changes state of the whole process.
static void change(void) {
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, 0);
	for (int s = 1; s < 32; s++)
		if (s != SIGKILL && s != SIGSTOP) signal(s, SIG_IGN);
	umask(0777);
	if (chdir("/nonexistent") != 0 && chdir("/") != 0) return;
	clearenv();
	setlocale(LC_ALL, "C");
	nice(19);
}

// Waits for the file NAME in the folder of the argument "folder=".
static void await(const char *folder) {
	char path[4096];
	snprintf(path, sizeof path, "%s/go", folder);
	while (access(path, F_OK) != 0) usleep(5000);
}

static int do_action(pam_handle_t *h, const char *action, const char *folder) {
	const char *colon = strchr(action, ':');
	long n = colon ? atol(colon + 1) : 0;
	size_t len = colon ? (size_t)(colon - action) : strlen(action);
#define IS(word) (len == strlen(word) && strncmp(action, word, len) == 0)
	if (IS("sleep")) { while ((n = sleep(n)) > 0) {} return PAM_SUCCESS; }
	if (IS("spin")) for (volatile long i = 0;; i++) {}
	if (IS("segv")) raise(SIGSEGV), *(volatile int *)0 = 1;
	if (IS("abort")) abort();
	if (IS("exit")) exit(0);
	if (IS("leak")) { leak(n); return PAM_SUCCESS; }
	if (IS("eat")) eat();
	if (IS("fork")) { leave_child(); return PAM_SUCCESS; }
	if (IS("forkhang")) { leave_child(); for (;;) pause(); }
	if (IS("flood")) return flood(h);
	if (IS("messages")) return messages(h, n);
	if (IS("prompts")) return prompt(h, n);
	if (IS("close")) { close_all(); return PAM_SUCCESS; }
	if (IS("print")) { print(); return PAM_SUCCESS; }
	if (IS("change")) { change(); return PAM_SUCCESS; }
	if (IS("await")) { await(folder); return PAM_SUCCESS; }
	return PAM_SYSTEM_ERR;
}

int pam_sm_authenticate(pam_handle_t *h, int flags, int argc, const char **argv) {
	const char *user, *folder = "/nonexistent";
	if (pam_get_user(h, &user, 0) != PAM_SUCCESS) return PAM_AUTH_ERR;
	for (int i = 0; i < argc; i++)
		if (strncmp(argv[i], "folder=", 7) == 0) folder = argv[i] + 7;
	for (int i = 0; i < argc; i++) {
		size_t len = strlen(user);
		if (strncmp(argv[i], user, len) == 0 && argv[i][len] == '=') return do_action(h, argv[i] + len + 1, folder);
	}
	return PAM_SUCCESS;
}

int pam_sm_setcred(pam_handle_t *h, int flags, int argc, const char **argv) { return PAM_SUCCESS; }

int pam_sm_acct_mgmt(pam_handle_t *h, int flags, int argc, const char **argv) { return PAM_SUCCESS; }
