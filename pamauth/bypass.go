package pamauth

import (
	"strconv"
	"strings"
)

// moduleResult is what a module returns, as far as it matters here.
type moduleResult int

const (
	success moduleResult = iota // PAM_SUCCESS
	authErr                     // PAM_AUTH_ERR
	ignore                      // PAM_IGNORE
)

// maxUncertain bounds the modules that are tried with both results: two to this power runs. Later
// ones are taken to succeed.
const maxUncertain = 10

// FindBypass reports whether the phase "auth" can succeed although every password module fails: a
// stack of pam_permit alone, or "sufficient pam_succeed_if" before pam_unix. It returns the line
// that decides. A stack with a substack, or with a jump out of it, counts as safe.
func FindBypass(lines []Line) (by Line, found bool) {
	var auth []Line
	var uncertain []int // modules that succeed or fail for reasons other than the password
	for _, l := range lines {
		if l.Phase != "auth" {
			continue
		}
		if l.Substack {
			return Line{}, false
		}
		if ignoresPassword(l) && len(uncertain) < maxUncertain {
			uncertain = append(uncertain, len(auth))
		}
		auth = append(auth, l)
	}
	for run := range 1 << len(uncertain) {
		results := make([]moduleResult, len(auth))
		for i, l := range auth {
			results[i] = defaultResult(l)
		}
		for bit, i := range uncertain {
			if run>>bit&1 == 1 {
				results[i] = authErr
			}
		}
		if i, ok := simulate(auth, results); ok {
			return auth[i], true
		}
	}
	return Line{}, false
}

// defaultResult is what a module returns for a wrong password.
func defaultResult(l Line) moduleResult {
	switch l.Name() {
	case "pam_env", "pam_faildelay", "pam_warn", "pam_echo", "pam_keyinit", "pam_cap", "pam_group", "pam_nologin":
		return ignore
	case "pam_permit":
		return success
	}
	if ignoresPassword(l) {
		return success
	}
	return authErr
}

// ignoresPassword holds for modules that succeed for some accounts without checking the password.
// An unknown module is taken to check it.
func ignoresPassword(l Line) bool {
	switch l.Name() {
	case "pam_access", "pam_debug", "pam_faillock", "pam_listfile", "pam_localuser", "pam_rhosts", "pam_rootok",
		"pam_securetty", "pam_shells", "pam_succeed_if", "pam_tally", "pam_tally2", "pam_time", "pam_usertype",
		"pam_wheel":
		return true
	case "pam_exec":
		return !l.Has("expose_authtok")
	}
	return false
}

// simulate does what libpam does with the results (libpam/pam_dispatch.c, _pam_dispatch_aux).
// decided is the last line that made it a success.
func simulate(lines []Line, results []moduleResult) (decided int, ok bool) {
	const unset, positive, negative = 0, 1, 2
	impression := unset
	for i := 0; i < len(lines); i++ {
		action := actionFor(lines[i].Control, results[i])
		switch action {
		case "ignore":
		case "reset":
			impression = unset
		case "ok", "done":
			if impression != negative && results[i] == success {
				impression, decided = positive, i
			} else if impression != negative && results[i] == authErr {
				impression = negative // "ok" takes over the result, which is a failure
			}
			if action == "done" && impression == positive {
				return decided, true
			}
		case "bad":
			impression = negative
		case "die":
			return 0, false
		default:
			n, err := strconv.Atoi(action)
			if err != nil || n < 1 || i+n >= len(lines) {
				return 0, false // libpam takes it for "bad"
			}
			if impression != negative && results[i] == success {
				impression, decided = positive, i
			} else if impression == positive && results[i] == authErr {
				impression = negative
			}
			i += n
		}
	}
	return decided, impression == positive
}

// actionFor reads a control (pam.conf(5)): one of four words, or a list of results and actions.
func actionFor(control string, r moduleResult) string {
	switch control {
	case "required":
		return [...]string{"ok", "bad", "ignore"}[r]
	case "requisite":
		return [...]string{"ok", "die", "ignore"}[r]
	case "sufficient":
		return [...]string{"done", "ignore", "ignore"}[r]
	case "optional":
		return [...]string{"ok", "ignore", "ignore"}[r]
	}
	value, fallback := [...]string{"success", "auth_err", "ignore"}[r], "bad"
	for _, pair := range strings.Fields(strings.Trim(control, "[]")) {
		name, action, _ := strings.Cut(pair, "=")
		switch name {
		case value:
			return action
		case "default":
			fallback = action
		}
	}
	return fallback
}
