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

// notes stands in for the throttle, which is tested in its own package and in e2e: it writes down what it is told.
type notes struct {
	lines  []string
	no     error    // from Begin
	later  error    // from Recheck
	answer *Account // of an equal login in flight
}

func (n *notes) Begin(_ context.Context, user string, _ Secret, remote string) (Attempt, error) {
	n.lines = append(n.lines, "begin "+user+" "+remote)
	return n, n.no
}

func (n *notes) Answer() (Account, bool) {
	if n.answer == nil {
		return Account{}, false
	}
	return *n.answer, true
}

func (n *notes) Recheck() error { return n.later }

func (n *notes) Succeed(a Account) { n.lines = append(n.lines, "succeed "+a.Name) }
func (n *notes) Fail()             { n.lines = append(n.lines, "fail") }
func (n *notes) Cancel()           { n.lines = append(n.lines, "cancel") }
func (n *notes) Unanswered()       { n.lines = append(n.lines, "unanswered") }

func TestTheAnswerOfAnEqualLoginIsTaken(t *testing.T) {
	f, throttle := newFixture(), &notes{answer: &Account{Name: "alice"}}
	f.handler.Endpoint.Throttle = throttle
	w := f.do(get("", basic("ALICE", wonderland)))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "access(alice|") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if len(f.people.asked) > 0 || !slices.Equal(throttle.lines, []string{"begin ALICE 192.0.2.1"}) {
		t.Errorf("PAM was asked %q, the throttle heard %q", f.people.asked, throttle.lines)
	}
}

func postPassword(user, password string) *http.Request {
	return post(url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}}.Encode())
}

