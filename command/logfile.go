package command

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// openLog opens a log file for appending. A log file is never readable by everybody: it tells who logs in from where.
func openLog(path string, stderr io.Writer) (*lines, error) {
	const mode = 0o640
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, mode)
	if err != nil { // whoever may only write may log all the same
		file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, mode)
	}
	if err != nil {
		return nil, err
	}
	// The file is closed by the runtime once no request writes to it any more.
	return &lines{to: file, name: path, stderr: stderr, torn: endsTorn(file)}, nil
}

// endsTorn reports that the last line has no end: the disk was full.
func endsTorn(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = file.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}

// lines writes whole lines, one with each Write. When there is no room for one it says so once, and begins the next one on a line of its
// own, so that what was cut off takes nothing along.
type lines struct {
	to     io.Writer
	name   string
	stderr io.Writer

	mu   sync.Mutex
	torn bool // what was written last does not end a line
	lost int  // lines since the last one that was written whole
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := line
	if l.torn {
		text = append([]byte{'\n'}, line...)
	}
	n, err := l.to.Write(text)
	if n > 0 {
		l.torn = text[n-1] != '\n'
	}
	if err != nil {
		l.lose(err)
		return 0, err
	}
	if l.lost > 0 {
		fmt.Fprintf(l.stderr, "dockerauth: %s can be written again, %d lines are lost\n", l.name, l.lost)
		l.lost = 0
	}
	return len(line), nil
}

func (l *lines) lose(err error) {
	if l.lost == 0 {
		fmt.Fprintf(l.stderr, "dockerauth: write log: %v\n  requests are answered and leave no line until this is mended\n", err)
	}
	l.lost++
}
