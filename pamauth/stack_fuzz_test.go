//go:build linux && cgo

package pamauth

import (
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
		p := inProcess{Stack: Stack{"test", dir}}
		checkErr := p.Stack.Check()
		lacks := checkErr != nil && strings.Contains(checkErr.Error(), " line\n")
		if checkErr != nil && !lacks {
			return // malformed: libpam 1.5.2 crashes on some of these (a line of one word)
		}
		_, auth := p.converse(rightLogin, nil)
		_, acct := p.converse(Login{User: "alice", AccountOnly: true}, nil)
		if checkErr == nil && (isOther(auth) || isOther(acct)) {
			t.Errorf("accepted, but is other:\n%s", text.String())
		}
		if lacks && auth == nil && acct == nil {
			t.Errorf("refused, but works: %v\n%s", checkErr, text.String())
		}
	})
}

func isOther(err error) bool {
	return strings.Contains(fmt.Sprint(err), "PAM_SESSION_ERR")
}
