package pamauth

import (
	"os"
	"strings"
)

// shadowFile is what pam_unix reads passwords from.
const shadowFile = "/etc/shadow"

// helperless are modules that start no program when they authenticate or look at an account, going by their sources; and a stack of them
// alone has no use for set-id programs. Not among them: pam_exec and pam_script, whose programs are anyone's and may use sudo.
// A name that is missing here costs nothing but this one safeguard.
var helperless = map[string]bool{
	"pam_access.so":     true,
	"pam_cap.so":        true,
	"pam_debug.so":      true,
	"pam_deny.so":       true,
	"pam_env.so":        true,
	"pam_faildelay.so":  true,
	"pam_faillock.so":   true,
	"pam_group.so":      true,
	"pam_krb5.so":       true,
	"pam_ldap.so":       true,
	"pam_listfile.so":   true,
	"pam_localuser.so":  true,
	"pam_nologin.so":    true,
	"pam_permit.so":     true,
	"pam_pwdfile.so":    true,
	"pam_shells.so":     true,
	"pam_sss.so":        true,
	"pam_succeed_if.so": true,
	"pam_time.so":       true,
	"pam_userdb.so":     true,
	"pam_usertype.so":   true,
	"pam_warn.so":       true,
}

// needHelpers says whether one of the modules may need a program with more rights than this process has.
func needHelpers(modules []string) bool {
	for _, m := range modules {
		switch {
		case helperless[m]:
		case m == "pam_unix.so" && readsShadow() && !confined():
		default:
			return true
		}
	}
	return false
}

// readsShadow: then unix_chkpwd, which pam_unix may start all the same, needs no set-id bit, for it inherits the right. It looks up no other
// accounts with its own.
func readsShadow() bool {
	f, err := os.Open(shadowFile)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// confined is true under a profile of SELinux or AppArmor: no_new_privs would keep unix_chkpwd from going over to its own.
func confined() bool {
	label, err := os.ReadFile("/proc/self/attr/current")
	if err != nil {
		return false // no such security module
	}
	switch strings.Trim(string(label), "\x00\n ") {
	case "", "unconfined":
		return false
	}
	return true
}
