package service

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"dockerauth/config"
	"dockerauth/pamauth"
)

// conversations are those of a process that stays. Its slots outlive every configuration.
type conversations struct {
	child    func(*config.Config) pamauth.Authenticator
	slots    *pamauth.Slots
	observer pamauth.Observer
}

func newConversations(child func(*config.Config) pamauth.Authenticator, observer pamauth.Observer) *conversations {
	return &conversations{child: child, slots: pamauth.NewSlots(1), observer: observer}
}

// of asks PAM for a configuration. It is the one of the previous configuration, which remembers
// logins, unless something has changed that its answers depend on.
func (c *conversations) of(cfg *config.Config, stack *stackState, previous *service) pamauth.Authenticator {
	settings := cfg.PAM
	settings.Concurrency = 0 // the slots are resized
	if previous != nil && previous.pam != nil && previous.pam.settings == settings &&
		previous.pam.stack.sameFiles(stack.files) {
		return previous.pam
	}
	p := &pamFront{conversations: c, settings: settings, stack: stack, child: c.child(cfg)}
	p.forget()
	return p
}

// pamFront is what stands before the conversations with one PAM service. A reload that does not
// change the service leaves it as it is.
type pamFront struct {
	*conversations
	settings config.PAM // without the concurrency
	stack    *stackState
	child    pamauth.Authenticator
	chain    atomic.Pointer[pamauth.Authenticator]
}

func (p *pamFront) Authenticate(ctx context.Context, login pamauth.Login) (pamauth.Account, error) {
	return (*p.chain.Load()).Authenticate(ctx, login)
}

// forget drops all answers. Conversations that run keep their slots, and their answers are not
// remembered.
func (p *pamFront) forget() {
	chain := inFrontOf(p.child, p.settings, p.slots, p.observer)
	p.chain.Store(&chain)
}

// refresh forgets answers that were given by another state of the PAM service file.
func (p *pamFront) refresh(log *slog.Logger) {
	old := p.stack
	if old.isCurrent() {
		return
	}
	p.stack = old.again()
	p.forget()
	switch {
	case p.stack.err != nil && !p.stack.sameFiles(old.files):
		log.Error("PAM service has changed and is not usable", "reason", p.stack.err.Error())
	case !p.stack.sameFiles(old.files):
		log.Info("PAM service has changed, remembered logins are dropped")
	}
}

// stackState is what a PAM service was found to be, and the files behind it at that moment.
type stackState struct {
	stack pamauth.Stack
	err   error
	paths []string
	files []fileState
	read  time.Time
}

func readStack(stack pamauth.Stack) *stackState {
	s := &stackState{stack: stack, read: time.Now()}
	s.paths, s.err = stack.Sources()
	s.files = statesOf(s.paths)
	return s
}

func (s *stackState) again() *stackState { return readStack(s.stack) }

func (s *stackState) sameFiles(now []fileState) bool { return slices.Equal(s.files, now) }

// isCurrent looks at the files, and reads none.
func (s *stackState) isCurrent() bool {
	return s.sameFiles(statesOf(s.paths)) && !changedSince(s.files, s.read)
}
