package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"
)

func logTests() []faultTest {
	return []faultTest{
		{name: "log renamed away", frontend: httpFrontend, run: runLogRenamed},
		{name: "log renamed away", frontend: apacheFcgid, run: runLogRenamed},
		{name: "log renamed away", frontend: nginxFastCGI, run: runLogRenamed, long: true},
		{name: "log renamed away", frontend: apacheCGI, run: runLogRenamed, long: true},
		{name: "log copied and truncated", frontend: httpFrontend, run: runLogTruncated},
		{name: "log copied and truncated", frontend: apacheFcgid, run: runLogTruncated, long: true},
		{name: "log copied and truncated", frontend: apacheCGI, run: runLogTruncated, long: true},
	}
}

// someLogins is how many are granted before and after a fault.
func someLogins() int {
	if long() {
		return 60
	}
	return 15
}

// runLogRenamed does what logrotate does with "create".
func runLogRenamed(s *faultEnv) {
	l := s.startLoad()
	l.more(someLogins())
	old := s.logFile + ".1"
	if err := os.Rename(s.logFile, old); err != nil {
		s.t.Fatal(err)
	}
	s.createLog()
	used := s.untilLogged()
	l.more(someLogins())
	got, lost := l.end()
	missing, torn := l.unlogged(old, s.logFile)
	s.row(row{fault: "log renamed away", done: "renamed and created again", got: got.String(), normal: used},
		s.unlogged(lost, missing, torn))
}

// createLog keeps a file that the service has made in the meantime.
func (s *faultEnv) createLog() {
	s.t.Helper()
	f, err := os.OpenFile(s.logFile, os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if err := f.Chown(s.web.uid, s.web.gid); err != nil {
		s.t.Fatal(err)
	}
}

// runLogTruncated does what logrotate does with "copytruncate". Lines written between the copy and
// the cut are lost, as its manual says: at most one for each client.
func runLogTruncated(s *faultEnv) {
	l := s.startLoad()
	l.more(someLogins())
	old := s.logFile + ".1"
	before, err := os.ReadFile(s.logFile)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.Truncate(s.logFile, 0); err != nil {
		s.t.Fatal(err)
	}
	used := s.untilLogged()
	// the last line may have been incomplete when it was read
	before = before[:strings.LastIndexByte(string(before), '\n')+1]
	if err := os.WriteFile(old, before, 0o600); err != nil {
		s.t.Fatal(err)
	}
	l.more(someLogins())
	got, lost := l.end()
	missing, torn := l.unlogged(old, s.logFile)
	s.row(row{fault: "log copied and truncated", done: "copied, cut to nothing", got: got.String(), normal: used},
		s.unlogged(lost, max(0, missing-loadClients), torn))
}

// untilLogged waits until the log, now empty, has a line about a login.
func (s *faultEnv) untilLogged() string {
	s.t.Helper()
	began := time.Now()
	eventually(s.t, answerWithin, "the new log to be used", func() bool { return len(s.requestLines()) > 0 })
	return milliseconds(time.Since(began))
}

func (s *faultEnv) unlogged(lost []string, missing int, torn []string) []string {
	if missing > 0 {
		lost = append(lost, fmt.Sprintf("%d logins are not in the log", missing))
	}
	return append(lost, torn...)
}

// tornLines returns the lines of a log that are not a JSON object.
func tornLines(name, content string) (torn []string) {
	for line := range strings.Lines(content) {
		whole, end := strings.CutSuffix(line, "\n")
		if !end || !json.Valid([]byte(whole)) || !strings.HasPrefix(whole, "{") {
			torn = append(torn, fmt.Sprintf("a torn line in %s: %s", name, excerpt(line)))
		}
	}
	return torn
}
