package e2e

import (
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func clockActs() []act {
	return []act{{name: "the clock is moved", door: httpDoor, play: playClock}}
}

// clockTests play a clock that is moved, by a field that tells the time: for this fault nothing better is to be had.
var clockTests = []struct{ room, test string }{
	{"throttle", "TestAClockThatJumps"},
	{"pamauth", "TestClockThatIsSetChangesNothing"},
	{"state", "TestAnEndBeyondMaxKeepIsPast"},
	{"jwtsign", "TestVerifyRefreshOverTime"},
}

// playClock shows that the wall clock of one process cannot be moved, and names the tests that stand in. A time namespace moves the
// monotonic clock and the one since the machine was started, not CLOCK_REALTIME (time_namespaces(7)); a library in between sees nothing, since Go
// reads the clock by itself (vdso(7)); and the clock of the machine belongs to everybody on it.
func playClock(s *scene) {
	need(s.t, "a time namespace", "unshare")
	before := time.Now().Unix()
	const ahead = "1000000"
	o := run(s.t, "", exec.Command("unshare", "--time", "--fork", "--boottime", ahead, "--monotonic", ahead, "date", "+%s"))
	if o.status != 0 {
		missing(s.t, "a time namespace: %v", o)
	}
	inside, err := strconv.ParseInt(strings.TrimSpace(o.stdout), 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	if inside < before || inside > time.Now().Unix() {
		s.t.Error("a time namespace moves the wall clock: this can be played with the real thing")
	}
	var names []string
	for _, c := range clockTests {
		if !definesTest(s, c.room, c.test) {
			s.t.Errorf("%s has no test %s", c.room, c.test)
		}
		names = append(names, c.room+"."+c.test)
	}
	s.row(row{fault: "the clock is moved", done: "stand-in: unit tests", got: "-", normal: "-",
		note: "The wall clock of one process cannot be moved; unit tests move a clock of their own: " + strings.Join(names, ", ")}, nil)
}

func definesTest(s *scene, room, test string) bool {
	for _, name := range glob(s.t, filepath.Join("..", room, "*_test.go")) {
		if strings.Contains(readFile(s.t, name), "func "+test+"(") {
			return true
		}
	}
	return false
}
