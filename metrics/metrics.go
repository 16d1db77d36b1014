// Package metrics counts events without locks and writes them in the text format of Prometheus,
// version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). It has no registry and
// starts nothing: the program holds its counters and writes a [Page] of them for each scrape.
package metrics

import (
	"slices"
	"sync/atomic"
	"time"
)

// Counts is a counter for each word of a fixed list, so that input cannot make the list longer.
type Counts struct {
	words []string
	n     []atomic.Uint64
}

// NewCounts returns counters for these words.
func NewCounts(words ...string) *Counts {
	return &Counts{words: words, n: make([]atomic.Uint64, len(words))}
}

// Add increments the counter of a word. It ignores words that are not in the list.
func (c *Counts) Add(word string) {
	if i := slices.Index(c.words, word); i >= 0 {
		c.n[i].Add(1)
	}
}

// Of returns the count of a word.
func (c *Counts) Of(word string) uint64 {
	if i := slices.Index(c.words, word); i >= 0 {
		return c.n[i].Load()
	}
	return 0
}

// Histogram counts durations by length.
type Histogram struct {
	bounds []time.Duration // upper bound of each bucket, ascending
	n      []atomic.Uint64 // one more than bounds, for longer ones
	sum    atomic.Int64    // nanoseconds, enough for three centuries
}

// NewHistogram returns a histogram with a bucket for each upper bound, and one for longer
// durations.
func NewHistogram(bounds ...time.Duration) *Histogram {
	return &Histogram{bounds: bounds, n: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts one duration. A negative one, after a change of the clock, counts as zero: a
// smaller sum would look like a restart.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	i, _ := slices.BinarySearch(h.bounds, d) // the first bound >= d
	h.n[i].Add(1)
	h.sum.Add(int64(d))
}
