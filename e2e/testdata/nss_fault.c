// A directory, as a module of glibc's name service switch (nss(5)). It knows every name that begins
// with a letter; all are in the group "faultteam". It never answers for the user "lost", nor for
// any user while the file "hang" exists in its own folder.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <nss.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ID 54321

static void hang_if_told(void) {
	Dl_info self;
	char path[4096];
	if (!dladdr((void *)hang_if_told, &self)) return;
	snprintf(path, sizeof path, "%s", self.dli_fname);
	char *slash = strrchr(path, '/');
	if (!slash) return;
	strcpy(slash, "/hang");
	if (access(path, F_OK) == 0) for (;;) pause();
}

enum nss_status _nss_fault_getpwnam_r(const char *name, struct passwd *p, char *buf, size_t len, int *err) {
	if (name[0] >= '0' && name[0] <= '9') return NSS_STATUS_NOTFOUND; // setpriv asks whether a number is a name
	if (len < strlen(name) + 32) { *err = ERANGE; return NSS_STATUS_TRYAGAIN; }
	strcpy(buf, name);
	char *rest = buf + strlen(name) + 1;
	strcpy(rest, "/nonexistent");
	*p = (struct passwd){buf, "x", ID, ID, "", rest, "/bin/false"};
	return NSS_STATUS_SUCCESS;
}

static enum nss_status group(struct group *g) {
	static char *none[] = {0};
	*g = (struct group){"faultteam", "x", ID, none};
	return NSS_STATUS_SUCCESS;
}

enum nss_status _nss_fault_getgrnam_r(const char *name, struct group *g, char *buf, size_t len, int *err) {
	return strcmp(name, "faultteam") == 0 ? group(g) : NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_fault_getgrgid_r(gid_t id, struct group *g, char *buf, size_t len, int *err) {
	return id == ID ? group(g) : NSS_STATUS_NOTFOUND;
}

enum nss_status _nss_fault_initgroups_dyn(const char *user, gid_t skip, long *start, long *size, gid_t **groups, long limit, int *err) {
	hang_if_told();
	if (strcmp(user, "lost") == 0) for (;;) pause();
	return NSS_STATUS_SUCCESS;
}
