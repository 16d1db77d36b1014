package config

import "path/filepath"

// Draft is what a configuration says, before any file that it names is looked at.
type Draft struct {
	Issuer      string
	Audience    []string
	PrivateKey  string // absolute
	Certificate string // absolute; "" = not named
	PAM         PAM
	lines       map[string]int
}

// Line is where a key stands, such as "pam.confdir"; 0 = it does not.
func (d *Draft) Line(key string) int { return d.lines[key] }

// ParseDraft reads the text of the configuration at path. The error is an Errors, as that of Load.
func ParseDraft(path string, text []byte) (*Draft, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, Errors{{File: path, Cause: err.Error()}}
	}
	s, errs := parse(path, filepath.Dir(absolute), text)
	if len(errs) > 0 {
		return nil, errs
	}
	return &Draft{s.config.Issuer, s.config.Audience, s.privateKey, s.certificate, s.config.PAM, s.lines}, nil
}
