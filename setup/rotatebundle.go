package setup

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"dockerauth/jwtsign"
)

// writeBundle writes the certificate that tokens carry, and that of the next key, if any.
func (r *rotation) writeBundle(next string) error {
	chain := r.cfg.Key.Chain()
	if len(chain) == 0 {
		return misuse{errors.New("--bundle: config.yml names no certificate that could be in it\n  leave out --bundle")}
	}
	certificates := chain[:1]
	note := "the certificate alone"
	if next != "" {
		key, err := jwtsign.LoadKey(next, r.certificateOf(next), jwtsign.KeyIDUnset)
		if err != nil {
			return err
		}
		certificates = append(certificates, key.Chain()[0])
		note = "both certificates"
	}
	var text []byte
	for _, c := range certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if r.Bundle == toStdout {
		r.bundle = text
		return nil
	}
	if r.Bundle == "" {
		r.Bundle = filepath.Join(filepath.Dir(r.cfg.CertificateFile), "bundle.pem")
	}
	path, err := filepath.Abs(r.Bundle)
	if err != nil {
		return err
	}
	r.Bundle = path
	verb, err := r.putBundle(text)
	if err != nil {
		return err
	}
	r.say(verb, path, note)
	return nil
}

// putBundle makes the bundle, or replaces one that has nothing but certificates of this
// configuration's keys in it.
func (r *rotation) putBundle(text []byte) (verb string, err error) {
	if err := checkDirOwnership(filepath.Dir(r.Bundle), false); err != nil {
		return "", err
	}
	there, err := plannedFileAt(r.Bundle)
	switch {
	case err != nil:
		return "", err
	case there.found == nil:
		return "made", r.files.create(r.Bundle, text, 0o644, -1, nil)
	case !there.found.Mode().IsRegular():
		return "", fmt.Errorf("write %s: it is not a regular file\n  name another file: --bundle FILE", r.Bundle)
	}
	old, err := jwtsign.ReadRegular(r.Bundle, 1<<20, func(fs.FileInfo) error { return nil })
	if err != nil {
		return "", fmt.Errorf("read %s: %w\n  name another file: --bundle FILE", r.Bundle, err)
	}
	if bytes.Equal(old, text) {
		return "kept", nil
	}
	if !r.isOwn(old) {
		return "", fmt.Errorf("write %s: it has something else in it than certificates of these keys, and is not "+
			"overwritten\n  name another file: --bundle FILE", r.Bundle)
	}
	return "written", r.files.swap(r.Bundle, there.found, text)
}

// isOwn reports a text that is nothing but certificates for keys of this configuration.
func (r *rotation) isOwn(text []byte) bool {
	keys := append([]*jwtsign.Key{r.cfg.Key}, r.cfg.PreviousKeys...)
	if r.next != "" {
		if next, err := jwtsign.LoadPreviousKey(r.next); err == nil {
			keys = append(keys, next)
		}
	}
	var all []byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !slices.ContainsFunc(keys, func(key *jwtsign.Key) bool {
			own, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
			return ok && own.Equal(certificate.PublicKey)
		}) {
			return false
		}
		all = append(all, pem.EncodeToMemory(block)...)
	}
	return bytes.Equal(bytes.TrimSpace(all), bytes.TrimSpace(text))
}
