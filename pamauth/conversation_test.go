//go:build linux && cgo

package pamauth

import (
	"cmp"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// ample is a deadline that no conversation of these tests reaches.
const ample = 20 * time.Second

func authenticate(t *testing.T, c Authenticator, l Login) (Account, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ample)
	defer cancel()
	return c.Authenticate(ctx, l)
}

func TestConversation(t *testing.T) {
	right := Login{User: "alice", Password: password, Remote: "192.0.2.1"}
	with := func(change func(*Login)) Login {
		l := right
		change(&l)
		return l
	}
	wrong := with(func(l *Login) { l.Password = "wrong" })
	accountCheck := Login{User: "alice", AccountOnly: true}
	const ftpAuth = "auth required pam_ftp.so users=alice"
	tests := []struct {
		name    string
		modules string // that must be installed
		auth    string // the phase's lines; "@/" is their folder
		account string // the phase's lines; "" = permitAccount
		login   Login
		want    string   // the account, if let in
		err     error    // else
		wantErr []string // in the error
	}{
		{"the right password is let in", "pam_pwdfile.so", pwdfileAuth, "", right, "alice", nil, nil},
		{"a wrong password is refused", "pam_pwdfile.so", pwdfileAuth, "", wrong,
			"", ErrRefused, []string{"authenticate: PAM_AUTH_ERR (7)"}},
		{"an unknown user is refused", "pam_pwdfile.so", pwdfileAuth, "", with(func(l *Login) { l.User = "eve" }),
			"", ErrRefused, []string{"authenticate: PAM_USER_UNKNOWN (10)"}},
		{"an account with an empty password lets nobody in", "pam_pwdfile.so", pwdfileAuth, "",
			with(func(l *Login) { l.User = "bob" }), "", ErrRefused, []string{"authenticate: PAM_AUTH_ERR (7)"}},
		{"the right password is refused if the account is", "pam_pwdfile.so", pwdfileAuth,
			"account required pam_deny.so", right, "", ErrRefused, []string{"account: PAM_AUTH_ERR (7)"}},
		{"an account check needs no password", "", "auth required pam_deny.so", "", accountCheck, "alice", nil, nil},
		{"an account check sends no password", "pam_ftp.so", permitAuth, "account required pam_deny.so",
			with(func(l *Login) { l.AccountOnly = true }), "", ErrRefused, []string{"account: "}},
		{"messages need no answer", "pam_exec.so", "auth required pam_exec.so stdout @/says 20", "",
			right, "alice", nil, nil},
		{"a module that sends too many messages is broken", "pam_exec.so",
			"auth optional pam_exec.so stdout @/says 40\nauth required pam_deny.so", "",
			right, "", ErrBroken, []string{"exceeded 32 messages"}},
		{"a second prompt after the right password is refused", "pam_pwdfile.so pam_ftp.so",
			pwdfileAuth + "\n" + ftpAuth, "", right, "", ErrRefused, []string{"forward_pass"}},
		{"a second prompt after a wrong password is refused", "pam_pwdfile.so pam_ftp.so",
			pwdfileAuth + "\n" + ftpAuth, "", wrong, "", ErrRefused, nil},
		{"a second prompt of an optional module is ignored", "pam_pwdfile.so pam_ftp.so",
			pwdfileAuth + "\nauth optional pam_ftp.so users=alice", "", right, "alice", nil, nil},
		{"a second prompt in one phase does not hide an error in the next", "pam_ftp.so pam_debug.so",
			permitAuth + strings.Repeat("\nauth optional pam_ftp.so users=alice", 2),
			"account required pam_debug.so acct=system_err",
			right, "", ErrBroken, []string{"account: PAM_SYSTEM_ERR (4)"}},
		{"a second module may use the password again", "pam_pwdfile.so",
			pwdfileAuth + "\n" + pwdfileAuth + " use_first_pass", "", right, "alice", nil, nil},
		{"the name is the one that a module set", "pam_ftp.so", "auth required pam_ftp.so users=bob,alice", "",
			right, "bob", nil, nil},
		{"an impossible name is the caller's to refuse", "pam_ftp.so",
			"auth required pam_ftp.so users=../bob,alice", "", right, "../bob", nil, nil},
		{"a module that is not installed is broken", "", "auth required pam_nowhere.so", "",
			right, "", ErrBroken, []string{"authenticate: PAM_MODULE_UNKNOWN (28)", "not installed"}},
		{"a missing include is broken", "", permitAuth, permitAccount + "\naccount include @/nowhere",
			right, "", ErrBroken, []string{"test:3: ", "nowhere"}},
		{"modules see the client's address and the terminal", "pam_succeed_if.so",
			"auth required pam_succeed_if.so quiet rhost = 192.0.2.1 tty = dockerauth", "",
			with(func(l *Login) { l.User = "root" }), "root", nil, nil},
		{"an empty password is refused without PAM", "", permitAuth, "", Login{User: "alice"},
			"", ErrRefused, []string{"password is empty"}},
		{"a password with a NUL is refused without PAM", "", permitAuth, "",
			with(func(l *Login) { l.Password = password + "\x00junk" }),
			"", ErrRefused, []string{"password holds a NUL"}},
		{"a name with a NUL is refused without PAM", "", permitAuth, "", with(func(l *Login) { l.User = "alice\x00x" }),
			"", ErrRefused, []string{"user name holds a NUL"}},
	}
	for _, tt := range tests {
		services := newServiceDir(t)
		services.write("passwd", passwd, 0o600)
		services.write("says", "#!/bin/sh\nfor i in $(seq $1); do echo hello $i; done\n", 0o755)
		stack := services.stack("test", tt.auth, cmp.Or(tt.account, permitAccount))
		t.Run(tt.name, func(t *testing.T) {
			requireModules(t, strings.Fields(tt.modules)...)
			account, err := authenticate(t, child(stack, nil), tt.login)
			if !errors.Is(err, tt.err) || account.Name != tt.want {
				t.Fatalf("got %q, %v; want %q, %v", account.Name, err, tt.want, tt.err)
			}
			if err == nil {
				return
			}
			for _, want := range tt.wantErr {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q:\n%v", want, err)
				}
			}
			if p := tt.login.Password.Reveal(); p != "" && strings.Contains(err.Error(), p) {
				t.Errorf("the error holds the password:\n%v", err)
			}
		})
	}
}

