//go:build linux && cgo

package pamauth

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
)

// libpamSays is "yes yes", a result of each phase, or "crash".
func libpamSays(t testing.TB, stack Stack, user string) string {
	t.Helper()
	var results []string
	for _, login := range []Login{{User: user, Password: password}, {User: user, AccountOnly: true}} {
		switch err := converse(t, stack, login); {
		case err == nil:
			results = append(results, "yes")
		case strings.Contains(err.Error(), "(signal: "):
			return "crash"
		default:
			results = append(results, regexp.MustCompile("PAM_[A-Z_]+").FindString(err.Error()))
		}
	}
	return strings.Join(results, " ")
}

// before17 chooses between what libpam does before 1.7, when it read lines into a buffer of 1,024
// bytes, and since.
func before17(before, since string) string {
	library, err := os.ReadFile(loadedFrom("libpam.so"))
	if err != nil {
		panic(err)
	}
	if strings.Contains(string(library), "maximum level of inclusions reached") {
		return since
	}
	return before
}

// Each row is a mistake in a service file that would work without it. libpam is the real one.
func TestLinesThatLibpamDoesNotTake(t *testing.T) {
	requireModules(t, "pam_permit.so", "pam_deny.so", "pam_debug.so")
	const auth, account = "auth required pam_permit.so\n", "account required pam_permit.so\n"
	const denied, aborted = "PAM_PERM_DENIED PAM_PERM_DENIED", "PAM_ABORT PAM_ABORT"
	const deniedAuth, deniedAccount = "PAM_PERM_DENIED yes", "PAM_PERM_DENIED PAM_PERM_DENIED"
	long := "# " + strings.Repeat("x", maxLine) + "\n"
	tests := []struct {
		name   string
		text   string // "@/" in it is the folder of both, auth and account
		line   int
		cause  string
		libpam string // "yes yes" = it takes the line for something else
	}{
		{
			"a misspelled control",
			"auth requred pam_permit.so\n" + account,
			1,
			`unknown control "requred"`,
			deniedAuth,
		},
		{"a misspelled control of account", auth + "account requird pam_permit.so\n", 2, `unknown control "requird"`,
			deniedAccount},
		{"a misspelled control of a module that may be missing", "-auth optionall pam_permit.so\n" + account, 1,
			`unknown control "optionall"`, deniedAuth},
		{"no control", "auth pam_permit.so\n" + account, 1,
			`no control before the module "pam_permit.so"`, deniedAuth},
		{
			"a misspelled result",
			"auth [sucess=ok default=bad] pam_permit.so\n" + account,
			1,
			`unknown result "sucess"`,
			deniedAuth,
		},
		{"a result in capitals", "auth [SUCCESS=ok default=bad] pam_permit.so\n" + account, 1,
			`unknown result "SUCCESS"`, deniedAuth},
		{"an action in capitals", "auth [success=OK default=bad] pam_permit.so\n" + account, 1, `unknown action "OK"`,
			deniedAuth},
		{
			"a misspelled action",
			"auth [success=okay default=bad] pam_permit.so\n" + account,
			1,
			`unknown action "okay"`,
			deniedAuth,
		},
		{"a list that begins rightly", "auth [success=ok defualt=bad] pam_permit.so\n" + account, 1,
			`unknown result "defualt"`, deniedAuth},
		{"a result without an action", "auth [success= default=bad] pam_permit.so\n" + account, 1, "unknown action",
			deniedAuth},
		{"a result alone", "auth [success default=bad] pam_permit.so\n" + account, 1, `unknown result "success"`,
			deniedAuth},
		{
			"a colon for the equals sign",
			"auth [success:ok] pam_permit.so\n" + account,
			1,
			"unknown control of 10 bytes",
			deniedAuth,
		},
		{"commas between results", "auth [success=ok,default=bad] pam_permit.so\n" + account, 1,
			"unknown action of 10 bytes", deniedAuth},
		{
			"a jump over nothing",
			"auth [success=0 default=bad] pam_permit.so\n" + account,
			1,
			`a jump over no lines, "0"`,
			deniedAuth,
		},
		{
			"a jump backwards",
			"auth [success=-1 default=bad] pam_permit.so\n" + account,
			1,
			"unknown action of 2 bytes",
			deniedAuth,
		},
		{"a jump past the end", "auth [success=2 default=bad] pam_permit.so\n" + auth + account, 1,
			"success=2 jumps past the last line of auth", deniedAuth},
		{"a jump on the last line", auth + "account [success=1 default=bad] pam_permit.so\n", 2,
			"success=1 jumps past the last line of account", deniedAccount},
		{"a jump out of a substack", "auth substack @/jumps\n" + auth + account, 1,
			"success=1 jumps past the last line of auth", deniedAuth},
		{"a huge jump", "auth [success=9999999999 default=bad] pam_permit.so\n" + account, 1,
			`a jump over too many lines, "9999999999"`, deniedAuth},
		{"a bracket that does not close", "auth [success=ok default=bad pam_permit.so\n" + account, 1,
			"the bracket of the control does not close", deniedAuth},
		{"nothing in the brackets, and no module", "auth []\n" + account, 1, "no module", deniedAuth},
		{"no module", "auth required\n" + account, 1, "no module", deniedAuth},
		{"a phase alone", "auth\n" + auth + account, 1, "no control and no module", deniedAuth},
		{"a comment for the module", "auth required # pam_permit.so\n" + account, 1, "no module", deniedAuth},
		{"a module without a name", "auth required .so\n" + account, 1, "a module without a name", aborted},
		{"a folder for a module", "auth required /lib/security/\n" + account, 1, "a module without a name", aborted},
		{
			"a module without a name in a session",
			auth + account + "session required ?\n",
			3,
			"a module without a name",
			aborted,
		},
		{"an unknown type", "authentication required pam_permit.so\n" + account, 1, `unknown type "authentication"`,
			deniedAuth},
		{"an unknown type beside known ones", auth + account + "acount required pam_permit.so\n", 3,
			`unknown type "acount"`, deniedAuth},
		{"a word of pam.conf", "dockerauth auth required pam_permit.so\n" + auth + account, 1,
			`unknown type "dockerauth"`, deniedAuth},
		{"a dash and a blank", "- auth required pam_permit.so\n" + auth + account, 1, `unknown type ""`,
			deniedAuth},
		{"a blank that is none", "auth\u00a0required pam_permit.so\n" + auth + account, 1,
			"unknown type of 14 bytes with a character that is not ASCII", deniedAuth},
		{"a letter that looks like one", "auth \u017fufficient pam_permit.so\n" + account, 1,
			"unknown control of 11 bytes with a character that is not ASCII", deniedAuth},
		{"another comment sign", "; comment\n" + auth + account, 1, "unknown type of 1 bytes", deniedAuth},
		{
			"a control character",
			auth + "\v" + account,
			2,
			`the control character '\v'`,
			"PAM_PERM_DENIED PAM_SESSION_ERR",
		},
		{"line ends of Windows", "auth required pam_permit.so\r\naccount required pam_permit.so\r\n", 1,
			"a carriage return at the end", "PAM_MODULE_UNKNOWN PAM_MODULE_UNKNOWN"},
		{"an empty line of Windows", auth + "\r\n" + account, 2, "a carriage return at the end", deniedAuth},
		{"a byte order mark", "\ufeff# a comment\n" + auth + account, 1, "a byte order mark", deniedAuth},
		{
			"a NUL character, which hides the rest",
			"auth required pam_permit.so\x00x\n" + account,
			1,
			"a NUL character",
			"yes yes",
		},
		{"a backslash at the end", auth + account + "session required pam_permit.so \\", 3,
			"a backslash at the end of the file", aborted},
		{"an argument whose bracket does not close", "auth required pam_permit.so [a b\n" + account, 1,
			"a bracket in the arguments does not close", "yes yes"},
		{
			"an include that is missing",
			"auth include @/nowhere\n" + account,
			1,
			`/nowhere": no such file`,
			deniedAuth,
		},
		{"a substack that is missing", auth + "account substack @/nowhere\n", 2, `/nowhere": no such file`,
			deniedAccount},
		{"Debian's include of nothing there", auth + account + "@include @/nowhere\n", 3, `/nowhere": no such file`,
			aborted},
		{"a file that includes what is missing", "auth include @/lost\n" + account, 1, `/nowhere": no such file`,
			deniedAuth},
		{"an include without a file", "auth include\n" + account, 1, "an include without a file", "crash"},
		{"a session include without a file", auth + account + "session include\n", 3, "an include without a file",
			"crash"},
		{"Debian's include without a file", auth + account + "@include\n", 3, "an include without a file", "crash"},
		{"an unknown type in an included file", auth + account + "account include @/odd\n", 1, `unknown type "odd"`,
			deniedAccount},
		{"a comment that is too long",
			"# " + strings.Repeat("x", 1021) + "auth required pam_deny.so\n" + auth + account, 1,
			"longer than 1022 bytes", before17("PAM_AUTH_ERR yes", "yes yes")},
		{"a line that is too long", "auth required pam_permit.so" + long[2:] + account, 1, "longer than 1022 bytes",
			before17("PAM_MODULE_UNKNOWN yes", "PAM_MODULE_UNKNOWN yes")},
		{"a continued line that is too long", "auth required \\\n pam_permit.so " + long[100:len(long)-1] + "\\\n" +
			long[500:] + account, 1, "longer than 1022 bytes",
			before17("PAM_PERM_DENIED yes", "yes yes")},
		{"a continuation over an empty line", "auth required \\\n\n pam_permit.so\n" + account, 1,
			"a backslash continues it with an empty line or a comment",
			before17("yes yes", deniedAuth)},
		{"a continuation over a comment", "auth required \\\n# why\n pam_permit.so\n" + account, 1,
			"a backslash continues it with an empty line or a comment",
			before17("yes yes", deniedAuth)},
		{"a backslash before a comment", "auth \\ # why\n" + auth + account, 1,
			"unknown control of 1 bytes", deniedAuth},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			services := newServiceDir(t)
			for name, text := range map[string]string{
				"test": tt.text,
				"other": "auth required pam_debug.so auth=session_err\n" +
					"account required pam_debug.so acct=session_err\n",
				"jumps": "auth [success=1 default=bad] pam_permit.so\n",
				"lost":  "auth include @/nowhere\n", "odd": "odd required pam_permit.so\n",
			} {
				writeFile(t, services.path(name), strings.ReplaceAll(text, " @/", " "+services.dir+"/"))
			}
			stack := Stack{"test", services.dir}
			_, err := stack.Parse()
			var all StackErrors
			if !errors.As(err, &all) || len(all) != 1 {
				t.Fatalf("got %v, want one error", err)
			}
			if all[0].Line != tt.line || !regexp.MustCompile("^"+regexp.QuoteMeta(tt.cause)+"|"+
				regexp.QuoteMeta(
					tt.cause,
				)+"$").MatchString(all[0].Cause) || all[0].Hint == "" || all[0].Effect == "" {
				t.Errorf("got line %d, %q, %q, %q", all[0].Line, all[0].Cause, all[0].Effect, all[0].Hint)
			}
			if got := libpamSays(t, stack, rightLogin.User); got != tt.libpam {
				t.Errorf("libpam says %s", got)
			}
		})
	}
}

