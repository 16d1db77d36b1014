//go:build linux && cgo

package pamauth

import (
	"errors"
	"fmt"

	"github.com/msteinert/pam/v2"
)

// judge turns what a phase of PAM returned into nil, ErrRefused or ErrBroken. Only codes that are known to mean "no" are the person's
// fault; whatever else is not success is ours. A prompt without an answer makes it a "no" whatever the code (pam_ftp then says
// PAM_AUTHINFO_UNAVAIL): were it a fault, a module that asks for a second factor would tell strangers a right password from a wrong one.
func judge(phase string, err error, a *answers) error {
	if err == nil {
		return nil
	}
	var code pam.Error
	if !errors.As(err, &code) {
		return fmt.Errorf("%w: %s: %w", ErrBroken, phase, err)
	}
	said := fmt.Sprintf("%s: %s (%d)", phase, codeName(code), int(code))
	switch {
	case a.messages > maxMessages:
		return fmt.Errorf("%w: %s after more than %d messages\n  a module talks without end; %s", ErrBroken, said, maxMessages, seeAuthLog)
	case isNo(code), a.asked:
		return fmt.Errorf("%w: %s%s", ErrRefused, said, a.aside())
	}
	return fmt.Errorf("%w: %s\n  %s", ErrBroken, said, remedy(code))
}

// isNo names the codes with which a module answers the question.
func isNo(code pam.Error) bool {
	switch code {
	case pam.ErrAuth, pam.ErrUserUnknown, pam.ErrPermDenied, pam.ErrMaxtries,
		pam.ErrAcctExpired, pam.ErrNewAuthtokReqd, pam.ErrAuthtokExpired, pam.ErrCredExpired:
		return true
	}
	return false
}

// aside tells the operator about a prompt that nobody could answer.
func (a *answers) aside() string {
	if !a.asked {
		return ""
	}
	return "\n  a module asked for more than the one password: give it try_first_pass or use_first_pass, or forward_pass if it takes password and code in one"
}

const seeAuthLog = "the modules' own words are in the system's authentication log (journalctl SYSLOG_FACILITY=10, or /var/log/auth.log)"

// remedy says what an operator can do about a code that is no answer.
func remedy(code pam.Error) string {
	switch code {
	case pam.ErrAuthinfoUnavail, pam.ErrCredInsufficient:
		return "either a directory cannot be reached, or this program may not ask about other accounts than its own: give the program the right, " +
			"with \"install -o www-data -g shadow -m 2510\" (www-data being the web server's user) or, in a unit of its own, SupplementaryGroups=shadow; " +
			"do not make /etc/shadow readable to the web server"
	case pam.ErrModuleUnknown, pam.ErrOpen, pam.ErrSymbol:
		return "the service file names a module that is not installed or cannot be loaded; " + seeAuthLog
	case pam.ErrAbort:
		return "the service file or one that it includes cannot be read; with Linux-PAM 1.5 relative names are looked up in /etc/pam.d; " + seeAuthLog
	case pam.ErrAuthtokRecovery:
		return "a module with use_first_pass found no password: the first auth module that wants one must ask for it"
	}
	return seeAuthLog
}

// codeName is the constant's name in <security/_pam_types.h>; pam_strerror gives only a sentence.
func codeName(code pam.Error) string {
	names := [...]string{
		"PAM_SUCCESS", "PAM_OPEN_ERR", "PAM_SYMBOL_ERR", "PAM_SERVICE_ERR", "PAM_SYSTEM_ERR", "PAM_BUF_ERR", "PAM_PERM_DENIED", "PAM_AUTH_ERR",
		"PAM_CRED_INSUFFICIENT", "PAM_AUTHINFO_UNAVAIL", "PAM_USER_UNKNOWN", "PAM_MAXTRIES", "PAM_NEW_AUTHTOK_REQD", "PAM_ACCT_EXPIRED",
		"PAM_SESSION_ERR", "PAM_CRED_UNAVAIL", "PAM_CRED_EXPIRED", "PAM_CRED_ERR", "PAM_NO_MODULE_DATA", "PAM_CONV_ERR", "PAM_AUTHTOK_ERR",
		"PAM_AUTHTOK_RECOVERY_ERR", "PAM_AUTHTOK_LOCK_BUSY", "PAM_AUTHTOK_DISABLE_AGING", "PAM_TRY_AGAIN", "PAM_IGNORE", "PAM_ABORT",
		"PAM_AUTHTOK_EXPIRED", "PAM_MODULE_UNKNOWN", "PAM_BAD_ITEM", "PAM_CONV_AGAIN", "PAM_INCOMPLETE",
	}
	if code < 0 || int(code) >= len(names) {
		return "unknown code"
	}
	return names[code]
}
