package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/credentials"
	"dockerauth/jwtsign"
	"dockerauth/store"
)

// memoryForRecords bounds the records of logins that a process keeps, in bytes: a third of
// serverMemory. When live data fills that limit, the collector runs all the time.
const memoryForRecords = serverMemory / 3

// state is what a process remembers: in memory, in a folder or at a server, or both. It outlives a
// changed configuration, with what is known of the faults of folder or server.
type state struct {
	live   *slog.Logger    // the log of the moment
	memory *store.Memory   // nil in a CGI program, which lives for one request
	shared sharedStores    // nil = none
	both   *store.Fallback // of shared and memory
	path   string          // or address, of shared
	kept   *keptRecords    // of shared
	failed atomic.Bool     // in a CGI program: shared has failed
	later  afterwards
}

// sharedStores are a folder or a server.
type sharedStores interface {
	Counters() store.Store
	Kept() store.Store
	CheckKept(ctx context.Context) error
	Close() error
}

// newState is that of a process that stays.
func newState(live *slog.Logger) *state {
	report := func(err error) { live.Error("task has failed", "reason", err.Error()) }
	return &state{live: live, memory: store.NewMemory(memoryForRecords),
		later: afterwards{background: true, report: report}}
}

// counters is the store for failed logins: the shared one if there is one, and the memory while it
// fails. In a CGI program without a shared one nothing is counted, and the store is nil.
func (s *state) counters() store.Store {
	switch {
	case s.shared == nil && s.memory == nil:
		return nil
	case s.shared == nil:
		return s.memory
	case s.memory == nil:
		return s.shared.Counters()
	}
	return s.both
}

// keptRecords are the credentials in a folder or a server. A nil pointer is none.
type keptRecords struct {
	credentials.Records
	isAway    func() bool            // the store failed just now: a login should not wait for it again
	last      atomic.Pointer[string] // id, as it was read last
	idTimeout time.Duration          // of a login
	watch     *watchedStore          // of Records
}

// A login waits a second at most for a server, counters included. A slow disk is waited for longer:
// a refresh token without the id of the store is refused later.
const (
	idTimeoutOfServer = 400 * time.Millisecond
	idTimeoutOfFolder = time.Second
	idTimeoutAtStart  = 10 * time.Second
)

// prepare makes the id of a new store, so that the first login need not.
func (k *keptRecords) prepare() error {
	ctx, cancel := context.WithTimeout(context.Background(), idTimeoutAtStart)
	defer cancel()
	id, err := k.ID(ctx)
	if err == nil {
		k.last.Store(&id)
	}
	return err
}

// storeID is the id of the store, or the last one that is known while the store is away. The error
// is that of a store that has just turned out to be.
func (k *keptRecords) storeID(ctx context.Context) (id string, err error) {
	if k == nil {
		return "", nil
	}
	if !k.isAway() {
		ctx, cancel := context.WithTimeout(ctx, k.idTimeout)
		defer cancel()
		if id, err = k.ID(ctx); err == nil {
			k.last.Store(&id)
			return id, nil
		}
	}
	if last := k.last.Load(); last != nil {
		return *last, err
	}
	return "", err
}

// open opens what the configuration names; what is open stays so. A default folder that is not
// usable may not be meant for this program's user: that is logged. What the configuration names is
// meant, so its fault is an error. A server is not asked yet.
func (s *state) open(cfg *config.Config, log *slog.Logger) error {
	var shared sharedStores
	if cfg.State != "" {
		opened, err := s.openShared(cfg.State)
		switch {
		case err == nil:
			shared = opened
		case cfg.State != config.DefaultState:
			cause, hint := cli.SplitHint(err)
			if hint == "" {
				hint = stateHint(cfg.State)
			}
			return cfg.ErrorAt(errors.New(cause), hint, "state")
		case !errors.Is(err, fs.ErrNotExist):
			log.Warn("state folder is not used", "reason", err.Error())
		}
	}
	if shared != nil && s.shared != nil && s.path == cfg.State && hasSameFiles(shared, s.shared) {
		return shared.Close() // unused
	}
	s.retire()
	s.shared, s.path, s.both, s.kept = shared, cfg.State, nil, nil
	if shared == nil {
		return nil
	}
	isAway := s.failed.Load
	if s.memory != nil {
		s.both = store.NewFallback(shared.Counters(), s.memory)
		s.both.Report, isAway = s.report, s.both.IsAway
	}
	watch := &watchedStore{Store: shared.Kept()}
	s.kept = &keptRecords{
		Records: credentials.Records{Kept: watch, Counters: s.counters()}, isAway: isAway,
		idTimeout: idTimeoutOfFolder, watch: watch,
	}
	if config.IsStateServer(s.path) {
		s.kept.idTimeout = idTimeoutOfServer
	}
	if s.later.background {
		kept := s.kept
		s.later.add(func() {
			if err := kept.prepare(); err != nil {
				s.live.Error("tokens cannot be checked", "reason", err.Error())
			}
		})
	}
	return nil
}