func TestTheThrottleHearsHowEveryPasswordEnded(t *testing.T) {
	for _, c := range []struct {
		name           string
		user, password string
		want           string // "" = the throttle is not asked
		asked          bool   // PAM is
	}{
		{"a right password", "alice", wonderland, "succeed alice", true},
		{"a wrong one", "alice", "wrong", "fail", true},
		{"no password", "alice", "", "fail", false},
		{"a name that nobody can have", "a/b", wonderland, "fail", false},
		{"a blacklisted name", "mallory", wonderland, "fail", false},
		{"a blacklisted account under another name", "ALIAS-OF-MALLORY", wonderland, "fail", true},
		{"an account without a name", "nameless", wonderland, "fail", true},
		{"too many at once", "busy", wonderland, "cancel", true},
		{"a directory that is away", "broken", wonderland, "unanswered", true},
		{"an error that nobody mapped", "strange", wonderland, "unanswered", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, send := range []func() *http.Request{
				func() *http.Request { return postPassword(c.user, c.password) },
				func() *http.Request { return get("", basic(c.user, c.password)) },
			} {
				f, throttle := newFixture(), &notes{}
				f.handler.Endpoint.Throttle = throttle
				f.do(send())
				if want := []string{"begin " + c.user + " 192.0.2.1", c.want}; !slices.Equal(throttle.lines, want) {
					t.Errorf("the throttle heard %q, want %q", throttle.lines, want)
				}
				if (len(f.people.asked) > 0) != c.asked {
					t.Errorf("PAM was asked: %q", f.people.asked)
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
		f, throttle := newFixture(), &notes{}
		f.handler.Endpoint.Throttle = throttle
		f.do(r)
		if len(throttle.lines) > 0 {
			t.Errorf("%s: the throttle heard %q", r.URL, throttle.lines)
		}
	}
}

func TestAPanicLeavesTheAttemptUnanswered(t *testing.T) {
	throttle := &notes{}
	e := &Endpoint{Throttle: throttle, Authenticator: nil} // which is a defect
	func() {
		defer func() { _ = recover() }()
		_, _ = e.checkPassword(t.Context(), Request{Grant: GrantPassword, User: "alice", Password: wonderland})
	}()
	if want := []string{"begin alice ", "unanswered"}; !slices.Equal(throttle.lines, want) {
		t.Errorf("the throttle heard %q, want %q", throttle.lines, want)
	}
}

// A lock that came while the login waited is answered as one that was there before, and the attempt is taken back.
func TestWhoIsThrottledWhileWaitingIsToldSo(t *testing.T) {
	f, throttle := newFixture(), &notes{later: &Throttled{After: 30 * time.Second, Cause: "this address is locked"}}
	f.handler.Endpoint.Throttle = throttle
	w := f.do(get("", basic("alice", wonderland)))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "30" {
		t.Errorf("%d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	if want := []string{"begin alice 192.0.2.1", "cancel"}; !slices.Equal(throttle.lines, want) {
		t.Errorf("the throttle heard %q", throttle.lines)
	}
}

func TestWhoIsThrottledIsToldWhenToComeBack(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  string
	}{{time.Nanosecond, "1"}, {time.Second, "1"}, {1001 * time.Millisecond, "2"}, {15 * time.Minute, "900"}} {
		f := newFixture()
		f.handler.Endpoint.Throttle = &notes{no: &Throttled{After: c.after, Cause: "five of them"}}
		w := f.do(get("", basic("alice", wonderland)))
		const body = `{"errors":[{"code":"TOOMANYREQUESTS","message":"too many failed logins, try again later"}]}` + "\n"
		if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != c.want || w.Body.String() != body {
			t.Errorf("after %s: %d, Retry-After %q, %s", c.after, w.Code, w.Header().Get("Retry-After"), w.Body)
		}
		if w.Header().Get("WWW-Authenticate") != "" {
			t.Error("a challenge asks for another try at once")
		}
		if len(f.people.asked) > 0 {
			t.Errorf("PAM was asked: %q", f.people.asked)
		}
		if line := f.log.String(); !strings.Contains(line, "outcome=throttled") || !strings.Contains(line, "five of them") || !strings.Contains(line, "level=WARN") {
			t.Errorf("logged %s", line)
		}
	}
}

func TestARepeatedPasswordIsRefusedLikeAWrongOne(t *testing.T) {
	wrong, repeated := newFixture(), newFixture()
	repeated.handler.Endpoint.Throttle = &notes{no: fmt.Errorf("%w: a moment ago", ErrRefused)}
	a, b := wrong.do(get("", basic("alice", "wrong"))), repeated.do(get("", basic("alice", wonderland)))
	if a.Code != b.Code || a.Body.String() != b.Body.String() || fmt.Sprint(a.Header()) != fmt.Sprint(b.Header()) {
		t.Errorf("wrong: %d %v %s\nrepeated: %d %v %s", a.Code, a.Header(), a.Body, b.Code, b.Header(), b.Body)
	}
	if len(repeated.people.asked) > 0 {
		t.Errorf("PAM was asked: %q", repeated.people.asked)
	}
}

// slow takes as long for an answer as it is told.
type slow struct {
	*people
	takes time.Duration
}

func (s slow) Authenticate(ctx context.Context, l Login) (Account, error) {
	time.Sleep(s.takes)
	return s.people.Authenticate(ctx, l)
}

func TestRefusedPasswordsTakeAWholeNumberOfDelays(t *testing.T) {
	for _, c := range []struct {
		name           string
		user, password string
		takes, want    time.Duration
	}{
		{"a name that nobody can have", "a/b", "x", 0, time.Second},
		{"a blacklisted one", "mallory", "x", 0, time.Second},
		{"a wrong password", "alice", "wrong", 50 * time.Millisecond, time.Second},
		{"one that takes nearly all of it", "alice", "wrong", 999 * time.Millisecond, time.Second},
		{"one that takes longer", "alice", "wrong", 2001 * time.Millisecond, 3 * time.Second},
		{"a right password", "alice", wonderland, 50 * time.Millisecond, 50 * time.Millisecond},
		{"a directory that is away", "broken", wonderland, 50 * time.Millisecond, 50 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture()
				f.handler.Endpoint.FailureDelay = time.Second
				f.handler.Endpoint.Authenticator = slow{f.people, c.takes}
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

func TestNobodyIsHeldBackWhoHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		f.handler.Endpoint.FailureDelay = time.Second
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, leave)
		began := time.Now()
		f.do(get("", basic("alice", "wrong")).WithContext(ctx))
		if took := time.Since(began); took != time.Millisecond {
			t.Errorf("took %s", took)
		}
	})
}

func TestAClientThatHangsUpIsNoFault(t *testing.T) {
	for _, user := range []string{"busy", "broken"} {
		f := newFixture()
		ctx, leave := context.WithCancel(t.Context())
		leave()
		f.do(get("", basic(user, wonderland)).WithContext(ctx))
		if line := f.log.String(); !strings.Contains(line, "outcome=abandoned") || !strings.Contains(line, "level=INFO") {
			t.Errorf("logged %s", line)
		}
	}
}
