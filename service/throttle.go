package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"strings"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/handler"
	"dockerauth/jwtsign"
	"dockerauth/store"
	"dockerauth/throttle"
)

// memoryForRecords bounds the records of logins that a process keeps, in bytes: a third of
// serverMemory. When live data fills that limit, the collector runs all the time.
const memoryForRecords = serverMemory / 3

// failureDelay is longer than a wrong password takes in all but the slowest directories, and no
// longer than a person minds.
const failureDelay = time.Second

// throttleAdapter translates between handler and throttle.
type throttleAdapter struct{ *throttle.Throttle }

func (t throttleAdapter) Begin(ctx context.Context, user string, password handler.Secret,
	remote string) (handler.Attempt, error) {
	a, err := t.Throttle.Begin(ctx, user, password.Reveal(), remote)
	if err != nil {
		return nil, throttleError(err, remote)
	}
	return attempt{a, remote}, nil
}

// attempt is throttle's attempt in handler's words.
type attempt struct {
	*throttle.Attempt
	remote string
}

func (a attempt) Answer() (account handler.Account, ok bool) {
	b := a.Attempt.Answer()
	return account, b != nil && json.Unmarshal(b, &account) == nil
}

func (a attempt) Succeed(account handler.Account) {
	b, _ := json.Marshal(account) // names and numbers: this cannot fail
	a.Attempt.Succeed(b)
}

func (a attempt) Fail(reason error) { a.Attempt.Fail(reasonOf(reason)) }

func (a attempt) Recheck() error {
	if err := a.Attempt.Recheck(); err != nil {
		return throttleError(err, a.remote)
	}
	return nil
}

// throttleError is throttle's error in handler's words.
func throttleError(err error, remote string) error {
	var locked *throttle.Locked
	var repeated *throttle.Repeated
	switch {
	case errors.As(err, &locked):
		cause := locked.Error()
		if remote == "" {
			cause += noAddress
		}
		return &handler.Throttled{After: locked.After, Cause: cause}
	case errors.As(err, &repeated):
		return handler.Failure(handler.ErrRefused, rememberedError(repeated))
	case errors.Is(err, throttle.ErrUnanswered):
		return handler.Failure(handler.ErrUnavailable, err)
	default: // the client has gone while it waited
		return handler.Failure(handler.ErrBusy, err)
	}
}

// noAddress is added to the reason of a lock: without an address all clients count as one.
const noAddress = "; the request has no client address, so all clients without one are locked together\n" +
	"  let the web server send REMOTE_ADDR, or the proxy X-Forwarded-For (trusted_proxies)"

// rememberedReasons are parts of the errors with which a login is refused. A refusal is remembered
// by its place here, also by other processes and after an upgrade: the list only grows.
var rememberedReasons = []string{
	"", // any other
	"is blacklisted",
	"pam refused the login: authenticate: PAM_AUTH_ERR (7)",
	"pam refused the login: authenticate: PAM_USER_UNKNOWN (10)",
	"pam refused the login: authenticate: PAM_PERM_DENIED (6)",
	"pam refused the login: authenticate: PAM_MAXTRIES (11)",
	"pam refused the login: authenticate: PAM_NEW_AUTHTOK_REQD (12)",
	"pam refused the login: authenticate: PAM_ACCT_EXPIRED (13)",
	"pam refused the login: authenticate: PAM_CRED_EXPIRED (16)",
	"pam refused the login: authenticate: PAM_AUTHTOK_EXPIRED (27)",
	"pam refused the login: account: PAM_AUTH_ERR (7)",
	"pam refused the login: account: PAM_USER_UNKNOWN (10)",
	"pam refused the login: account: PAM_PERM_DENIED (6)",
	"pam refused the login: account: PAM_MAXTRIES (11)",
	"pam refused the login: account: PAM_NEW_AUTHTOK_REQD (12)",
	"pam refused the login: account: PAM_ACCT_EXPIRED (13)",
	"pam refused the login: account: PAM_CRED_EXPIRED (16)",
	"pam refused the login: account: PAM_AUTHTOK_EXPIRED (27)",
	"a module asked for more than the one password",
	"the user name is empty, too long or contains an invalid character",
	"the password is empty, too long or contains a NUL",
}

