package metrics

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestAPageFollowsTheFormat(t *testing.T) {
	var p Page
	outcomes := NewCounts("granted", "refused")
	outcomes.Add("refused")
	outcomes.Add("refused")
	outcomes.Add("a word from outside")
	p.Counts("requests_total", "Requests by outcome.", "outcome", outcomes)
	p.Counter("hits_total", `A \ and`+"\n"+`a line.`, 1<<63)
	took := NewHistogram(5*time.Millisecond, time.Second)
	for _, d := range []time.Duration{-time.Second, 0, 5 * time.Millisecond, 6 * time.Millisecond, time.Second,
		time.Minute} {
		took.Observe(d)
	}
	p.Histogram("duration_seconds", "How long.", took)
	p.Gauge("info", "What it is.", 1, "version", `a "b" \ c`+"\n"+"\xff", "kid", "")
	p.Gauge("timestamp_seconds", "When.", 1800000000.25)
	want := `# HELP requests_total Requests by outcome.
# TYPE requests_total counter
requests_total{outcome="granted"} 0
requests_total{outcome="refused"} 2
# HELP hits_total A \\ and\na line.
# TYPE hits_total counter
hits_total 9223372036854775808
# HELP duration_seconds How long.
# TYPE duration_seconds histogram
duration_seconds_bucket{le="0.005"} 3
duration_seconds_bucket{le="1"} 5
duration_seconds_bucket{le="+Inf"} 6
duration_seconds_sum 61.011
duration_seconds_count 6
# HELP info What it is.
# TYPE info gauge
info{version="a \"b\" \\ c\n�",kid=""} 1
# HELP timestamp_seconds When.
# TYPE timestamp_seconds gauge
timestamp_seconds 1.80000000025e+09
`
	if got := string(p.Bytes()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// During updates a page never contains an inconsistent histogram or a number that shrinks.
func TestAPageIsConsistentDuringUpdates(t *testing.T) {
	took, words := NewHistogram(time.Millisecond, time.Second), NewCounts("one", "other")
	var counting sync.WaitGroup
	const each = 5000
	for i := range 4 {
		counting.Go(func() {
			for n := range each {
				took.Observe(time.Duration(n*i) * time.Millisecond)
				words.Add("one")
			}
		})
	}
	done := make(chan struct{})
	go func() { counting.Wait(); close(done) }()
	last := 0.0
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		var p Page
		p.Histogram("d", "", took)
		count := number(t, p, `d_count`)
		if inf := number(t, p, `d_bucket\{le="\+Inf"\}`); inf != count || count < last {
			t.Fatalf("count %v after %v, last bucket %v", count, last, inf)
		}
		last = count
	}
	if last != 4*each || words.Of("one") != 4*each || words.Of("other") != 0 || words.Of("a third") != 0 {
		t.Errorf("counted %v, %d and %d", last, words.Of("one"), words.Of("other"))
	}
}

func number(t *testing.T, p Page, name string) float64 {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(string(p.Bytes()))
	if m == nil {
		t.Fatalf("no %s in %s", name, p.Bytes())
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if err != nil || math.IsNaN(v) || strings.HasPrefix(m[1], "-") {
		t.Fatalf("%s is %q", name, m[1])
	}
	return v
}
