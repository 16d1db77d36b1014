package service

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"dockerauth/config"
	"dockerauth/handler"
	"dockerauth/metrics"
	"dockerauth/pamauth"
)

// figures are what a long-lived door counts. They outlive a changed configuration. No name, address or text of anybody is among them:
// whoever can connect to the admin listener sees them all.
type figures struct {
	started  time.Time
	requests *metrics.Counts    // token requests, by outcome
	took     *metrics.Histogram // all of them
	trouble  atomic.Pointer[event]

	talks   *metrics.Counts    // PAM conversations, by result
	waiting atomic.Int64       // for a seat
	waited  *metrics.Histogram // for a seat, or until that was given up
	hits    atomic.Uint64      // answers from the cache
	talk    atomic.Pointer[event]
	broken  atomic.Int32 // conversations in a row that broke

	losses atomic.Uint64 // lines that could not be logged
}

// event is what happened last of its kind.
type event struct {
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
}

// The results of a conversation. One that nobody waited for to the end says nothing about PAM: strangers can hang up as often as they like.
const (
	talkAccepted  = "accepted"
	talkRefused   = "refused"
	talkBusy      = "busy"
	talkBroken    = "broken"
	talkAbandoned = "abandoned"
)

func newFigures() *figures {
	const ms = time.Millisecond
	return &figures{
		started:  time.Now(),
		requests: metrics.NewCounts(handler.Outcomes()...),
		// A refused password is answered at a whole second, so there is a bound just above the first ones.
		took:   metrics.NewHistogram(5*ms, 10*ms, 25*ms, 50*ms, 100*ms, 250*ms, 500*ms, 1100*ms, 2100*ms, 5000*ms, 10000*ms, 20000*ms),
		talks:  metrics.NewCounts(talkAccepted, talkRefused, talkBusy, talkBroken, talkAbandoned),
		waited: metrics.NewHistogram(1*ms, 10*ms, 50*ms, 100*ms, 500*ms, 1000*ms, 5000*ms, 10000*ms),
	}
}

// observe counts a token request.
func (f *figures) observe(outcome string, took time.Duration) {
	f.requests.Add(outcome)
	f.took.Observe(took)
	if outcome == "broken" || outcome == "busy" {
		f.trouble.Store(&event{outcome, time.Now()})
	}
}

// conversation is the skins of ManyConversations with those that count between them, so that pamauth need not know of counting.
func (f *figures) conversation(cfg *config.Config, child pamauth.Conversation) pamauth.Conversation {
	turn := pamauth.Gate(cfg.PAM.Concurrency, turnSkin{f, child})
	talk := pamauth.Share(pamauth.Deadline(cfg.PAM.Timeout, talkSkin{f, turn}))
	return hitSkin{f, pamauth.Cache(cfg.PAM.Cache, missSkin{talk})}
}

// wait is how a login waits for its seat. One goroutine at a time holds it.
type wait struct {
	since time.Time
	over  bool
}

type waitKey struct{}

// end counts a wait, once.
func (f *figures) end(w *wait) {
	if !w.over {
		w.over = true
		f.waiting.Add(-1)
		f.waited.Observe(time.Since(w.since))
	}
}

// talkSkin stands outside the gate and counts how conversations end.
type talkSkin struct {
	*figures
	next pamauth.Conversation
}

func (s talkSkin) Hold(ctx context.Context, l pamauth.Login) (pamauth.Account, error) {
	w := &wait{since: time.Now()}
	s.waiting.Add(1)
	defer s.end(w) // it had no turn
	account, err := s.next.Hold(context.WithValue(ctx, waitKey{}, w), l)
	s.ended(resultOf(err))
	return account, err
}

// turnSkin stands inside the gate: whoever comes here has a seat.
type turnSkin struct {
	*figures
	next pamauth.Conversation
}

func (s turnSkin) Hold(ctx context.Context, l pamauth.Login) (pamauth.Account, error) {
	if w, ok := ctx.Value(waitKey{}).(*wait); ok {
		s.end(w)
	}
	return s.next.Hold(ctx, l)
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return talkAccepted
	case errors.Is(err, pamauth.ErrRefused):
		return talkRefused
	case errors.Is(err, context.Canceled):
		return talkAbandoned
	case errors.Is(err, pamauth.ErrBusy), errors.As(err, new(*handler.Throttled)): // it was locked while it waited for its turn
		return talkBusy
	default:
		return talkBroken
	}
}

func (f *figures) ended(result string) {
	f.talks.Add(result)
	switch result {
	case talkAccepted, talkRefused:
		f.broken.Store(0)
	case talkBroken:
		f.broken.Add(1)
	default: // neither says whether PAM answers
		return
	}
	f.talk.Store(&event{result, time.Now()})
}

// hitSkin stands outside the cache, missSkin inside it: what comes back without having been there was known.
type hitSkin struct {
	*figures
	next pamauth.Conversation
}

type missKey struct{}

func (s hitSkin) Hold(ctx context.Context, l pamauth.Login) (pamauth.Account, error) {
	missed := false
	account, err := s.next.Hold(context.WithValue(ctx, missKey{}, &missed), l)
	if !missed {
		s.hits.Add(1)
	}
	return account, err
}

type missSkin struct{ next pamauth.Conversation }

func (s missSkin) Hold(ctx context.Context, l pamauth.Login) (pamauth.Account, error) {
	if missed, ok := ctx.Value(missKey{}).(*bool); ok {
		*missed = true
	}
	return s.next.Hold(ctx, l)
}
