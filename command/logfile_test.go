package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// disk stands in for one that fills up, since a real one takes a mount, which e2e makes: it takes so many bytes and then no more.
type disk struct {
	bytes.Buffer
	room int
}

func (d *disk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	d.Buffer.Write(p[:n])
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestALineThatDoesNotFitTakesNoOtherAlong(t *testing.T) {
	for room := range 9 {
		d, said := &disk{room: 4 + room}, &bytes.Buffer{}
		l := &lines{to: d, name: "auth.log", stderr: said}
		for _, line := range []string{"one\n", "two\n", "three\n"} {
			_, _ = l.Write([]byte(line))
		}
		d.room = 100
		for _, line := range []string{"four\n", "five\n"} {
			if _, err := l.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		got := d.String()
		if !strings.HasPrefix(got, "one\n") || !strings.HasSuffix(got, "\nfour\nfive\n") {
			t.Errorf("with room for %d bytes more: %q", room, got)
		}
		if strings.Count(said.String(), "no space left on device") != 1 || strings.Count(said.String(), "can be written again") != 1 {
			t.Errorf("with room for %d bytes more it was said: %q", room, said)
		}
	}
}

func TestAnotherProcessBeginsOnALineOfItsOwn(t *testing.T) {
	for before, want := range map[string]string{"": "line\n", "whole\n": "whole\nline\n", "to": "to\nline\n"} {
		path := filepath.Join(t.TempDir(), "auth.log")
		if before != "" {
			if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := openLog(path, os.Stderr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Write([]byte("line\n")); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("after %q: %q, want %q", before, got, want)
		}
	}
}

func TestADeviceIsALogToo(t *testing.T) {
	said := &bytes.Buffer{}
	l, err := openLog("/dev/full", said)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := l.Write([]byte("line\n")); err == nil {
			t.Fatal("written to a full device")
		}
	}
	if n := strings.Count(said.String(), "write log: "); n != 1 || !strings.Contains(said.String(), "/dev/full") {
		t.Errorf("said %d times: %s", n, said)
	}
}
