// Package service is the running service: it makes one http.Handler of a configuration, puts it
// behind a front end, and sees to reload, log, metrics and health.
package service

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"dockerauth/access"
	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/handler"
	"dockerauth/pamauth"
	"dockerauth/throttle"
)

// What is known of the token endpoint from outside: see handler.
const (
	TokenPath    = handler.TokenPath
	AliasPath    = handler.AliasPath
	MaxTokenSize = handler.MaxTokenSize
	CheckClient  = handler.CheckClient
)

// NewHandler makes the token endpoint of one configuration. conversation asks PAM, with the cache
// and limits of its front end before it. throttle may be nil. It knows no kept tokens, and no
// refresh tokens that a store knows.
func NewHandler(cfg *config.Config, conversation pamauth.Authenticator, throttle handler.Throttle,
	log *slog.Logger) *handler.Handler {
	return &handler.Handler{
		Endpoint: &handler.Endpoint{
			Authenticator: authenticator{conversation, WantsGroups(cfg), cfg.Key},
			Throttle:      throttle,
			Credentials:   newKeeper(cfg, nil, nil, log),
			Signer:        newSigner(cfg),
			Audiences:     cfg.Audience,
			Blacklist:     cfg.BlacklistedUsers,
			Passwords:     cfg.Passwords,
			Policy:        cfg.Access,
			AccessTTL:     cfg.AccessTokenTTL,
			FailureDelay:  failureDelay,
		},
		Log: log,
	}
}

// WantsGroups reports whether rules or lists of accounts depend on groups: to look them up asks the
// directory.
func WantsGroups(cfg *config.Config) bool {
	return cfg.Access.NamesGroups() || access.Blacklist(cfg.BlacklistedUsers).NamesGroups() ||
		cfg.Passwords.Except.NamesGroups()
}

// service is one configuration, ready to answer.
type service struct {
	config  *config.Config
	handler http.Handler
	log     *slog.Logger
	out     *logWriter // where log writes
	loaded  time.Time
	pam     *pamFront                  // nil in a CGI program
	stack   atomic.Pointer[stackState] // as health saw it last
	kept    *keptRecords               // nil = there is no store
	later   *afterwards
}

// runtimeOptions are what differs between a process for one request and one that stays.
type runtimeOptions struct {
	stderr *logWriter
	// converse returns what asks PAM. previous is the service that is replaced; nil = none.
	converse func(cfg *config.Config, stack *stackState, previous *service) pamauth.Authenticator
	state    *state
	checks   *throttle.Checks                         // of the process
	observe  func(outcome string, took time.Duration) // called for each token request; nil = nothing to do
	// mustLog makes a log file that cannot be opened an error, for a start with a person watching.
	// Without it the log goes to stderr, a web server's error log.
	mustLog bool
}

// load reads a configuration and makes the service of it, or says what is wrong. It finds
// everything that can be found before the first login. What it does not change lives on from the
// previous service.
func load(path string, o runtimeOptions, previous *service) (*service, error) {
	cfg, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	stack := readStack(Stack(cfg))
	if stack.err != nil {
		cause, hint := cli.SplitHint(stack.err)
		return nil, cfg.ErrorAt(errors.New(cause), hint, "pam.service", "pam.confdir")
	}
	out, err := logOf(cfg, o.stderr, previous)
	if err != nil && o.mustLog {
		return nil, err
	}
	log := newLogger(out, cfg.Log.Format, cfg.Log.Level)
	if err != nil {
		log.Error("log file is not usable, the log is here", "reason", err.Error())
	}
	if err := o.state.open(cfg, log); err != nil {
		return nil, err
	}
	if cfg.Passwords.TokensOnly && o.state.kept == nil {
		log.Error("only tokens may log in, and there are none", "reason", errNowhereKept.Error())
	}
	guard, err := newThrottle(cfg, log, o)
	if err != nil {
		return nil, err
	}
	conversation := o.converse(cfg, stack, previous)
	h := NewHandler(cfg, conversation, guard, log)
	h.Endpoint.Credentials = newKeeper(cfg, o.state.kept, &o.state.later, log)
	h.Observe = o.observe
	s := &service{config: cfg, handler: h, log: log, out: out, loaded: time.Now(),
		kept: o.state.kept, later: &o.state.later}
	s.pam, _ = conversation.(*pamFront)
	s.stack.Store(stack)
	return s, nil
}

// warn logs what is no error but may be a mistake.
func (s *service) warn() {
	for _, warning := range UnknownNames(s.config) {
		s.log.Warn("configuration may have a mistake", "reason", warning)
	}
}

// logOf opens the log, if it is not open. With an error it is stderr.
func logOf(cfg *config.Config, stderr *logWriter, previous *service) (*logWriter, error) {
	if cfg.Log.File == "" {
		return stderr, nil
	}
	if previous != nil && previous.out != stderr && previous.config.Log.File == cfg.Log.File {
		return previous.out, nil
	}
	file, err := openLog(cfg.Log.File, stderr.at(priorityError), stderr.dropped)
	if err != nil {
		return stderr, cfg.ErrorAt(err, RemedyForLog(err), "log.file")
	}
	return file, nil
}

// RemedyForLog is what to do about a log file that cannot be opened.
func RemedyForLog(err error) string {
	switch {
	case errors.Is(err, syscall.EISDIR):
		return "name a file in that folder, or leave log.file out to log to stderr"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return "make the folder that it lies in, or leave log.file out to log to stderr"
	case errors.Is(err, ErrNoReader):
		return "start what reads it first, or leave log.file out to log to stderr"
	}
	return "let the service's user write there, or leave log.file out to log to stderr"
}

// plainLogger is for what happens without a configuration.
func plainLogger(stderr *logWriter) *slog.Logger { return newLogger(stderr, "text", slog.LevelInfo) }

func newLogger(out *logWriter, format string, level slog.Level) *slog.Logger {
	to := func(out io.Writer) slog.Handler {
		options := &slog.HandlerOptions{Level: level}
		if format == "json" {
			return slog.NewJSONHandler(printableWriter{out, escapeJSON}, options)
		}
		return slog.NewTextHandler(printableWriter{out, quoteText}, options)
	}
	lines := func(out io.Writer) slog.Handler { return newLineHandler(out, to) }
	if out.journal {
		return slog.New(newJournalHandler(out, lines))
	}
	return slog.New(lines(out))
}
