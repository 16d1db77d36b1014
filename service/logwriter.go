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

// openLog opens a log file for appending. It is never readable by everybody: it says who logs in
// from where.
func openLog(path string, stderr io.Writer, dropped *atomic.Uint64) (*logWriter, error) {
	const mode = 0o640
	// Without O_NONBLOCK a named pipe would hold the open, and so the start, until it has a reader.
	// If the pipe were open for reading as well, writing would not fail when its reader has gone.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, mode)
	if errors.Is(err, syscall.ENXIO) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: ErrNoReader}
	}
	if err != nil {
		return nil, err
	}
	w := newLogWriter(file, path, stderr, dropped) // the runtime closes the file when no request uses it any more
	w.midLine = endsMidLine(path)
	return w, nil
}

// endsMidLine reports that the last line has no end: the disk was full. A process that may not read
// the log may write to it all the same.
func endsMidLine(path string) bool {
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

// logWriteTimeout is how long a request waits for its line to be written. The reader of a log may
// stop, and must not stop the logins with it.
const logWriteTimeout = time.Second

var errWriteTimeout = errors.New("the reader takes no more")

// ErrNoReader is the cause where the log file is a named pipe without a reader.
var ErrNoReader = errors.New("a named pipe without a reader")

// logWriter writes whole lines, one with each Write, within a bounded time. While a line cannot be
// written, it drops and counts those that follow. When there is no space for one it says so once,
// and starts the next one on a line of its own.
type logWriter struct {
	to      io.Writer
	name    string
	stderr  io.Writer      // where dropped lines are reported; nil = in to itself, when it is writable again
	dropped *atomic.Uint64 // of the whole process
	timeout time.Duration

	token   chan struct{} // has one in it; its taker writes
	midLine bool          // what was written last does not end a line; belongs to the holder of token

	mu      sync.Mutex
	stalled bool // the holder of token has timed out
	pending int  // lines dropped since the last one that was written whole
}

func newLogWriter(to io.Writer, name string, stderr io.Writer, dropped *atomic.Uint64) *logWriter {
	w := &logWriter{to: to, name: name, stderr: stderr, dropped: dropped, timeout: logWriteTimeout}
	w.token = make(chan struct{}, 1)
	w.token <- struct{}{}
	return w
}

// newStderrWriter is the standard error of a process that stays: its reader may stop too.
func newStderrWriter(stderr io.Writer, dropped *atomic.Uint64) *logWriter {
	return newLogWriter(stderr, "standard error", nil, dropped)
}

func (w *logWriter) Write(line []byte) (int, error) {
	timeout := time.NewTimer(w.timeout)
	defer timeout.Stop()
	if !w.acquire(timeout.C) {
		w.drop(errWriteTimeout)
		return 0, errWriteTimeout
	}
	text := append([]byte(nil), line...) // the caller may reuse line before it is written
	done, ended := make(chan error, 1), false
	go func() {
		done <- w.writeLine(text)
		w.mu.Lock()
		ended, w.stalled = true, false
		w.mu.Unlock()
		w.token <- struct{}{}
	}()
	select {
	case err := <-done:
		if err != nil {
			return 0, err
		}
		return len(line), nil
	case <-timeout.C:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stalled = !ended // and the line may yet be written
		return 0, errWriteTimeout
	}
}

// acquire takes the token. It fails at once while a write is stalled, so that only the first
// requests wait.
func (w *logWriter) acquire(timeout <-chan time.Time) bool {
	select {
	case <-w.token:
		return true
	default:
	}
	if stalled, _ := w.state(); stalled {
		return false
	}
	select {
	case <-w.token:
		return true
	case <-timeout:
		return false
	}
}

// writeLine is for the holder of the token.
func (w *logWriter) writeLine(line []byte) error {
	prefix, report := "", ""
	_, pending := w.state()
	if pending > 0 {
		report = fmt.Sprintf("dockerauth: %s is writable again, %d lines were dropped\n", w.name, pending)
	}
	if w.midLine {
		prefix = "\n"
	}
	if w.stderr == nil {
		prefix += report
	}
	text := append([]byte(prefix), line...)
	n, err := w.to.Write(text)
	if n > 0 {
		w.midLine = text[n-1] != '\n'
	}
	if err != nil {
		w.drop(err)
		return err
	}
	if w.stderr != nil && pending > 0 {
		_, _ = io.WriteString(w.stderr, report)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending -= pending
	return nil
}

func (w *logWriter) state() (stalled bool, pending int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stalled, w.pending
}

// drop counts a line, and reports the first.
func (w *logWriter) drop(err error) {
	w.dropped.Add(1)
	w.mu.Lock()
	first := w.pending == 0
	w.pending++
	w.mu.Unlock()
	if first && w.stderr != nil {
		fmt.Fprintf(w.stderr, "dockerauth: write log %s: %v\n  log lines are dropped until the log is writable\n",
			w.name, cli.Cause(err))
	}
}

// isDropping reports that the last line was not written.
func (w *logWriter) isDropping() bool {
	stalled, pending := w.state()
	return stalled || pending > 0
}
