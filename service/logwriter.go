package service

import (
	"bytes"
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

// openLog opens a log file for appending.
func openLog(path string, stderr io.Writer, dropped *atomic.Uint64) (*logWriter, error) {
	file, err := openLogFile(path)
	if err != nil {
		return nil, err
	}
	return newLogWriter(file, path, stderr, dropped), nil
}

// logFile is what lines are written to.
type logFile struct {
	io.Writer
	info    os.FileInfo // nil = standard error
	midLine bool        // what was written last does not end a line
}

// openLogFile creates the file if need be. It is never readable by everybody: it says who logs in
// from where.
func openLogFile(path string) (*logFile, error) {
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
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &logFile{file, info, endsMidLine(path)}, nil // the runtime closes it when no request uses it any more
}

// endsMidLine reports that the last line has no end: the disk was full. Another process may be
// writing it right now, so it is looked at again. A process that may not read the log may write to
// it all the same.
func endsMidLine(path string) bool {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer file.Close()
	const looks, pause = 20, 5 * time.Millisecond
	for look := range looks {
		if look > 0 {
			time.Sleep(pause)
		}
		info, err := file.Stat()
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return false
		}
		var last [1]byte
		if _, err = file.ReadAt(last[:], info.Size()-1); err != nil || last[0] == '\n' {
			return false
		}
	}
	return true
}

const (
	// logWriteTimeout is how long a request waits for its line to be written. The reader of a log
	// may stop, and must not stop the logins with it.
	logWriteTimeout = time.Second
	// maxQueuedLines is more than the requests at once, each of which waits for its line.
	maxQueuedLines = 2048
)

var errWriteTimeout = errors.New("the reader takes no more")

// ErrNoReader is the cause where the log file is a named pipe without a reader.
var ErrNoReader = errors.New("a named pipe without a reader")

// logWriter writes whole lines, one with each Write, within a bounded time. One goroutine writes
// them from a queue, since a write to a pipe may hang. While a line cannot be written, logWriter
// drops and counts those that follow. When there is no space for one it says so once, and starts
// the next one on a line of its own.
type logWriter struct {
	name    string
	stderr  io.Writer      // where dropped lines are reported; nil = in to itself, when it is writable again
	dropped *atomic.Uint64 // of the whole process
	timeout time.Duration
	journal bool // systemd's journal reads it, so each line begins with a priority

	mu         sync.Mutex
	file       *logFile
	queue      []logLine // the first is being written; not empty = a goroutine writes them
	ended      uint64    // lines that have left the queue
	stalled    bool      // no line has for the whole timeout: until the queue is empty, lines are dropped
	pending    int       // lines dropped since the last one that was written whole
	unreopened bool      // the last reopen failed
}

type logLine struct {
	text []byte
	done chan error
}

func newLogWriter(file *logFile, name string, stderr io.Writer, dropped *atomic.Uint64) *logWriter {
	return &logWriter{file: file, name: name, stderr: stderr, dropped: dropped, timeout: logWriteTimeout}
}

// newStderrWriter is the standard error of a process that stays: its reader may stop too.
func newStderrWriter(stderr io.Writer, dropped *atomic.Uint64) *logWriter {
	return newLogWriter(&logFile{Writer: stderr}, "standard error", nil, dropped)
}

// Write returns when the line is written, so that no token leaves before its line. After an error
// it may yet be written.
func (w *logWriter) Write(line []byte) (int, error) {
	timeout := time.NewTimer(w.timeout)
	defer timeout.Stop()
	l := logLine{bytes.Clone(line), make(chan error, 1)} // the caller may reuse line before it is written
	before, ok := w.enqueue(l)
	if !ok {
		w.drop(errWriteTimeout)
		return 0, errWriteTimeout
	}
	select {
	case err := <-l.done:
		if err != nil {
			return 0, err
		}
		return len(line), nil
	case <-timeout.C:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.stalled = w.stalled || w.ended == before // else the writer is slow, and the line is on its way
		return 0, errWriteTimeout
	}
}

// enqueue refuses lines while a write is stalled, so that only the first requests wait. ended is
// how many lines had left the queue.
func (w *logWriter) enqueue(l logLine) (ended uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stalled || len(w.queue) >= maxQueuedLines {
		return 0, false
	}
	w.queue = append(w.queue, l)
	if len(w.queue) == 1 {
		go w.writeQueue()
	}
	return w.ended, true
}

func (w *logWriter) writeQueue() {
	for more := true; more; {
		w.mu.Lock()
		line, file := w.queue[0], w.file
		w.mu.Unlock()
		err := w.writeLine(file, line.text)
		w.mu.Lock()
		if errors.Is(err, os.ErrClosed) && file != w.file {
			w.mu.Unlock()
			continue // it was reopened meanwhile
		}
		w.ended++
		if w.queue = w.queue[1:]; len(w.queue) == 0 {
			w.queue, w.stalled, more = nil, false, false
		}
		w.mu.Unlock()
		if err != nil {
			w.drop(err)
		}
		line.done <- err
	}
}

func (w *logWriter) writeLine(file *logFile, line []byte) error {
	prefix, report := "", ""
	w.mu.Lock()
	pending := w.pending
	w.mu.Unlock()
	if pending > 0 {
		report = fmt.Sprintf("dockerauth: %s is writable again, %d lines were dropped\n", w.name, pending)
	}
	if file.midLine {
		prefix = "\n"
	}
	if w.stderr == nil && w.journal && report != "" {
		report = priorityWarning + report
	}
	if w.stderr == nil {
		prefix += report
	}
	text := append([]byte(prefix), line...)
	n, err := file.Write(text)
	if n > 0 {
		file.midLine = text[n-1] != '\n'
	}
	if err != nil {
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
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stalled || w.pending > 0
}

// isRotated reports that the file has another name now, or none.
func (w *logWriter) isRotated() bool {
	info, err := os.Stat(w.name)
	w.mu.Lock()
	defer w.mu.Unlock()
	return err != nil || !os.SameFile(info, w.file.info)
}

// reopen goes on in a new file of the same name, or in the old one if there is an error. A line
// that waits for the old file's reader is written to the new one.
func (w *logWriter) reopen() error {
	file, err := openLogFile(w.name)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unreopened = err != nil
	if err != nil {
		return err
	}
	if old, ok := w.file.Writer.(io.Closer); ok {
		old.Close()
	}
	w.file = file
	return nil
}

// close closes a log file, when no request uses it.
func (w *logWriter) close() error {
	if file, ok := w.file.Writer.(io.Closer); ok {
		return file.Close()
	}
	return nil
}

func (w *logWriter) isUnreopened() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unreopened
}
