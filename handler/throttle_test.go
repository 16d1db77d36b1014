package handler

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fakeThrottle stands in for the throttle, which is tested in its own package and in e2e. It
// records its calls.
type fakeThrottle struct {
	calls      []string
	beginErr   error
	recheckErr error
	countErr   error
	answer     *Account // of an equal login in flight
}

func (t *fakeThrottle) Begin(_ context.Context, user string, _ Secret, remote string) (Attempt, error) {
	t.calls = append(t.calls, "begin "+user+" "+remote)
	return t, t.beginErr
}

func (t *fakeThrottle) CountAddress(_ context.Context, _ Secret, remote string) error {
	t.calls = append(t.calls, "count "+remote)
	return t.countErr
}

func (t *fakeThrottle) Answer() (Account, bool) {
	if t.answer == nil {
		return Account{}, false
	}
	return *t.answer, true
}

func (t *fakeThrottle) Recheck() error { return t.recheckErr }

func (t *fakeThrottle) Succeed(a Account) { t.calls = append(t.calls, "succeed "+a.Name) }
func (t *fakeThrottle) Fail(error)        { t.calls = append(t.calls, "fail") }
func (t *fakeThrottle) Cancel()           { t.calls = append(t.calls, "cancel") }
func (t *fakeThrottle) Unanswered()       { t.calls = append(t.calls, "unanswered") }

func TestTheAnswerOfAnEqualLoginIsTaken(t *testing.T) {
	f, throttle := newFixture(), &fakeThrottle{answer: &Account{Name: "alice"}}
	f.handler.Endpoint.Throttle = throttle
	w := f.do(get("", basic("ALICE", wonderland)))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "access(alice|") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if len(f.pam.asked) > 0 || !slices.Equal(throttle.calls, []string{"begin ALICE 192.0.2.1"}) {
		t.Errorf("PAM was asked %q, the throttle was told %q", f.pam.asked, throttle.calls)
	}
}

func postPassword(user, password string) *http.Request {
	return post(url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}}.Encode())
}

func TestTheThrottleLearnsTheResultOfEveryPassword(t *testing.T) {
	for _, c := range []struct {
		name           string
		user, password string
		want           string // "" = the throttle is not asked
		asked          bool   // PAM is
	}{
		{"a right password", "alice", wonderland, "succeed alice", true},
		{"a wrong one", "alice", "wrong", "fail", true},
		{"no password", "alice", "", "fail", false},
		{"an impossible name", "a/b", wonderland, "fail", false},
		{"a blacklisted name", "mallory", wonderland, "fail", false},
		{"a blacklisted account under another name", "ALIAS-OF-MALLORY", wonderland, "fail", true},
		{"an account without a name", "nameless", wonderland, "fail", true},
		{"PAM is busy", "busy", wonderland, "cancel", true},
		{"an unreachable directory", "broken", wonderland, "unanswered", true},
		{"an unmapped error", "strange", wonderland, "unanswered", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, send := range []func() *http.Request{
				func() *http.Request { return postPassword(c.user, c.password) },
				func() *http.Request { return get("", basic(c.user, c.password)) },
			} {
				f, throttle := newFixture(), &fakeThrottle{}
				f.handler.Endpoint.Throttle = throttle
				f.do(send())
				if want := []string{"begin " + c.user + " 192.0.2.1", c.want}; !slices.Equal(throttle.calls, want) {
					t.Errorf("the throttle was told %q, want %q", throttle.calls, want)
				}
				if (len(f.pam.asked) > 0) != c.asked {
					t.Errorf("PAM was asked: %q", f.pam.asked)
				}
			}
		})
	}
}

func TestTheThrottleIsAskedAboutPasswordsOnly(t *testing.T) {
	for _, r := range []*http.Request{
		get(""),
		get("", basic("", genuine+"-of-alice")),
		get("", basic("", "bad")),
		post("grant_type=refresh_token&refresh_token=" + genuine + "-of-alice"),
		get("service=unknown", basic("alice", "wrong")),
	} {
		f, throttle := newFixture(), &fakeThrottle{}
		f.handler.Endpoint.Throttle = throttle
		f.do(r)
		if len(throttle.calls) > 0 {
			t.Errorf("%s: the throttle was told %q", r.URL, throttle.calls)
		}
	}
}

func TestAPanicLeavesTheAttemptUnanswered(t *testing.T) {
	throttle := &fakeThrottle{}
	e := &Endpoint{Throttle: throttle, Authenticator: nil} // panics
	func() {
		defer func() { _ = recover() }()
		_, _ = e.checkPassword(t.Context(), Request{Grant: GrantPassword, User: "alice", Password: wonderland})
	}()
	if want := []string{"begin alice ", "unanswered"}; !slices.Equal(throttle.calls, want) {
		t.Errorf("the throttle was told %q, want %q", throttle.calls, want)
	}
}

// The log of a panic is the front end's. The request is counted and logged like any other.
func TestAPanicLeavesTheLineOfItsRequest(t *testing.T) {
	f := newFixture()
	f.handler.Endpoint.Authenticator = nil // panics
	var outcomes []string
	f.handler.Observe = func(outcome string, _ time.Duration) { outcomes = append(outcomes, outcome) }
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic does not reach the front end")
			}
		}()
		f.do(get("", basic("alice", wonderland)))
	}()
	line := f.log.String()
	if !slices.Equal(outcomes, []string{"broken"}) || !strings.Contains(line, "outcome=broken") ||
		!strings.Contains(line, "user=alice") || strings.Contains(line, "nil pointer") {
		t.Errorf("counted %q, logged %s", outcomes, line)
	}
}

