// Package metrics counts what happens, without a lock, and writes it in the text format of Prometheus, version 0.0.4
// (prometheus.io/docs/instrumenting/exposition_formats). It knows no registry of metrics and starts nothing: whoever counts holds the
// counters, and whoever is asked writes a Page of them.
package metrics

import (
	"slices"
	"sync/atomic"
	"time"
)

// Counts is a counter for each of a few words that are known beforehand: what comes from outside must not make the list longer.
type Counts struct {
	words []string
	n     []atomic.Uint64
}

// NewCounts counts these words.
func NewCounts(words ...string) *Counts {
	return &Counts{words: words, n: make([]atomic.Uint64, len(words))}
}

// Add counts a word once more. One that is not in the list is not counted.
func (c *Counts) Add(word string) {
	if i := slices.Index(c.words, word); i >= 0 {
		c.n[i].Add(1)
	}
}

// Of is how often a word was counted.
func (c *Counts) Of(word string) uint64 {
	if i := slices.Index(c.words, word); i >= 0 {
		return c.n[i].Load()
	}
	return 0
}

// Histogram counts durations by how long they are.
type Histogram struct {
	bounds []time.Duration // the longest that a bucket takes in, ascending
	n      []atomic.Uint64 // one more than bounds: the last takes in the rest
	sum    atomic.Int64    // nanoseconds: enough for three centuries of waiting
}

// NewHistogram has a bucket up to each bound, and one for what is longer.
func NewHistogram(bounds ...time.Duration) *Histogram {
	return &Histogram{bounds: bounds, n: make([]atomic.Uint64, len(bounds)+1)}
}

// Observe counts one duration. One below nought, by a clock that was set, is nought: a sum that shrinks would look like a restart.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	i, _ := slices.BinarySearch(h.bounds, d) // the first bound that is not below d
	h.n[i].Add(1)
	h.sum.Add(int64(d))
}
