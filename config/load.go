package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"dockerauth/jwtsign"
)

// Load reads the configuration at path and the key files it names. The error is an Errors with all
// faults.
func Load(path string) (*Config, error) {
	c, err := LoadTolerant(path)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// LoadTolerant is like Load, but if only the key files are at fault, it returns a Config without a
// key beside the error.
func LoadTolerant(path string) (*Config, error) {
	data, err := read(path)
	if err != nil {
		return nil, err
	}
	return load(path, data)
}

// LoadText is Load for a text that is to be at path.
func LoadText(path string, text []byte) (*Config, error) {
	c, err := load(path, text)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func load(path string, data []byte) (*Config, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, Errors{{File: path, Cause: err.Error()}}
	}
	s, errs := parse(path, filepath.Dir(absolute), data)
	parsed := len(errs) == 0
	if slices.ContainsFunc(errs, func(e Error) bool { return e.Code == CodeNotSetUp }) {
		return nil, errs
	}
	c := s.config
	c.Path = absolute
	c.source = source{file: path, lines: s.lines, version: fmt.Sprintf("%x", sha256.Sum256(data))}
	if len(c.PreviousKeyFiles) > 0 {
		c.source.next, c.source.retired = readKeysComment(data)
	}
	if c.PrivateKeyFile != "" {
		c.Key, errs = s.loadKey(path, errs)
	}
	c.PreviousKeys, errs = s.loadPreviousKeys(path, c.Key, errs)
	switch {
	case len(errs) == 0:
		return &c, nil
	case parsed:
		return &c, errs
	}
	return nil, errs.sorted()
}

// loadKey reports errors of a key file at the line that names it.
func (s *settings) loadKey(path string, errs Errors) (*jwtsign.Key, Errors) {
	key, err := jwtsign.LoadKey(s.config.PrivateKeyFile, s.config.CertificateFile, s.keyID)
	if err == nil {
		return key, errs
	}
	var fe *jwtsign.FileError
	if !errors.As(err, &fe) {
		return nil, append(errs, Error{Code: jwtsign.CodeUnknown, File: path, Line: s.lines["private_key"],
			Key: "private_key", Cause: err.Error()})
	}
	return nil, append(errs, keyError(path, s.lines[fe.Setting], fe, s.keyHint(fe)))
}

func keyError(path string, line int, fe *jwtsign.FileError, hint string) Error {
	return Error{Code: fe.Code, File: path, Line: line, Key: fe.Setting,
		Cause: quote(fe.Path) + ": " + fe.Err.Error(), Hint: hint}
}

// loadPreviousKeys refuses a key that is there twice: the one that signs must not be taken out with
// an old one. signing may be nil.
func (s *settings) loadPreviousKeys(path string, signing *jwtsign.Key, errs Errors) ([]*jwtsign.Key, Errors) {
	const setting = "previous_keys"
	var keys []*jwtsign.Key
	for i, file := range s.config.PreviousKeyFiles {
		line := s.previous[i]
		key, err := jwtsign.LoadPreviousKey(file)
		var fe *jwtsign.FileError
		switch {
		case errors.As(err, &fe):
			errs = append(errs, keyError(path, line, fe, fe.Hint))
			continue
		case signing != nil && key.Equal(signing):
			errs = append(errs, Error{Code: CodeValue, File: path, Line: line, Key: setting,
				Cause: quote(file) + " is the key of private_key", Hint: "take it out of previous_keys"})
		case slices.ContainsFunc(keys, key.Equal):
			errs = append(errs, Error{Code: CodeValue, File: path, Line: line, Key: setting,
				Cause: quote(file) + " is listed twice", Hint: "keep one of them"})
		}
		keys = append(keys, key)
	}
	return keys, errs
}
