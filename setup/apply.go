package setup

import (
	"errors"
	"io/fs"
	"path/filepath"

	"dockerauth/config"
)

// write makes what was planned, config.yml last: once that is there the service may start.
func (s *installer) write() error {
	if s.pam.content != nil {
		if err := s.files.folder(filepath.Dir(s.pam.path)); err != nil {
			return err
		}
	}
	for _, one := range []struct {
		plannedFile *plannedFile
		mode        fs.FileMode
		gid         int
	}{{&s.key, 0o640, s.gid}, {&s.certificate, 0o644, -1}, {&s.pam, 0o644, -1}} {
		if one.plannedFile.content == nil {
			continue
		}
		if one.plannedFile.found != nil {
			if err := s.files.swap(one.plannedFile.path, one.plannedFile.found, one.plannedFile.content); err != nil {
				return err
			}
			continue
		}
		if err := s.files.create(one.plannedFile.path, one.plannedFile.content, one.mode, one.gid, nil); err != nil {
			return err
		}
	}
	switch {
	case s.config.content == nil:
		return s.usable(s.config.path)
	case s.config.found == nil:
		return s.files.create(s.config.path, s.config.content, 0o644, -1, s.usable)
	}
	return s.files.replace(s.config.path, s.config.found, s.config.content, s.usable)
}

// usable says why the service would not start with a configuration. path is that of config.yml, or
// its temporary name.
func (s *installer) usable(path string) error {
	_, err := config.Load(path)
	var errs config.Errors
	if errors.As(err, &errs) {
		for i := range errs {
			errs[i].File = s.config.path
		}
	}
	return err
}
