package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

func (s *site) checkLogin(t *testing.T, name string, more ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(binary(t), append([]string{"check", "--config", s.configFile, "--login", name}, more...)...)
}

// TestCheckLogsInAsTheServicesUser runs the command that check prints: the web server's user needs
// the group to check other accounts.
func TestCheckLogsInAsTheServicesUser(t *testing.T) {
	needRoot(t, "another user")
	need(t, "another user", "setpriv")
	name := makeAccounts(t, []unixAccount{{suffix: "ok"}})["ok"]
	s := newTestEnv(t, envOptions{pam: shippedPAM})
	for _, test := range []struct{ groups, complaints, says string }{
		{"--clear-groups", "error login", "SupplementaryGroups=shadow"},
		{"--groups=shadow", "", "PAM lets"},
	} {
		t.Run(test.groups, func(t *testing.T) {
			check := s.checkLogin(t, name, "--json")
			cmd := exec.Command("setpriv",
				append([]string{"--reuid=www-data", "--regid=www-data", test.groups}, check.Args...)...)
			examine(t, cmd, unixPassword+"\n", "login").expect(t, test.complaints, test.says)
		})
	}
}

// terminal is a pseudo-terminal (pts(4)): user is the side that types and reads.
type terminal struct{ user, program *os.File }

func openTerminal(t *testing.T) terminal {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	var number, unlocked int32
	control(t, person, syscall.TIOCSPTLCK, unsafe.Pointer(&unlocked))
	control(t, person, syscall.TIOCGPTN, unsafe.Pointer(&number))
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return terminal{person, program}
}

func control(t *testing.T, file *os.File, request uintptr, argument unsafe.Pointer) {
	t.Helper()
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), request, uintptr(argument)); errno != 0 {
		t.Fatal(errno)
	}
}

func (x terminal) modes(t *testing.T) (modes syscall.Termios) {
	t.Helper()
	control(t, x.program, syscall.TCGETS, unsafe.Pointer(&modes))
	return modes
}

// typeAnswers runs a command at the terminal, types at the prompt, and returns what the terminal
// showed.
func (x terminal) typeAnswers(t *testing.T, cmd *exec.Cmd, typed string) (shown string) {
	t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = x.program, x.program, x.program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := time.AfterFunc(readyWithin, func() { _ = cmd.Process.Kill() })
	defer end.Stop()
	const lastWord = "\x00the end\x00"
	all := make(chan string)
	go func() {
		var text strings.Builder
		buffer := make([]byte, 4096)
		for typedIt := false; !strings.Contains(text.String(), lastWord); {
			n, err := x.user.Read(buffer)
			if err != nil {
				break
			}
			text.Write(buffer[:n])
			if !typedIt && strings.Contains(text.String(), "Password of") {
				typedIt = true
				_, _ = x.user.WriteString(typed)
			}
		}
		all <- text.String()
	}()
	_ = cmd.Wait() // how it ended is in cmd.ProcessState
	if _, err := x.program.WriteString(lastWord); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(<-all, lastWord)
}

func TestCheckLogsInAtATerminalThatShowsNoPassword(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{})
	x := openTerminal(t)
	before := x.modes(t)
	shown := x.typeAnswers(t, s.checkLogin(t, alice), alicePassword+"\n")
	if !strings.Contains(shown, `PAM lets "alice" in`) {
		t.Errorf("the terminal shows %q", shown)
	}
	if strings.Contains(shown, alicePassword) {
		t.Error("the terminal shows the password")
	}
	if x.modes(t) != before {
		t.Error("the terminal is not as it was")
	}
}

func TestCheckLeavesATerminalAsItWasWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{})
	for name, typed := range map[string]string{"^C": "wonder\x03", `^\`: "wonder\x1c",
		"^Z, which waits, then ^C": "wonder\x1aland\x03"} {
		t.Run(name, func(t *testing.T) {
			x := openTerminal(t)
			before := x.modes(t)
			cmd := s.checkLogin(t, alice)
			if shown := x.typeAnswers(t, cmd, typed); strings.Contains(shown, "wonder") {
				t.Errorf("the terminal shows what was typed: %q", shown)
			}
			// Go's own end after SIGQUIT.
			if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() && status.ExitStatus() != 2 {
				t.Errorf("it ended otherwise: %v", cmd.ProcessState)
			}
			if x.modes(t) != before {
				t.Error("the terminal is not as it was")
			}
		})
	}
}
