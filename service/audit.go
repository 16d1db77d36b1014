package service

import (
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"log/syslog"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/handler"
	"dockerauth/jwtsign"
	"dockerauth/pamauth"
)

// The audit events: the field event of a log line about a credential.
const (
	EventIssued  = handler.EventIssued
	EventRotated = "token-rotated"
	EventRevoked = "token-revoked"
	EventUsed    = handler.EventUsed
	EventExpires = "token-expires" // soon: once a day, with the first use
	EventKey     = "key-rotated"
)

// AuditLog is where a command writes what it has done: the service's log file, else the system's
// log, else stderr. A command that changes its user opens it after that: a new log file belongs to
// the one that opens it. Root's process makes no file, which the service could not open, and writes
// to none that another user could replace by a link. close is to be called.
func AuditLog(cfg *config.Config, stderr io.Writer) (log *slog.Logger, close func() error) {
	out := newStderrWriter(stderr, new(atomic.Uint64))
	warn := func(err error) { plainLogger(out).Warn("audit log is not usable", "reason", err.Error()) }
	var passedOver error
	if cfg.Log.File != "" && os.Geteuid() == 0 {
		passedOver = pamauth.CheckRootOwned(cfg.Log.File)
	}
	if cfg.Log.File != "" && passedOver == nil {
		file, err := openLog(cfg.Log.File, out, out.dropped)
		if err == nil {
			return newLogger(file, cfg.Log.Format, slog.LevelInfo), file.close
		}
		warn(err)
	}
	system, err := syslog.New(syslog.LOG_AUTHPRIV|syslog.LOG_INFO, "dockerauth")
	if err != nil {
		if passedOver != nil {
			cause, _ := cli.SplitHint(passedOver)
			err = fmt.Errorf("%w; log.file is not used, since another user could replace it: %s", err, cause)
		}
		warn(fmt.Errorf("%w; start what listens at /dev/log; the lines are here", err))
		return plainLogger(out), func() error { return nil }
	}
	return newSystemLogger(system), system.Close
}

// RotationLog writes a step of the exchange of the signing key, to a log file of this user's only:
// the service need not be theirs.
func RotationLog(step string, stderr io.Writer) func(*config.Config) {
	return func(cfg *config.Config) {
		c := *cfg
		if file := c.Log.File; !isOwn(file) || !isOwn(filepath.Dir(file)) {
			c.Log.File = ""
		}
		log, closeLog := AuditLog(&c, stderr)
		id, _ := jwtsign.Thumbprint(cfg.Key.Public()) // it was loaded: the key has an encoding
		log.Info("signing key exchanged", "event", EventKey, "step", step, "key", id,
			"previous", len(cfg.PreviousKeys), "by", operator())
		_ = closeLog() // what was written is written
	}
}

// isOwn reports a file or folder of this user, which is no link.
func isOwn(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return false
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(owner.Uid) == os.Geteuid()
}

// newSystemLogger writes no time: the system's log has one in each line.
func newSystemLogger(system io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(printableWriter{system, quoteText}, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}
