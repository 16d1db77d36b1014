package e2e

import (
	"os"
	"slices"
	"sync"
	"testing"
)

// act is a fault, or several that share one service, in one theatre.
type faultTest struct {
	name     string
	frontend frontend
	long     bool // played by "make faults" only
	options  faultOptions
	run      func(s *faultEnv)
}

// acts are all of them, in the order of the table.
func faultTests() []faultTest {
	return slices.Concat(moduleTests(), nameTests(), logTests(), readerTests(), diskTests(), fileTests(), halfTests(),
		killTests(), clientTests(), recordTests(), connectionTests(), clockTests())
}

// long says whether every act is played, with all its repetitions: DOCKERAUTH_FAULTS=long.
func long() bool { return os.Getenv("DOCKERAUTH_FAULTS") == "long" }

// actsAtOnce is how many services are in trouble at the same time. Most of an act is waiting, so it is more than there are cores; too many,
// and honest logins wait so long for a core that time limits are met for a reason that is none of the fault's.
const faultsAtOnce = 6

// TestFaults plays every fault with the real thing and prints a table of what came of it. The loss that no fault may bring: a wrong answer, an
// answer that is not JSON or none at all, a torn line in the log, something left over, a service that does not come back by itself.
func TestFaults(t *testing.T) {
	needRoot(t, "faults")
	r := &report{rows: map[int][]row{}}
	defer r.publish(t)
	slots := make(chan struct{}, faultsAtOnce)
	var all sync.WaitGroup
	for i, a := range faultTests() {
		if a.long && !long() {
			continue
		}
		// Not t.Parallel, which allows one test for each core.
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			t.Run(a.name+", "+a.frontend.name, func(t *testing.T) {
				s := openFaultEnv(t, a.frontend, a.options)
				s.report, s.number = r, i
				a.run(s)
			})
		})
	}
	all.Wait()
}
