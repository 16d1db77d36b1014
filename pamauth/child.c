//go:build linux && cgo

/*
 * The child of a conversation: one process that asks PAM once (child.go is the parent). It is C alone,
 * and runs before Go's runtime starts. That start would take as long as all the rest, and its threads,
 * signals and memory are nothing that PAM modules expect.
 *
 * When its socket ends early, the parent has given up or died. The child then kills what the modules
 * started, and ends.
 */
#define _FILE_OFFSET_BITS 64
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "child.h"

#ifndef SYS_close_range
#define SYS_close_range 436 /* on every architecture but alpha */
#endif

enum { watcher_stack = 128 << 10, kill_seconds = 1, millisecond = 1000000, max_groups = 1 << 16, first_own = 3 };

static int sock; /* to the parent */
static pid_t self;

struct request {
	unsigned char flags;
	uint64_t tag;
	const char *service, *confdir, *user, *password, *remote;
};

/* An answer that does not fit is marked, and says so instead. */
static struct answer {
	size_t length;
	bool full;
	unsigned char bytes[MAX_ANSWER];
} answer;

static void put(const void *bytes, size_t length)
{
	if (length > sizeof answer.bytes - answer.length) {
		answer.full = true;
		return;
	}
	memcpy(answer.bytes + answer.length, bytes, length);
	answer.length += length;
}

static void put_number(uint32_t n) { put(&n, sizeof n); }
static void put_text(const char *text) { put(text, strlen(text) + 1); }

enum { flags_at = sizeof(uint32_t) + 2 };

static void begin_answer(unsigned char phase, unsigned char flags, int code)
{
	const unsigned char head[] = {PROTOCOL, phase, flags};

	answer.length = 0;
	answer.full = false;
	put_number(0); /* the length */
	put(head, sizeof head);
	put_number((uint32_t)code);
}

static void fail(unsigned char phase, int code) { begin_answer(phase, 0, code); }

struct conversation {
	const char *password; /* NULL = none */
	int messages;
	bool sent;       /* the password was */
	bool unanswered; /* a prompt was */
};

/* Whether a message gets what its kind wants: the password once, at the first prompt without echo. The
   texts, which come in any language, are ignored. */
static bool reply(struct conversation *c, const struct pam_message *message, struct pam_response *response)
{
	if (++c->messages > MAX_MESSAGES)
		return false;
	if (message->msg_style == PAM_TEXT_INFO || message->msg_style == PAM_ERROR_MSG)
		return true;
	if (message->msg_style == PAM_PROMPT_ECHO_OFF && c->password != NULL && !c->sent) {
		c->sent = true;
		response->resp = strdup(c->password);
		return response->resp != NULL;
	}
	c->unanswered = true;
	return false;
}

static int converse(int count, const struct pam_message **messages, struct pam_response **out, void *data)
{
	struct pam_response *responses;

	*out = NULL; /* some modules free it after an error too */
	if (count <= 0 || count > PAM_MAX_NUM_MSG)
		return PAM_CONV_ERR;
	responses = calloc((size_t)count, sizeof *responses);
	if (responses == NULL)
		return PAM_BUF_ERR;
	for (int i = 0; i < count; i++) {
		if (reply(data, messages[i], &responses[i]))
			continue;
		for (; i >= 0; i--) {
			if (responses[i].resp != NULL)
				explicit_bzero(responses[i].resp, strlen(responses[i].resp));
			free(responses[i].resp);
		}
		free(responses);
		return PAM_CONV_ERR;
	}
	*out = responses;
	return PAM_SUCCESS;
}

/* Whether a phase of PAM ended otherwise than well, which is then the answer. */
static bool failed(unsigned char phase, const struct conversation *c, int code)
{
	unsigned char flags = 0;

	if (code == PAM_SUCCESS)
		return false;
	if (c->unanswered)
		flags |= UNANSWERED;
	if (c->messages > MAX_MESSAGES)
		flags |= TOO_MANY_MESSAGES;
	begin_answer(phase, flags, code);
	return true;
}

static char lookup_buffer[1 << 20]; /* more than any entry has; only what is used takes memory */

/* Puts the account's groups. Those without a name are left out: no rule can name them. */
static void put_groups(const char *name, gid_t primary)
{
	static gid_t ids[max_groups];
	int count = max_groups;

	if (getgrouplist(name, primary, ids, &count) < 0) {
		fail(PHASE_TOO_MANY_GROUPS, count);
		return;
	}
	for (int i = 0; i < count; i++) {
		struct group entry, *found;
		int code = getgrgid_r(ids[i], &entry, lookup_buffer, sizeof lookup_buffer, &found);

		if (found == NULL && code != 0 && code != ENOENT) {
			fail(PHASE_GROUPS, code);
			return;
		}
		if (found == NULL)
			continue;
		put_number(found->gr_gid);
		put_text(found->gr_name);
	}
	if (answer.full)
		fail(PHASE_TOO_MANY_GROUPS, count);
}

