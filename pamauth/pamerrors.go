//go:build linux && cgo

package pamauth

// #include "child.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/msteinert/pam/v2"
)

const seeAuthLog = "the modules write to the system's authentication log " +
	"(journalctl SYSLOG_FACILITY=10, or /var/log/auth.log)"

// err is what an answer means: nil, ErrRefused or ErrBroken.
func (a childAnswer) err() error {
	switch a.phase {
	case phaseDone:
		return nil
	case C.PHASE_TAG:
		return fmt.Errorf("%w: set limit RLIMIT_RTTIME: %w\n"+
			"  start the service without LimitRTTIME= (ulimit -R unlimited)", ErrBroken, syscall.Errno(a.code))
	case C.PHASE_PREPARE:
		return fmt.Errorf("%w: prepare child: %w", ErrBroken, syscall.Errno(a.code))
	case C.PHASE_START:
		return a.classify("start")
	case C.PHASE_AUTHENTICATE:
		return a.classify("authenticate")
	case C.PHASE_ACCOUNT:
		return a.classify("account")
	case C.PHASE_ITEM:
		return a.classify("read PAM_USER")
	case C.PHASE_LOOKUP:
		return errAccount("look up account", syscall.Errno(a.code))
	case C.PHASE_GROUPS:
		return errAccount("look up groups", syscall.Errno(a.code))
	case C.PHASE_TOO_MANY_GROUPS:
		// With some of them missing, access rules would give wrong answers.
		return fmt.Errorf("%w: account is in %d groups, more than fit into an answer", ErrBroken, a.code)
	}
	return fmt.Errorf("%w: %w", ErrBroken, errAnswer)
}

// classify turns what a PAM phase returned into ErrRefused or ErrBroken. Only codes that are known
// to mean "no" are refusals. A prompt without an answer is a refusal whatever the code (pam_ftp
// returns PAM_AUTHINFO_UNAVAIL): as ErrBroken, a module that asks for a second factor would tell a
// right password from a wrong one.
func (a childAnswer) classify(phase string) error {
	code := pam.Error(a.code)
	result := fmt.Sprintf("%s: %s (%d)", phase, codeName(code), a.code)
	switch {
	case a.tooMany:
		return fmt.Errorf("%w: %s: PAM module exceeded %d messages\n  %s", ErrBroken, result, C.MAX_MESSAGES,
			seeAuthLog)
	case a.unanswered:
		return fmt.Errorf("%w: %s\n  a module asked for more than the one password: give it try_first_pass or "+
			"use_first_pass, or forward_pass if it takes password and code in one", ErrRefused, result)
	case isRefusal(code):
		return fmt.Errorf("%w: %s", ErrRefused, result)
	}
	return fmt.Errorf("%w: %s\n  %s", ErrBroken, result, hint(code))
}

// isRefusal names the codes with which a module says no.
func isRefusal(code pam.Error) bool {
	switch code {
	case pam.ErrAuth, pam.ErrUserUnknown, pam.ErrPermDenied, pam.ErrMaxtries,
		pam.ErrAcctExpired, pam.ErrNewAuthtokReqd, pam.ErrAuthtokExpired, pam.ErrCredExpired:
		return true
	}
	return false
}

// hint is what an operator can do about a code that is neither yes nor no.
func hint(code pam.Error) string {
	switch code {
	case pam.ErrAuthinfoUnavail, pam.ErrCredInsufficient:
		return "either a directory server cannot be reached, or dockerauth may ask about its own account only: " +
			"give it the right, with \"install -o www-data -g shadow -m 2510\" " +
			"(www-data being the web server's user) or, in a unit of its own, SupplementaryGroups=shadow; " +
			"do not make /etc/shadow readable to the web server"
	case pam.ErrModuleUnknown, pam.ErrOpen, pam.ErrSymbol:
		return "the service file names a module that is not installed or cannot be loaded; " + seeAuthLog
	case pam.ErrAbort:
		return "the service file, or one that it includes or names (accessfile=), cannot be read; " +
			"dockerauth check names the line; " + seeAuthLog
	case pam.ErrAuthtokRecovery:
		return "a module with use_first_pass found no password: the first auth module that needs one must ask for it"
	}
	return seeAuthLog
}

// errContextEnded is the error of a conversation whose context ended first. left is how many of its
// processes could not be killed, such as those that changed all their user ids.
func errContextEnded(ctx context.Context, left int) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, context.Canceled) {
		return fmt.Errorf("%w: cancelled, every client has disconnected%s: %w", ErrBroken, leftText(left), cause)
	}
	return fmt.Errorf("%w: no answer in time%s: %w\n"+
		"  a module hangs or is slow: check that the directory server that it asks can be reached; %s",
		ErrBroken, leftText(left), cause, seeAuthLog)
}

func leftText(left int) string {
	if left == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d processes that it started could not be killed)", left)
}

// codeName is the constant's name in <security/_pam_types.h>; pam_strerror gives only a sentence.
func codeName(code pam.Error) string {
	names := [...]string{
		"PAM_SUCCESS", "PAM_OPEN_ERR", "PAM_SYMBOL_ERR", "PAM_SERVICE_ERR", "PAM_SYSTEM_ERR", "PAM_BUF_ERR",
		"PAM_PERM_DENIED", "PAM_AUTH_ERR", "PAM_CRED_INSUFFICIENT", "PAM_AUTHINFO_UNAVAIL", "PAM_USER_UNKNOWN",
		"PAM_MAXTRIES", "PAM_NEW_AUTHTOK_REQD", "PAM_ACCT_EXPIRED", "PAM_SESSION_ERR", "PAM_CRED_UNAVAIL",
		"PAM_CRED_EXPIRED", "PAM_CRED_ERR", "PAM_NO_MODULE_DATA", "PAM_CONV_ERR", "PAM_AUTHTOK_ERR",
		"PAM_AUTHTOK_RECOVERY_ERR", "PAM_AUTHTOK_LOCK_BUSY", "PAM_AUTHTOK_DISABLE_AGING", "PAM_TRY_AGAIN",
		"PAM_IGNORE", "PAM_ABORT", "PAM_AUTHTOK_EXPIRED", "PAM_MODULE_UNKNOWN", "PAM_BAD_ITEM",
		"PAM_CONV_AGAIN", "PAM_INCOMPLETE",
	}
	if code < 0 || int(code) >= len(names) {
		return "unknown code"
	}
	return names[code]
}
