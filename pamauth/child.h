/*
 * What child.c and the Go side of it share. Both are of one binary, so numbers are in its byte order.
 *
 * Over a socket, the child sends READY once other processes cannot read it, the parent sends a request,
 * the child sends an answer and ends:
 *
 *   request  length of the rest (4 bytes) PROTOCOL flags tag (8 bytes) service confdir user password remote
 *   answer   length of all (4 bytes) PROTOCOL phase flags code (4 bytes), and in PHASE_DONE
 *            uid (4 bytes) name { group id (4 bytes) group name }
 *
 * A text ends with a NUL. A uid of -1 is none.
 */
#define CHILD_ARGUMENT "internal-pam-worker"

enum {
	PROTOCOL = 5,
	READY = 'r', /* unlike PROTOCOL: an early answer is not taken for it */

	MAX_REQUEST = 16 << 10, /* a path, a name, a password and little else */
	/* An answer waits in the socket's buffer (208 KiB unless net.core.wmem_default was changed) until it
	   is read. Two thousand groups fit. */
	MAX_ANSWER = 60 << 10,
	MAX_MESSAGES = 32, /* of a stack in one conversation; real stacks say a few lines */

	/* Flags of a request. */
	ACCOUNT_ONLY = 1,
	LOOK_UP_ONLY = 2, /* goes with ACCOUNT_ONLY */
	GROUPS = 4,
	NO_NEW_PRIVS = 8,

	/* Flags of an answer. */
	UNANSWERED = 1, /* a prompt was */
	TOO_MANY_MESSAGES = 2,
	LEFT_OVER = 4, /* processes are, which the child could not kill */

	/* What came last. The code is an errno before PHASE_START and after PHASE_ITEM, else PAM's. */
	PHASE_TAG = 1,
	PHASE_PREPARE,
	PHASE_START,
	PHASE_AUTHENTICATE,
	PHASE_ACCOUNT,
	PHASE_ITEM,
	PHASE_LOOKUP,
	PHASE_GROUPS,
	PHASE_TOO_MANY_GROUPS, /* the code is their number */
	PHASE_DONE
};

/* Returns the process id of the child that was started before Go, and its socket and standard error, the
   first time it is called; 0 = there is none. */
int take_early_child(int *sock, int *err);
