// Package config turns config.yml into a Config: strict, with every default filled in and every bound checked. It knows YAML and key
// files; it knows no HTTP and no PAM.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"dockerauth/access"
	"dockerauth/jwtsign"
)

// Config is a configuration that can be worked with: whatever could be checked without asking anybody has been.
type Config struct {
	Path             string       // config.yml itself, absolute
	Key              *jwtsign.Key // never nil
	Issuer           string
	Audience         []string // the registries' service names; at least one, no two alike
	BlacklistedUsers []string
	AccessTokenTTL   time.Duration // whole seconds, as the next two
	RefreshTokenTTL  time.Duration // at least AccessTokenTTL
	TrustedProxies   Proxies       // of the HTTP door
	State            string        // folder, absolute; "" = none. DefaultState need not exist, any other must
	PAM              PAM
	Log              Log
	Access           *access.Policy // nil = there is no such section
	Files            []string       // config.yml, key and certificate, absolute: what to watch for changes

	source source
}

// source is where the keys stand.
type source struct {
	file  string         // config.yml as it was given to Load
	lines map[string]int // of each key that is there
}

// Wrong is an error about what a key names, such as "log.file", found where that is used: it has the place, as those of Load have. Of several keys
// it is the first that is there, or the first.
func (c *Config) Wrong(err error, hint string, keys ...string) error {
	key := keys[0]
	for _, k := range keys {
		if c.source.lines[k] > 0 {
			key = k
			break
		}
	}
	return Errors{{File: c.source.file, Line: c.source.lines[key], Key: key, Cause: err.Error(), Hint: hint}}
}

// PAM is how accounts are asked for.
type PAM struct {
	Service     string        // name of the service file
	Confdir     string        // folder of service files, absolute; "" is the system's
	Timeout     time.Duration // of one conversation
	Concurrency int           // conversations at once, at least 1
	Cache       time.Duration // for how long a login is good without asking again; 0 = not at all
}

// DefaultState is the folder that is used when it exists.
const DefaultState = "/var/lib/dockerauth"

// Log is where the log goes.
type Log struct {
	File   string // absolute; "" is stderr
	Format string // "text" or "json"
	Level  slog.Level
}

// maxFile bounds config.yml: room for tens of thousands of names. Lists of any length are read in linear time. Some texts that nobody
// writes are not (half a million times "<"): whoever may write config.yml can slow the program down, and may do worse.
const maxFile = 1 << 20

// Load reads path and the key files it names. The error is an Errors that lists everything found wrong.
func Load(path string) (*Config, error) {
	c, err := Survey(path)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Survey is Load for those who go on looking when something is wrong. With an error, the Config is nil unless only the key files are at
// fault: then it has all but the key.
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
		return nil, append(errs, Error{File: path, Line: s.lines["private_key"], Key: "private_key", Cause: err.Error()})
	}
	return nil, append(errs, Error{File: path, Line: s.lines[fe.Setting], Key: fe.Setting, Cause: quote(fe.Path) + ": " + fe.Err.Error(), Hint: fe.Hint})
}

func read(path string) ([]byte, error) {
	fail := func(cause, hint string) ([]byte, error) { return nil, Errors{{File: path, Cause: cause, Hint: hint}} }
	// A named pipe would otherwise hold the open, and so the start, until somebody writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fail("no such file", "copy config.yml.dist to it and write in what is yours")
	}
	if errors.Is(err, fs.ErrPermission) {
		return fail(fmt.Sprintf("permission denied for uid %d", os.Geteuid()), "let the user that this program runs as read it")
	}
	if err != nil {
		return fail(cause(err), "")
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(cause(err), "")
	}
	if !info.Mode().IsRegular() {
		return fail("is not a regular file", "name the file config.yml")
	}
	// Whoever writes it chooses the key, and with it who may do what.
	if mode := info.Mode().Perm(); mode&0o002 != 0 {
		return fail("every user may change it", "chmod o-w")
	}
	if info.Size() > maxFile {
		return fail(fmt.Sprintf("is larger than %d bytes", maxFile), "name the file config.yml")
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil { // it was cut short just now
		return fail(cause(err), "")
	}
	return data, nil
}

// cause drops the path from an error whose reader is told it already.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}
