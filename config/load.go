package config

import (
	"errors"
	"path/filepath"

	"dockerauth/jwtsign"
)

// Load reads path and the key files it names. The error is an Errors that lists everything found
// wrong.
func Load(path string) (*Config, error) {
	c, err := Survey(path)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Survey is Load for those who go on looking when something is wrong. With an error, the Config is
// nil unless only the key files are at fault: then it has all but the key.
func Survey(path string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, Errors{{File: path, Cause: err.Error()}}
	}
	s, errs := parse(path, filepath.Dir(absolute), data)
	legible := len(errs) == 0
	c := s.config
	c.Path = absolute
	c.Files = []string{absolute}
	c.source = source{path, s.lines}
	if s.privateKey != "" {
		c.Key, errs = s.loadKey(path, errs)
		c.Files = append(c.Files, s.privateKey)
	}
	if s.certificate != "" {
		c.Files = append(c.Files, s.certificate)
	}
	switch {
	case len(errs) == 0:
		return &c, nil
	case legible:
		return &c, errs
	}
	return nil, errs.sorted()
}

// loadKey reports what is wrong with a key file on the line that names it.
func (s *settings) loadKey(path string, errs Errors) (*jwtsign.Key, Errors) {
	key, err := jwtsign.LoadKey(s.privateKey, s.certificate, s.keyID)
	if err == nil {
		return key, errs
	}
	var fe *jwtsign.FileError
	if !errors.As(err, &fe) {
		return nil,
			append(errs, Error{File: path, Line: s.lines["private_key"], Key: "private_key", Cause: err.Error()})
	}
	return nil,
		append(errs,
			Error{File: path, Line: s.lines[fe.Setting], Key: fe.Setting, Cause: quote(fe.Path) + ": " + fe.Err.Error(),
				Hint: fe.Hint})
}
