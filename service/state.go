package service

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/store"
)

// memoryForRecords bounds the records of logins that a process keeps, in bytes: a third of
// serverMemory. When live data fills that limit, the collector runs all the time.
const memoryForRecords = serverMemory / 3

// state is what a process remembers: in memory, in a folder, or both. It outlives a changed
// configuration, with what is known of the folder's faults.
type state struct {
	live   *slog.Logger    // the log of the moment
	memory *store.Memory   // nil in a CGI program, which lives for one request
	folder *store.Folder   // nil = none
	both   *store.Fallback // of folder and memory
	path   string          // of folder
}

// newState is that of a process that stays.
func newState(live *slog.Logger) *state {
	return &state{live: live, memory: store.NewMemory(memoryForRecords)}
}

// counters is the store for failed logins: the folder if there is one, and the memory while it
// fails. In a CGI program without a folder nothing is counted, and the store is nil.
func (s *state) counters(cfg *config.Config, log *slog.Logger) (store.Store, error) {
	err := s.open(cfg, log)
	switch {
	case err != nil || s.folder == nil && s.memory == nil:
		return nil, err
	case s.folder == nil:
		return s.memory, nil
	case s.memory == nil:
		return s.folder.Counters(), nil
	}
	return s.both, nil
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
				s.live.Error("state is damaged, what was counted in it is lost", "reason", err.Error())
			}
		case cfg.State != config.DefaultState:
			cause, hint := cli.SplitHint(err)
			if hint == "" {
				hint = fmt.Sprintf("install -d -o %d -g %d -m 0700 %s", os.Geteuid(), os.Getegid(), cfg.State)
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
	if folder != nil && s.memory != nil {
		s.both = store.NewFallback(folder.Counters(), s.memory)
		s.both.Report = s.report
	}
	return nil
}

// close closes the folder. A request that still uses it opens it again.
func (s *state) close() {
	if s.folder != nil {
		_ = s.folder.Close() // of what was written, nothing waits for it
	}
}

func (s *state) report(err error) {
	if err == nil {
		s.live.Info("state folder is usable again")
		return
	}
	s.live.Error("state folder is not usable, refused passwords are counted in memory", "reason", err.Error())
}

// CheckState says why a folder cannot hold state.
func CheckState(path string) error {
	_, err := store.OpenFolder(path)
	return err
}
