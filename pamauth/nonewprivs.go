package pamauth

import (
	"os"
	"strings"
)

// withoutHelpers are modules that, by their sources, start no program when they authenticate or
// check an account. A stack of these alone needs no set-id programs. pam_exec and pam_script are
// not among them: their programs may use sudo. A module that is missing here only goes without
// no_new_privs.
var withoutHelpers = map[string]bool{
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

// needsHelpers reports whether a module may need a program with more rights than this process.
func needsHelpers(lines []Line) bool {
	for _, l := range lines {
		switch {
		case l.Module == "", withoutHelpers[l.Module]:
		case l.Module == "pam_unix.so" && canReadShadow() && !isConfined():
		default:
			return true
		}
	}
	return false
}

// canReadShadow: then unix_chkpwd, which pam_unix may start all the same, inherits the right and
// needs no set-id bit.
func canReadShadow() bool {
	f, err := os.Open(shadowFile)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// isConfined is true under a profile of SELinux or AppArmor: no_new_privs would keep unix_chkpwd
// from changing to its own profile.
func isConfined() bool {
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
