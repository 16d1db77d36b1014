package service

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"dockerauth/handler"
	"dockerauth/metrics"
	"dockerauth/pamauth"
)

// metricSet is what a long-lived process counts. It outlives a changed configuration. It holds no
// name, address or text of a client: anyone who can connect to the admin listener sees it all.
type metricSet struct {
	started         time.Time
	requests        *metrics.Counts    // token requests, by outcome
	requestDuration *metrics.Histogram // all of them
	lastFailure     atomic.Pointer[event]

	conversations    *metrics.Counts    // with PAM, by result
	queueLength      atomic.Int64       // logins that wait for a conversation
	queueWait        *metrics.Histogram // until one began, or the login gave up
	cacheHits        atomic.Uint64
	lastConversation atomic.Pointer[event]
	brokenInARow     atomic.Int32 // conversations

	droppedLines atomic.Uint64 // that could not be logged
}

// event is what happened last of its kind.
type event struct {
	Kind string    `json:"kind"`
	At   time.Time `json:"at"`
}

// The results of a conversation. An abandoned one says nothing about PAM: clients can hang up as
// often as they like.
const (
	resultAccepted  = "accepted"
	resultRefused   = "refused"
	resultBusy      = "busy"
	resultBroken    = "broken"
	resultAbandoned = "abandoned"
)

func newMetricSet() *metricSet {
	const ms = time.Millisecond
	return &metricSet{
		started:  time.Now(),
		requests: metrics.NewCounts(handler.Outcomes()...),
		// A refused password is answered at a whole second, so there is a bound just above the
		// first ones.
		requestDuration: metrics.NewHistogram(5*ms, 10*ms, 25*ms, 50*ms, 100*ms, 250*ms, 500*ms, 1100*ms, 2100*ms,
			5000*ms, 10000*ms, 20000*ms),
		conversations: metrics.NewCounts(resultAccepted, resultRefused, resultBusy, resultBroken, resultAbandoned),
		queueWait:     metrics.NewHistogram(1*ms, 10*ms, 50*ms, 100*ms, 500*ms, 1000*ms, 5000*ms, 10000*ms),
	}
}

// requestEnded counts a token request.
func (m *metricSet) requestEnded(outcome string, took time.Duration) {
	m.requests.Add(outcome)
	m.requestDuration.Observe(took)
	if outcome == "broken" || outcome == "busy" {
		m.lastFailure.Store(&event{outcome, time.Now()})
	}
}

// CacheHit, Queued, Dequeued and Ended implement pamauth.Observer.
func (m *metricSet) CacheHit() { m.cacheHits.Add(1) }

func (m *metricSet) Queued() { m.queueLength.Add(1) }

func (m *metricSet) Dequeued(waited time.Duration) {
	m.queueLength.Add(-1)
	m.queueWait.Observe(waited)
}

func (m *metricSet) Ended(err error) {
	result := resultOf(err)
	m.conversations.Add(result)
	switch result {
	case resultAccepted, resultRefused:
		m.brokenInARow.Store(0)
	case resultBroken:
		m.brokenInARow.Add(1)
	default: // neither says whether PAM answers
		return
	}
	m.lastConversation.Store(&event{result, time.Now()})
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return resultAccepted
	case errors.Is(err, pamauth.ErrRefused):
		return resultRefused
	case errors.Is(err, context.Canceled):
		return resultAbandoned
	case errors.Is(err, pamauth.ErrBusy), errors.As(err, new(*handler.Throttled)): // locked while it waited
		return resultBusy
	default:
		return resultBroken
	}
}
