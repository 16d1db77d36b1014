package e2e

import (
	"cmp"
	"math"
	"slices"
	"testing"
	"time"
)

// separation is how well one threshold tells two samples apart: the Kolmogorov-Smirnov distance D,
// the largest difference between the shares of values below a threshold. 0 = not at all, 1 =
// always. With equally likely answers, the best threshold guesses right in (1+D)/2 of all cases.
func separation(a, b []time.Duration) float64 {
	all := slices.Sorted(slices.Values(slices.Concat(a, b)))
	var most float64
	for _, threshold := range slices.Compact(all) {
		most = max(most, math.Abs(shareBelow(a, threshold)-shareBelow(b, threshold)))
	}
	return most
}

// shareBelow is the part of the values that is not above a threshold.
func shareBelow(values []time.Duration, threshold time.Duration) float64 {
	n := 0
	for _, v := range values {
		if v <= threshold {
			n++
		}
	}
	return float64(n) / float64(len(values))
}

// separationByChance is the distance that two samples of n from the same distribution reach with
// probability p (Smirnov's asymptotic bound, on the safe side for small n).
func separationByChance(n int, p float64) float64 {
	return math.Sqrt(-math.Log(p/2) / float64(n))
}

// quantile is that of a sample that is not empty, 0 to 1.
func quantile[T cmp.Ordered](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(math.Round(q*float64(len(sorted)-1)))]
}

func TestSeparationTellsSamplesApart(t *testing.T) {
	spread := func(from time.Duration) (all []time.Duration) {
		for i := range 40 {
			all = append(all, from+time.Duration(i)*time.Millisecond)
		}
		return all
	}
	if d := separation(spread(0), spread(0)); d != 0 {
		t.Errorf("a sample is %.2f apart from itself, want 0", d)
	}
	if d := separation(spread(0), spread(time.Second)); d != 1 {
		t.Errorf("samples that do not touch are %.2f apart, want 1", d)
	}
	if d := separation(spread(0), spread(20*time.Millisecond)); d != 0.5 {
		t.Errorf("samples of which half overlaps are %.2f apart, want 0.5", d)
	}
	// Tables of the two-sample test give 1.949·√(2/n) for p = 0.001.
	if d := separationByChance(40, 0.001); math.Abs(d-1.949*math.Sqrt(2.0/40)) > 0.001 {
		t.Errorf("by chance samples of 40 are %.3f apart", d)
	}
}
