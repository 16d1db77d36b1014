package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dockerauth/credentials"
	"dockerauth/store"
)

// manyTokens keeps n tokens of alice, by copies of the record of one, and returns their IDs.
func manyTokens(t *testing.T, r *credentials.Records, kept store.Store, n int) (ids []string) {
	t.Helper()
	ctx := context.Background()
	first, err := r.Issue(ctx, credentials.NewSecret(), credentials.Token{Kind: credentials.Personal, User: alice,
		Scopes: []string{"repository:ci/**:pull"}, Expires: time.Now().Add(90 * 24 * time.Hour), Keep: true,
		State: credentials.State{UID: -1, Shadow: credentials.ShadowNone}})
	if err != nil {
		t.Fatal(err)
	}
	record, err := kept.Get(ctx, "token/"+first.ID)
	if err != nil || record[0] == nil {
		t.Fatal(err)
	}
	for i := range n {
		ids = append(ids, fmt.Sprintf("copy%06d", i))
	}
	for some := range slices.Chunk(ids, 100) {
		keys := make([]string, len(some))
		for i, id := range some {
			keys[i] = "token/" + id
		}
		err := kept.Update(ctx, keys, func(old []store.Record) []store.Record {
			for i := range old {
				old[i] = store.Record{Value: record[0], Until: first.Expires}
			}
			return old
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return ids
}

// manyLogins are IDs of refresh tokens.
func manyLogins(n int) (ids []string) {
	for range n {
		ids = append(ids, rand.Text())
	}
	return ids
}

// revocations collects what "token revoke" has reported done.
type revocations struct {
	mu       sync.Mutex
	done     []string
	took     []time.Duration
	killed   int // processes
	finished int
	wrong    []string
}

// Other ends of a process than its own, in place of a time.
const (
	neverKilled    = 0
	killedOnOutput = -1
)

// killer kills a process when it writes something.
type killer struct {
	bytes.Buffer
	victim *exec.Cmd
}

func (k *killer) Write(b []byte) (int, error) {
	_ = k.victim.Process.Kill()
	return k.Buffer.Write(b)
}

// run revokes in a process, which is killed after a time or when it reports.
func (r *revocations) run(cmd *exec.Cmd, killAfter time.Duration) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	report := &killer{victim: cmd}
	if killAfter == killedOnOutput {
		cmd.Stdout = report
	}
	began := time.Now()
	err := cmd.Start()
	if err == nil && killAfter > 0 {
		timer := time.AfterFunc(killAfter, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
	}
	if err == nil {
		err = cmd.Wait()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var exit *exec.ExitError
	switch {
	case err == nil:
		r.finished++
		r.took = append(r.took, time.Since(began))
	case killAfter != neverKilled && errors.As(err, &exit) && exit.ExitCode() == -1:
		r.killed++
	default:
		r.wrong = append(r.wrong, fmt.Sprintf("%v: %s", err, errs.String()))
	}
	// personal token copy000001 of alice is revoked
	// login ABC is not known here; refused from now on: check that it is not mistyped
	isDone := regexp.MustCompile(`(is revoked|check that it is not mistyped)\n\z`)
	for line := range strings.Lines(out.String() + report.String()) {
		for _, word := range strings.Fields(line) {
			if isDone.MatchString(line) && (len(word) == 26 || strings.HasPrefix(word, "copy")) {
				r.done = append(r.done, word)
			}
		}
	}
}

// atOnce revokes in ten processes at once, each of which is followed by another until all IDs are
// done.
func (r *revocations) atOnce(s *testEnv, ids []string, each int, killAfter func() time.Duration) {
	commands := make(chan []string, len(ids))
	for some := range slices.Chunk(ids, each) {
		commands <- some
	}
	close(commands)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for some := range commands {
				r.run(s.command(append([]string{"token", "revoke"}, some...)...), killAfter())
			}
		})
	}
	all.Wait()
}

// TestARevocationThatWasReportedIsNotLost revokes a thousand tokens and logins by ten processes at
// once, and then more by processes that are killed at any moment.
func TestARevocationThatWasReportedIsNotLost(t *testing.T) {
	needRoot(t, "the files of another user")
	var ids []string
	var id string
	state := stateWith(t, func(r *credentials.Records, kept store.Store) {
		ids = manyTokens(t, r, kept, 800)
		var err error
		if id, err = r.ID(context.Background()); err != nil {
			t.Fatal(err)
		}
	})
	s := newTestEnv(t, envOptions{config: "state: " + state + "\n"})
	ids = append(ids, manyLogins(800)...)
	mathrand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })

	var r revocations
	r.atOnce(s, ids[:1000], 10, func() time.Duration { return neverKilled })
	if len(r.done) != 1000 || len(r.wrong) > 0 {
		t.Fatalf("%d revocations are reported, want 1000: %s", len(r.done), strings.Join(r.wrong, "\n"))
	}
	slices.Sort(r.took)
	usual := r.took[len(r.took)/2]
	killed := revocations{}
	killed.atOnce(s, ids[1000:], 5, func() time.Duration {
		if mathrand.N(4) == 0 {
			return killedOnOutput
		}
		return 1 + mathrand.N(usual*3/2)
	})
	if killed.killed == 0 || killed.finished == 0 || len(killed.wrong) > 0 {
		t.Errorf("%d processes were killed and %d were not: %s", killed.killed, killed.finished,
			strings.Join(killed.wrong, "\n"))
	}

	mustRun(t, "chown", "-R", "root:", state)
	folder, err := store.OpenFolder(state)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	records := &credentials.Records{Kept: folder.Kept(), Counters: folder.Counters()}
	lost := 0
	for _, one := range slices.Concat(r.done, killed.done) {
		if !isRevoked(t, records, one, id) {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d revocations that were reported done are lost", lost)
	}
	if listed := 0; records.List(context.Background(), func(credentials.Token) bool { listed++; return true }) != nil ||
		listed != 801 {
		t.Errorf("%d tokens are listed, want 801", listed)
	}
	t.Logf("ten processes at once revoke 10 in %v (median); of %d that were to be killed %d were, "+
		"which had reported %d of %d revocations", usual.Round(time.Millisecond), killed.killed+killed.finished,
		killed.killed, len(killed.done), len(ids)-1000)
}

