package service

import (
	"io"
	"log/slog"
	"log/syslog"
	"sync/atomic"

	"dockerauth/config"
	"dockerauth/handler"
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
// the one that opens it. close is to be called.
func AuditLog(cfg *config.Config, stderr io.Writer) (log *slog.Logger, close func() error) {
	out := newStderrWriter(stderr, new(atomic.Uint64))
	warn := func(err error) { plainLogger(out).Warn("audit log is not usable", "reason", err.Error()) }
	if cfg.Log.File != "" {
		file, err := openLog(cfg.Log.File, out, out.dropped)
		if err == nil {
			return newLogger(file, cfg.Log.Format, slog.LevelInfo), file.close
		}
		warn(err)
	}
	system, err := syslog.New(syslog.LOG_AUTHPRIV|syslog.LOG_INFO, "dockerauth")
	if err != nil {
		warn(err)
		return plainLogger(out), func() error { return nil }
	}
	return newSystemLogger(system), system.Close
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
