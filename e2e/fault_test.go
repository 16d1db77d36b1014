package e2e

import (
	"os"
	"slices"
	"sync"
	"testing"
)

// act is a fault, or several that share one service, in one theatre.
type act struct {
	name    string
	door    theatre
	long    bool // played by "make faults" only
	options sceneOptions
	play    func(s *scene)
}

// acts are all of them, in the order of the table.
func acts() []act {
	return slices.Concat(moduleActs(), nameActs(), logActs(), readerActs(), diskActs(), fileActs(), halfActs(), killActs(), clientActs(), recordActs(), connectionActs(), clockActs())
}

// long says whether every act is played, with all its repetitions: DOCKERAUTH_FAULTS=long.
func long() bool { return os.Getenv("DOCKERAUTH_FAULTS") == "long" }

// actsAtOnce is how many services are in trouble at the same time. Most of an act is waiting, so it is more than there are cores; too many,
// and honest logins wait so long for a core that time limits are met for a reason that is none of the fault's.
const actsAtOnce = 6

// TestFaults plays every fault with the real thing and prints a table of what came of it. The loss that no fault may bring: a wrong answer, an
// answer that is not JSON or none at all, a torn line in the log, something left over, a service that does not come back by itself.
func TestFaults(t *testing.T) {
	needRoot(t, "faults")
	r := &report{rows: map[int][]row{}}
	defer r.publish(t)
	seats := make(chan struct{}, actsAtOnce)
	var all sync.WaitGroup
	for i, a := range acts() {
		if a.long && !long() {
			continue
		}
		// Not t.Parallel, which allows one test for each core.
		seats <- struct{}{}
		all.Go(func() {
			defer func() { <-seats }()
			t.Run(a.name+", "+a.door.name, func(t *testing.T) {
				s := openScene(t, a.door, a.options)
				s.report, s.number = r, i
				a.play(s)
			})
		})
	}
	all.Wait()
}
