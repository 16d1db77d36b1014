package credentials

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"dockerauth/store"
)

// revokerArgument makes the test binary a process that revokes: revokerArgument FOLDER ID…
const revokerArgument = "revoke"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == revokerArgument {
		if err := revokeAll(os.Args[2], os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// revokeAll revokes one after the other, each as a program of its own would, and says when it is
// done.
func revokeAll(folder string, ids []string) error {
	for _, id := range ids {
		f, err := store.OpenFolder(folder)
		if err != nil {
			return err
		}
		r := &Records{Kept: f.Kept(), Counters: f.Counters()}
		if err := r.Revoke(context.Background(), "lost", id); err != nil {
			return err
		}
		fmt.Println(id)
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// startRevoker returns a process, and the IDs that it says are done.
func startRevoker(t *testing.T, folder string, ids []string) (cmd *exec.Cmd, done *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0], append([]string{revokerArgument, folder}, ids...)...)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(stdout)
}

// credential is a kept token or a refresh token.
type credential struct {
	id    string
	check func() error
}

// credentialsIn makes many, half of them kept tokens.
func credentialsIn(t testing.TB, r *Records, many int) []credential {
	t.Helper()
	all := make([]credential, many)
	for i := range all {
		if i%2 == 0 {
			refresh := newRefresh(t, r, "alice")
			all[i] = credential{refresh.ID, func() error { return r.CheckRefresh(t.Context(), refresh) }}
			continue
		}
		token := alices()
		token.Expires = r.now().Add(90 * day)
		s, _ := issue(t, r, token)
		all[i] = credential{s.ID, func() error {
			_, err := r.Check(t.Context(), s, "alice", "")
			return err
		}}
	}
	return all
}

func idsOf(all []credential) []string {
	ids := make([]string, len(all))
	for i, c := range all {
		ids[i] = c.id
	}
	return ids
}

func TestTenProcessesLoseNoRevocation(t *testing.T) {
	const processes, each = 10, 100
	folder := newFolder(t)
	f := openFolder(t, folder)
	r := &Records{Kept: f.Kept(), Counters: f.Counters()}
	all := credentialsIn(t, r, processes*each+2)
	spared := all[processes*each:]
	var wg sync.WaitGroup
	for i := range processes {
		cmd, done := startRevoker(t, folder, idsOf(all[i*each:(i+1)*each]))
		wg.Go(func() {
			n := 0
			for done.Scan() {
				n++
			}
			if err := cmd.Wait(); err != nil || n != each {
				t.Errorf("%d are done, %v", n, err)
			}
		})
	}
	wg.Wait()
	for _, c := range all[:processes*each] {
		if err := c.check(); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", c.id, err)
		}
	}
	for _, c := range spared {
		if err := c.check(); err != nil {
			t.Errorf("%s, which nobody revoked: %v", c.id, err)
		}
	}
}

// A process that is killed has done its last revocation or not. What it said to be done is.
func TestAKilledProcessLosesNoRevocation(t *testing.T) {
	const processes, lives, each = 4, 8, 60
	folder := newFolder(t)
	f := openFolder(t, folder)
	r := &Records{Kept: f.Kept(), Counters: f.Counters()}
	all := credentialsIn(t, r, processes*lives*each)
	var mu sync.Mutex
	revoked := map[string]bool{}
	var wg sync.WaitGroup
	for i := range processes {
		wg.Go(func() {
			for life := range lives {
				mine := all[(i*lives+life)*each:]
				liveAndDie(t, folder, idsOf(mine[:each]), func(id string) {
					mu.Lock()
					defer mu.Unlock()
					revoked[id] = true
				})
			}
		})
	}
	wg.Wait()
	spared, unsaid := 0, 0
	for _, c := range all {
		switch err := c.check(); {
		case err == nil && revoked[c.id]:
			t.Errorf("%s is lost", c.id)
		case err == nil:
			spared++
		case !errors.Is(err, ErrRefused):
			t.Errorf("%s: %v", c.id, err)
		case !revoked[c.id]:
			unsaid++
		}
	}
	// At most the one that was on its way is done without a word.
	if len(revoked) == 0 || spared == 0 || unsaid > processes*lives {
		t.Errorf("%d said to be done, %d done without a word, %d not done", len(revoked), unsaid, spared)
	}
	t.Logf("%d said to be done, %d done without a word, %d not done", len(revoked), unsaid, spared)
}

// liveAndDie kills a process at a random moment after some revocations.
func liveAndDie(t *testing.T, folder string, ids []string, revoked func(string)) {
	cmd, done := startRevoker(t, folder, ids)
	for n := 1 + mathrand.N(20); n > 0 && done.Scan(); n-- {
		revoked(done.Text())
	}
	time.Sleep(mathrand.N(5 * time.Millisecond)) // anywhere within the next one
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	for done.Scan() { // it may have said more before it died
		revoked(done.Text())
	}
	var end *exec.ExitError
	err := cmd.Wait() // nil: on a busy machine it was done before
	if err != nil && (!errors.As(err, &end) || end.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
		t.Errorf("it ended otherwise: %v", err)
	}
}

// BenchmarkRequest is what a CGI program asks for one request, among this many tokens and as many
// revocations: it opens the folder, reads once and closes.
func BenchmarkRequest(b *testing.B) {
	for _, many := range []int{1, 10_000} {
		folder := newFolder(b)
		f := openFolder(b, folder)
		r := &Records{Kept: f.Kept(), Counters: f.Counters()}
		s, refresh := fill(b, r, many)
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
		request := func(name string, check func(*Records) error) {
			b.Run(fmt.Sprintf("%s among %d", name, many), func(b *testing.B) {
				for b.Loop() {
					f, err := store.OpenFolder(folder)
					if err != nil {
						b.Fatal(err)
					}
					if err := check(&Records{Kept: f.Kept(), Counters: f.Counters()}); err != nil {
						b.Fatal(err)
					}
					if err := f.Close(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		request("Check", func(r *Records) error {
			_, err := r.Check(b.Context(), s, "alice", "192.0.2.1")
			return err
		})
		request("CheckRefresh", func(r *Records) error { return r.CheckRefresh(b.Context(), refresh) })
	}
}

// fill makes many tokens and revocations, and returns one of each kind that is good.
func fill(b *testing.B, r *Records, many int) (s Secret, refresh RefreshToken) {
	refresh = newRefresh(b, r, "alice")
	token := alices()
	token.Expires = r.now().Add(90 * day)
	s, issued := issue(b, r, token)
	ids := make([]string, many)
	for i := range ids {
		ids[i] = rand.Text()
	}
	if err := r.Revoke(b.Context(), "lost", ids...); err != nil {
		b.Fatal(err)
	}
	for n := 1; n < many; n += batch { // Issue waits for the disk each time
		keys, records := make([]string, batch), make([]store.Record, batch)
		for i := range keys {
			other := NewSecret()
			keys[i], records[i] = tokenPrefix+other.ID,
				store.Record{Value: issued.encode(other.hash()), Until: issued.Expires}
		}
		if err := r.Kept.Update(b.Context(), keys, func([]store.Record) []store.Record { return records }); err != nil {
			b.Fatal(err)
		}
	}
	return s, refresh
}
