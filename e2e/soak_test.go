package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	soakInCI     = 100_000 // requests; "make soak" sends ten times as many
	soakLeast    = 10_000  // fewer show nothing
	soakWorkers  = 16
	soakRows     = 20 // of the table, so five for a quarter
	soakInterval = 200 * time.Millisecond

	// What may grow from the second quarter of a run to the last, in bytes. Go lets the heap grow
	// to twice the live data, and to 4 MiB at least; the live data depends on the requests under
	// way. A leak of 200 bytes a request is 10 MB in half of the short run.
	soakGrowth = 6 << 20

	// A log line's length varies with its numbers, and an occasional failure has a longer one.
	soakLogGrowth = 1.05
)

// TestASoakFindsNothingThatGrows sends many requests of all kinds and checks that the service needs
// no more than before: memory, descriptors, threads, processes, goroutines, log. No request may be
// lost.
func TestASoakFindsNothingThatGrows(t *testing.T) {
	needRoot(t, "the memory of a process that hides itself")
	total := soakRequests(t)
	frontends := []frontend{httpFrontend, nginxFastCGI}
	for _, th := range frontends {
		t.Run(th.name, func(t *testing.T) {
			s := openFrontend(t, configured(th, soakConfig), envOptions{pam: soakPAM})
			k := &soak{env: s, total: total / int64(len(frontends))}
			if err := k.logInAccounts(); err != nil {
				t.Fatal(err)
			}
			rest := k.atRest(t)
			rows := k.run(t)
			k.wrong.report(t, fmt.Sprintf("of %s requests were lost or answered wrongly", thousands(k.total)))
			showErrors(t, s)
			checkGrowth(t, rows)
			k.checkRest(t, rest)
			k.checkLog(t)
			k.checkGoroutines(t, th)
		})
	}
}

// soakRequests is how many requests there are: SOAK, or a number suitable for CI.
func soakRequests(t *testing.T) int64 {
	t.Helper()
	given := os.Getenv("SOAK")
	if given == "" {
		return soakInCI
	}
	n, err := strconv.ParseInt(given, 10, 64)
	if err != nil || n < soakLeast {
		t.Fatalf("SOAK=%s: want a number of requests, %d at least", given, soakLeast)
	}
	return n
}

// soakRow is the maximum during a part of the requests.
type soakRow struct {
	processSnapshot
	requests int64
	log      int64 // bytes written meanwhile
}

// run sends all requests and prints a row for every part of them.
func (k *soak) run(t *testing.T) []soakRow {
	t.Helper()
	r := newMeasurements(t, fmt.Sprintf("%s requests through %s: %s; %s", thousands(k.total), k.env.service.name,
		k.mix(), hardware(t)))
	r.head("requests ", "    RSS", " total PSS", "fds", "threads", "children", "log, B each", "errors", "per second")
	w := watch(t, k.env.service.cmd.Process.Pid, soakInterval)
	defer w.end()
	var workers sync.WaitGroup
	for range soakWorkers {
		workers.Go(k.work)
	}
	finished := make(chan struct{})
	go func() {
		workers.Wait()
		close(finished)
	}()
	var rows []soakRow
	log, began := k.logSize(t), time.Now()
	for part := int64(1); part <= soakRows; part++ {
		k.await(part*k.total/soakRows, finished)
		row := soakRow{processSnapshot: w.take(), requests: k.done.Load()}
		size, now := k.logSize(t), time.Now()
		row.log, log = size-log, size
		sent := row.requests
		if len(rows) > 0 {
			sent -= rows[len(rows)-1].requests
		}
		rows = append(rows, row)
		r.row(thousands(row.requests), megabytes(row.rss), megabytes(row.totalPSS), fmt.Sprint(row.fds),
			fmt.Sprint(row.threads), fmt.Sprint(row.children),
			fmt.Sprintf("%.1f", float64(row.log)/float64(max(sent, 1))), fmt.Sprint(k.wrong.count()),
			fmt.Sprintf("%.0f", float64(sent)/now.Sub(began).Seconds()))
		began = now
	}
	<-finished
	return rows
}

// await returns when n requests are done.
func (k *soak) await(n int64, finished chan struct{}) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for k.done.Load() < n {
		select {
		case <-finished:
			return
		case <-tick.C:
		}
	}
}

func (k *soak) mix() string {
	names := [soakKinds]string{"anonymous", "refresh", "login", "bad request", "refused"}
	var parts []string
	for kind, share := range soakMix {
		parts = append(parts, fmt.Sprintf("%.1f %% %s", float64(share)/10, names[kind]))
	}
	return strings.Join(parts, ", ")
}

