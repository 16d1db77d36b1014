package e2e

import (
	"os"
	"slices"
	"sync"
	"testing"
)

// faultTest is one fault, or several that share a service, behind one front end.
type faultTest struct {
	name     string
	frontend frontend
	long     bool // only with "make faults"
	options  faultOptions
	run      func(s *faultEnv)
}

// faultTests are all of them, in the order of the table.
func faultTests() []faultTest {
	return slices.Concat(moduleTests(), nameTests(), logTests(), readerTests(), diskTests(), fileTests(), halfTests(),
		killTests(), clientTests(), recordTests(), connectionTests(), clockTests())
}

// long says whether every test runs, with all repetitions: DOCKERAUTH_FAULTS=long.
func long() bool { return os.Getenv("DOCKERAUTH_FAULTS") == "long" }

// faultsAtOnce is how many services have a fault at the same time. A test mostly waits, so it is
// more than the number of cores. With too many, other logins would miss their time limits for lack
// of a core.
const faultsAtOnce = 6

// TestFaults causes every fault for real and prints a table of the effects. No fault may cause a
// loss: a wrong or missing answer, an answer that is not JSON, a torn log line, a leftover process,
// or a service that does not recover by itself.
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
