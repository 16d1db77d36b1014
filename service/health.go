package service

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/jwtsign"
)

const (
	// brokenMany conversations in a row without an answer are no accident.
	brokenMany = 5
	// brokenFor is how long they count. A health check does not ask PAM: a login costs a process,
	// and one with a name that cannot exist would fill the log of a directory. So when a balancer
	// has sent everybody elsewhere, only new logins find out that PAM answers again.
	brokenFor = time.Minute
)

// health is the answer to /healthz. It holds fixed texts, paths and line numbers, but nothing out
// of the files: that may be a person's name.
type health struct {
	Status    string       `json:"status"` // "ok" or "degraded"
	Reasons   []string     `json:"reasons"`
	Version   string       `json:"version"`
	Config    configHealth `json:"config"`
	Key       *keyHealth   `json:"key"` // null without a configuration, as PAM
	PAM       *pamHealth   `json:"pam"`
	LastError *event       `json:"last_error"` // the last token request that failed on this side

	serving bool // logins can be answered
}

type configHealth struct {
	Path   string     `json:"path"`   // of the one in force, "" = none
	Good   bool       `json:"good"`   // the files are as good as when they were loaded
	Error  string     `json:"error"`  // where it is not, "" = good; the log says what is wrong there
	Loaded *time.Time `json:"loaded"` // the one in force
}

type keyHealth struct {
	Algorithm string     `json:"algorithm"`
	ID        string     `json:"id"`
	NotAfter  *time.Time `json:"certificate_not_after"` // null = no certificate
}

type pamHealth struct {
	ServiceFileGood  bool   `json:"service_file_good"`
	ServiceFileError string `json:"service_file_error"`
	Last             *event `json:"last_conversation"` // null = none yet; one that was busy or abandoned does not count
	BrokenInARow     int32  `json:"broken_in_a_row"`
}

// checkHealth looks at files and at what was counted. It asks neither PAM nor a directory.
func checkHealth(r *reloader, now time.Time) *health {
	h := &health{Reasons: []string{}, Version: cli.Version(), LastError: r.metrics.lastFailure.Load()}
	s, failed := r.current.Load(), r.failed.Load()
	h.Config.Good = failed == nil
	if failed != nil {
		h.Config.Error = errorPlace(failed.err)
	}
	h.serving = s != nil
	switch {
	case s == nil:
		h.reason("there is no usable configuration")
	case failed != nil:
		h.reason("the configuration has changed and is not usable, the last good one is in force")
	}
	if s != nil {
		h.Config.Path, h.Config.Loaded = s.config.Path, &s.loaded
		h.checkKey(s.config.Key, now)
		h.checkPAM(s, r.metrics, now)
		h.checkKept(s, now)
	}
	if r.logWriter().isDropping() {
		h.reason("the log cannot be written")
	}
	if r.logWriter().isUnreopened() {
		h.reason("the log file cannot be opened again")
	}
	h.Status = "ok"
	if len(h.Reasons) > 0 {
		h.Status = "degraded"
	}
	return h
}

func (h *health) reason(text string) { h.Reasons = append(h.Reasons, text) }

func (h *health) checkKey(key *jwtsign.Key, now time.Time) {
	h.Key = &keyHealth{Algorithm: key.Algorithm(), ID: idOf(key)}
	if notAfter, ok := expiry(key); ok {
		h.Key.NotAfter = &notAfter
		if now.After(notAfter) {
			h.reason("the certificate has expired, registries refuse the tokens")
		}
	}
}

// idOf is the key's id, or the thumbprint where tokens carry a certificate instead.
func idOf(key *jwtsign.Key) string {
	if id := key.KeyID(); id != "" {
		return id
	}
	id, err := jwtsign.Thumbprint(key.Public())
	if err != nil {
		return ""
	}
	return id
}

// expiry is when the first certificate of the chain ends.
func expiry(key *jwtsign.Key) (notAfter time.Time, ok bool) {
	for _, c := range key.Chain() {
		if !ok || c.NotAfter.Before(notAfter) {
			notAfter, ok = c.NotAfter.UTC(), true
		}
	}
	return notAfter, ok
}

func (h *health) checkPAM(s *service, m *metricSet, now time.Time) {
	err := s.stackError()
	h.PAM = &pamHealth{ServiceFileGood: err == nil, Last: m.lastConversation.Load(),
		BrokenInARow: m.brokenInARow.Load()}
	if err != nil {
		h.PAM.ServiceFileError = errorPlace(err)
		h.reason("the PAM service file is not in order")
		h.serving = false
	}
	if h.PAM.BrokenInARow >= brokenMany && h.PAM.Last != nil && now.Sub(h.PAM.Last.At) < brokenFor {
		h.reason(fmt.Sprintf("PAM gave no answer to the last %d conversations or more", brokenMany))
		h.serving = false
	}
}

// checkKept looks at how the last call to the store of tokens went. Requests without a token do not
// ask it, so that after a failure health does, in the background.
func (h *health) checkKept(s *service, now time.Time) {
	if s.kept == nil || !s.kept.watch.failing.Load() {
		return
	}
	h.reason("the place where tokens are kept is not usable, tokens are answered with 503: the log says why")
	if s.kept.watch.mayRecheck(now) {
		s.later.add(func() { _ = s.kept.prepare() }) // its outcome is noted
	}
}

// stackError is what is wrong with the PAM service. It reads the files again only if one of them
// has changed: anyone who can connect may ask for health and metrics at any rate.
func (s *service) stackError() error {
	state := s.stack.Load()
	if !state.isCurrent() {
		state = state.again()
		s.stack.Store(state)
	}
	return state.err
}

// errorPlace is where something is wrong. What is wrong there may quote a name, so only the log
// says it.
func errorPlace(err error) string {
	var errs config.Errors
	if !errors.As(err, &errs) || len(errs) == 0 {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return withoutQuoted(first)
	}
	first := errs[0]
	if first.Line > 0 {
		return fmt.Sprintf("%s:%d", first.File, first.Line)
	}
	first.Hint = "" // what has no line is missing, or the whole file
	return withoutQuoted(first.Error())
}

// withoutQuoted leaves out what is in quotes: dockerauth's errors quote every value.
func withoutQuoted(text string) string {
	var b strings.Builder
	for {
		before, _, found := strings.Cut(text, `"`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("…")
		quoted, err := strconv.QuotedPrefix(text[len(before):])
		if err != nil {
			return b.String() // it has no end: the rest is left out
		}
		text = text[len(before)+len(quoted):]
	}
}