// libpam and the modules are real. No account has the password.
func TestAModuleThatLetsInWithoutAPasswordIsNamed(t *testing.T) {
	asked := 0
	for module := range strings.FieldsSeq("cap echo env filter ftp group issue keyinit lastlog localuser mail " +
		"nologin permit rootok securetty sepermit shells stress time userdb usertype warn wheel") {
		module = "pam_" + module + ".so"
		path, err := FindModule(module)
		if err != nil || InspectModule(path, "auth") != nil {
			continue
		}
		for _, auth := range []string{
			"required " + module, "sufficient " + module + "; required pam_deny.so",
			"required " + module + "; optional pam_env.so",
		} {
			t.Run(auth, func(t *testing.T) {
				t.Parallel()
				services := newServiceDir(t)
				stack := services.stack("test", "auth "+strings.ReplaceAll(auth, "; ", "\nauth "), permitAccount)
				lines, err := stack.Parse()
				if err != nil {
					t.Fatal(err)
				}
				if by, found := FindBypass(lines); found {
					if by.Module != module {
						t.Errorf("it names %s", by.Module)
					}
					return
				}
				for _, user := range []string{"daemon", "ftp", "root"} {
					if says := libpamSays(t, stack, user); strings.HasPrefix(says, "yes") {
						t.Errorf("%s gets in, and FindBypass is calm", user)
					}
				}
			})
		}
		asked++
	}
	if asked < 5 {
		t.Errorf("only %d modules of PAM are here", asked)
	}
}
