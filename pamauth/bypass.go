package pamauth

import "strings"

// FindBypass reports whether the phase "auth" can succeed although every password module fails: a
// stack of pam_permit alone, or "sufficient pam_succeed_if" before pam_unix. It returns the line
// that decides.
func FindBypass(lines []Line) (by Line, found bool) {
	return findSuccess(linesOf(lines, "auth"), withoutPassword)
}

// CanSucceed reports whether a phase lets anybody in if each module says what suits best. Modules
// for which isMissing holds cannot be loaded.
func CanSucceed(lines []Line, phase string, isMissing func(Line) bool) bool {
	_, found := findSuccess(linesOf(lines, phase), func(l Line) []int {
		switch {
		case isMissing(l):
			return []int{resultModuleUnknown}
		case l.Name() == "pam_deny":
			return []int{resultAuthErr}
		}
		return []int{resultSuccess, resultIgnore, resultAuthErr, resultUserUnknown, resultAuthinfoUnavail}
	})
	return found
}

func linesOf(lines []Line, phase string) (some []Line) {
	for _, l := range lines {
		if l.Phase == phase {
			some = append(some, l)
		}
	}
	return some
}

// withoutPassword are the results that a module may have for an account whose password is not
// known.
func withoutPassword(l Line) []int {
	switch l.Name() {
	case "pam_env", "pam_faildelay", "pam_warn", "pam_echo", "pam_keyinit", "pam_cap", "pam_group":
		return []int{resultIgnore}
	case "pam_nologin":
		if l.Has("successok") {
			return []int{resultSuccess, resultAuthErr}
		}
		return []int{resultIgnore, resultAuthErr}
	case "pam_permit":
		return []int{resultSuccess}
	case "pam_deny":
		return []int{resultAuthErr}
	}
	if ignoresPassword(l) {
		return []int{resultSuccess, resultAuthErr}
	}
	results := []int{resultAuthErr, resultUserUnknown, resultAuthinfoUnavail}
	for _, arg := range l.Args {
		key, _, _ := strings.Cut(arg, "=")
		switch key {
		case "ignore_unknown_user", "ignore_authinfo_unavail", "minimum_uid", "ignore_root", "nullok":
			// pam_unix succeeds with nullok for accounts without a password, which this program
			// forbids.
			if l.Name() != "pam_unix" {
				results = append(results, resultIgnore)
			}
		}
	}
	return results
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

// verdict is what a stack says so far.
type verdict int8

const (
	undecided verdict = iota
	succeeds
	fails // or succeeds with a result that is not PAM_SUCCESS
	refuses
)

// dispatch is where libpam stands in a stack (libpam/pam_dispatch.c, _pam_dispatch_aux).
type dispatch struct {
	next    int // line
	level   int // of the line before
	verdict verdict
	saved   [maxIncludes + 1]verdict // before each substack
}

// findSuccess tries every result that the modules may have, one at a time, and returns the line
// that makes the phase succeed.
func findSuccess(lines []Line, results func(Line) []int) (by Line, found bool) {
	seen := map[dispatch]bool{}
	var try func(d dispatch, by int) (int, bool)
	try = func(d dispatch, by int) (int, bool) {
		if seen[d] {
			return 0, false
		}
		seen[d] = true
		if d.next >= len(lines) {
			return by, d.verdict == succeeds
		}
		l := lines[d.next]
		if d.level < l.Level {
			d.saved[l.Level] = d.verdict
		}
		d.level = l.Level
		if l.Module == "" {
			d.next++
			return try(d, by)
		}
		a, _ := parseControl(strings.Trim(l.Control, "[]")) // Parse has read it
		for _, result := range results(l) {
			after, by := d, by
			if after.take(lines, int(a[result]), result) {
				by = d.next
			}
			if decided, ok := try(after, by); ok {
				return decided, true
			}
		}
		return 0, false
	}
	i, found := try(dispatch{}, 0)
	if !found {
		return Line{}, false
	}
	return lines[i], true
}

// take does what libpam does after a result of the line at next. granted = this line has made it a
// success.
func (d *dispatch) take(lines []Line, action, result int) (granted bool) {
	at := d.next
	d.next++
	ends := false
	switch action {
	case actionIgnore:
	case actionReset:
		d.verdict = d.saved[d.level]
	case actionOK, actionDone:
		if d.verdict == undecided || d.verdict == succeeds {
			granted = result == resultSuccess
			d.verdict = fails
			if granted {
				d.verdict = succeeds
			}
		}
		ends = action == actionDone && d.verdict != refuses
	case actionBad, actionDie:
		d.verdict = refuses
		ends = action == actionDie
	default:
		target, ok := jump(lines, at, action)
		if d.next = target; !ok {
			d.verdict = refuses
		}
	}
	if ends {
		for d.next < len(lines) && lines[d.next].Level >= d.level {
			d.next++
		}
	}
	return granted
}

// jump is the line that runs after a jump over n others. A substack counts as one. ok is false if
// there are fewer.
func jump(lines []Line, from, n int) (next int, ok bool) {
	level := lines[from].Level
	has := func(i, level int) bool { return i < len(lines) && lines[i].Level >= level }
	for i := from; ; n-- {
		if n <= 0 || !has(i+1, level) {
			return i + 1, n <= 0
		}
		for i++; has(i+1, level+1); i++ {
		}
	}
}

// Answer is what a module says about an account, as far as it is known without asking it.
type Answer int

const (
	Unknown Answer = iota
	Yes
	No
)

// RefusedBy returns the line with which a phase refuses a login for sure, whatever modules say
// about which answer does not know.
func RefusedBy(lines []Line, phase string, answer func(Line) Answer) (by Line, found bool) {
	lines = linesOf(lines, phase)
	for i := 0; i < len(lines); {
		l := lines[i]
		if l.Module == "" {
			i++
			continue
		}
		a, _ := parseControl(strings.Trim(l.Control, "[]")) // Parse has read it
		given := answer(l)
		action := int(a[resultSuccess])
		switch given {
		case No:
			if action = int(a[resultAuthErr]); action == actionBad || action == actionDie {
				return l, true
			}
		case Unknown:
			for _, some := range a {
				if some > 0 || some == actionDone || some == actionDie || some == actionReset {
					return Line{}, false // what comes next is not known
				}
			}
			action = actionIgnore
		}
		if action == actionDone || action == actionDie {
			return Line{}, false
		}
		i, _ = jump(lines, i, action)
	}
	return Line{}, false
}
