package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unsafe"
)

// newTerminal is a pseudo-terminal: the side of the person, and that of the program (pts(4)).
func newTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	var number, unlocked int32
	for request, value := range map[uintptr]*int32{syscall.TIOCGPTN: &number, syscall.TIOCSPTLCK: &unlocked} {
		if _, _,
			errno := syscall.Syscall(syscall.SYS_IOCTL, person.Fd(), request,
			uintptr(unsafe.Pointer(value))); errno != 0 {
			t.Fatal(errno)
		}
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// answering types the line when it sees the prompt.
type answering struct {
	t      *testing.T
	person *os.File
	line   string
	once   sync.Once
	seen   bytes.Buffer
}

func (a *answering) Write(text []byte) (int, error) {
	a.once.Do(func() {
		if _, err := a.person.WriteString(a.line); err != nil {
			a.t.Error(err)
		}
	})
	return a.seen.Write(text)
}

func TestATerminalDoesNotShowThePassword(t *testing.T) {
	person, program := newTerminal(t)
	if !isTerminal(program) {
		t.Fatal("it is not taken for a terminal")
	}
	var before, after syscall.Termios
	if err := ioctl(program, syscall.TCGETS, &before); err != nil {
		t.Fatal(err)
	}
	a := &answering{t: t, person: person, line: testPassword + "\n"}
	got, err := readHidden(program, a, "Password: ")
	if err != nil || got != testPassword {
		t.Errorf("got %q, %v", got, err)
	}
	if a.seen.String() != "Password: \n" {
		t.Errorf("the person is told %q", a.seen.String())
	}
	if err := ioctl(program, syscall.TCGETS, &after); err != nil {
		t.Fatal(err)
	}
	if before != after {
		t.Error("the terminal is not as it was")
	}
	// What the terminal showed comes before what the program says now.
	if _, err := program.WriteString("the end"); err != nil {
		t.Fatal(err)
	}
	shown := make([]byte, 1024)
	n, err := person.Read(shown)
	if err != nil || string(shown[:n]) != "the end" {
		t.Errorf("the terminal showed %q, %v", shown[:n], err)
	}
	if strings.Contains(a.seen.String(), testPassword) {
		t.Error("the password is shown")
	}
}