func isRevoked(t *testing.T, r *credentials.Records, id, storeID string) bool {
	t.Helper()
	if strings.HasPrefix(id, "copy") {
		token, err := r.Get(context.Background(), id)
		if err != nil {
			t.Errorf("%s: %v", id, err)
		}
		return token.Revoked != nil
	}
	err := r.CheckRefresh(context.Background(), credentials.RefreshToken{ID: id, User: alice, Issued: time.Now(),
		Store: storeID})
	return errors.Is(err, credentials.ErrRefused)
}

// costPairs is how often each request is measured, with and without many records.
const costPairs = 40

// TestManyTokensCostAlmostNothing compares requests to a CGI program, one after another in turn,
// with an empty store and with one that has 10,000 tokens and 10,000 revocations.
func TestManyTokensCostAlmostNothing(t *testing.T) {
	const many = 10_000
	few := stateWith(t, func(*credentials.Records, store.Store) {})
	lots := stateWith(t, func(r *credentials.Records, kept store.Store) {
		ids := append(manyTokens(t, r, kept, many), manyLogins(many)...)
		// A revoked token is no smaller than one that is not.
		if err := r.Revoke(context.Background(), "", ids[many:]...); err != nil {
			t.Fatal(err)
		}
	})
	var envs [2]*client
	var token [2]keptToken
	var refresh [2]string
	for i, state := range []string{few, lots} {
		c := newClient(openFrontend(t, bareCGI, envOptions{config: "state: " + state + "\n"}))
		envs[i], token[i] = c, c.issue(t, alice, "--scope", "repository:ci/**:pull", "--keep")
		refresh[i] = *c.ask(t, asAlice(serviceIs+"&offline_token=true")).token.RefreshToken
	}
	for _, request := range []struct {
		name string
		env  func(i int) []string
		body func(i int) string
	}{
		{"a kept token", func(i int) []string {
			return []string{"REQUEST_METHOD=GET", "HTTP_AUTHORIZATION=Basic " +
				base64.StdEncoding.EncodeToString([]byte(alice+":"+token[i].text))}
		}, func(int) string { return "" }},
		{"a refresh token", func(i int) []string {
			body := "grant_type=refresh_token&refresh_token=" + refresh[i] + "&" + serviceIs
			return []string{"REQUEST_METHOD=POST", "CONTENT_TYPE=application/x-www-form-urlencoded",
				fmt.Sprintf("CONTENT_LENGTH=%d", len(body))}
		}, func(i int) string { return "grant_type=refresh_token&refresh_token=" + refresh[i] + "&" + serviceIs }},
		{"a password", func(int) []string {
			return []string{"REQUEST_METHOD=GET", "HTTP_AUTHORIZATION=Basic " +
				base64.StdEncoding.EncodeToString([]byte(alice+":"+alicePassword))}
		}, func(int) string { return "" }},
	} {
		t.Run(request.name, func(t *testing.T) {
			var cpu, wall [2][]time.Duration
			for range costPairs {
				for i, c := range envs {
					cmd := c.asWeb(exec.Command(c.program))
					cmd.Env = append(
						[]string{"GATEWAY_INTERFACE=CGI/1.1", "SERVER_PROTOCOL=HTTP/1.1", "PATH=/usr/bin:/bin",
							"REQUEST_URI=/docker/v2/token?" + serviceIs, "QUERY_STRING=" + serviceIs,
							"REMOTE_ADDR=" + freshAddress()},
						request.env(i)...)
					cmd.Stdin = strings.NewReader(request.body(i))
					began := time.Now()
					out, err := cmd.Output()
					took := time.Since(began)
					if err != nil || !bytes.HasPrefix(out, []byte("Status: 200")) {
						t.Fatalf("%v: %s", err, out)
					}
					wall[i] = append(wall[i], took)
					cpu[i] = append(cpu[i], cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
				}
			}
			without, with := median(cpu[0]), median(cpu[1])
			t.Logf("%s: CPU time %v with an empty store, %v with %d tokens and %[4]d revocations; wall time %v, %v",
				request.name, without.Round(10*time.Microsecond), with.Round(10*time.Microsecond), many,
				median(wall[0]).Round(10*time.Microsecond), median(wall[1]).Round(10*time.Microsecond))
			if with > without*5/4 {
				t.Errorf("%s costs %v, and %v with an empty store", request.name, with, without)
			}
		})
	}
	if info, err := os.Stat(lots + "/kept.db"); err == nil {
		t.Logf("the store has %s", megabytes(info.Size()))
	}
}

func median[T cmp.Ordered](values []T) T {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
