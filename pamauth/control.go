package pamauth

import (
	"fmt"
	"strconv"
	"strings"
)

// What a module does to its stack after a result. A number above zero is a jump over that many
// lines.
const (
	actionIgnore = -iota
	actionOK
	actionDone
	actionBad
	actionDie
	actionReset
	actionUnset
)

// Results of modules that matter here (<security/_pam_types.h>).
const (
	resultSuccess         = 0
	resultAuthErr         = 7
	resultAuthinfoUnavail = 9
	resultUserUnknown     = 10
	resultNewAuthtokReqd  = 12
	resultIgnore          = 25
	resultModuleUnknown   = 28
	resultCount           = 32
)

// resultWords and actionWords are libpam's (libpam/pam_tokens.h), by number.
var (
	resultWords = [resultCount + 1]string{"success", "open_err", "symbol_err", "service_err", "system_err", "buf_err",
		"perm_denied", "auth_err", "cred_insufficient", "authinfo_unavail", "user_unknown", "maxtries",
		"new_authtok_reqd", "acct_expired", "session_err", "cred_unavail", "cred_expired", "cred_err", "no_module_data",
		"conv_err", "authtok_err", "authtok_recover_err", "authtok_lock_busy", "authtok_disable_aging", "try_again",
		"ignore", "abort", "authtok_expired", "module_unknown", "bad_item", "conv_again", "incomplete", "default"}
	actionWords  = [...]string{"ignore", "ok", "done", "bad", "die", "reset"}
	controlWords = []string{"required", "requisite", "sufficient", "optional", "include", "substack"}
	phaseWords   = []string{"auth", "account", "password", "session"}
)

// actions are what a control does, by the module's result.
type actions [resultCount]int8

func (a *actions) setDefault(action int8) {
	for i := range a {
		if a[i] == actionUnset {
			a[i] = action
		}
	}
}

// parseControl reads a control as libpam does (libpam/pam_handlers.c, pam_misc.c): one of four
// words, or a list of results and actions, without its brackets. A jump is a number of lines, up to
// 127 here. The wrong word is a field of the error.
func parseControl(control string) (a actions, err *wordError) {
	for i := range a {
		a[i] = actionUnset
	}
	success, failure := int8(actionOK), int8(actionIgnore)
	switch lowerASCII(control) {
	case "required":
		failure, a[resultIgnore] = actionBad, actionIgnore
	case "requisite":
		failure, a[resultIgnore] = actionDie, actionIgnore
	case "optional":
	case "sufficient":
		success = actionDone
	default:
		err = a.parseList(control)
		a.setDefault(actionBad)
		return a, err
	}
	a[resultSuccess], a[resultNewAuthtokReqd] = success, success
	a.setDefault(failure)
	return a, nil
}

// parseList is _pam_parse_control. libpam compares beginnings only, so "okdefault=bad" is two.
func (a *actions) parseList(list string) *wordError {
	const blanks = " \t\n\v\f\r"
	for before := ""; ; {
		adjacent := list != "" && !strings.ContainsAny(list[:1], blanks)
		list = strings.TrimLeft(list, blanks)
		if list == "" {
			return nil
		}
		result := beginning(list, resultWords[:])
		rest := ""
		if result >= 0 {
			rest = strings.TrimLeft(list[len(resultWords[result]):], blanks)
		}
		switch {
		case rest != "" && rest[0] == '=':
		case before != "" && adjacent: // "okay" begins with ok
			return &wordError{"unknown action", firstWord(before, " \t="), actionWords[:]}
		default:
			return unknownResult(list)
		}
		rest = strings.TrimLeft(rest[1:], blanks)
		before = rest
		action := beginning(rest, actionWords[:])
		var value int8
		if action >= 0 {
			value, list = int8(-action), rest[len(actionWords[action]):]
		} else {
			n := 0
			for n < len(rest) && '0' <= rest[n] && rest[n] <= '9' {
				n++
			}
			number := strings.TrimLeft(rest[:n], "0")
			switch {
			case n == 0:
				return &wordError{"unknown action", firstWord(rest, " \t="), actionWords[:]}
			case number == "":
				return &wordError{"a jump over no lines,", rest[:n], []string{"ignore"}}
			}
			jump, err := strconv.ParseInt(number, 10, 8)
			if err != nil {
				return &wordError{"a jump over too many lines,", rest[:n], nil}
			}
			value, list = int8(jump), rest[n:]
		}
		if result == resultCount {
			a.setDefault(value)
		} else {
			a[result] = value
		}
	}
}

// beginning is the index of the first word that s begins with, or -1.
func beginning(s string, words []string) int {
	for i, w := range words {
		if strings.HasPrefix(s, w) {
			return i
		}
	}
	return -1
}

func firstWord(s, ends string) string {
	if end := strings.IndexAny(s, ends); end >= 0 {
		return s[:end]
	}
	return s
}

// unknownResult is about a word that is no control, or no result in a list.
func unknownResult(list string) *wordError {
	word := firstWord(list, " \t=")
	if strings.HasPrefix(word, "pam_") && isLetters(strings.TrimSuffix(word, ".so")) {
		return &wordError{"no control before the module", word, nil}
	}
	if word == list {
		return &wordError{"unknown control", word, controlWords}
	}
	return &wordError{"unknown result", word, resultWords[:]}
}

// wordError is about a word that stands where others may.
type wordError struct {
	what  string   // "unknown control"
	word  string   // as written
	known []string // what may stand there
}

// Error quotes only what is made of letters: the file may hold secrets.
func (e *wordError) Error() string {
	switch {
	case isLetters(strings.TrimSuffix(e.word, ".so")) || strings.Trim(e.word, "0123456789") == "":
		return fmt.Sprintf("%s %q", e.what, e.word)
	case strings.ContainsFunc(e.word, func(c rune) bool { return c > 0x7e }):
		return fmt.Sprintf("%s of %d bytes with a character that is not ASCII", e.what, len(e.word))
	}
	return fmt.Sprintf("%s of %d bytes", e.what, len(e.word))
}

func isLetters(s string) bool {
	for _, c := range []byte(lowerASCII(s)) {
		if (c < 'a' || c > 'z') && c != '_' && c != '-' && c != '@' {
			return false
		}
	}
	return s != ""
}

// lowerASCII is strcasecmp's idea of a letter: strings.ToLower turns the Kelvin sign into a k.
func lowerASCII(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}
