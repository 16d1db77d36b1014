package harden

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// startName is the name under which the test binary prints how it was started.
const startName = "print-start"

const setTimerSlack, getTimerSlack = 29, 30 // of <linux/prctl.h>

func printStart() {
	var wait sync.WaitGroup
	for range 4 { // each with a thread of its own
		wait.Go(func() {
			runtime.LockOSThread()
			_ = syscall.Nanosleep(&syscall.Timespec{Nsec: 1e6}, nil)
		})
	}
	wait.Wait()
	slack, _, _ := syscall.RawSyscall(syscall.SYS_PRCTL, getTimerSlack, 0, 0)
	fmt.Printf("slack %d, %d CPUs, %d heaps of threads", slack, runtime.NumCPU(), heapsOfThreads())
}

// heapsOfThreads counts glibc's arenas but the first: each is 64 MiB of addresses, and begins with
// 33 pages that are in use.
func heapsOfThreads() (count int) {
	const size, used = 64 << 20, 33 << 12
	text, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(text)) {
		addresses, _, _ := strings.Cut(line, " ")
		from, to, _ := strings.Cut(addresses, "-")
		first, _ := strconv.ParseUint(from, 16, 64)
		last, _ := strconv.ParseUint(to, 16, 64)
		if first%size == 0 && last-first == used {
			count++
		}
	}
	return count
}

func TestAProcessStartsForWhatItDoes(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	listening, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer listening.Close()
	const usual, short = 70_000, 500_000
	for _, c := range []struct {
		name        string
		args, env   []string
		stdin       *os.File
		slack, cpus int
	}{
		{"a command", []string{"version"}, nil, nil, short, runtime.NumCPU()},
		{"a service that speaks HTTP", []string{"http", "--listen", ":0"}, nil, nil, usual, runtime.NumCPU()},
		{"a service that speaks FastCGI", []string{"fastcgi"}, nil, nil, usual, runtime.NumCPU()},
		{"a CGI program", nil, []string{"GATEWAY_INTERFACE=CGI/1.1"}, nil, short, 1},
		{"a CGI program of a web server that leaves most out", nil, []string{"REQUEST_METHOD=GET"}, nil, short, 1},
		{"a CGI program with a query of the client's", []string{"http"}, []string{"REQUEST_METHOD=GET"}, nil, short, 1},
		{"a program with empty variables", []string{"http"}, []string{"REQUEST_METHOD="}, nil, usual, runtime.NumCPU()},
		{"a FastCGI program with a web server's variables", nil, []string{"REQUEST_METHOD=GET"}, listening, usual,
			runtime.NumCPU()},
	} {
		t.Run(c.name, func(t *testing.T) {
			runtime.LockOSThread() // and no unlock: with the test, its thread ends
			_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, usual, 0)
			cmd := &exec.Cmd{Path: exe, Args: append([]string{startName}, c.args...), Env: append([]string{}, c.env...)}
			if c.stdin != nil {
				cmd.Stdin = c.stdin
			}
			got, err := cmd.CombinedOutput()
			want := fmt.Sprintf("slack %d, %d CPUs, 0 heaps of threads", c.slack, c.cpus)
			if err != nil || string(got) != want {
				t.Errorf("%v: %s, want %s", err, got, want)
			}
		})
	}
}
