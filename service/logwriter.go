package service

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dockerauth/cli"
)

// openLog opens a log file for appending. A log file is never readable by everybody: it tells who logs in from where.
func openLog(path string, stderr io.Writer, losses *atomic.Uint64) (*lines, error) {
	const mode = 0o640
	// A named pipe would otherwise hold the open, and so the start, until somebody reads it. To open it for reading as well would be to never hear
	// that its reader has gone.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, mode)
	if errors.Is(err, syscall.ENXIO) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNoReader}
	}
	if err != nil {
		return nil, err
	}
	l := newLines(file, path, stderr, losses) // the file is closed by the runtime once no request writes to it any more
	l.torn = endsTorn(path)
	return l, nil
}

// endsTorn reports that the last line has no end: the disk was full. Whoever may not read the log may write to it all the same.
func endsTorn(path string) bool {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = file.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// patience is how long a request waits for its line to be written. Whoever reads the log may stop, and must not stop the logins with it.
const patience = time.Second

var errUnread = errors.New("nobody takes what is written")

// ErrNoReader is the cause where the log file is a named pipe without a reader.
var ErrNoReader = errors.New("a named pipe that nobody reads")

// lines writes whole lines, one with each Write, and comes back within a bounded time. While one cannot be written, those that follow are dropped
// and counted. When there is no room for one it says so once, and begins the next one on a line of its own, so that what was cut off takes
// nothing along.
type lines struct {
	to     io.Writer
	name   string
	stderr io.Writer      // where losses are told; nil = in to itself, when it can be written again
	losses *atomic.Uint64 // of the whole process
	wait   time.Duration

	turn chan struct{} // has one in it; whoever has taken it writes
	torn bool          // what was written last does not end a line; belongs to whoever has the turn

	mu      sync.Mutex
	stalled bool // whoever has the turn has waited too long for his write
	lost    int  // lines since the last one that was written whole
}

func newLines(to io.Writer, name string, stderr io.Writer, losses *atomic.Uint64) *lines {
	l := &lines{to: to, name: name, stderr: stderr, losses: losses, wait: patience, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// stderrLines is the standard error of a process that stays: its reader may stop too.
func stderrLines(stderr io.Writer, losses *atomic.Uint64) *lines {
	return newLines(stderr, "standard error", nil, losses)
}

func (l *lines) Write(line []byte) (int, error) {
	tooLong := time.NewTimer(l.wait)
	defer tooLong.Stop()
	if !l.takeTurn(tooLong.C) {
		l.lose(errUnread)
		return 0, errUnread
	}
	text := append([]byte(nil), line...) // the caller's is his again when this returns, perhaps before it is written
	done, ended := make(chan error, 1), false
	go func() {
		done <- l.put(text)
		l.mu.Lock()
		ended, l.stalled = true, false
		l.mu.Unlock()
		l.turn <- struct{}{}
	}()
	select {
	case err := <-done:
		if err != nil {
			return 0, err
		}
		return len(line), nil
	case <-tooLong.C:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.stalled = !ended // and the line may yet be written
		return 0, errUnread
	}
}

// takeTurn is false when the turn does not come: at once while a write is stuck, so that only the first requests wait.
func (l *lines) takeTurn(tooLong <-chan time.Time) bool {
	select {
	case <-l.turn:
		return true
	default:
	}
	if stalled, _ := l.condition(); stalled {
		return false
	}
	select {
	case <-l.turn:
		return true
	case <-tooLong:
		return false
	}
}

// put writes a line, by whoever has the turn.
func (l *lines) put(line []byte) error {
	begin, told := "", ""
	_, lost := l.condition()
	if lost > 0 {
		told = fmt.Sprintf("dockerauth: %s can be written again, %d lines are lost\n", l.name, lost)
	}
	if l.torn {
		begin = "\n"
	}
	if l.stderr == nil {
		begin += told // which is true if it can be read
	}
	text := append([]byte(begin), line...)
	n, err := l.to.Write(text)
	if n > 0 {
		l.torn = text[n-1] != '\n'
	}
	if err != nil {
		l.lose(err)
		return err
	}
	if l.stderr != nil && lost > 0 {
		_, _ = io.WriteString(l.stderr, told)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost -= lost
	return nil
}

func (l *lines) condition() (stalled bool, lost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stalled, l.lost
}

// lose counts a line, and tells of the first.
func (l *lines) lose(err error) {
	l.losses.Add(1)
	l.mu.Lock()
	first := l.lost == 0
	l.lost++
	l.mu.Unlock()
	if first && l.stderr != nil {
		fmt.Fprintf(l.stderr, "dockerauth: write log %s: %v\n  requests are answered and leave no line until this is mended\n", l.name, cli.Cause(err))
	}
}

// losing reports that the last line was not written.
func (l *lines) losing() bool {
	stalled, lost := l.condition()
	return stalled || lost > 0
}
