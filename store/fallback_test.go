package store

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// breakable fails when it is told to.
type breakable struct {
	Store
	err   error
	calls atomic.Int64
}

func (b *breakable) Get(key string) ([]byte, error) {
	b.calls.Add(1)
	if b.err != nil {
		return nil, b.err
	}
	return b.Store.Get(key)
}

func (b *breakable) Update(key string, change Change) error {
	b.calls.Add(1)
	if b.err != nil {
		return b.err
	}
	return b.Store.Update(key, change)
}

type pair struct {
	*clock
	*Fallback
	first   *breakable
	second  *Memory
	reports []string
}

func newPair() *pair {
	p := &pair{clock: newClock()}
	one, two := NewMemory(1000), NewMemory(1000)
	one.Now, two.Now = p.clock.Now, p.clock.Now
	p.first, p.second = &breakable{Store: one}, two
	p.Fallback = NewFallback(p.first, p.second)
	p.Fallback.Now = p.clock.Now
	p.Report = func(err error) { p.reports = append(p.reports, fmt.Sprint(err)) }
	return p
}

func (p *pair) expectReports(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(p.reports, want) {
		t.Errorf("reports %q, want %q", p.reports, want)
	}
}

func TestFallbackIsAStore(t *testing.T) {
	p := newPair()
	testStore(t, p.Fallback, p.clock)
	p.expectReports(t)
}

func TestFallbackIsAStoreWhileTheFirstFails(t *testing.T) {
	p := newPair()
	p.first.err = errors.New("disk full")
	testStore(t, p.Fallback, p.clock)
	p.expectReports(t, "disk full")
}

func TestFallbackTellsOfAFailureOnceAndOfItsEndOnce(t *testing.T) {
	p := newPair()
	put(t, p.Fallback, "k", "before", p.in(time.Hour))
	p.first.err = errors.New("disk full")
	for range 5 {
		expect(t, p.Fallback, "k", "before")
		p.advance(retryPause)
	}
	p.expectReports(t, "disk full")
	p.first.err = nil
	for range int(2 * recoveryPeriod / retryPause) {
		expect(t, p.Fallback, "k", "before")
		p.advance(retryPause)
	}
	p.expectReports(t, "disk full", "<nil>")
	p.first.err = errors.New("disk full again")
	expect(t, p.Fallback, "k", "before")
	p.expectReports(t, "disk full", "<nil>", "disk full again")
}

func TestFallbackTellsOnceOfAFirstStoreThatFailsNowAndThen(t *testing.T) {
	p := newPair()
	for range 20 {
		p.first.err = errors.New("one shard is broken")
		put(t, p.Fallback, "k", "x", p.in(time.Hour))
		p.first.err = nil
		p.advance(retryPause)
		put(t, p.Fallback, "l", "x", p.in(time.Hour))
	}
	p.expectReports(t, "one shard is broken")
}

func TestFallbackLeavesAFailingStoreAloneForAWhile(t *testing.T) {
	p := newPair()
	p.first.err = errors.New("slow to fail")
	for range 100 {
		put(t, p.Fallback, "k", "x", p.in(time.Hour))
	}
	if p.first.calls.Load() != 1 {
		t.Errorf("it was asked %d times", p.first.calls.Load())
	}
	p.advance(retryPause)
	put(t, p.Fallback, "k", "x", p.in(time.Hour))
	if p.first.calls.Load() != 2 {
		t.Errorf("it was asked %d times", p.first.calls.Load())
	}
}

func TestTheSecondStoreKnowsWhatThisProcessWroteIntoTheFirst(t *testing.T) {
	p := newPair()
	for range 3 {
		if err := p.Update("k", increment(p.in(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	put(t, p.Fallback, "deleted", "x", p.in(time.Hour))
	remove(t, p.Fallback, "deleted")
	p.first.err = errors.New("disk full")
	if err := p.Update("k", increment(p.in(time.Hour))); err != nil {
		t.Fatal(err)
	}
	expect(t, p.Fallback, "k", "4")
	expect(t, p.Fallback, "deleted", "none")
}

func TestWhatStoodInTheFirstStoreCountsWhenItRecovers(t *testing.T) {
	p := newPair()
	put(t, p.Fallback, "k", "shared", p.in(time.Hour))
	p.first.err = errors.New("disk full")
	put(t, p.Fallback, "k", "own", p.in(time.Hour))
	put(t, p.Fallback, "l", "own", p.in(time.Hour))
	p.first.err = nil
	p.advance(retryPause)
	expect(t, p.Fallback, "k", "shared")
	expect(t, p.Fallback, "l", "none")
}

func TestACallersMistakeIsNoFailureOfTheStore(t *testing.T) {
	p := newPair()
	if _, err := p.Get(strings.Repeat("k", MaxKey+1)); !errors.Is(err, ErrTooLong) {
		t.Error(err)
	}
	p.expectReports(t)
}
