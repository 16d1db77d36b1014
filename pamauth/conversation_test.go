//go:build linux && cgo

package pamauth

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// ample is a deadline that no conversation of these tests should meet.
const ample = 20 * time.Second

func hold(t *testing.T, c Conversation, l Login) (Account, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ample)
	defer cancel()
	return c.Hold(ctx, l)
}

func TestConversation(t *testing.T) {
	right := Login{User: "alice", Password: password, Remote: "192.0.2.1"}
	with := func(change func(*Login)) Login {
		l := right
		change(&l)
		return l
	}
	tests := []struct {
		name    string
		modules []string
		stack   []string
		login   Login
		account string   // if let in
		err     error    // else
		says    []string // in the error
	}{
		{name: "the right password is let in", modules: []string{"pam_pwdfile.so"},
			stack: []string{pwdfileAuth, permitAccount}, login: right, account: "alice"},
		{name: "a wrong password is refused", modules: []string{"pam_pwdfile.so"},
			stack: []string{pwdfileAuth, permitAccount}, login: with(func(l *Login) { l.Password = "wrong" }),
			err: ErrRefused, says: []string{"authenticate: PAM_AUTH_ERR (7)"}},
		{name: "an unknown user is refused", modules: []string{"pam_pwdfile.so"},
			stack: []string{pwdfileAuth, permitAccount}, login: with(func(l *Login) { l.User = "eve" }),
			err: ErrRefused, says: []string{"authenticate: PAM_USER_UNKNOWN (10)"}},
		{name: "an account with an empty password lets nobody in", modules: []string{"pam_pwdfile.so"},
			stack: []string{pwdfileAuth, permitAccount}, login: with(func(l *Login) { l.User = "bob" }),
			err: ErrRefused, says: []string{"authenticate: PAM_AUTH_ERR (7)"}},
		{name: "a right password does not help where the account is refused", modules: []string{"pam_pwdfile.so"},
			stack: []string{pwdfileAuth, "account required pam_deny.so"}, login: right,
			err: ErrRefused, says: []string{"account: PAM_AUTH_ERR (7)"}},
		{name: "the account phase alone asks no password",
			stack: []string{"auth required pam_deny.so", permitAccount}, login: Login{User: "alice", AccountOnly: true}, account: "alice"},
		{name: "the account phase alone gives no password", modules: []string{"pam_ftp.so"},
			stack: []string{permitAuth, "account required pam_deny.so"}, login: with(func(l *Login) { l.AccountOnly = true }),
			err: ErrRefused, says: []string{"account: "}},
		{name: "modules talk without being answered", modules: []string{"pam_exec.so"},
			stack: []string{"auth required pam_exec.so stdout @/says 20", permitAccount}, login: right, account: "alice"},
		{name: "a module that talks without end is broken", modules: []string{"pam_exec.so"},
			stack: []string{"auth optional pam_exec.so stdout @/says 40", "auth required pam_deny.so", permitAccount}, login: right,
			err: ErrBroken, says: []string{"more than 32 messages"}},
		{name: "a second prompt after the right password is refused", modules: []string{"pam_pwdfile.so", "pam_ftp.so"},
			stack: []string{pwdfileAuth, "auth required pam_ftp.so users=alice", permitAccount}, login: right,
			err: ErrRefused, says: []string{"forward_pass"}},
		{name: "a second prompt after a wrong password is refused", modules: []string{"pam_pwdfile.so", "pam_ftp.so"},
			stack: []string{pwdfileAuth, "auth required pam_ftp.so users=alice", permitAccount}, login: with(func(l *Login) { l.Password = "wrong" }),
			err: ErrRefused},
		{name: "a second prompt that nobody needs does no harm", modules: []string{"pam_pwdfile.so", "pam_ftp.so"},
			stack: []string{pwdfileAuth, "auth optional pam_ftp.so users=alice", permitAccount}, login: right, account: "alice"},
		{name: "a second prompt in one phase does not excuse a fault in the next", modules: []string{"pam_ftp.so", "pam_debug.so"},
			stack: []string{permitAuth, "auth optional pam_ftp.so users=alice", "auth optional pam_ftp.so users=alice", "account required pam_debug.so acct=system_err"},
			login: right, err: ErrBroken, says: []string{"account: PAM_SYSTEM_ERR (4)"}},
		{name: "a second module may use the password again", modules: []string{"pam_pwdfile.so"},
			stack: []string{pwdfileAuth, pwdfileAuth + " use_first_pass", permitAccount}, login: right, account: "alice"},
		{name: "the name is the one that a module gave", modules: []string{"pam_ftp.so"},
			stack: []string{"auth required pam_ftp.so users=bob,alice", permitAccount}, login: right, account: "bob"},
		{name: "a name that cannot be is not handed on", modules: []string{"pam_ftp.so"},
			stack: []string{"auth required pam_ftp.so users=../bob,alice", permitAccount}, login: right,
			err: ErrBroken, says: []string{"PAM_USER holds a slash"}},
		{name: "a module that is not installed is broken",
			stack: []string{"auth required pam_nowhere.so", permitAccount}, login: right,
			err: ErrBroken, says: []string{"authenticate: PAM_MODULE_UNKNOWN (28)", "not installed"}},
		{name: "a missing include is broken",
			stack: []string{permitAuth, permitAccount, "account include @/nowhere"}, login: right,
			err: ErrBroken, says: []string{"test:3: ", "nowhere"}},
		{name: "the client's address and the terminal are told", modules: []string{"pam_succeed_if.so"},
			stack: []string{"auth required pam_succeed_if.so quiet rhost = 192.0.2.1 tty = dockerauth", permitAccount},
			login: with(func(l *Login) { l.User = "root" }), account: "root"},
		{name: "an empty password is refused unasked",
			stack: []string{permitAuth, permitAccount}, login: Login{User: "alice"}, err: ErrRefused, says: []string{"password is empty"}},
		{name: "a password with a NUL is refused unasked",
			stack: []string{permitAuth, permitAccount}, login: with(func(l *Login) { l.Password = password + "\x00junk" }),
			err: ErrRefused, says: []string{"password holds a NUL"}},
		{name: "a name with a NUL is refused unasked",
			stack: []string{permitAuth, permitAccount}, login: with(func(l *Login) { l.User = "alice\x00x" }),
			err: ErrRefused, says: []string{"user name holds a control character"}},
	}
	for _, tt := range tests {
		stage := newStage(t)
		stage.write("passwd", passwd, 0o600)
		stage.write("says", "#!/bin/sh\nwhile [ \"${i:=0}\" -lt \"$1\" ]; do i=$((i+1)); echo hello $i; done\n", 0o755)
		for way, c := range ways(stage.stack("test", expand(stage, tt.stack)...)) {
			t.Run(tt.name+", "+way, func(t *testing.T) {
				need(t, tt.modules...)
				account, err := hold(t, c, tt.login)
				if !errors.Is(err, tt.err) || account.Name != tt.account {
					t.Fatalf("got %q, %v; want %q, %v", account.Name, err, tt.account, tt.err)
				}
				if err == nil {
					return
				}
				for _, want := range tt.says {
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
}

func expand(s stage, lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = strings.ReplaceAll(l, "@", s.dir)
	}
	return out
}

// codes is every code of Linux-PAM as pam_debug spells it, and what it means to us.
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
	need(t, "pam_debug.so")
	stage := newStage(t)
	for code, want := range codes {
		stacks := map[string]Stack{
			"authenticate": stage.stack("auth", "auth required pam_debug.so auth="+code, permitAccount),
			"account":      stage.stack("acct", permitAuth, "account required pam_debug.so acct="+code),
		}
		for phase, stack := range stacks {
			t.Run(phase+" "+code, func(t *testing.T) {
				_, err := hold(t, InProcess{Stack: stack}, Login{User: "alice", Password: password})
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
	need(t, "pam_debug.so")
	stack := newStage(t).stack("test", "auth required pam_debug.so auth=authinfo_unavail", permitAccount)
	_, err := hold(t, InProcess{Stack: stack}, Login{User: "alice", Password: password})
	for _, want := range []string{"-g shadow -m 2510", "SupplementaryGroups=shadow", "do not make /etc/shadow readable"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestShippedServiceRefusesSystemAccountsAndStrangers(t *testing.T) {
	need(t, "pam_unix.so", "pam_succeed_if.so")
	text, err := os.ReadFile("../packaging/pam/dockerauth")
	if err != nil {
		t.Fatal(err)
	}
	stage := newStage(t)
	stage.write("dockerauth", string(text), 0o644)
	stack := Stack{Service: "dockerauth", Confdir: stage.dir}
	for _, user := range []string{"root", "daemon", "nobody", "no-such-account"} {
		for _, accountOnly := range []bool{false, true} {
			_, err := hold(t, InProcess{Stack: stack}, Login{User: user, Password: password, AccountOnly: accountOnly})
			if !errors.Is(err, ErrRefused) {
				t.Errorf("%s (account only: %t): %v", user, accountOnly, err)
			}
		}
	}
}
