//go:build linux && cgo

package pamauth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vocabulary is what the service files of FuzzStackIsNeverOther are made of. No module in it does anything.
var vocabulary = []string{
	"\n", "\n", " ", "\t", "\\\n", "\\", " # ", "#", "auth", "account", "-auth", "-account", "AUTH", "session", "@include", "include", "substack",
	" required ", " sufficient ", " optional ", " [success=ok default=bad] ", " [success=1 ", "default=bad]", "[", "]",
	" pam_permit.so ", " pam_deny.so ", " @/both ", " @/auth ", " @/nowhere ", "\x00", "\r", "\v",
	"auth required pam_permit.so\n", "account required pam_permit.so\n", "@include @/both\n", "auth include @/both\n", "account include @/auth\n",
}

// A stack that Check lets pass never ends up with the service "other", and one that it refuses for want of a phase would have, judged by libpam.
func FuzzStackIsNeverOther(f *testing.F) {
	find := func(word string) byte {
		for i, w := range vocabulary {
			if w == word {
				return byte(i)
			}
		}
		f.Fatalf("no word %q", word)
		return 0
	}
	permit, account := find("auth required pam_permit.so\n"), find("account required pam_permit.so\n")
	f.Add([]byte{permit, account})
	f.Add([]byte{permit})
	f.Add([]byte{permit, find("#"), find("\\\n"), account})
	f.Add([]byte{permit, find("\\"), account})
	f.Add([]byte{find("auth include @/both\n"), find("account include @/auth\n")})
	f.Add([]byte{find("auth"), find("\\\n"), find(" required "), find(" pam_permit.so "), find(" # "), find("\\\n"), account})
	f.Add([]byte{permit, find("account"), find(" [success=1 "), find("\\\n"), find("default=bad]"), find(" pam_permit.so ")})
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
		need(t, "pam_permit.so", "pam_deny.so", "pam_debug.so")
		if len(words) > 40 {
			return
		}
		var text strings.Builder
		for _, w := range words {
			text.WriteString(strings.ReplaceAll(vocabulary[int(w)%len(vocabulary)], "@/", dir+"/"))
		}
		put(t, filepath.Join(dir, "test"), text.String())
		p := InProcess{Stack: Stack{"test", dir}}
		verdict := p.Stack.Check()
		lacks := verdict != nil && strings.Contains(verdict.Error(), " line\n")
		if verdict != nil && !lacks {
			return // malformed: libpam 1.5.2 crashes on some of these (a line of one word)
		}
		_, auth := p.converse(Login{User: "alice", Password: password})
		_, acct := p.converse(Login{User: "alice", AccountOnly: true})
		if verdict == nil && (isOther(auth) || isOther(acct)) {
			t.Errorf("passed, but is other:\n%s", text.String())
		}
		if lacks && auth == nil && acct == nil {
			t.Errorf("refused, but works: %v\n%s", verdict, text.String())
		}
	})
}

func isOther(err error) bool {
	return strings.Contains(fmt.Sprint(err), "PAM_SESSION_ERR")
}
