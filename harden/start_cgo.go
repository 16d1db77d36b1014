//go:build linux && cgo

package harden

/*
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

// In nanoseconds. Go's runtime looks after its threads every 20 µs: a look takes 5 µs.
enum { short_lived_slack = 500000, default_slack = 50000 };

static cpu_set_t all_cpus;
static int usual_slack;
static bool is_pinned;

// For what PAM modules run in: they may take long, and start programs.
static void as_usual(void)
{
	if (is_pinned)
		sched_setaffinity(0, sizeof all_cpus, &all_cpus);
	if (usual_slack > 0)
		prctl(PR_SET_TIMERSLACK, usual_slack);
}

// One request keeps one core busy. Threads that wake each other across cores would
// cost a third of it.
static void use_one_cpu(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	is_pinned = pthread_atfork(NULL, NULL, as_usual) == 0 &&
		    sched_getaffinity(0, sizeof all_cpus, &all_cpus) == 0 && sched_setaffinity(0, sizeof one, &one) == 0;
}

static bool has_value(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && *value != '\0';
}

static bool is_listening(void)
{
	int listening = 0;
	socklen_t length = sizeof listening;

	return getsockopt(0, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening;
}

// Sets what a start costs, before Go's runtime makes its threads. See gateway.Detect
// for how a process learns that it is a CGI program.
__attribute__((constructor)) static void start_early(int argc, char **argv)
{
	mallopt(M_ARENA_MAX, 1); // each thread would get a heap for C of its own
	if (is_listening())
		return;
	usual_slack = prctl(PR_GET_TIMERSLACK);
	if (has_value("GATEWAY_INTERFACE") || has_value("REQUEST_METHOD"))
		use_one_cpu();
	else if (argc > 1 && (strcmp(argv[1], "http") == 0 || strcmp(argv[1], "fastcgi") == 0 ||
			      strncmp(argv[1], "internal-", 9) == 0)) { // it stays, or runs PAM modules
		if (usual_slack == short_lived_slack) // a short-lived process has started it
			prctl(PR_SET_TIMERSLACK, default_slack);
		return;
	}
	prctl(PR_SET_TIMERSLACK, short_lived_slack);
}
*/
import "C"

// Unpin gives the calling thread, and what it starts, all CPUs and the usual timer slack again.
// Only a CGI program has given them up.
func Unpin() { C.as_usual() }
