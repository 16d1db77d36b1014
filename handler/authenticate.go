package handler

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The bounds of a login. A login outside them is refused like a wrong password, without asking PAM.
const (
	maxUserLen     = 256 // bytes; LOGIN_NAME_MAX is 256 with the terminating NUL
	maxPasswordLen = 512 // bytes; PAM_MAX_RESP_SIZE
)

// authenticate treats a client as anonymous only if it neither sent nor has credentials: a failed
// login must not look like a success.
func (e *Endpoint) authenticate(ctx context.Context, req Request) (account Account, c Credential, err error) {
	switch {
	case req.Password.isKept() || req.RefreshToken.isKept():
		return e.checkKept(ctx, req)
	case req.Grant == GrantRefresh:
		return e.checkRefresh(ctx, req)
	case req.Grant == GrantPassword:
		account, err = e.checkPassword(ctx, req)
	case req.hasCredentials() || !e.Policy.AllowsAnyone():
		err = errNoCredentials
	}
	return account, Credential{}, err
}

// checkPassword delays a refusal, so that its time does not reveal its cause.
func (e *Endpoint) checkPassword(ctx context.Context, req Request) (Account, error) {
	began := time.Now()
	account, err := e.checkThrottled(ctx, req)
	if errors.Is(err, ErrRefused) {
		holdBack(ctx, began, e.FailureDelay)
	}
	return account, err
}

func (e *Endpoint) checkThrottled(ctx context.Context, req Request) (Account, error) {
	if e.Throttle == nil {
		return e.decide(ctx, req, nil)
	}
	attempt, err := e.Throttle.Begin(ctx, req.User, req.Password, req.Remote)
	if err != nil {
		return Account{}, err
	}
	if account, ok := attempt.Answer(); ok {
		return account, nil
	}
	end := attempt.Unanswered // also after a panic
	defer func() { end() }()
	account, err := e.decide(ctx, req, attempt.Recheck)
	switch {
	case err == nil:
		end = func() { attempt.Succeed(account) }
	case errors.Is(err, ErrRefused):
		end = func() { attempt.Fail(err) }
	case errors.Is(err, ErrBusy), errors.As(err, new(*Throttled)):
		end = attempt.Cancel
	}
	return account, err
}

// decide checks the password and the lists of accounts.
func (e *Endpoint) decide(ctx context.Context, req Request, recheck func() error) (Account, error) {
	if err := e.checkUser(req.User); err != nil {
		return Account{}, err
	}
	if !validPassword(req.Password.Reveal()) {
		return Account{}, refuse("the password is empty, too long or contains a NUL")
	}
	if err := e.checkPasswordAllowed(ctx, req); err != nil {
		return Account{}, err
	}
	account, err := e.Authenticator.Authenticate(ctx, Login{req.User, req.Password, req.Remote, recheck})
	if err != nil {
		return Account{}, err
	}
	if err := e.checkAccount(account); err != nil {
		return Account{}, err
	}
	if !e.Passwords.Allow(account.Name, account.Groups) {
		return Account{}, refuseTokensOnly(account.Name)
	}
	return account, nil
}

// checkPasswordAllowed refuses before PAM is asked: the time that PAM takes would tell a right
// password. So the groups of the name are looked up first where they decide.
func (e *Endpoint) checkPasswordAllowed(ctx context.Context, req Request) error {
	known := Account{Name: req.User}
	if e.Passwords.Except.NamesGroups() {
		var err error
		if known, err = e.Authenticator.LookUp(ctx, req.User, req.Remote); err != nil {
			return err
		}
	}
	if !e.Passwords.Allow(known.Name, known.Groups) {
		return refuseTokensOnly(known.Name)
	}
	return nil
}

// checkAccount checks the name again: a PAM module may have changed it.
func (e *Endpoint) checkAccount(account Account) error {
	if !ValidUser(account.Name) {
		return refuse("PAM returned an invalid account name")
	}
	if entry := e.Blacklist.Find(account.Name, account.Groups); entry != "" {
		return refuse("%q is blacklisted, by the entry %q", account.Name, entry)
	}
	return nil
}

func (e *Endpoint) checkUser(user string) error {
	if Secret(user).isKept() {
		return refuse("a personal or robot token was sent as the user name")
	}
	if !ValidUser(user) {
		return refuse("the user name is empty, too long or contains an invalid character")
	}
	if entry := e.Blacklist.Find(user, nil); entry != "" {
		return refuse("%q is blacklisted, by the entry %q", user, entry)
	}
	return nil
}

// ValidUser decides alone what is a user name, also of the one that PAM returned. It refuses names
// that PAM or a module could read as another name, or as something else. NUL ends a C string, a
// colon ends the name in a password file and in Basic. A slash leaves the folder of a module with a
// file for each user. A hyphen at the start makes an option of a program that a module starts.
// Control characters forge log lines, and directories ignore a space at either end.
func ValidUser(name string) bool {
	if name == "" || len(name) > maxUserLen || name[0] == '-' || name == "." || name == ".." {
		return false
	}
	if !utf8.ValidString(name) || strings.ContainsAny(name, "/:") || strings.TrimSpace(name) != name {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

func validPassword(password string) bool {
	return password != "" && len(password) <= maxPasswordLen && !strings.Contains(password, "\x00")
}

// holdBack returns when a whole number of delays has passed since began. All refusals within one
// delay take the same time: that of an unknown name, and that of a password whose hash takes 50 ms.
func holdBack(ctx context.Context, began time.Time, delay time.Duration) {
	if delay <= 0 {
		return
	}
	timer := time.NewTimer(delay - time.Since(began)%delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
