package bench

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	megabyte   = 1e6
	hashMemory = 128 * 32 * 4096 // bytes: yescrypt with N 4096 and r 32, Debian's $y$j9T$
)

func measureMemory(t *testing.T) {
	hashed := install(t, options{pam: yescryptPAM(t)})
	if os.Geteuid() != 0 {
		note("The memory of a CGI login was not measured: only root can read it, since the program hides itself.")
	} else {
		r := row{Group: "memory", Work: "peak of a CGI login with yescrypt, beyond the hash's 16.8 MB", A: "dockerauth",
			AUnit: "MB", B: "C program", Goal: 16, GoalIsOfValue: true}
		interleave(15,
			func(warm bool) {
				if peak := hashed.cgi("dockerauth").peak(t); !warm {
					r.Values = append(r.Values, (peak-hashMemory)/megabyte)
				}
			},
			func(warm bool) {
				if peak := hashed.cgi("reference-c").peak(t); !warm {
					r.References = append(r.References, (peak-hashMemory)/megabyte)
				}
			})
		add(t, r)
	}
	idle := row{Group: "memory", Work: "dockerauth http, idle after a login, RSS with its children", A: "dockerauth",
		AUnit: "MB", Goal: 15}
	busy := row{Group: "memory", Work: "dockerauth http, idle after a second of load", A: "dockerauth", AUnit: "MB"}
	for range 3 {
		i := install(t, options{})
		service, address := i.serveHTTP()
		fetch(t, request{url: ask(address, loginScope).url, login: basic("alice")})
		time.Sleep(time.Second) // idle
		idle.Values = append(idle.Values, treeMemory(service.cmd.Process.Pid, "status", "VmRSS:")/megabyte)
		throughput(t, service, ask(address, publicScope), connections)()
		time.Sleep(time.Second)
		busy.Values = append(busy.Values, treeMemory(service.cmd.Process.Pid, "status", "VmRSS:")/megabyte)
	}
	add(t, idle)
	add(t, busy)
}

// peak returns the most memory that a program and its children had together. What they share counts
// once (PSS). It is sampled, so the hash must last some samples.
func (p program) peak(t testing.TB) (bytes float64) {
	t.Helper()
	cmd := exec.Command(p.path)
	cmd.Env = p.env
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	samples := 0
	for {
		select {
		case err := <-ended:
			if err != nil || samples < 5 {
				t.Fatalf("run %s: %v, %d samples", p.path, err, samples)
			}
			return bytes
		default:
			if now := treeMemory(cmd.Process.Pid, "smaps_rollup", "Pss:"); now > 0 {
				samples++
				bytes = max(bytes, now)
			}
		}
	}
}

// treeMemory adds a field of a file in /proc for a process and its descendants, in bytes.
func treeMemory(pid int, file, field string) (bytes float64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file)) // it may have ended
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == field {
			n, _ := strconv.Atoi(words[1])
			bytes += float64(n) * 1024
		}
	}
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for _, child := range strings.Fields(string(children)) {
			n, _ := strconv.Atoi(child)
			bytes += treeMemory(n, file, field)
		}
	}
	return bytes
}
