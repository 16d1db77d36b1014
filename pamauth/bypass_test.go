package pamauth

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestFindBypass(t *testing.T) {
	tests := []struct {
		name string
		auth string // lines, without their phase
		by   string // the module that decides; "" = no bypass
	}{
		{"the service file that ships",
			"requisite pam_succeed_if.so quiet uid >= 1000 uid ne 65534; required pam_unix.so nodelay", ""},
		{"Debian's common-auth", "[success=1 default=ignore] pam_unix.so nullok; " +
			"requisite pam_deny.so; required pam_permit.so; optional pam_cap.so", ""},
		{"Debian's with SSSD", "[success=2 default=ignore] pam_unix.so nullok; " +
			"[success=1 default=ignore] pam_sss.so use_first_pass; requisite pam_deny.so; required pam_permit.so", ""},
		{"Red Hat's password-auth", "required pam_env.so; required pam_faildelay.so delay=2000000; " +
			"[default=1 ignore=ignore success=ok] pam_usertype.so isregular; " +
			"[default=1 ignore=ignore success=ok] pam_localuser.so; sufficient pam_unix.so nullok; " +
			"[default=1 ignore=ignore success=ok] pam_usertype.so isregular; " +
			"sufficient pam_sss.so forward_pass; required pam_deny.so", ""},
		{"a directory server before the local accounts", "sufficient pam_sss.so; required pam_unix.so nodelay", ""},
		{"faillock around pam_unix", "requisite pam_faillock.so preauth; sufficient pam_unix.so; " +
			"[default=die] pam_faillock.so authfail; required pam_deny.so", ""},
		{"modules that return PAM_IGNORE", "required pam_env.so; sufficient pam_unix.so", ""},
		{"a program that reads the password", "required pam_exec.so expose_authtok /usr/local/bin/ask", ""},
		{"an unknown module is taken to check the password", "required pam_mine.so", ""},
		{"pam_permit after pam_unix", "required pam_unix.so; required pam_permit.so", ""},
		{"an end that leaves the substack only",
			"substack @/ends; required pam_unix.so", ""},
		{"a failure in a substack, forgotten by a reset outside", "substack @/denies; [default=reset] pam_unix.so; " +
			"required pam_unix.so", ""},
		{"a jump over a substack counts it as one line", "[success=1 default=ignore] pam_unix.so; substack @/denies; " +
			"required pam_unix.so", ""},
		{"a directory that does not know the account, before the local ones",
			"[success=done user_unknown=ignore default=die] pam_sss.so; required pam_unix.so", ""},

		{"pam_permit alone", "required pam_permit.so", "pam_permit.so"},
		{"pam_permit first, and sufficient", "sufficient pam_permit.so; required pam_unix.so", "pam_permit.so"},
		{"a jump that is one too long", "[success=1 default=2] pam_unix.so; optional pam_env.so; " +
			"requisite pam_deny.so; required pam_permit.so", "pam_permit.so"},
		{"common-auth without its pam_deny", "[success=1 default=ignore] pam_unix.so; optional pam_cap.so; " +
			"required pam_permit.so", "pam_permit.so"},
		{"pam_unix that is optional", "optional pam_unix.so; required pam_permit.so", "pam_permit.so"},
		{"ordinary accounts need no password", "sufficient pam_succeed_if.so uid >= 1000; required pam_unix.so",
			"pam_succeed_if.so"},
		{"faillock with nothing after a sufficient pam_unix",
			"required pam_faillock.so preauth; sufficient pam_unix.so", "pam_faillock.so"},
		{"a program that does not read the password", "required pam_exec.so /usr/local/bin/ask", "pam_exec.so"},
		{"pam_rootok first, and sufficient", "sufficient pam_rootok.so; required pam_unix.so", "pam_rootok.so"},
		{"a substack of pam_permit", "substack @/permits", "pam_permit.so"},
		{"an end that leaves the substack only, before what is optional", "substack @/ends; optional pam_unix.so",
			"pam_permit.so"},
		{
			"a jump over the substack with the password",
			"[default=1] pam_env.so; substack @/denies; required pam_permit.so",
			"pam_permit.so",
		},
		{"a failure that a reset forgets", "required pam_unix.so; [default=reset] pam_env.so; required pam_permit.so",
			"pam_permit.so"},
		{"accounts that the directory does not know", "[success=ok user_unknown=ignore default=bad] pam_sss.so; " +
			"required pam_permit.so", "pam_permit.so"},
		{"a directory that is away", "[success=ok authinfo_unavail=ignore default=bad] pam_ldap.so; " +
			"required pam_permit.so", "pam_permit.so"},
		{"accounts below the directory's first", "required pam_krb5.so minimum_uid=1000; required pam_permit.so",
			"pam_permit.so"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			auth := "auth " + strings.ReplaceAll(strings.ReplaceAll(tt.auth, "; ", "\nauth "), "@/", dir+"/")
			writeFile(t, filepath.Join(dir, "permits"), "auth required pam_permit.so\n")
			writeFile(t, filepath.Join(dir, "denies"), "auth requisite pam_deny.so\n")
			writeFile(t, filepath.Join(dir, "ends"), "auth sufficient pam_permit.so\nauth required pam_deny.so\n")
			writeFile(t, filepath.Join(dir, "test"), auth+"\naccount required pam_permit.so\n")
			lines, err := Stack{"test", dir}.Parse()
			if err != nil {
				t.Fatal(err)
			}
			by, found := FindBypass(lines)
			if found != (tt.by != "") || by.Module != tt.by {
				t.Errorf("got %t by %q, want it by %q", found, by.Module, tt.by)
			}
		})
	}
}

