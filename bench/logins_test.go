package bench

import (
	"fmt"
	"net/http"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const loginSeconds = 3 // of one measurement

// measureLogins compares logins, each of another user, with what the machine can do: the same
// conversations in C, in as many processes as there are cores.
func measureLogins(t *testing.T) {
	i := install(t, options{pam: yescryptPAM(t), config: "pam: {confdir: pam.d, cache: 0s}\n"})
	service, address := i.serveHTTP()
	for _, together := range []int{1, 8, 64} {
		processes := min(together, runtime.NumCPU())
		logins := row{Group: "logins", A: "dockerauth", AUnit: "/s", Goal: 0.9, AtLeast: true,
			Work: fmt.Sprintf("logins with yescrypt, %d at once", together),
			B:    fmt.Sprintf("C program, %d at once", processes)}
		slowest := row{Group: "logins", A: "p99", AUnit: "ms", B: "ideal queue", Goal: 2.5,
			Work: fmt.Sprintf("logins with yescrypt, %d at once, the slowest", together)}
		interleave(3,
			func(warm bool) {
				took, elapsed := loginLoad(t, address, together)
				service.truncateLog()
				if !warm {
					logins.Values = append(logins.Values, float64(len(took))/elapsed.Seconds())
					slices.Sort(took)
					slowest.Values = append(slowest.Values, quantile(took, 0.99))
				}
			},
			func(warm bool) {
				if limit := i.conversations(processes); !warm {
					logins.References = append(logins.References, limit)
					slowest.References = append(slowest.References, float64(together)/limit*1000)
				}
			})
		add(t, logins)
		if together != 8 {
			slowest.Goal = 0
		}
		add(t, slowest)
	}
}

var lastUser atomic.Int32

// loginLoad has some clients log in again and again, and returns what each login took in
// milliseconds. The last ones are waited for.
func loginLoad(t testing.TB, address string, together int) (took []float64, elapsed time.Duration) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: together}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	var (
		all  sync.WaitGroup
		lock sync.Mutex
	)
	began := time.Now()
	for range together {
		all.Go(func() {
			for time.Since(began) < loginSeconds*time.Second {
				user := userName(int(lastUser.Add(1)) % passwordUsers)
				login := ask(address, "repository:"+user+"/app:pull")
				login.login = basic(user)
				sent := time.Now()
				_, err := login.send(client)
				lock.Lock()
				took = append(took, milliseconds(time.Since(sent)))
				lock.Unlock()
				if err != nil {
					t.Errorf("%d logins at once: %v", together, err)
					return
				}
			}
		})
	}
	all.Wait()
	return took, time.Since(began)
}

// conversations returns how many a second some processes of the C program reach together.
func (i installation) conversations(processes int) float64 {
	i.t.Helper()
	var (
		all   sync.WaitGroup
		total atomic.Int64
	)
	const seconds = 2
	began := time.Now()
	for range processes {
		all.Go(func() {
			cmd := exec.Command(i.path("reference-c"), "conversations", fmt.Sprint(seconds))
			cmd.Env = apacheEnv(i.path("reference-c"), basic(userName(passwordUsers/2)))
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
			out, err := cmd.Output()
			n, convErr := strconv.Atoi(strings.TrimSpace(string(out)))
			if err != nil || convErr != nil {
				i.t.Errorf("run the C program: %v, %v", err, convErr)
			}
			total.Add(int64(n))
		})
	}
	all.Wait()
	return float64(total.Load()) / time.Since(began).Seconds()
}