// codes is every code of Linux-PAM as pam_debug spells it, and its error.
var codes = map[string]error{
	"success":               nil,
	"open_err":              ErrBroken,
	"symbol_err":            ErrBroken,
	"service_err":           ErrBroken,
	"system_err":            ErrBroken,
	"buf_err":               ErrBroken,
	"perm_denied":           ErrRefused,
	"auth_err":              ErrRefused,
	"cred_insufficient":     ErrBroken,
	"authinfo_unavail":      ErrBroken,
	"user_unknown":          ErrRefused,
	"maxtries":              ErrRefused,
	"new_authtok_reqd":      ErrRefused,
	"acct_expired":          ErrRefused,
	"session_err":           ErrBroken,
	"cred_unavail":          ErrBroken,
	"cred_expired":          ErrRefused,
	"cred_err":              ErrBroken,
	"no_module_data":        ErrBroken,
	"conv_err":              ErrBroken,
	"authtok_err":           ErrBroken,
	"authtok_recover_err":   ErrBroken,
	"authtok_lock_busy":     ErrBroken,
	"authtok_disable_aging": ErrBroken,
	"try_again":             ErrBroken,
	"abort":                 ErrBroken,
	"authtok_expired":       ErrRefused,
	"module_unknown":        ErrBroken,
	"bad_item":              ErrBroken,
	"conv_again":            ErrBroken,
	"incomplete":            ErrBroken,
}

func TestEveryCodeInEveryPhase(t *testing.T) {
	requireModules(t, "pam_debug.so")
	services := newServiceDir(t)
	for code, want := range codes {
		stacks := map[string]Stack{
			"authenticate": services.stack("auth", "auth required pam_debug.so auth="+code, permitAccount),
			"account":      services.stack("acct", permitAuth, "account required pam_debug.so acct="+code),
		}
		for phase, stack := range stacks {
			t.Run(phase+" "+code, func(t *testing.T) {
				_, err := authenticate(t, child(stack, nil), rightLogin)
				if !errors.Is(err, want) {
					t.Fatalf("got %v, want %v", err, want)
				}
				name := strings.ToUpper(strings.Replace(code, "recover_", "recovery_", 1))
				if err != nil && !strings.Contains(err.Error(), phase+": PAM_"+name+" (") {
					t.Errorf("the error does not name phase and code: %v", err)
				}
			})
		}
	}
}

func TestMissingRightsAreExplained(t *testing.T) {
	requireModules(t, "pam_debug.so")
	stack := newServiceDir(t).stack("test", "auth required pam_debug.so auth=authinfo_unavail", permitAccount)
	_, err := authenticate(t, child(stack, nil), rightLogin)
	checkError(t, err, "-g shadow -m 2510", "SupplementaryGroups=shadow", "do not make /etc/shadow readable")
}

func TestShippedServiceRefusesSystemAccountsAndUnknownNames(t *testing.T) {
	requireModules(t, "pam_unix.so", "pam_succeed_if.so")
	text, err := os.ReadFile("../packaging/pam/dockerauth")
	if err != nil {
		t.Fatal(err)
	}
	services := newServiceDir(t)
	services.write("dockerauth", string(text), 0o644)
	stack := Stack{Service: "dockerauth", Confdir: services.dir}
	for _, user := range []string{"root", "daemon", "nobody", "no-such-account"} {
		for _, accountOnly := range []bool{false, true} {
			l := Login{User: user, Password: password, AccountOnly: accountOnly}
			_, err := authenticate(t, child(stack, nil), l)
			if !errors.Is(err, ErrRefused) {
				t.Errorf("%s (account only: %t): %v", user, accountOnly, err)
			}
		}
	}
}