func reasonOf(err error) throttle.Reason {
	for i, part := range rememberedReasons[1:] {
		if strings.Contains(err.Error(), part) {
			return throttle.Reason(i + 1)
		}
	}
	return 0
}

// rememberedError is what the log says of a login that was refused without asking PAM.
func rememberedError(r *throttle.Repeated) error {
	first := r.Error()
	if 0 < r.Reason && int(r.Reason) < len(rememberedReasons) {
		first = rememberedReasons[r.Reason]
	}
	return fmt.Errorf("%s (remembered, asked again in %d s)", first, int(math.Ceil(r.After.Seconds())))
}

// storeOpener opens the store for failed logins.
type storeOpener func(*config.Config, *slog.Logger) (store.Store, error)

// folderStore is for a CGI program, which remembers nothing. Without a folder nothing is counted,
// and the store is nil.
func folderStore(cfg *config.Config, log *slog.Logger) (store.Store, error) {
	folder, err := openState(cfg, log)
	if folder == nil {
		return nil, err
	}
	return folder, nil
}

// memoryStore is for a process that stays. Its memory outlives a changed configuration; the folder,
// if there is one, comes first. One folder outlives a reload too, with what is known of its faults,
// which live, the log of the moment, is told.
func memoryStore(live *slog.Logger) storeOpener {
	memory := store.NewMemory(memoryForRecords)
	var both *store.Fallback
	var path string // of the folder in both
	return func(cfg *config.Config, log *slog.Logger) (store.Store, error) {
		folder, err := openState(cfg, log)
		switch {
		case folder == nil:
			return memory, err
		case both == nil || cfg.State != path:
			folder.Report = reportDamage(live)
			both, path = store.NewFallback(folder, memory), cfg.State
			both.Report = func(err error) { reportState(live, err) }
		}
		return both, nil
	}
}

func reportDamage(log *slog.Logger) func(error) {
	return func(err error) {
		log.Error("state is damaged, what was counted in it is lost", "reason", err.Error())
	}
}

// openState returns nil where there is no folder. A default folder that is not usable may not be
// meant for this program's user: that is logged. One that the configuration names is meant, so its
// fault is an error.
func openState(cfg *config.Config, log *slog.Logger) (*store.Folder, error) {
	if cfg.State == "" {
		return nil, nil
	}
	folder, err := store.OpenFolder(cfg.State)
	switch {
	case err == nil:
		folder.Report = reportDamage(log)
		return folder, nil
	case cfg.State != config.DefaultState:
		cause, hint := cli.SplitHint(err)
		if hint == "" {
			hint = fmt.Sprintf("install -d -o %d -g %d -m 0700 %s", os.Geteuid(), os.Getegid(),
				jwtsign.ShellWord(cfg.State))
		}
		return nil, cfg.ErrorAt(errors.New(cause), hint, "state")
	case !errors.Is(err, fs.ErrNotExist):
		log.Warn("state folder is not used", "reason", err.Error())
	}
	return nil, nil
}

// CheckState says why a folder cannot hold state.
func CheckState(path string) error {
	_, err := store.OpenFolder(path)
	return err
}

func reportState(log *slog.Logger, err error) {
	if err == nil {
		log.Info("state folder is usable again")
		return
	}
	log.Error("state folder is not usable, refused passwords are counted in memory", "reason", err.Error())
}

// newThrottle is nil where there is no store to count in.
func newThrottle(cfg *config.Config, log *slog.Logger, o runtimeOptions) (handler.Throttle, error) {
	records, err := o.openStore(cfg, log)
	if records == nil || err != nil {
		return nil, err
	}
	secret, err := cfg.Key.Derive("throttle")
	if err != nil {
		return nil, err
	}
	report := func(err error) { log.Error("refused passwords are not counted", "reason", err.Error()) }
	file := stateOf(cfg.Path)
	version := fmt.Sprint(file.device, file.inode, file.size, file.modified.UnixNano()) // the same in every process
	return throttleAdapter{&throttle.Throttle{
		Store: records, Secret: secret, ConfigVersion: version, Delay: failureDelay, Timeout: cfg.PAM.Timeout,
		Report: report, Checks: o.checks,
	}}, nil
}
