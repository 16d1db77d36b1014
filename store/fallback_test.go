package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// breakable fails when it is told to.
type breakable struct {
	Store
	err   error
	calls atomic.Int64
}

func (b *breakable) Get(ctx context.Context, keys ...string) ([][]byte, error) {
	b.calls.Add(1)
	if b.err != nil {
		return nil, b.err
	}
	return b.Store.Get(ctx, keys...)
}

// Update fails when change has been called, like one whose commit fails.
func (b *breakable) Update(ctx context.Context, keys []string, change Change) error {
	b.calls.Add(1)
	if b.err != nil {
		change(make([]Record, len(keys)))
		return b.err
	}
	return b.Store.Update(ctx, keys, change)
}

func (b *breakable) List(ctx context.Context, prefix string, visit func(string, Record) bool) error {
	b.calls.Add(1)
	if b.err != nil {
		return b.err
	}
	return b.Store.List(ctx, prefix, visit)
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
	one, two := NewMemory(1<<20), NewMemory(1<<20)
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

func TestFallbackKnowsWhetherTheFirstIsAway(t *testing.T) {
	p := newPair()
	expectAway := func(when string, want bool) {
		t.Helper()
		if got := p.IsAway(); got != want {
			t.Errorf("%s: IsAway is %v", when, got)
		}
	}
	expectAway("at the start", false)
	p.first.err = errors.New("no route to host")
	expect(t, p.Fallback, "k", "none")
	expectAway("after a failure", true)
	p.first.err = nil
	p.advance(retryPause)
	expectAway("before the next trial", true)
	expect(t, p.Fallback, "k", "none")
	expectAway("after the trial", false)
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

// held is a store whose calls wait.
type held struct {
	Store
	calls   atomic.Int64
	release chan error
}

func (h *held) Get(_ context.Context, keys ...string) ([][]byte, error) {
	h.calls.Add(1)
	return make([][]byte, len(keys)), <-h.release
}

func (h *held) Update(context.Context, []string, Change) error {
	h.calls.Add(1)
	return <-h.release
}

// A folder with a stuck lock takes a second to fail.
func TestOneCallTriesAStoreThatHasFailedAndTheOthersDoNotWait(t *testing.T) {
	tests := []struct {
		name  string
		trial func(s Store) error
		ends  error
		later int64 // calls that the first store gets of ten afterwards
	}{
		{
			"a read finds that it works again",
			func(s Store) error { _, err := s.Get(context.Background(), "k"); return err },
			nil,
			10,
		},
		{
			"an update finds that it works again",
			func(s Store) error { return update(s, "k", increment(time.Now())) },
			nil,
			10,
		},
		{
			"it still fails",
			func(s Store) error { _, err := s.Get(context.Background(), "k"); return err },
			errors.New("stuck"),
			0,
		},
		{
			"a caller's mistake says nothing",
			func(s Store) error { _, _ = s.Get(context.Background(), "k"); return nil },
			ErrTooLong,
			0,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := &held{release: make(chan error, 20)}
				f := NewFallback(first, NewMemory(1<<20))
				first.release <- errors.New("stuck")
				put(t, f, "k", "x", time.Now().Add(time.Hour))
				time.Sleep(retryPause)
				ended := make(chan error)
				go func() { ended <- tt.trial(f) }()
				synctest.Wait()
				for range 10 {
					expect(t, f, "k", "x")
				}
				if n := first.calls.Load(); n != 2 {
					t.Errorf("the first store was asked %d times, want once more", n-1)
				}
				first.release <- tt.ends
				if err := <-ended; err != nil {
					t.Error(err)
				}
				for range 10 {
					first.release <- nil
					_ = update(f, "k", increment(time.Now()))
				}
				if n := first.calls.Load() - 2; n != tt.later {
					t.Errorf("the first store was then asked %d times, want %d", n, tt.later)
				}
			})
		})
	}
}

// Others failed while it was under way, so it says nothing about now.
func TestAnOldSuccessDoesNotEndThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := &held{release: make(chan error)}
		f := NewFallback(first, NewMemory(1<<20))
		for range 2 {
			go func() { _, _ = f.Get(context.Background(), "k") }()
		}
		synctest.Wait()
		first.release <- errors.New("stuck")
		synctest.Wait()
		first.release <- nil
		synctest.Wait()
		_, _ = f.Get(context.Background(), "k")
		if n := first.calls.Load(); n != 2 {
			t.Errorf("it was asked %d times", n)
		}
	})
}

func TestTheSecondStoreKnowsWhatThisProcessWroteIntoTheFirst(t *testing.T) {
	p := newPair()
	for range 3 {
		if err := update(p, "k", increment(p.in(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	put(t, p.Fallback, "deleted", "x", p.in(time.Hour))
	remove(t, p.Fallback, "deleted")
	p.first.err = errors.New("disk full")
	if err := update(p, "k", increment(p.in(time.Hour))); err != nil {
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
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Get(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := p.Get(t.Context(), strings.Repeat("k", maxKey+1)); !errors.Is(err, ErrTooLong) {
		t.Error(err)
	}
	p.expectReports(t)
}
