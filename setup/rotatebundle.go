package setup

import (
	"bytes"
	"cmp"
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

// planBundle takes the certificate that tokens carry, and that of the next key, if any.
func (r *rotation) planBundle() error {
	certificates := r.cfg.Key.Chain()
	if len(certificates) == 0 {
		return misuse{errors.New("--bundle: config.yml names no certificate that could be in it\n  leave out --bundle")}
	}
	certificates = certificates[:1]
	note := "the certificate alone"
	if r.next != "" {
		key, err := jwtsign.LoadKey(r.next, r.certificateOf(r.next), jwtsign.KeyIDUnset)
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
		r.bundle.content = text
		return nil
	}
	path, err := filepath.Abs(cmp.Or(r.Bundle, filepath.Join(filepath.Dir(r.cfg.CertificateFile), "bundle.pem")))
	if err != nil {
		return err
	}
	verb, err := r.compareBundle(path, text)
	if err != nil {
		return err
	}
	r.say(verb, path, note)
	return nil
}

// compareBundle decides what becomes of the bundle. One that is there has nothing in it but
// certificates of this configuration's keys.
func (r *rotation) compareBundle(path string, text []byte) (verb string, err error) {
	if err := checkDirOwnership(filepath.Dir(path), false); err != nil {
		return "", err
	}
	if r.bundle, err = plannedFileAt(path); err != nil {
		return "", err
	}
	r.bundle.content = text
	if r.bundle.found == nil {
		return "made", nil
	}
	if !r.bundle.found.Mode().IsRegular() {
		return "", fmt.Errorf("write %s: it is not a regular file\n  name another file: --bundle FILE", path)
	}
	old, err := jwtsign.ReadRegular(path, 1<<20, func(fs.FileInfo) error { return nil })
	switch {
	case err != nil:
		return "", fmt.Errorf("read %s: %w\n  name another file: --bundle FILE", path, err)
	case bytes.Equal(old, text):
		r.bundle.content = nil
		return "kept", nil
	case !r.isOwn(old):
		return "", fmt.Errorf("write %s: it has something else in it than certificates of these keys, and is not "+
			"overwritten\n  name another file: --bundle FILE", path)
	}
	return "written", nil
}

// putBundle writes what was planned.
func (r *rotation) putBundle() error {
	switch b := r.bundle; {
	case b.path == "" || b.content == nil:
		return nil
	case b.found == nil:
		return r.files.create(b.path, b.content, 0o644, -1, nil)
	default:
		return r.files.swap(b.path, b.found, b.content)
	}
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