/* Answers with the account that the system has for a name: case and domain may differ. */
static void answer_account(const char *name, bool groups)
{
	struct passwd entry, *found;
	int code = getpwnam_r(name, &entry, lookup_buffer, sizeof lookup_buffer, &found);

	if (found == NULL && code != 0 && code != ENOENT) {
		fail(PHASE_LOOKUP, code);
		return;
	}
	begin_answer(PHASE_DONE, 0, 0);
	if (found == NULL) {
		put_number((uint32_t)-1);
		put_text(name);
	} else {
		char *known = strdup(found->pw_name); /* the buffer is used again */

		put_number(found->pw_uid);
		put_text(found->pw_name);
		if (groups && known != NULL)
			put_groups(known, found->pw_gid);
		else if (known == NULL)
			fail(PHASE_LOOKUP, ENOMEM);
		free(known);
	}
}

/* An account with an empty password would accept any password where the stack says nullok, as Debian's
   does. */
static const int pam_flags = PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK;

static void ask_pam(const struct request *r)
{
	struct conversation c = {.password = (r->flags & ACCOUNT_ONLY) ? NULL : r->password};
	const struct pam_conv conv = {converse, &c};
	pam_handle_t *handle = NULL;
	const void *name = NULL;
	int code;

	if (failed(PHASE_START, &c, pam_start_confdir(r->service, r->user, &conv, r->confdir, &handle)))
		return;
	/* There is no terminal, but pam_access and pam_time want a name for the origin of the login. */
	code = pam_set_item(handle, PAM_TTY, "dockerauth");
	if (code == PAM_SUCCESS && *r->remote != '\0')
		code = pam_set_item(handle, PAM_RHOST, r->remote);
	if (failed(PHASE_START, &c, code))
		goto end;
	if (!(r->flags & ACCOUNT_ONLY)) {
		code = pam_authenticate(handle, pam_flags);
		if (failed(PHASE_AUTHENTICATE, &c, code))
			goto end;
	}
	c.unanswered = false;
	code = pam_acct_mgmt(handle, pam_flags);
	if (failed(PHASE_ACCOUNT, &c, code))
		goto end;
	code = pam_get_item(handle, PAM_USER, &name);
	if (failed(PHASE_ITEM, &c, code))
		goto end;
	answer_account(name != NULL ? name : "", r->flags & GROUPS);
end:
	pam_end(handle, code);
}

/* Marks this process and what it starts (see proctag.go), and keeps hold of what its descendants leave
   behind. */
static bool prepare(const struct request *r)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_RTTIME, &limit) != 0) {
		fail(PHASE_TAG, errno);
		return false;
	}
	limit.rlim_cur = r->tag;
	if (setrlimit(RLIMIT_RTTIME, &limit) != 0) {
		fail(PHASE_TAG, errno);
		return false;
	}
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 ||
	    ((r->flags & NO_NEW_PRIVS) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)) {
		fail(PHASE_PREPARE, errno);
		return false;
	}
	return true;
}

/* Kills the processes that a file of /proc names, or the first of them. */
static void kill_listed(const char *path)
{
	char list[4096], *at = list, *end;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, list, sizeof list - 1);

	if (fd >= 0)
		close(fd);
	list[length > 0 ? length : 0] = '\0';
	for (long pid; (pid = strtol(at, &end, 10)) > 0 && *end == ' '; at = end)
		kill((pid_t)pid, SIGKILL);
}

/* Kills every descendant. Those whose parents are gone become children of this process, a subreaper. So
   when it has no children, zombies included, nothing is left. A process that has changed all its user
   ids, or hangs in the kernel, may stay: then this gives up after a second, and the parent looks for it
   by the tag. */
static bool kill_descendants(void)
{
	const struct timespec pause = {.tv_nsec = millisecond};
	struct timespec now, end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += kill_seconds;
	do {
		siginfo_t info;
		struct dirent *thread;
		DIR *threads;

		while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
			;
		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0 && errno == ECHILD)
			return true;
		threads = opendir("/proc/self/task");
		while (threads != NULL && (thread = readdir(threads)) != NULL) {
			char path[sizeof "/proc/self/task/" + sizeof thread->d_name + sizeof "/children"];

			snprintf(path, sizeof path, "/proc/self/task/%s/children", thread->d_name);
			kill_listed(path);
		}
		if (threads != NULL)
			closedir(threads);
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
	return false;
}