// A lock that came while the login waited is answered like an earlier one, and the attempt is
// cancelled.
func TestALoginThrottledWhileWaitingIsAnsweredSo(t *testing.T) {
	f, throttle := newFixture(),
		&fakeThrottle{recheckErr: &Throttled{After: 30 * time.Second, Cause: "this address is locked"}}
	f.handler.Endpoint.Throttle = throttle
	w := f.do(get("", basic("alice", wonderland)))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "30" {
		t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if want := []string{"begin alice 192.0.2.1", "cancel"}; !slices.Equal(throttle.calls, want) {
		t.Errorf("the throttle was told %q", throttle.calls)
	}
}

func TestAThrottledAnswerHasRetryAfter(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{time.Nanosecond, "1"}, {time.Second, "1"}, {1001 * time.Millisecond, "2"}, {15 * time.Minute, "900"}} {
		f := newFixture()
		f.handler.Endpoint.Throttle = &fakeThrottle{beginErr: &Throttled{After: c.after, Cause: "five of them"}}
		w := f.do(get("", basic("alice", wonderland)))
		const body = `{"errors":[{"code":"TOOMANYREQUESTS","message":"too many failed logins, try again later"}]}` +
			"\n"
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != c.want || w.Body.String() != body {
			t.Errorf("after %s: %d, Retry-After %q, %s", c.after, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		if w.Header().Get("WWW-Authenticate") != "" {
			t.Error("a challenge asks for another try at once")
		}
		if len(f.pam.asked) > 0 {
			t.Errorf("PAM was asked: %q", f.pam.asked)
		}
		if line := f.log.String(); !strings.Contains(line, "outcome=throttled") ||
			!strings.Contains(line, "five of them") || !strings.Contains(line, "level=WARN") {
			t.Errorf("logged %s", line)
		}
	}
}

func TestARepeatedPasswordIsRefusedLikeAWrongOne(t *testing.T) {
	wrong, repeated := newFixture(), newFixture()
	repeated.handler.Endpoint.Throttle = &fakeThrottle{beginErr: fmt.Errorf("%w: a moment ago", ErrRefused)}
	a, b := wrong.do(get("", basic("alice", "wrong"))), repeated.do(get("", basic("alice", wonderland)))
	if a.Code != b.Code || a.Body.String() != b.Body.String() || fmt.Sprint(a.Header()) != fmt.Sprint(b.Header()) {
		t.Errorf("wrong: %d %v %s\nrepeated: %d %v %s", a.Code, a.Header(), a.Body, b.Code, b.Header(), b.Body)
	}
	if len(repeated.pam.asked) > 0 {
		t.Errorf("PAM was asked: %q", repeated.pam.asked)
	}
}

// slowPAM answers after a set time.
type slowPAM struct {
	*fakePAM
	takes time.Duration
}

func (s slowPAM) Authenticate(ctx context.Context, l Login) (Account, error) {
	time.Sleep(s.takes)
	return s.fakePAM.Authenticate(ctx, l)
}

func TestRefusedPasswordsTakeAWholeNumberOfDelays(t *testing.T) {
	for _, c := range []struct {
		name           string
		user, password string
		takes, want    time.Duration
	}{
		{"an impossible name", "a/b", "x", 0, time.Second},
		{"a blacklisted one", "mallory", "x", 0, time.Second},
		{"a wrong password", "alice", "wrong", 50 * time.Millisecond, time.Second},
		{"one that takes nearly all of it", "alice", "wrong", 999 * time.Millisecond, time.Second},
		{"one that takes longer", "alice", "wrong", 2001 * time.Millisecond, 3 * time.Second},
		{"a right password", "alice", wonderland, 50 * time.Millisecond, 50 * time.Millisecond},
		{"an unreachable directory", "broken", wonderland, 50 * time.Millisecond, 50 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture()
				f.handler.Endpoint.FailureDelay = time.Second
				f.handler.Endpoint.Authenticator = slowPAM{f.pam, c.takes}
				began := time.Now()
				f.do(get("", basic(c.user, c.password)))
				if took := time.Since(began); took != c.want {
					t.Errorf("took %s, want %s", took, c.want)
				}
			})
		})
	}
}

func TestARefusedRefreshTokenIsNotHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.handler.Endpoint.FailureDelay = time.Second
		began := time.Now()
		f.do(get("", basic("", "bad")))
		f.do(get("", basic("", genuine+"-of-expired")))
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}

func TestTheDelayEndsWhenTheClientDisconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.handler.Endpoint.FailureDelay = time.Second
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		began := time.Now()
		f.do(get("", basic("alice", "wrong")).WithContext(ctx))
		if took := time.Since(began); took != time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}

func TestAClientThatDisconnectsIsNotAnError(t *testing.T) {
	for _, user := range []string{"busy", "broken"} {
		f := newFixture()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		f.do(get("", basic(user, wonderland)).WithContext(ctx))
		if line := f.log.String(); !strings.Contains(line, "outcome=abandoned") ||
			!strings.Contains(line, "level=INFO") {
			t.Errorf("logged %s", line)
		}
	}
}
