// Package command is what an operator types and what a web server starts: it
// puts the rooms together into a service and stands it behind a door.
package command

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"syscall"
	"time"

	"dockerauth/access"
	"dockerauth/config"
	"dockerauth/handler"
	"dockerauth/jwtsign"
	"dockerauth/pamauth"
)

// conversationArg is the argument with which the binary starts itself to hold
// one PAM conversation.
const conversationArg = "pam-conversation"

// failureDelay is longer than a wrong password takes in all but the slowest directories, and no longer than a person minds.
const failureDelay = time.Second

// NewHandler makes the token endpoint of one configuration. The conversation
// is what asks PAM; the caller has put around it what this door needs. guard may be nil.
func NewHandler(cfg *config.Config, conversation pamauth.Conversation, guard handler.Throttle, log *slog.Logger) *handler.Handler {
	return &handler.Handler{
		Endpoint: &handler.Endpoint{
			Authenticator: authenticator{conversation, wantsGroups(cfg)},
			Throttle:      guard,
			Signer:        &jwtsign.Signer{Key: cfg.Key, Issuer: cfg.Issuer},
			Audiences:     cfg.Audience,
			Blacklist:     cfg.BlacklistedUsers,
			Policy:        cfg.Access,
			AccessTTL:     cfg.AccessTokenTTL,
			RefreshTTL:    cfg.RefreshTokenTTL,
			FailureDelay:  failureDelay,
		},
		Log: log,
	}
}

// wantsGroups: looking groups up costs a question to the directory, so it is
// done only where something depends on them.
func wantsGroups(cfg *config.Config) bool {
	return cfg.Access.NamesGroups() || access.Blacklist(cfg.BlacklistedUsers).NamesGroups()
}

// OneConversation asks PAM for the CGI door, where the process lives for one
// request: in a child all the same, since a module that crashes would take the
// answer along, and Apache would make one of its own, in HTML.
func OneConversation(cfg *config.Config, stderr io.Writer) pamauth.Conversation {
	return pamauth.Deadline(cfg.PAM.Timeout, child(cfg, "", stderr))
}

// ManyConversations asks PAM for the long-lived doors.
// program is the binary to start; "" = this one, even after an upgrade has
// replaced the file.
func ManyConversations(cfg *config.Config, program string) pamauth.Conversation {
	return newFigures().conversation(cfg, child(cfg, program, os.Stderr))
}

// child asks PAM in a process of its own each time: a module that hangs,
// crashes or leaks takes nobody along. What it prints goes to stderr.
func child(cfg *config.Config, program string, stderr io.Writer) pamauth.Conversation {
	return &pamauth.Child{Program: program, Args: []string{conversationArg}, Stack: stack(cfg), Stderr: stderr}
}

func stack(cfg *config.Config) pamauth.Stack {
	return pamauth.Stack{Service: cfg.PAM.Service, Confdir: cfg.PAM.Confdir}
}

// service is one configuration, ready to answer.
type service struct {
	config  *config.Config
	handler http.Handler
	log     *slog.Logger
	out     *lines // where log writes
	loaded  time.Time
}

// door is what differs between a process for one request and one that stays.
type door struct {
	stderr   *lines
	converse func(*config.Config) pamauth.Conversation
	tallies  tallies
	observe  func(outcome string, took time.Duration) // hears of each token request; nil = nobody does
	mustLog  bool                                     // a log file that cannot be opened is an error: somebody is watching the start. A web server's error log will do else
}

// load reads a configuration and makes the service of it, or says what is
// wrong. Everything that can be found out before the first login is found out here.
func load(path string, d door) (*service, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	if err := stack(cfg).Check(); err != nil {
		cause, hint := causeAndHint(err)
		return nil, cfg.Wrong(errors.New(cause), hint, "pam.service", "pam.confdir")
	}
	out, err := logOf(cfg, d.stderr)
	if err != nil && d.mustLog {
		return nil, err
	}
	log := loggerTo(out, cfg)
	if err != nil {
		log.Error("log file is not usable, the log is here", "reason", err.Error())
	}
	guard, err := newGuard(cfg, log, d.tallies)
	if err != nil {
		return nil, err
	}
	h := NewHandler(cfg, d.converse(cfg), guard, log)
	h.Observe = d.observe
	return &service{config: cfg, handler: h, log: log, out: out, loaded: time.Now()}, nil
}

// warn logs what is no error and may be a mistake all the same.
func (s *service) warn() {
	for _, warning := range strangers(s.config) {
		s.log.Warn("configuration may have a mistake", "reason", warning)
	}
}

// logOf opens the log. With an error it is stderr.
func logOf(cfg *config.Config, stderr *lines) (*lines, error) {
	if cfg.Log.File == "" {
		return stderr, nil
	}
	file, err := openLog(cfg.Log.File, stderr, stderr.losses)
	if err != nil {
		return stderr, cfg.Wrong(err, remedyForLog(err), "log.file")
	}
	return file, nil
}

// remedyForLog is what to do about a log file that cannot be opened.
func remedyForLog(err error) string {
	switch {
	case errors.Is(err, syscall.EISDIR):
		return "name a file in that folder, or leave log.file out to log to stderr"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "make the folder that it lies in, or leave log.file out to log to stderr"
	case errors.Is(err, errNoReader):
		return "start what reads it first, or leave log.file out to log to stderr"
	}
	return "let the service's user write there, or leave log.file out to log to stderr"
}

func loggerTo(out io.Writer, cfg *config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Log.Level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(printableWriter{out, escapeJSON}, options))
	}
	return slog.New(slog.NewTextHandler(printableWriter{out, quoteText}, options))
}

// plainLogger is for what happens while there is no configuration to say otherwise.
func plainLogger(stderr io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(printableWriter{stderr, quoteText}, nil))
}
