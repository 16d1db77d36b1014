package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The credentials tell from their own record that a server has lost everything.
func TestAnEmptyServerHasNoRecordsAndNoError(t *testing.T) {
	r := openRedis(t, newRedisServer(t).address())
	for _, s := range []Store{r.Counters(), r.Kept()} {
		values, err := s.Get(t.Context(), "k", "l")
		if err != nil || len(values) != 2 || values[0] != nil || values[1] != nil {
			t.Errorf("%q, %v", values, err)
		}
	}
}

// A server that is full drops counters, and no kept record.
func TestAFullServerEvictsCountersAlone(t *testing.T) {
	for _, policy := range []string{"volatile-ttl", "volatile-lru", "volatile-lfu", "volatile-random"} {
		t.Run(policy, func(t *testing.T) {
			const many = 50
			s := newRedisServer(t, "--maxmemory", "4mb", "--maxmemory-policy", policy)
			r := openRedis(t, s.address())
			until := time.Now().Add(time.Hour)
			for i := range many {
				put(t, r.Kept(), fmt.Sprint(i), hundred, until)
			}
			for i := range 2000 {
				put(t, r.Counters(), fmt.Sprint(i), strings.Repeat("c", 4000), until)
			}
			info, err := r.client.Info(t.Context(), "stats").Result()
			if err != nil || parseInfo(info)["evicted_keys"] == "0" {
				t.Fatalf("nothing was evicted, %v", err)
			}
			n := 0
			if err := r.Kept().List(t.Context(), "", func(string, Record) bool { n++; return true }); err != nil ||
				n != many {
				t.Errorf("%d of %d records are kept, %v", n, many, err)
			}
		})
	}
}