func TestParseTellsWhereEachLineStands(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "more"), "# before\naccount required pam_two.so\n")
	writeFile(t, filepath.Join(dir, "test"), "-auth [success=ok  default=ignore] \\\n /opt/pam_one.so nodelay  x=1\n"+
		"account substack "+filepath.Join(dir, "more")+"\nsession required pam_three.so\n")
	lines, err := Stack{"test", dir}.Parse()
	if err != nil || len(lines) != 3 {
		t.Fatalf("%v, %v", lines, err)
	}
	if l := lines[0]; l.Phase != "auth" || l.Control != "[success=ok default=ignore]" || l.Name() != "pam_one" ||
		!l.Has("nodelay") || l.Has("x") || !l.Silent || l.Level != 0 || l.Number != 1 ||
		l.End != 2 || filepath.Base(l.File) != "test" {
		t.Errorf("got %+v", l)
	}
	if l := lines[1]; l.Phase != "account" || l.Control != "substack" || l.Module != "" || l.Level != 0 ||
		l.Number != 3 {
		t.Errorf("got %+v", l)
	}
	if l := lines[2]; l.Phase != "account" || l.Module != "pam_two.so" || l.Silent || l.Level != 1 || l.Number != 2 ||
		filepath.Base(l.File) != "more" {
		t.Errorf("got %+v", l)
	}
}

func TestAStackThatRefusesEverybody(t *testing.T) {
	installed := func(Line) bool { return false }
	unixMissing := func(l Line) bool { return l.Module == "pam_unix.so" }
	tests := []struct {
		name      string
		auth      string
		isMissing func(Line) bool
		want      bool
	}{
		{
			"the service file that ships",
			"requisite pam_succeed_if.so uid >= 1000; required pam_unix.so",
			installed,
			true,
		},
		{"pam_deny alone", "required pam_deny.so", installed, false},
		{"common-auth without its modules", "requisite pam_deny.so; required pam_permit.so", installed, false},
		{"a list without success", "[auth_err=ok default=die] pam_unix.so", installed, false},
		{"a missing module that is required", "required pam_unix.so", unixMissing, false},
		{"a missing module that may be", "sufficient pam_unix.so; required pam_sss.so", unixMissing, true},
		{"a missing module before pam_deny", "sufficient pam_unix.so; required pam_deny.so", unixMissing, false},
	}
	for _, tt := range tests {
		lines := linesFrom(tt.auth)
		if got := CanSucceed(lines, "auth", tt.isMissing); got != tt.want {
			t.Errorf("%s: got %t", tt.name, got)
		}
	}
}

func TestTheLineThatRefuses(t *testing.T) {
	answer := func(l Line) Answer {
		switch l.Name() {
		case "pam_listfile":
			return No
		case "pam_access":
			return Yes
		}
		return Unknown
	}
	for _, tt := range []struct {
		name, auth string
		by         int // index of the line; -1 = not known
	}{
		{"the first", "requisite pam_listfile.so; required pam_unix.so", 0},
		{"after the password", "required pam_unix.so; required pam_listfile.so", 1},
		{"one that does not matter", "optional pam_listfile.so; required pam_unix.so", -1},
		{"one that is jumped over", "[success=1 default=ignore] pam_access.so; required pam_listfile.so; " +
			"required pam_unix.so", -1},
		{"the one behind a jump", "[success=1 default=ignore] pam_access.so; required pam_unix.so; " +
			"required pam_listfile.so", 2},
		{"one behind an end", "sufficient pam_access.so; required pam_listfile.so", -1},
		{"one behind what may end the phase", "sufficient pam_unix.so; required pam_listfile.so", -1},
		{"one whose failure jumps", "[success=ok default=1] pam_listfile.so; required pam_unix.so; " +
			"required pam_listfile.so", 2},
	} {
		lines := linesFrom(tt.auth)
		by, found := RefusedBy(lines, "auth", answer)
		if found != (tt.by >= 0) || found && by.Number != tt.by {
			t.Errorf("%s: got %t, %v", tt.name, found, by)
		}
	}
}

// linesFrom makes lines of auth.
func linesFrom(auth string) (lines []Line) {
	for text := range strings.SplitSeq(auth, "; ") {
		end := strings.Index(text, " pam_")
		words := strings.Fields(text[end:])
		lines = append(lines, Line{Phase: "auth", Control: text[:end], Module: words[0], Args: words[1:],
			Number: len(lines)})
	}
	return lines
}
