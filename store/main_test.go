package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// The arguments that make the test binary a process that uses a folder: writerArgument FOLDER STORE
// KEY…, holderArgument FOLDER STORE KEY.
const (
	writerArgument = "write"
	holderArgument = "hold"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 4 {
		switch os.Args[1] {
		case writerArgument:
			exit(writeAll(os.Args[2], os.Args[3], os.Args[4:]))
		case holderArgument:
			exit(hold(os.Args[2], os.Args[3], os.Args[4]))
		}
	}
	os.Exit(m.Run())
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// writeAll counts each key one up, and says before and after each that it does.
func writeAll(folder, name string, keys []string) error {
	for _, key := range keys {
		f, err := OpenFolder(folder) // as a program that lives for one request
		if err != nil {
			return err
		}
		f.Report = func(err error) { fmt.Println("reported", err) }
		fmt.Println("started", key)
		err = errBusy
		for errors.Is(err, errBusy) { // on a busy machine
			err = update(stores(f)[name], key, increment(time.Now().Add(time.Hour)))
		}
		if err != nil {
			return err
		}
		fmt.Println("done", key)
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// hold is in the midst of an update until its standard input ends.
func hold(folder, name, key string) error {
	f, err := OpenFolder(folder)
	if err != nil {
		return err
	}
	return update(stores(f)[name], key, func(old []Record) []Record {
		fmt.Println("holding")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return old
	})
}

// inChild runs a test once more in a process of its own, which it may spoil, with a folder that
// outlives it. In the parent it returns "", when that is done.
func inChild(t *testing.T) (folder string) {
	t.Helper()
	const mark = "STATE_TEST_FOLDER"
	if folder := os.Getenv(mark); folder != "" {
		return folder
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+newFolder(t).path)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v:\n%s", err, out)
	}
	return ""
}