static void *watch_parent(void *unused)
{
	char byte;
	ssize_t got;

	(void)unused;
	do
		got = read(sock, &byte, 1);
	while (got > 0 || (got < 0 && errno == EINTR));
	kill_descendants();
	_exit(1);
}

/* The thread gets none of the process's signals: modules expect those in theirs. */
static bool start_watching(void)
{
	pthread_attr_t attr;
	pthread_t thread;
	sigset_t all, before;
	int code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, watcher_stack);
	code = pthread_create(&thread, &attr, watch_parent, NULL);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code != 0)
		fail(PHASE_PREPARE, code);
	return code == 0;
}

static bool read_all(void *to, size_t length)
{
	char *at = to;

	while (length > 0) {
		ssize_t got = read(sock, at, length);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		length -= (size_t)got;
	}
	return true;
}

static bool send_all(const void *from, size_t length)
{
	const char *at = from;

	while (length > 0) {
		ssize_t sent = send(sock, at, length, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return false;
		at += sent;
		length -= (size_t)sent;
	}
	return true;
}

/* The request's texts stay in its buffer. */
static bool read_request(struct request *r)
{
	static char frame[MAX_REQUEST];
	const char **texts[] = {&r->service, &r->confdir, &r->user, &r->password, &r->remote};
	const size_t head = 2 + sizeof r->tag;
	uint32_t length;
	char *at;

	if (!read_all(&length, sizeof length) || length < head + 1 || length > sizeof frame ||
	    !read_all(frame, length) || frame[0] != PROTOCOL || frame[length - 1] != '\0')
		return false;
	r->flags = (unsigned char)frame[1];
	memcpy(&r->tag, frame + 2, sizeof r->tag);
	at = frame + head;
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		if (at == frame + length)
			return false;
		*texts[i] = at;
		at += strlen(at) + 1;
	}
	return at == frame + length;
}

/* A service manager signals every process of a service. The child ends with its conversation, or when its
   parent does. A module that writes to a connection that is gone must get its error, and the alarm that
   one left is no reason to end. What the modules start has these signals as usual. */
static void caught(int signal) { (void)signal; }

static void set_signals(void)
{
	static const int kept[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO};
	const struct sigaction catch = {.sa_handler = caught, .sa_flags = SA_RESTART};

	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		sigaction(kept[i], &catch, NULL);
	signal(SIGCHLD, SIG_DFL); /* modules wait for what they start */
}

static void close_others(void)
{
	DIR *open_ones;
	struct dirent *entry;

	if (syscall(SYS_close_range, first_own, ~0U, 0) == 0)
		return;
	/* Before Linux 5.9, and where a filter of system calls does not know it. */
	open_ones = opendir("/proc/self/fd");
	if (open_ones == NULL) {
		for (int fd = getdtablesize(); fd >= first_own; fd--)
			close(fd);
		return;
	}
	while ((entry = readdir(open_ones)) != NULL) {
		int fd = atoi(entry->d_name);

		if (fd >= first_own && fd != dirfd(open_ones))
			close(fd);
	}
	closedir(open_ones);
}

/* Moves the socket out of the modules' reach: what they read from standard input is empty, and what they
   print is for err. No other descriptor stays. */
static bool set_descriptors(int from, int err)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	if (null < 0 || dup2(err, STDERR_FILENO) < 0 || dup2(from, STDOUT_FILENO) < 0 || dup2(null, STDIN_FILENO) < 0)
		return false;
	close_others();
	sock = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, first_own);
	return sock >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0;
}

/* The variables of a CGI program hold the password, and /proc/PID/environ shows them to root. */
static void forget_environment(void)
{
	static char *none[] = {NULL};

	for (char **entry = environ; entry != NULL && *entry != NULL; entry++)
		explicit_bzero(*entry, strlen(*entry));
	environ = none; /* clearenv leaves NULL, which no program begins with */
}

static void __attribute__((noreturn)) give_up(int err, const char *what)
{
	dprintf(err, "dockerauth: run pam conversation: %s: %s\n", what, strerror(errno));
	_exit(1);
}