func (k *soak) logSize(t *testing.T) int64 {
	t.Helper()
	info, err := os.Stat(k.env.logFile)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// checkGrowth compares the last quarter with the second; in the first the heap, pools and caches
// fill.
func checkGrowth(t *testing.T, rows []soakRow) {
	t.Helper()
	quarter := len(rows) / 4
	second, last := soakMost(rows[quarter:2*quarter]), soakMost(rows[3*quarter:])
	for _, c := range []struct {
		what         string
		second, last int64
		allowed      int64
	}{
		{"resident memory of the service", second.rss, last.rss, soakGrowth},
		{"descriptors", int64(second.fds), int64(last.fds), soakWorkers},
		{"threads", int64(second.threads), int64(last.threads), soakWorkers},
		{"child processes", int64(second.children), int64(last.children), soakWorkers},
		{"zombies", int64(second.zombies), int64(last.zombies), soakWorkers},
	} {
		if c.last > c.second+c.allowed {
			t.Errorf("%s: %s at most in the second quarter, %s in the last", c.what, thousands(c.second),
				thousands(c.last))
		}
	}
	before, after := float64(second.log)/float64(quarter), float64(last.log)/float64(quarter)
	if after > before*soakLogGrowth {
		t.Errorf("the log grows faster: %.0f bytes in a part of the second quarter, %.0f in one of the last", before,
			after)
	}
}

// soakMost is the maximum of some rows, and the sum of their logs.
func soakMost(rows []soakRow) (all soakRow) {
	for _, r := range rows {
		all.processSnapshot = maxSnapshot(all.processSnapshot, r.processSnapshot)
		all.log += r.log
	}
	return all
}

// atRest is what the service needs when idle: all client connections are closed.
func (k *soak) atRest(t *testing.T) processSnapshot {
	t.Helper()
	var s processSnapshot
	quiet := func() bool {
		next, err := takeSnapshot(k.env.service.cmd.Process.Pid)
		same := err == nil && next.fds == s.fds && next.children == 0 && next.zombies == 0
		s = next
		return same
	}
	eventually(t, readyWithin, "the service to come to rest", quiet)
	return s
}

// checkRest compares with what was open before the first request.
func (k *soak) checkRest(t *testing.T, before processSnapshot) {
	t.Helper()
	after := before
	err := poll(readyWithin, func() (bool, error) {
		var err error
		after, err = takeSnapshot(k.env.service.cmd.Process.Pid)
		return after.fds <= before.fds && after.children == 0, err
	})
	if err != nil {
		t.Errorf("at rest: %d descriptors and %d children (%d of them zombies) after the run, %d descriptors "+
			"before: %v", after.fds, after.children, after.zombies, before.fds, err)
	}
}

// checkLog counts lines: each token request writes one, and a request with another method none.
func (k *soak) checkLog(t *testing.T) {
	t.Helper()
	var others int64
	for n := range k.total {
		if kindOf(n) == soakBadRequest && badRequests[n%int64(len(badRequests))].status == 405 {
			others++
		}
	}
	want := int(k.total-others) + soakAccounts
	if got := strings.Count(readFile(t, k.env.logFile), `"msg":"token request"`); got != want {
		t.Errorf("the log has %s lines on token requests, want %s", thousands(got), thousands(want))
	}
}

// checkGoroutines compares with a new service after one request.
func (k *soak) checkGoroutines(t *testing.T, th frontend) {
	t.Helper()
	after := goroutines(t, k.env)
	fresh := &soak{env: openFrontend(t, configured(th, soakConfig), envOptions{pam: soakPAM})}
	if err := fresh.logInAccounts(); err != nil {
		t.Fatal(err)
	}
	fresh.atRest(t)
	before := goroutines(t, fresh.env)
	if len(before) == 0 {
		t.Error("a fresh service has no goroutines: nothing was counted")
	}
	for creator, n := range after {
		if n > before[creator] {
			t.Errorf("%d goroutines created by %s at rest after the run, %d in a fresh service", n, creator,
				before[creator])
		}
	}
}

// goroutines ends the service with SIGQUIT, which makes Go print all goroutines, and counts those
// that Go's runtime did not start for itself, by their origin.
func goroutines(t *testing.T, s *testEnv) map[string]int {
	t.Helper()
	if err := s.service.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	eventually(t, stopWithin, "the service to print its goroutines", func() bool { return !s.service.running() })
	count := make(map[string]int)
	for line := range strings.Lines(s.service.output()) {
		creator, found := strings.CutPrefix(line, "created by ")
		if !found || strings.HasPrefix(creator, "runtime.") {
			continue
		}
		creator, _, _ = strings.Cut(strings.TrimSpace(creator), " in goroutine")
		count[creator]++
	}
	return count
}
