// Package service is the running service: it makes one http.Handler of a configuration, puts it behind
// a front end, and sees to reload, log, metrics and health.
package service

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"syscall"
	"time"

	"dockerauth/access"
	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/handler"
	"dockerauth/harden"
	"dockerauth/jwtsign"
	"dockerauth/pamauth"
)

// ConversationArg is the argument with which the binary starts itself to hold
// one PAM conversation.
const ConversationArg = "pam-conversation"

// failureDelay is longer than a wrong password takes in all but the slowest directories, and no longer than a person minds.
const failureDelay = time.Second

// NewHandler makes the token endpoint of one configuration. The conversation
// is what asks PAM; the caller has put around it what this door needs. guard may be nil.
func NewHandler(cfg *config.Config, conversation pamauth.Conversation, guard handler.Guard, log *slog.Logger) *handler.Handler {
	return &handler.Handler{
		Endpoint: &handler.Endpoint{
			Authenticator: authenticator{conversation, WantsGroups(cfg)},
			Guard:         guard,
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

// WantsGroups: looking groups up costs a question to the directory, so it is
// done only where something depends on them.
func WantsGroups(cfg *config.Config) bool {
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
	return &pamauth.Child{Program: program, Args: []string{ConversationArg}, Stack: Stack(cfg), Stderr: stderr}
}

// Stack is the PAM service of a configuration.
func Stack(cfg *config.Config) pamauth.Stack {
	return pamauth.Stack{Service: cfg.PAM.Service, Confdir: cfg.PAM.Confdir}
}

// HoldConversation is what the program does that was started with ConversationArg.
func HoldConversation(streams cli.Streams) int {
	return pamauth.RunChild(streams.In, streams.Out, harden.Process)
}

// Borrowed reports a set-group-id program that somebody else than root has started.
func Borrowed() bool { return pamauth.Borrowed() }

// CheckPAM says what is wrong with a PAM service, before any login; confdir "" = the system's folder.
func CheckPAM(service, confdir string) error {
	return pamauth.Stack{Service: service, Confdir: confdir}.Check()
}

// TryLogin asks for a token as the endpoint does, but uncounted and without a delay: it is for those who can read the
// configuration and the key, and so are not guessing. It returns the account that PAM named, and whether an error is a refusal.
func TryLogin(cfg *config.Config, conversation pamauth.Conversation, login pamauth.Login, service string) (account pamauth.Account, refused bool, err error) {
	heard := &listener{Conversation: conversation}
	endpoint := NewHandler(cfg, heard, nil, slog.New(slog.DiscardHandler)).Endpoint
	endpoint.FailureDelay = 0
	_, err = endpoint.Token(context.Background(), handler.Request{Grant: handler.GrantPassword, User: login.User, Password: handler.Secret(login.Password.Reveal()), Service: service})
	return heard.account, errors.Is(err, handler.ErrRefused), err
}

// listener keeps the account of the last conversation, with its groups.
type listener struct {
	pamauth.Conversation
	account pamauth.Account
}

func (l *listener) Hold(ctx context.Context, login pamauth.Login) (account pamauth.Account, err error) {
	login.Groups = true
	account, err = l.Conversation.Hold(ctx, login)
	l.account = account
	return account, err
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
	if err := Stack(cfg).Check(); err != nil {
		cause, hint := cli.SplitHint(err)
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
	for _, warning := range UnknownNames(s.config) {
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
		return stderr, cfg.Wrong(err, RemedyForLog(err), "log.file")
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

func loggerTo(out io.Writer, cfg *config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Log.Level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, options))
	}
	return slog.New(slog.NewTextHandler(out, options))
}

// plainLogger is for what happens while there is no configuration to say otherwise.
func plainLogger(stderr io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(stderr, nil))
}
