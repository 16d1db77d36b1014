package service

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// age makes every file of the stage one that was written long ago.
func (s *adminFixture) age(t *testing.T) {
	t.Helper()
	before := time.Now().Add(-time.Hour)
	err := filepath.WalkDir(s.dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chtimes(path, before, before)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantDue looks at the files once for each answer.
func (s *adminFixture) wantDue(t *testing.T, when string, want ...bool) {
	t.Helper()
	for i, due := range want {
		if got := s.shouldReload(); got != due {
			t.Errorf("%s: at look %d a load is due: %v", when, i+1, got)
		}
	}
}

// The first half of a configuration may be one that lets everybody in.
func TestAFileThatStillChangesIsNotLoaded(t *testing.T) {
	s := newAdminFixture(t)
	s.age(t)
	s.mustReload(t)
	s.wantDue(t, "nothing has changed", false, false, false)
	s.write(t, "config.yml", fixtureConfig)
	s.wantDue(t, "the first half is written", false)
	s.write(t, "config.yml", fixtureConfig+"access: []\n")
	s.wantDue(t, "the other half is written", false, true)
	s.age(t)
	s.mustReload(t)
	s.wantDue(t, "it is loaded", false, false)
}

func TestAFileThatIsWrittenDuringALoadIsLoadedOnceMore(t *testing.T) {
	s := newAdminFixture(t)
	s.age(t)
	good := s.load
	s.load = func() (*service, error) {
		loaded, err := good()
		s.write(t, "config.yml", fixtureConfig+"access: []\n")
		return loaded, err
	}
	s.mustReload(t)
	s.load = good
	s.wantDue(t, "it was written while it was read", false, true)
	s.age(t)
	s.mustReload(t)
	s.wantDue(t, "it was read once more", false, false)
}