func TestAServerThatEvictsAnyKeyIsRefusedForKeptRecordsAlone(t *testing.T) {
	s := newRedisServer(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	r := openRedis(t, s.address())
	for _, err := range []error{
		update(r.Kept(), "k", increment(time.Now().Add(time.Hour))),
		r.Kept().List(t.Context(), "", nil),
		func() error { _, err := r.Kept().Get(t.Context(), "k"); return err }(),
	} {
		if err == nil ||
			!strings.Contains(err.Error(), "maxmemory-policy is allkeys-lru\n  set maxmemory-policy volatile-ttl") {
			t.Errorf("kept records: %v", err)
		}
	}
	put(t, r.Counters(), "k", "x", time.Now().Add(time.Hour))
	expect(t, r.Counters(), "k", "x")
	s.do("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
	put(t, r.Kept(), "k", "x", time.Now().Add(time.Hour))
	s.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
	r.fitTill = time.Time{} // the next look
	if _, err := r.Kept().Get(t.Context(), "k"); err == nil {
		t.Error("a policy that was changed later is not noticed")
	}
	s.do("CONFIG", "SET", "maxmemory", "0") // it is never full
	expect(t, r.Kept(), "k", "x")
}

func TestAnUpdateOfKeptRecordsReturnsWhenAReplicaHasIt(t *testing.T) {
	master := newRedisServer(t)
	replica := newRedisServer(t, "--replicaof", "127.0.0.1 "+fmt.Sprint(master.port))
	waitFor(t, "the replica", func() bool { return replicasOf(t, master) == 1 })
	r := openRedis(t, master.address())
	copied := openRedis(t, replica.address())
	until := time.Now().Add(time.Hour)
	for i := range 100 {
		key := fmt.Sprint(i)
		put(t, r.Kept(), key, "x", until)
		if n, err := copied.client.Exists(t.Context(), keptKeys+key).Result(); err != nil || n != 1 {
			t.Fatalf("the replica has %d of record %d, %v", n, i, err)
		}
	}
	if _, err := copied.Kept().Get(t.Context(), "1"); err == nil || !strings.Contains(err.Error(), "it is a replica") {
		t.Errorf("kept records of a replica: %v", err)
	}

	if err := replica.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	revoke := func() error {
		return update(r.Kept(), "k", func([]Record) []Record { return []Record{{[]byte("revoked"), until}} })
	}
	for range 2 { // also if nothing is left to change
		if err := revoke(); err == nil || !strings.Contains(err.Error(), "no replica has confirmed it") {
			t.Errorf("with a replica that stands still: %v", err)
		}
	}
	put(t, r.Counters(), "k", "x", until) // they do not wait
	expect(t, r.Kept(), "k", "revoked")
	if err := replica.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the confirmation", func() bool { return revoke() == nil })
	if n, err := copied.client.Exists(t.Context(), keptKeys+"k").Result(); err != nil || n != 1 {
		t.Errorf("the replica has %d, %v", n, err)
	}
}

// With appendfsync always, a server that is killed comes back with every update that it
// acknowledged. With everysec, the default, it may not. The client needs no restart.
func TestAServerThatIsKilledKeepsWhatItAcknowledged(t *testing.T) {
	s := newRedisServer(t, "--appendonly", "yes", "--appendfsync", "always", "--dir", t.TempDir())
	r := openRedis(t, s.address())
	var done []string
	for life := range 3 {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for i := 0; ; i++ {
				key := fmt.Sprint(life, "/", i)
				count := increment(time.Now().Add(time.Hour))
				if err := update(r.Kept(), key, count); err != nil {
					return
				}
				done = append(done, key)
			}
		}()
		time.Sleep(rand.N(200 * time.Millisecond))
		s.kill()
		<-ended
		s.start()
		waitFor(t, "the server", func() bool { _, err := r.Kept().Get(context.Background(), "k"); return err == nil })
	}
	if len(done) == 0 {
		t.Fatal("nothing was updated")
	}
	for _, key := range done {
		expect(t, r.Kept(), key, "1")
	}
}

// A Cluster's replica becomes the master, and clients follow.
func TestAClusterFailsOver(t *testing.T) {
	cluster := func() *redisServer {
		return newRedisServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000")
	}
	first, second := cluster(), cluster()
	first.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	second.do("CLUSTER", "MEET", "127.0.0.1", first.port)
	id, err := openRedis(t, first.address()).client.Do(t.Context(), "CLUSTER", "MYID").Text()
	if err != nil {
		t.Fatal(err)
	}
	node := openRedis(t, second.address()).client
	waitFor(t, "the nodes to meet", func() bool {
		return node.Do(context.Background(), "CLUSTER", "REPLICATE", id).Err() == nil
	})
	waitFor(t, "the replica", func() bool { return replicasOf(t, first) == 1 })
	r := openRedis(t, first.address()+"?cluster=yes")
	until := time.Now().Add(time.Hour)
	waitFor(t, "the cluster", func() bool {
		return update(r.Kept(), "k", func([]Record) []Record { return []Record{{[]byte("x"), until}} }) == nil
	})
	waitFor(t, "the other to be the master", func() bool {
		_ = node.Do(context.Background(), "CLUSTER", "FAILOVER").Err()
		info, err := node.Info(context.Background(), "replication").Result()
		return err == nil && parseInfo(info)["role"] == "master"
	})
	waitFor(t, "an update", func() bool {
		return update(r.Kept(), "l", func([]Record) []Record { return []Record{{[]byte("y"), until}} }) == nil
	})
	expect(t, r.Kept(), "k", "x")
	expect(t, r.Kept(), "l", "y")
	n := 0
	if err := r.Kept().List(t.Context(), "", func(string, Record) bool { n++; return true }); err != nil || n != 2 {
		t.Errorf("%d records, %v", n, err)
	}
}

// While the records move from one master of a Cluster to another, a call waits for the end.
func TestAClusterMovesTheRecords(t *testing.T) {
	first, second := newRedisServer(t, "--cluster-enabled", "yes"), newRedisServer(t, "--cluster-enabled", "yes")
	slot, err := openRedis(t, first.address()).client.ClusterKeySlot(t.Context(), redisPrefix).Result()
	if err != nil {
		t.Fatal(err)
	}
	first.do("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	second.do("CLUSTER", "MEET", "127.0.0.1", first.port)
	id := func(s *redisServer) string {
		id, err := openRedis(t, s.address()).client.Do(t.Context(), "CLUSTER", "MYID").Text()
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	node := openRedis(t, second.address()).client
	waitFor(t, "the nodes to meet", func() bool {
		info, err := node.ClusterInfo(context.Background()).Result()
		return err == nil && parseInfo(info)["cluster_state"] == "ok"
	})
	second.do("CLUSTER", "SETSLOT", slot, "IMPORTING", id(first))
	r := openRedis(t, first.address()+"?cluster=yes")
	stores := map[string]Store{"counters": r.Counters(), "kept": r.Kept()}
	until := time.Now().Add(time.Hour)
	for name, s := range stores {
		waitFor(t, name, func() bool { return update(s, "k", increment(until)) == nil })
	}
	first.do("CLUSTER", "SETSLOT", slot, "MIGRATING", id(second))
	keys, err := openRedis(t, first.address()).client.ClusterGetKeysInSlot(t.Context(), int(slot), 100).Result()
	if err != nil || len(keys) < 4 {
		t.Fatal(keys, err)
	}
	for _, key := range keys {
		first.do("MIGRATE", "127.0.0.1", second.port, key, 0, 5000)
	}
	var all sync.WaitGroup
	for name, s := range stores {
		all.Go(func() {
			if err := update(s, "k", increment(until)); err != nil {
				t.Errorf("%s: on the way: %v", name, err)
			}
		})
	}
	time.Sleep(redisTimeout / 2)
	for _, s := range []*redisServer{second, first} {
		s.do("CLUSTER", "SETSLOT", slot, "NODE", id(second))
	}
	all.Wait()
	for name, s := range stores {
		waitFor(t, name, func() bool { return update(s, "l", increment(until)) == nil })
		if number(t, s, "k") < 2 {
			t.Errorf("%s: what moved is lost", name)
		}
	}
}

// proxy forwards connections to a server. When swallow is set, it drops the next answer and closes
// the connection. It holds every answer back for some nanoseconds.
func proxy(t *testing.T, s *redisServer) (address string, swallow *atomic.Bool, delay *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	swallow, delay = new(atomic.Bool), new(atomic.Int64)
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
			if err != nil {
				_ = client.Close()
				return
			}
			go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
			go func() {
				defer client.Close()
				for b := make([]byte, 64<<10); ; {
					n, err := server.Read(b)
					if err != nil || swallow.CompareAndSwap(true, false) {
						return
					}
					time.Sleep(time.Duration(delay.Load()))
					_, _ = client.Write(b[:n])
				}
			}()
		}
	}()
	return "redis://" + l.Addr().String(), swallow, delay
}

// A login makes several calls for counters, and one for kept records.
func TestALoginWaitsOnceForASlowServer(t *testing.T) {
	address, _, delay := proxy(t, newRedisServer(t))
	r := openRedis(t, address)
	c := newClock()
	memory := NewMemory(1 << 20)
	memory.Now = c.Now
	f := NewFallback(r.Counters(), memory)
	f.Now = c.Now
	until := time.Now().Add(time.Hour)
	login := func() time.Duration {
		t.Helper()
		began := time.Now()
		for range 2 {
			if _, err := f.Get(t.Context(), "k"); err != nil {
				t.Error(err)
			}
			if err := update(f, "k", increment(until)); err != nil {
				t.Error(err)
			}
		}
		if !f.IsAway() {
			if _, err := r.Kept().Get(t.Context(), "k"); err != nil {
				t.Error(err)
			}
		}
		return time.Since(began)
	}
	login()
	if f.IsAway() {
		t.Fatal("a server that is fast is away")
	}
	delay.Store(int64(330 * time.Millisecond))
	if took := login(); took > lockTimeout || !f.IsAway() {
		t.Errorf("the first login waits for %s, and the server is away: %v", took, f.IsAway())
	}
	if took := login(); took > slowAnswer {
		t.Errorf("the next login waits for %s", took)
	}
	if _, err := r.Kept().Get(t.Context(), "k"); err != nil { // what was taken back is asked nonetheless
		t.Error(err)
	}
	delay.Store(0)
	c.advance(retryPause)
	waitFor(t, "the server", func() bool { c.advance(retryPause); login(); return !f.IsAway() })
	if get(t, r.Counters(), "k") == "none" {
		t.Error("the server has no count")
	}
}

// The client repeats a command whose answer was lost.
func TestAnUpdateWhoseAnswerIsLostIsMadeOnce(t *testing.T) {
	const times = 10
	address, swallow, _ := proxy(t, newRedisServer(t))
	r := openRedis(t, address)
	for name, s := range map[string]Store{"counters": r.Counters(), "kept": r.Kept()} {
		if err := update(s, "k", increment(time.Now().Add(time.Hour))); err != nil { // the server has the script
			t.Fatal(err)
		}
		for range times {
			count := increment(time.Now().Add(time.Hour))
			err := update(s, "k", func(old []Record) []Record {
				swallow.Store(true) // the answer to what is sent now
				return count(old)
			})
			if err != nil || swallow.Load() {
				t.Fatalf("%s: %v", name, err)
			}
		}
		expect(t, s, "k", fmt.Sprint(times+1))
	}
}

// An address that swallows everything is an error as any other, and not the caller's time-out: the
// memory takes over.
func TestASilentServerIsAFailureOfTheServer(t *testing.T) {
	r := openRedis(t, "redis://"+silentAddress(t))
	reported := 0
	f := NewFallback(r.Counters(), NewMemory(1<<20))
	f.Report = func(error) { reported++ }
	for range 3 {
		if err := update(f, "k", increment(time.Now().Add(time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, f, "k", "3")
	if reported != 1 {
		t.Errorf("reported %d times", reported)
	}
	_, err := r.Kept().Get(t.Context(), "k")
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("kept records: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Kept().Get(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone: %v", err)
	}
}

// A login makes several calls, and waits for one of them.
func TestCallsAfterOneWithoutAnAnswerDoNotWait(t *testing.T) {
	s := newRedisServer(t)
	r := openRedis(t, s.address())
	put(t, r.Kept(), "k", "x", time.Now().Add(time.Hour))
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 20 {
		for _, s := range []Store{r.Counters(), r.Kept()} {
			if _, err := s.Get(t.Context(), "k"); err == nil {
				t.Error("it answers")
			}
		}
	}
	if took := time.Since(began); took > 2*lockTimeout {
		t.Errorf("forty calls took %s", took)
	}
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the server", func() bool { _, err := r.Kept().Get(context.Background(), "k"); return err == nil })
}

// The same holds if the caller has less time than the call.
func TestCallsAfterOneThatTheCallerGaveUpDoNotWait(t *testing.T) {
	r := openRedis(t, "redis://"+silentAddress(t))
	ctx, cancel := context.WithTimeout(t.Context(), redisTimeout)
	defer cancel()
	if _, err := r.Kept().Get(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the caller's time: %v", err)
	}
	if r.Counters().(redisStore).stillAway() == nil {
		t.Error("the next call waits")
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	r = openRedis(t, "redis://"+silentAddress(t))
	if _, err := r.Kept().Get(short, "k"); err == nil || r.Counters().(redisStore).stillAway() != nil {
		t.Errorf("a caller that waits for no server: %v", err)
	}
}

// An error of the server's is an answer: the next call is made.
func TestAnErrorOfTheServerIsAnAnswer(t *testing.T) {
	s := newRedisServer(t)
	r := openRedis(t, s.address())
	s.do("CONFIG", "SET", "maxmemory", 1)
	if err := update(r.Kept(), "k", increment(time.Now().Add(time.Hour))); err == nil {
		t.Error("it has memory")
	}
	expect(t, r.Kept(), "k", "none")
}

// A server may repeat a command that it does not know.
func TestAServerThatRepeatsCommandsShowsNoPassword(t *testing.T) {
	const password = "canary-5f3a"
	for _, answer := range []string{"-ERR unknown command %s\r\n",
		"-ERR unknown command, with args beginning with: %.60s\r\n"} { // in the middle of the password
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go repeatCommands(l, answer)
		file := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(file, []byte(strings.Repeat(password, 10)), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, settings := range []string{"?password_file=" + file, "?master=m&sentinel_password_file=" + file} {
			r := openRedis(t, "redis://me@"+l.Addr().String()+"/1"+settings)
			for range 5 {
				_, err := r.Kept().Get(t.Context(), "k")
				if err == nil || strings.Contains(err.Error(), "canary") ||
					!strings.Contains(err.Error(), "unknown command") {
					t.Errorf("%v", err)
				}
			}
		}
	}
}

// repeatCommands answers every command with an error that has its words.
func repeatCommands(l net.Listener, answer string) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			for lines := bufio.NewScanner(conn); lines.Scan(); {
				var words []string
				var n int
				_, _ = fmt.Sscanf(lines.Text(), "*%d", &n)
				for ; n > 0 && lines.Scan() && lines.Scan(); n-- { // the length before each
					words = append(words, lines.Text())
				}
				fmt.Fprintf(conn, answer, strings.Join(words, " "))
			}
		}()
	}
}

// Who can write at the server can write anything: it is a record as written here, or none.
func FuzzValuesOfTheServer(f *testing.F) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, seed := range []string{"", "x", strings.Repeat("\x00", 16), strings.Repeat("\xff", 17),
		encodeRedis(Record{[]byte("value"), now.Add(time.Hour)}, []byte("12345678")),
		encodeRedis(Record{[]byte{}, now.Add(MaxKeep)}, []byte("12345678"))} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		for _, prefix := range []string{counterKeys, keptKeys} {
			s := redisStore{&Redis{Now: func() time.Time { return now }}, prefix}
			r := s.decode([]string{raw})[0]
			switch {
			case s.isKept() && raw != "" && len(raw) < 16: // as it is, for its user to refuse
				if string(r.Value) != raw || !r.Until.Equal(Forever) {
					t.Errorf("%q is %q until %s", raw, r.Value, r.Until)
				}
			case r.Value != nil:
				again := encodeRedis(r, []byte(raw[8:16]))
				if again != raw || r.Until.Before(now) || !s.isKept() && r.Until.Sub(now) > MaxKeep {
					t.Errorf("%q is %q until %s, and then %q", raw, r.Value, r.Until, again)
				}
			}
		}
	})
}

