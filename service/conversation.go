package service

import (
	"io"

	"dockerauth/config"
	"dockerauth/harden"
	"dockerauth/pamauth"
)

// OneConversation asks PAM in a CGI program, which lives for one request. It does so in a child all
// the same: a module that crashes would take the answer along, and Apache would send an HTML page.
func OneConversation(cfg *config.Config, stderr io.Writer) pamauth.Authenticator {
	return pamauth.Deadline(cfg.PAM.Timeout, pamauth.Recheck(child(cfg, stderr)))
}

// inFrontOf puts cache, coalescing, deadline and concurrency limit before a conversation.
func inFrontOf(child pamauth.Authenticator, settings config.PAM, slots *pamauth.Slots,
	observer pamauth.Observer) pamauth.Authenticator {
	limited := pamauth.Limit(slots, child, observer)
	coalesced := pamauth.Coalesce(pamauth.Deadline(settings.Timeout, limited), observer)
	return pamauth.Cache(settings.Cache, coalesced, observer)
}

// child asks PAM in a process of its own each time: a module that hangs, crashes or leaks harms no
// other login. What it prints goes to stderr.
func child(cfg *config.Config, stderr io.Writer) pamauth.Authenticator {
	return &pamauth.Child{Stack: Stack(cfg), Stderr: plainWriter{stderr}, BeforeStart: harden.Unpin}
}

// Stack is the PAM service of a configuration.
func Stack(cfg *config.Config) pamauth.Stack {
	return pamauth.Stack{Service: cfg.PAM.Service, Confdir: cfg.PAM.Confdir}
}

// CheckPAM says what is wrong with a PAM service, before any login; confdir "" = the system's
// folder.
func CheckPAM(service, confdir string) error {
	return pamauth.Stack{Service: service, Confdir: confdir}.Check()
}

// HasElevatedIDs reports a set-group-id program that somebody other than root has started.
func HasElevatedIDs() bool { return pamauth.HasElevatedIDs() }
