package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// pamFault is a fault of a PAM module, and the status that its user gets.
type pamFault struct {
	name   string
	action string // an action of testdata/pam_fault.c
	status int
}

// pamFaults are the faults of one module.
var pamFaults = []pamFault{
	{"a module hangs", "sleep:300", http.StatusServiceUnavailable},
	{"a module spins", "spin", http.StatusServiceUnavailable},
	{"a module crashes", "segv", http.StatusServiceUnavailable},
	{"a module aborts", "abort", http.StatusServiceUnavailable},
	{"a module calls exit", "exit", http.StatusServiceUnavailable},
	{"a module leaks 50 MB", "leak:50", http.StatusOK},
	{"a module takes all memory", "eat", http.StatusServiceUnavailable},
	{"a module leaves a process", "fork", http.StatusOK},
	{"it does, and hangs", "forkhang", http.StatusServiceUnavailable},
	{"a module sends messages without end", "flood", http.StatusServiceUnavailable},
	{"a module sends 40 messages", "messages:40", http.StatusServiceUnavailable},
	{"a module asks ten times", "prompts:10", http.StatusUnauthorized},
	{"a module closes every file", "close", http.StatusServiceUnavailable},
	{"a module prints an answer", "print", http.StatusOK},
	{"it changes cwd, umask, signals", "change", http.StatusOK},
}

func (m pamFault) user() string { return strings.NewReplacer(":", "-").Replace(m.action) }

// slots is pam.concurrency where one conversation hangs and other logins must succeed.
const slots = 2

func moduleTests() []faultTest {
	o := faultOptions{timeout: seconds(4), concurrency: slots}
	for _, m := range pamFaults {
		o.users = append(o.users, m.user())
		o.pamArgs += fmt.Sprintf(" %s=%s", m.user(), m.action)
	}
	for i := range hangingLogins {
		o.users = append(o.users, hanging(i))
		o.pamArgs += fmt.Sprintf(" %s=sleep:300", hanging(i))
	}
	return []faultTest{
		{name: "modules", frontend: httpFrontend, options: o, run: runPAMFaults},
		{name: "modules", frontend: apacheCGI, options: o, run: runPAMFaults},
		{name: "modules", frontend: nginxFastCGI, options: o, run: runPAMFaults, long: true},
		{name: "modules", frontend: apacheFcgid, options: o, run: runPAMFaults, long: true},
		{name: "every slot is taken", frontend: httpFrontend, options: o, run: runNoSlot},
		{name: "every slot is taken", frontend: nginxFastCGI, options: o, run: runNoSlot, long: true},
	}
}

// runPAMFaults makes the module fail in one way after another; other logins to the same service
// must not notice.
func runPAMFaults(s *faultEnv) {
	for _, m := range pamFaults {
		want := m.status
		others := s.startLoad()
		others.more(1)
		r := s.ask(m.user(), passwordOf(m.user()))
		normal := s.normal()
		others.more(1)
		got, lost := others.end()
		if flaw := s.flaw(r, m.user(), true, want); flaw != "" {
			lost = append(lost, flaw)
		} else if r.status != want {
			lost = append(lost, fmt.Sprintf("status %d instead of %d: %s", r.status, want, excerpt(string(r.body))))
		}
		lost = append(lost, s.leftovers()...)
		s.row(row{fault: m.name, done: "login of its user, others beside",
			got: fmt.Sprintf("%s; others %s", r.summary(), got), normal: normal}, lost)
	}
}

// hangingLogins are more than there are slots.
const hangingLogins = 3 * slots

func hanging(i int) string { return fmt.Sprintf("hanging%d", i) }

// runNoSlot has more conversations hang than may run at once.
func runNoSlot(s *faultEnv) {
	var hung sync.WaitGroup
	var mu sync.Mutex
	var lost []string
	answers := counts{}
	for i := range hangingLogins {
		hung.Go(func() {
			name := hanging(i) // equal logins would share one conversation
			r := s.ask(name, passwordOf(name))
			mu.Lock()
			defer mu.Unlock()
			answers[r.summary()]++
			if flaw := s.flaw(r, name, true, http.StatusServiceUnavailable); flaw != "" {
				lost = append(lost, flaw)
			}
		})
	}
	s.awaitConversations(slots)
	others := s.startLoad(http.StatusServiceUnavailable)
	hung.Wait()
	normal := s.normal()
	others.more(1)
	got, wrong := others.end()
	lost = append(lost, wrong...)
	lost = append(lost, s.leftovers()...)
	done := fmt.Sprintf("%d hanging logins, %d slots, other logins meanwhile", hangingLogins, slots)
	s.row(row{fault: "every slot is taken", done: done, got: fmt.Sprintf("%s; others %s", answers, got),
		normal: normal}, lost)
}
