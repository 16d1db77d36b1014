// Package config reads config.yml into a [Config]. It is strict: an unknown key, a wrong type or a
// value out of bounds is an error with file, line and key. All defaults are filled in, and the key
// files are loaded. The package knows no HTTP and no PAM.
package config

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"dockerauth/access"
	"dockerauth/jwtsign"
)

// Config is a valid configuration. Everything that needs no other program has been checked.
type Config struct {
	Path             string       // config.yml itself, absolute
	PrivateKeyFile   string       // absolute
	CertificateFile  string       // absolute; "" = none
	Key              *jwtsign.Key // never nil after Load
	PreviousKeyFiles []string     // absolute
	PreviousKeys     []*jwtsign.Key
	Issuer           string
	Audience         []string // the registries' service names; at least one, all different
	BlacklistedUsers []string
	AccessTokenTTL   time.Duration // whole seconds, like the next one
	RefreshTokenTTL  time.Duration // at least AccessTokenTTL
	TrustedProxies   Proxies       // of the HTTP front end
	State            string        // folder, absolute, or server; "" = none. Only DefaultState may be missing
	Passwords        access.Passwords
	PAM              PAM
	Log              Log
	Access           *access.Policy // nil = no such section

	source source
}

// Files are config.yml, the keys and the certificate, as far as they are named.
func (c *Config) Files() []string {
	return slices.DeleteFunc(append([]string{c.Path, c.PrivateKeyFile, c.CertificateFile}, c.PreviousKeyFiles...),
		func(path string) bool { return path == "" })
}

// source says where the keys are.
type source struct {
	file    string         // the path given to Load
	lines   map[string]int // of each key in the file
	version string
	next    bool      // the first of previous_keys is to sign next
	retired time.Time // since when previous_keys do not sign; zero = not known
}

// Version tells the text of config.yml from another. It is the same on every machine.
func (c *Config) Version() string { return c.source.version }

// ErrorAt adds the place of a key, such as "log.file", to an error found when its value is used. Of
// several keys it takes the first that is in the file, else the first.
func (c *Config) ErrorAt(err error, hint string, keys ...string) error {
	key := keys[0]
	for _, k := range keys {
		if c.source.lines[k] > 0 {
			key = k
			break
		}
	}
	return Errors{{File: c.source.file, Line: c.source.lines[key], Key: key, Cause: err.Error(), Hint: hint}}
}

// Line is the line of a key, such as "log.file"; 0 = not in the file.
func (c *Config) Line(key string) int { return c.source.lines[key] }

// PAM is the section of that name.
type PAM struct {
	Service     string        // name of the service file
	Confdir     string        // folder of service files, absolute; "" = that of the system
	Timeout     time.Duration // of one conversation
	Concurrency int           // conversations at once, at least 1
	Cache       time.Duration // how long a login is valid without asking again; 0 = none
}

// IsStateServer reports whether state is the address of a server, and no folder.
func IsStateServer(state string) bool {
	return strings.HasPrefix(state, "redis://") || strings.HasPrefix(state, "rediss://")
}

// DefaultState is the state folder that is used if it exists.
const DefaultState = "/var/lib/dockerauth"

// Log is the section of that name.
type Log struct {
	File   string // absolute; "" is stderr
	Format string // "text" or "json"
	Level  slog.Level
}
