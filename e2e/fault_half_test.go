package e2e

import (
	"net/http"
	"os"
	"strings"
	"time"
)

func halfTests() []faultTest {
	return []faultTest{{name: "config.yml is written bit by bit", frontend: httpFrontend, run: runHalfConfig}}
}

const (
	// pieceEvery is the time between two writes to the file; the service loads a file that has not
	// changed for a second.
	pieceEvery = 100 * time.Millisecond
	// pieceLate is a delay after which the run proves nothing, on a busy machine, and is repeated.
	pieceLate = 700 * time.Millisecond
	// pieces take longer than the service would wait for a file that does not change.
	pieces = 25
	// pieceTries is the maximum number of runs.
	pieceTries = 5
)

// runHalfConfig writes config.yml in place and in pieces, for more than two seconds. The first
// piece is a valid configuration without a blacklist. No blacklisted user may log in.
func runHalfConfig(s *faultEnv) {
	good := readFile(s.t, s.configFile)
	l := s.startLoad()
	l.more(someLogins())
	let, late := 0, true
	for try := 0; try < pieceTries && late; try++ {
		let, late = s.writeInPieces(good)
	}
	if late {
		s.t.Fatal("this machine is too busy to write a file in pieces")
	}
	normal := s.normal()
	l.more(1)
	got, lost := l.end()
	if let > 0 {
		lost = append(lost, "a blacklisted user was let in")
	}
	s.row(row{fault: "config.yml", done: "written bit by bit, its beginning valid", got: got.String(), normal: normal},
		lost)
}

// writeInPieces writes the part without the blacklist, then comments, then the rest, while the
// blacklisted user tries to log in.
func (s *faultEnv) writeInPieces(good string) (let int, late bool) {
	s.t.Helper()
	first, rest, _ := strings.Cut(good, "blacklisted_users:")
	f, err := os.OpenFile(s.configFile, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	last := time.Now()
	write := func(text string) {
		if _, err := f.WriteString(text); err != nil {
			s.t.Fatal(err)
		}
		late = late || time.Since(last) > pieceLate
		last = time.Now()
	}
	answers := make(chan reply, pieces)
	write(first)
	for range pieces {
		write("# one more line\n")
		go func() { answers <- s.askFrom("127.8.0.1", mallory, defaultAccounts[mallory]) }()
		time.Sleep(pieceEvery) // the pause is part of the test
	}
	write("blacklisted_users:" + rest)
	for range pieces {
		if r := <-answers; r.status == http.StatusOK {
			let++
		}
	}
	return let, late
}