// A revocation that somebody has spoilt must not pass for none.
func TestADamagedValueOfTheServerIsARecordThatIsKept(t *testing.T) {
	r := openRedis(t, newRedisServer(t).address())
	until := time.Now().Add(time.Hour)
	put(t, r.Kept(), "k", "x", until)
	if err := r.client.Set(t.Context(), keptKeys+"k", "?", 0).Err(); err != nil {
		t.Fatal(err)
	}
	expect(t, r.Kept(), "k", "?")
	if err := r.Kept().List(t.Context(), "", func(string, Record) bool { return true }); err != nil {
		t.Fatal(err)
	}
	expect(t, r.Kept(), "k", "?")
	put(t, r.Kept(), "k", "y", until)
	expect(t, r.Kept(), "k", "y")
}

// What is over stays for a while, in case that the clock is wrong, and leaves then.
func TestKeptRecordsLeaveTheServerLongAfterTheirEnd(t *testing.T) {
	const many = 300
	for _, how := range []string{"when they are listed", "when others are updated"} {
		t.Run(how, func(t *testing.T) {
			c := newClock()
			r := openRedis(t, newRedisServer(t).address())
			r.Now = c.Now
			kept := r.Kept().(redisStore)
			for i := range many {
				put(t, kept, fmt.Sprint(i), "x", c.in(time.Minute))
			}
			put(t, kept, "other", "x", c.in(MaxKeep))
			tidy := func() {
				if how == "when they are listed" {
					if err := kept.List(t.Context(), "", func(string, Record) bool { return true }); err != nil {
						t.Fatal(err)
					}
					return
				}
				for i := range 60 * tidyEvery {
					put(t, kept, "other", fmt.Sprint(i), c.in(MaxKeep))
				}
			}
			c.advance(keptGrace - time.Hour)
			tidy()
			c.advance(time.Hour - keptGrace)
			expect(t, kept, "7", "x")
			c.advance(keptGrace + 2*time.Minute)
			tidy()
			names, err := r.client.Keys(t.Context(), keptKeys+"*").Result()
			if err != nil || len(names) != 1 {
				t.Errorf("%d keys, %v", len(names), err)
			}
			if n, err := r.client.ZCard(t.Context(), keptIndex).Result(); err != nil || n != 1 {
				t.Errorf("%d names in the index, %v", n, err)
			}
		})
	}
}