/* The rest of this process's life. from is the socket, err what becomes standard error. */
static void __attribute__((noreturn)) be_child(int from, int err)
{
	static const struct rlimit no_core;
	const unsigned char ready = READY;
	struct request r;
	uint32_t length;

	/* From here on others of the same user cannot read this process. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &no_core) != 0)
		give_up(err, "hide process");
	self = getpid();
	forget_environment();
	set_signals();
	setsid(); /* signals of a terminal are the service's */
	/* From Linux-PAM 1.6 on, pam_unix always asks unix_chkpwd, which goes back to the real group. */
	if (getgid() != getegid() && setregid(getegid(), (gid_t)-1) != 0)
		give_up(err, "set real group");
	if (!set_descriptors(from, err) || chdir("/") != 0)
		give_up(err, "open /dev/null as standard input");
	if (!send_all(&ready, 1) || !read_request(&r))
		_exit(1); /* the parent is gone, or wants nothing */
	if (prepare(&r) && start_watching()) {
		if ((r.flags & LOOK_UP_ONLY) && (r.flags & ACCOUNT_ONLY))
			answer_account(r.user, r.flags & GROUPS);
		else
			ask_pam(&r);
	}
	if (getpid() != self)
		_exit(1); /* a module forked and returned twice */
	if (!kill_descendants())
		answer.bytes[flags_at] |= LEFT_OVER;
	length = (uint32_t)answer.length;
	memcpy(answer.bytes, &length, sizeof length);
	send_all(answer.bytes, answer.length);
	_exit(0);
}

/* Anyone can start a set-group-id program, and could have it ask PAM anything, past configuration,
   blacklist and throttle. The kernel knows the ids of the process that made a socket pair. A user who
   starts this process has fewer rights than it. A process with the same ids is this program as a front
   end, whose socket nobody else can get. */
static void check_sender(void)
{
	struct ucred sender;
	socklen_t length = sizeof sender;

	if (getuid() == 0 || (getuid() == geteuid() && getgid() == getegid()))
		return;
	if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_PEERCRED, &sender, &length) == 0 && sender.uid == geteuid() &&
	    sender.gid == getegid())
		return;
	fputs("dockerauth: run pam conversation: request does not come from this program\n"
	      "  a set-group-id program runs PAM conversations for its own front ends only\n",
	      stderr);
	_exit(1);
}

static bool has_value(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && *value != '\0';
}

/* Whether a web server has started this program for one request (gateway.Detect) that has a login: one
   in a header, which Apache renames at each internal redirect, or one in a form. */
static bool is_cgi_login(void)
{
	const char *method = getenv("REQUEST_METHOD"), suffix[] = "HTTP_AUTHORIZATION=";
	int listening = 0;
	socklen_t length = sizeof listening;

	if (!has_value("GATEWAY_INTERFACE") && !has_value("REQUEST_METHOD"))
		return false;
	if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening)
		return false;
	if (method != NULL && strcmp(method, "POST") == 0)
		return true;
	for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
		const char *at = strstr(*entry, suffix);

		if (at != NULL && at[sizeof suffix - 1] != '\0')
			return true;
	}
	return false;
}

static struct {
	pid_t pid;
	int sock, err;
} early;

int take_early_child(int *to, int *err)
{
	*to = early.sock;
	*err = early.err;
	return __atomic_exchange_n(&early.pid, 0, __ATOMIC_RELAXED);
}

/* Starts the child of a CGI program, which has one conversation at most, while the process is small. If
   that fails, it is started later as others are. */
static void start_early(void)
{
	int pair[2] = {-1, -1}, err[2] = {-1, -1};

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0 && pair[0] >= first_own &&
	    fcntl(pair[0], F_SETFL, O_NONBLOCK) == 0 && pipe2(err, O_CLOEXEC) == 0 && err[0] >= first_own &&
	    fcntl(err[0], F_SETFL, O_NONBLOCK) == 0 && (early.pid = fork()) >= 0) {
		if (early.pid == 0)
			be_child(pair[1], err[1]);
		early.sock = pair[0];
		early.err = err[0];
	} else {
		early.pid = 0;
		if (pair[0] >= 0)
			close(pair[0]);
		if (err[0] >= 0)
			close(err[0]);
	}
	if (pair[1] >= 0)
		close(pair[1]);
	if (err[1] >= 0)
		close(err[1]);
}

/* Runs before main. Only glibc gives a constructor the arguments of main. The parent gives a child no
   variables. A web server gives some to every program, and may pass on arguments that a client chose. */
__attribute__((constructor)) static void before_go(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], CHILD_ARGUMENT) == 0 && *environ == NULL) {
		check_sender();
		be_child(STDIN_FILENO, STDERR_FILENO);
	}
	if (is_cgi_login())
		start_early();
}
