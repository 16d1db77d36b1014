package pamauth

import (
	"strconv"
	"strings"
)

// reply is what a module answers, as far as it matters here.
type reply int

const (
	replyYes    reply = iota // PAM_SUCCESS
	replyNo                  // PAM_AUTH_ERR
	replyIgnore              // PAM_IGNORE
)

// maxLikely bounds the ways that are looked at: two to this power. What goes beyond is taken to say yes.
const maxLikely = 10

// WayIn looks for a way through the phase "auth" on which somebody gets in although every module that looks at the password has refused it:
// a stack of pam_permit alone, "sufficient pam_succeed_if" before pam_unix. It returns the line that decides, and whether there is one. A stack with a substack
// or with jumps out of it is not followed: the answer is no.
func WayIn(lines []Line) (by Line, open bool) {
	var auth []Line
	var likely []int // modules that say yes or no for reasons of their own
	for _, l := range lines {
		if l.Phase != "auth" {
			continue
		}
		if l.Substack {
			return Line{}, false
		}
		if mayLetIn(l) && len(likely) < maxLikely {
			likely = append(likely, len(auth))
		}
		auth = append(auth, l)
	}
	for way := range 1 << len(likely) {
		replies := make([]reply, len(auth))
		for i, l := range auth {
			replies[i] = usual(l)
		}
		for bit, i := range likely {
			if way>>bit&1 == 1 {
				replies[i] = replyNo
			}
		}
		if i, in := walk(auth, replies); in {
			return auth[i], true
		}
	}
	return Line{}, false
}

// usual is what a module replies to a wrong password.
func usual(l Line) reply {
	switch l.Name() {
	case "pam_env", "pam_faildelay", "pam_warn", "pam_echo", "pam_keyinit", "pam_cap", "pam_group", "pam_nologin":
		return replyIgnore
	case "pam_permit":
		return replyYes
	}
	if mayLetIn(l) {
		return replyYes
	}
	return replyNo
}

// mayLetIn holds for modules that succeed without having looked at a password, for some account or other. A module that is not known is taken
// for one that looks.
func mayLetIn(l Line) bool {
	switch l.Name() {
	case "pam_access", "pam_debug", "pam_faillock", "pam_listfile", "pam_localuser", "pam_rhosts", "pam_rootok", "pam_securetty", "pam_shells",
		"pam_succeed_if", "pam_tally", "pam_tally2", "pam_time", "pam_usertype", "pam_wheel":
		return true
	case "pam_exec":
		return !l.Has("expose_authtok")
	}
	return false
}

// walk is what libpam does with the replies (libpam/pam_dispatch.c, _pam_dispatch_aux). decided is the last line that made it a yes.
func walk(lines []Line, replies []reply) (decided int, in bool) {
	const unset, positive, negative = 0, 1, 2
	impression := unset
	for i := 0; i < len(lines); i++ {
		action := actionFor(lines[i].Control, replies[i])
		switch action {
		case "ignore":
		case "reset":
			impression = unset
		case "ok", "done":
			if impression != negative && replies[i] == replyYes {
				impression, decided = positive, i
			} else if impression != negative && replies[i] == replyNo {
				impression = negative // "ok" takes the answer over, and it is a no
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
			if impression != negative && replies[i] == replyYes {
				impression, decided = positive, i
			} else if impression == positive && replies[i] == replyNo {
				impression = negative
			}
			i += n
		}
	}
	return decided, impression == positive
}

// actionFor reads a control (pam.conf(5)): one of the four words, or a list of replies and what each leads to.
func actionFor(control string, a reply) string {
	switch control {
	case "required":
		return [...]string{"ok", "bad", "ignore"}[a]
	case "requisite":
		return [...]string{"ok", "die", "ignore"}[a]
	case "sufficient":
		return [...]string{"done", "ignore", "ignore"}[a]
	case "optional":
		return [...]string{"ok", "ignore", "ignore"}[a]
	}
	value, fallback := [...]string{"success", "auth_err", "ignore"}[a], "bad"
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