// RedisRights are enough, and reach keys of dockerauth alone.
func TestTheUserOfTheServerNeedsFewRights(t *testing.T) {
	s := newRedisServer(t)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []any{"ACL", "SETUSER", "dockerauth", "on", ">secret"}
	for right := range strings.FieldsSeq(RedisRights) {
		args = append(args, right)
	}
	s.do(args...)
	s.do("SET", "other", "x")
	r := openRedis(t, strings.Replace(s.address(), "//", "//dockerauth@", 1)+"/1?password_file="+file)
	testRedis(t, r)
	r.Kept().(redisStore).tidy(t.Context())
	if err := r.client.Get(t.Context(), "other").Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("a key of another program: %v", err)
	}
}

// Every login of a service changes a record of the service.
func TestManyClientsChangeOneRecord(t *testing.T) {
	const clients, times = 40, 10
	s := newRedisServer(t)
	var all sync.WaitGroup
	for range clients {
		r := openRedis(t, s.address())
		all.Go(func() {
			for range times {
				err := update(r.Counters(), "k", increment(time.Now().Add(time.Hour)))
				for err != nil && strings.Contains(err.Error(), errSlow.Error()) { // on a busy machine
					time.Sleep(awayPause / 10)
					err = update(r.Counters(), "k", increment(time.Now().Add(time.Hour)))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	expect(t, openRedis(t, s.address()).Counters(), "k", fmt.Sprint(clients*times))
}