func (s *state) openShared(state string) (sharedStores, error) {
	if config.IsStateServer(state) {
		server, err := store.OpenRedis(state)
		if err != nil {
			return nil, err
		}
		return server, nil
	}
	folder, err := store.OpenFolder(state)
	if err != nil {
		return nil, err
	}
	folder.Report = func(err error) {
		s.live.Error("state is damaged, what was counted in it is lost", "reason", err.Error())
	}
	return folder, nil
}

func stateHint(state string) string {
	if config.IsStateServer(state) {
		return "write redis://HOST:PORT?password_file=PATH, or rediss:// with ca=PATH for TLS"
	}
	if meansServer(state) {
		return "write redis://HOST:PORT"
	}
	return fmt.Sprintf("install -d -o %d -g %d -m 0700 %s", os.Geteuid(), os.Getegid(), jwtsign.ShellWord(state))
}

// meansServer reports a path that was meant as the address of a server: redis:/HOST or HOST:PORT.
func meansServer(path string) bool {
	hasPort, _ := regexp.MatchString(`/[^/]+:[0-9]+$`, path)
	return strings.Contains(path, "/redis:/") || strings.Contains(path, "/rediss:/") || hasPort
}

// hasSameFiles reports whether two clients of a server have the same password and certificates.
func hasSameFiles(a, b sharedStores) bool {
	server, is := a.(*store.Redis)
	old, was := b.(*store.Redis)
	return !is || !was || server.HasFilesOf(old)
}

// drainTime is longer than any request takes.
const drainTime = 5 * time.Minute

// retire closes what was shared. Requests that have begun go on with a server.
func (s *state) retire() {
	server, ok := s.shared.(*store.Redis)
	if !ok {
		s.close()
		return
	}
	time.AfterFunc(drainTime, func() { _ = server.Close() }) // idle connections
}

// close closes what is shared. A request that still uses a folder opens it again.
func (s *state) close() {
	if s.shared != nil {
		_ = s.shared.Close() // of what was written, nothing waits for it
	}
}

func (s *state) report(err error) {
	if err == nil {
		s.live.Info(s.what() + " is usable again")
		return
	}
	s.live.Error(s.what()+" is not usable, refused passwords are counted in memory", "reason", err.Error())
}

func (s *state) what() string {
	if config.IsStateServer(s.path) {
		return "state server"
	}
	return "state folder"
}

// CheckState says why a folder cannot hold state, or why a server does not answer.
func CheckState(name string) error {
	shared, err := new(state).openShared(name)
	if err != nil || !config.IsStateServer(name) {
		return err
	}
	defer shared.Close()
	_, err = shared.Counters().Get(context.Background(), "check")
	return err
}

// OpenCredentials opens the credentials that a configuration has a folder or a server for, for a
// command. A folder belongs to this process's user, or it is an error. close is to be called.
func OpenCredentials(cfg *config.Config) (records *credentials.Records, close func() error, err error) {
	s := &state{live: slog.New(slog.DiscardHandler)}
	if err := s.open(cfg, s.live); err != nil {
		return nil, nil, err
	}
	if s.shared == nil {
		hint := "make the folder " + config.DefaultState + ", with mode 0700, for the user that dockerauth runs as; " +
			"or name a server, such as state: redis://HOST:PORT"
		if cfg.State == "" {
			hint = "change the line to: state: " + config.DefaultState + ", or to a server: state: redis://HOST:PORT"
		}
		return nil, nil, cfg.ErrorAt(errors.New("there is nowhere to keep tokens"), hint, "state")
	}
	return &s.kept.Records, s.shared.Close, nil
}

// CheckKept says why a folder or server cannot keep tokens and revocations, or has damaged ones.
func CheckKept(name string) error {
	shared, err := new(state).openShared(name)
	if err != nil {
		return err
	}
	defer shared.Close()
	return shared.CheckKept(context.Background())
}

// CheckDurable says what a server loses that is killed; "" = nothing. The error is that of a server
// that cannot be asked.
func CheckDurable(address string) (loses string, err error) {
	server, err := store.OpenRedis(address)
	if err != nil {
		return "", err
	}
	defer server.Close()
	return server.CheckDurable(context.Background())
}

// StateInClear is a host of a server's address to which tokens travel without TLS; "" = none.
func StateInClear(address string) string { return store.RedisInClear(address) }

// StateCLI returns the words of a command for redis-cli at a server, and the path of its password's
// file.
func StateCLI(address string) (words []string, passwordFile string) { return store.RedisCLI(address) }

// StateFiles returns the files that the address of a server names.
func StateFiles(address string) []string { return store.RedisFiles(address) }
