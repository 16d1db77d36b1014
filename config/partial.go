package config

import "path/filepath"

// Partial is a configuration whose key files have not been read.
type Partial struct {
	Issuer      string
	Audience    []string
	PrivateKey  string // absolute
	Certificate string // absolute; "" = not named
	PAM         PAM
	lines       map[string]int
}

// Line is the line of a key, such as "pam.confdir"; 0 = not in the file.
func (p *Partial) Line(key string) int { return p.lines[key] }

// ParsePartial parses the text of the configuration at path. The error is an Errors.
func ParsePartial(path string, text []byte) (*Partial, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, Errors{{File: path, Cause: err.Error()}}
	}
	s, errs := parse(path, filepath.Dir(absolute), text)
	if len(errs) > 0 {
		return nil, errs
	}
	return &Partial{
		s.config.Issuer,
		s.config.Audience,
		s.config.PrivateKeyFile,
		s.config.CertificateFile,
		s.config.PAM,
		s.lines,
	}, nil
}
