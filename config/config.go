// Package config turns config.yml into a Config: strict, with every default filled in and every
// bound checked. It knows YAML and key files; it knows no HTTP and no PAM.
package config

import (
	"log/slog"
	"time"

	"dockerauth/access"
	"dockerauth/jwtsign"
)

// Config is a configuration that can be worked with: whatever could be checked without asking
// anybody has been.
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

// Wrong is an error about what a key names, such as "log.file", found where that is used: it has
// the place, as those of Load have. Of several keys it is the first that is there, or the first.
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
