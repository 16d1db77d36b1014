package pamauth

import (
	"path/filepath"
	"testing"
)

func TestAWayInWithoutAPassword(t *testing.T) {
	tests := []struct {
		name string
		auth string
		by   string // the module that lets in; "" = nobody gets in
	}{
		{"the service file that ships", "auth requisite pam_succeed_if.so quiet uid >= 1000 uid ne 65534\nauth required pam_unix.so nodelay", ""},
		{"Debian's common-auth", "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\nauth required pam_permit.so\nauth optional pam_cap.so", ""},
		{"Debian's with SSSD", "auth [success=2 default=ignore] pam_unix.so nullok\nauth [success=1 default=ignore] pam_sss.so use_first_pass\nauth requisite pam_deny.so\nauth required pam_permit.so", ""},
		{"Red Hat's password-auth", "auth required pam_env.so\nauth required pam_faildelay.so delay=2000000\nauth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\n" +
			"auth [default=1 ignore=ignore success=ok] pam_localuser.so\nauth sufficient pam_unix.so nullok\nauth [default=1 ignore=ignore success=ok] pam_usertype.so isregular\n" +
			"auth sufficient pam_sss.so forward_pass\nauth required pam_deny.so", ""},
		{"a directory before the local accounts", "auth sufficient pam_sss.so\nauth required pam_unix.so nodelay", ""},
		{"faillock around pam_unix", "auth requisite pam_faillock.so preauth\nauth sufficient pam_unix.so\nauth [default=die] pam_faillock.so authfail\nauth required pam_deny.so", ""},
		{"modules that only say ignore", "auth required pam_env.so\nauth sufficient pam_unix.so", ""},
		{"a program that is given the password", "auth required pam_exec.so expose_authtok /usr/local/bin/ask", ""},
		{"an unknown module looks at the password", "auth required pam_mine.so", ""},
		{"pam_permit after pam_unix", "auth required pam_unix.so\nauth required pam_permit.so", ""},

		{"pam_permit alone", "auth required pam_permit.so", "pam_permit.so"},
		{"pam_permit first, and sufficient", "auth sufficient pam_permit.so\nauth required pam_unix.so", "pam_permit.so"},
		{"a jump that is one too long", "auth [success=1 default=2] pam_unix.so\nauth optional pam_env.so\nauth requisite pam_deny.so\nauth required pam_permit.so", "pam_permit.so"},
		{"common-auth without its pam_deny", "auth [success=1 default=ignore] pam_unix.so\nauth optional pam_cap.so\nauth required pam_permit.so", "pam_permit.so"},
		{"pam_unix that is optional", "auth optional pam_unix.so\nauth required pam_permit.so", "pam_permit.so"},
		{"ordinary accounts need no password", "auth sufficient pam_succeed_if.so uid >= 1000\nauth required pam_unix.so", "pam_succeed_if.so"},
		{"faillock with nothing after a sufficient pam_unix", "auth required pam_faillock.so preauth\nauth sufficient pam_unix.so", "pam_faillock.so"},
		{"a program that is not given the password", "auth required pam_exec.so /usr/local/bin/ask", "pam_exec.so"},
		{"root's own door", "auth sufficient pam_rootok.so\nauth required pam_unix.so", "pam_rootok.so"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, "test"), tt.auth+"\naccount required pam_permit.so\n")
			lines, err := Stack{"test", dir}.Survey()
			if err != nil {
				t.Fatal(err)
			}
			by, open := WayIn(lines)
			if open != (tt.by != "") || by.Module != tt.by {
				t.Errorf("got %t by %q, want it by %q", open, by.Module, tt.by)
			}
		})
	}
}

func TestASurveySaysWhereEachLineStands(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "more"), "# before\naccount required pam_two.so\n")
	put(t, filepath.Join(dir, "test"), "-auth [success=OK  default=ignore] \\\n /opt/pam_one.so nodelay  x=1\naccount substack "+filepath.Join(dir, "more")+"\nsession required pam_three.so\n")
	lines, err := Stack{"test", dir}.Survey()
	if err != nil || len(lines) != 2 {
		t.Fatalf("%v, %v", lines, err)
	}
	if l := lines[0]; l.Phase != "auth" || l.Control != "[success=ok default=ignore]" || l.Name() != "pam_one" || !l.Has("nodelay") || l.Has("x") || !l.Silent || l.Substack || l.Number != 1 || filepath.Base(l.File) != "test" {
		t.Errorf("got %+v", l)
	}
	if l := lines[1]; l.Phase != "account" || l.Module != "pam_two.so" || l.Silent || !l.Substack || l.Number != 2 || filepath.Base(l.File) != "more" {
		t.Errorf("got %+v", l)
	}
}
