package service

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/store"
)

// memoryForRecords bounds the records of logins that a process keeps, in bytes: a third of
// serverMemory. When live data fills that limit, the collector runs all the time.
const memoryForRecords = serverMemory / 3

// state is what a process remembers: in memory, in a folder, or both. It outlives a changed
// configuration.
type state struct {
	memory *store.Memory // nil in a CGI program, which lives for one request
	folder *store.Folder // nil = none
	path   string        // of folder
	log    atomic.Pointer[slog.Logger]
}

// newState is that of a process that stays.
func newState() *state { return &state{memory: store.NewMemory(memoryForRecords)} }

// counters is the store for failed logins: the folder if there is one, and the memory while it
// fails. In a CGI program without a folder nothing is counted, and the store is nil.
func (s *state) counters(cfg *config.Config, log *slog.Logger) (store.Store, error) {
	s.log.Store(log)
	err := s.open(cfg, log)
	switch {
	case s.folder == nil && s.memory == nil:
		return nil, err
	case s.folder == nil:
		return s.memory, err
	case s.memory == nil:
		return s.folder.Counters(), err
	}
	both := store.NewFallback(s.folder.Counters(), s.memory)
	both.Report = s.report
	return both, err
}

// open opens the folder that the configuration names; one that is open stays so. A default folder
// that is not usable may not be meant for this program's user: that is logged. One that the
// configuration names is meant, so its fault is an error.
func (s *state) open(cfg *config.Config, log *slog.Logger) error {
	var folder *store.Folder
	if cfg.State != "" {
		opened, err := store.OpenFolder(cfg.State)
		switch {
		case err == nil:
			folder = opened
			folder.Report = func(err error) {
				s.log.Load().Error("state is damaged, what was counted in it is lost", "reason", err.Error())
			}
		case cfg.State != config.DefaultState:
			cause, hint := cli.SplitHint(err)
			if hint == "" {
				hint = fmt.Sprintf("it is made by: install -d -o USER -m 700 %s, USER being the user of this program",
					cfg.State)
			}
			return cfg.ErrorAt(errors.New(cause), hint, "state")
		case !errors.Is(err, fs.ErrNotExist):
			log.Warn("state folder is not used", "reason", err.Error())
		}
	}
	if folder != nil && s.folder != nil && s.path == cfg.State {
		return nil
	}
	s.close()
	s.folder, s.path = folder, cfg.State
	return nil
}

// close closes the folder. A request that still uses it opens it again.
func (s *state) close() {
	if s.folder != nil {
		_ = s.folder.Close() // of what was written, nothing waits for it
	}
}

func (s *state) report(err error) {
	log := s.log.Load()
	if err == nil {
		log.Info("state folder is usable again")
		return
	}
	log.Error("state folder is not usable, refused passwords are counted in memory", "reason", err.Error())
}

// CheckState says why a folder cannot hold state.
func CheckState(path string) error {
	_, err := store.OpenFolder(path)
	return err
}
