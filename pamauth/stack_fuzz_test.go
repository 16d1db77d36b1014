//go:build linux && cgo

package pamauth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fragments are what the service files of FuzzStackIsNeverOther are made of. Their modules are
// harmless.
var fragments = []string{
	"\n", "\n", " ", "\t", "\\\n", "\\", " # ", "#", "auth", "account", "-auth", "-account", "AUTH", "session",
	"@include", "include", "substack",
	" required ", " sufficient ", " optional ", " [success=ok default=bad] ", " [success=1 ", "default=bad]", "[", "]",
	" requisite ", " [Required] ", " requred ", " default=die ", "success = ok", "success=ok", "success=OK", "die", "=",
	"\\]", " [a b] ", "pam_debug.so auth=ignore acct=ignore ", "pam_debug.so auth=user_unknown ", "0", "\u00a0",
	" pam_permit.so ", " pam_deny.so ", " @/both ", " @/auth ", " @/nowhere ", "\x00", "\r", "\v",
	"auth required pam_permit.so\n", "account required pam_permit.so\n", "@include @/both\n", "auth include @/both\n",
	"account include @/auth\n",
}

// libpam never uses the service "other" for a stack that Check accepts. For one that Check refuses
// because a phase is missing, it does.
func FuzzStackIsNeverOther(f *testing.F) {
	const auth, account = "auth required pam_permit.so\n", "account required pam_permit.so\n"
	for _, seed := range [][]string{
		{auth, account},
		{auth},
		{auth, "#", "\\\n", account},
		{auth, "\\", account},
		{"auth include @/both\n", "account include @/auth\n"},
		{"auth", "\\\n", " required ", " pam_permit.so ", " # ", "\\\n", account},
		{auth, "account", " [success=1 ", "\\\n", "default=bad]", " pam_permit.so "},
	} {
		var indexes []byte
		for _, fragment := range seed {
			i := slices.Index(fragments, fragment)
			if i < 0 {
				f.Fatalf("no fragment %q", fragment)
			}
			indexes = append(indexes, byte(i))
		}
		f.Add(indexes)
	}
	dir := f.TempDir()
	for name, text := range map[string]string{
		"both":  "auth required pam_permit.so\naccount required pam_permit.so\n",
		"auth":  "auth required pam_permit.so\n",
		"other": "auth required pam_debug.so auth=session_err\naccount required pam_debug.so acct=session_err\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, words []byte) {
		requireModules(t, "pam_permit.so", "pam_deny.so", "pam_debug.so")
		if len(words) > 40 {
			return
		}
		var text strings.Builder
		for _, w := range words {
			text.WriteString(strings.ReplaceAll(fragments[int(w)%len(fragments)], "@/", dir+"/"))
		}
		writeFile(t, filepath.Join(dir, "test"), text.String())
		stack := Stack{"test", dir}
		checkErr := stack.Check()
		var all StackErrors
		lacks := errors.As(checkErr, &all) && all[0].Fault == FaultPhase
		if checkErr != nil && !lacks {
			return // malformed: libpam 1.5.2 crashes on some of these (a line of one word)
		}
		auth := converse(t, stack, rightLogin)
		acct := converse(t, stack, Login{User: "alice", AccountOnly: true})
		if checkErr == nil && (isOther(auth) || isOther(acct)) {
			t.Errorf("accepted, but is other:\n%s", text.String())
		}
		if checkErr == nil {
			comparePhases(t, text.String(), stack, auth, acct)
		}
		if lacks && auth == nil && acct == nil {
			t.Errorf("refused, but works: %v\n%s", checkErr, text.String())
		}
	})
}

func isOther(err error) bool {
	return strings.Contains(fmt.Sprint(err), "PAM_SESSION_ERR")
}

// comparePhases wants libpam to decide as the lines tell.
func comparePhases(t *testing.T, text string, stack Stack, auth, acct error) {
	t.Helper()
	lines, err := stack.Parse()
	if err != nil {
		t.Fatal(err)
	}
	for phase, err := range map[string]error{"auth": auth, "account": acct} {
		_, found := findSuccess(linesOf(lines, phase), func(l Line) []int { return []int{resultOf(l)} })
		// A login with a password is asked about both phases.
		if phase == "auth" && err != nil && !strings.Contains(err.Error(), ": authenticate: ") {
			err = nil
		}
		if found != (err == nil) {
			t.Errorf("%s: libpam says %v, and the lines tell %t:\n%s", phase, err, found, text)
		}
	}
}

// resultOf is what the modules of these tests return, whatever the login.
func resultOf(l Line) int {
	switch l.Module {
	case "pam_permit.so":
		return resultSuccess
	case "pam_deny.so":
		return resultAuthErr
	case "pam_debug.so":
		key := "auth"
		if l.Phase == "account" {
			key = "acct"
		}
		result, _ := l.Value(key)
		return max(slices.Index(resultWords[:], result), resultSuccess)
	}
	return resultModuleUnknown
}

// A line is made of one of each, by a byte's bits.
var (
	fuzzPhases   = []string{"auth", "account"}
	fuzzControls = []string{"required", "requisite", "sufficient", "optional", "[success=1 default=ignore]",
		"[success=2 default=bad]", "[default=reset]", "[success=done default=1 ignore=2]",
		"[user_unknown=ok success=reset default=die]", "[default=1]", "success=done", "[default=3 success=bad]",
		"include", "substack", "[ success = ok default=1 auth_err=done ]", "[ignore=ok default=ok]"}
	fuzzModules = []string{"pam_permit.so", "pam_deny.so", "pam_debug.so auth=ignore acct=ignore",
		"pam_debug.so auth=user_unknown acct=user_unknown"}
)

// libpam decides about a stack of any controls as FindBypass and CanSucceed take it to.
func FuzzStackDecidesAsLibpamDoes(f *testing.F) {
	for _, seed := range []string{"\x00\x01", "\x18\x20\x02\x01", "\x1a\x1a\x02\x02\x01\x01\x02",
		"\x06\x1a\x1e\x2a\x4a\x01"} {
		f.Add([]byte(seed), []byte(seed), []byte(seed))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, top, more, most []byte) {
		requireModules(t, "pam_permit.so", "pam_deny.so", "pam_debug.so")
		includes := map[string]string{"test": dir + "/more", "more": dir + "/most", "most": dir + "/none"}
		var all string
		for name, bytes := range map[string][]byte{"test": top, "more": more, "most": most, "none": nil} {
			var text strings.Builder
			for _, b := range bytes[:min(len(bytes), 12)] {
				control, module := fuzzControls[b>>1&15], fuzzModules[b>>5&3]
				if control == "include" || control == "substack" {
					module = includes[name]
				}
				fmt.Fprintf(&text, "%s %s %s\n", fuzzPhases[b&1], control, module)
			}
			if name == "test" {
				text.WriteString("auth optional pam_permit.so\naccount optional pam_permit.so\n")
			}
			writeFile(t, filepath.Join(dir, name), text.String())
			all += name + ":\n" + text.String()
		}
		stack := Stack{"test", dir}
		if stack.Check() != nil {
			return
		}
		auth := converse(t, stack, rightLogin)
		acct := converse(t, stack, Login{User: "alice", AccountOnly: true})
		comparePhases(t, all, stack, auth, acct)
	})
}
