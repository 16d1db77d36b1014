package jwtsign

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"
)

// maxHeader bounds the encoded header of a token. The token is sent in an HTTP header, for which
// Apache allows 8190 bytes and nginx 8 KiB. A longer chain leaves less for scopes.
const maxHeader = 5 << 10

// certificateCommand makes a suitable certificate: self-signed and no CA. Every certificate in the
// rootcertbundle of a registry is a root for x5c, so with a CA in it every certificate of that CA
// could sign tokens.
const certificateCommand = "openssl req -x509 -new -key {key} -subj /CN=dockerauth -days 3650 -addext " +
	"basicConstraints=critical,CA:FALSE -out {file}"

// CertificateCommand makes a suitable certificate for a key.
func CertificateCommand(key, certificate string) string {
	return strings.NewReplacer("{key}", ShellWord(key), "{file}", ShellWord(certificate)).Replace(certificateCommand)
}

// loadCertificate reads the certificate of the key, for the header of tokens.
//
// It accepts a certificate from a public CA. That the registry must not trust this CA is for the
// check command to say, which sees IsCA of Chain()[0] and a Chain() longer than one.
func (k *Key) loadCertificate(path string, now time.Time) error {
	data, err := readKeyFile(path, isRegular)
	if err != nil {
		return err
	}
	chain, err := parseCertificates(data)
	if err != nil {
		return err
	}
	if err := checkChain(chain, k.private.Public(), now); err != nil {
		return err
	}
	k.chain = withoutRoot(chain)
	return k.checkHeader()
}

func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	blocks, err := pemBlocks(data, "certificate")
	if err != nil {
		return nil, err
	}
	chain := make([]*x509.Certificate, len(blocks))
	for _, b := range blocks {
		if strings.HasSuffix(b.Type, "PRIVATE KEY") {
			return nil, keyAmongCertificates(blocks)
		}
	}
	for i, b := range blocks {
		if chain[i], err = parseCertificate(b); err != nil {
			return nil, err
		}
	}
	return chain, nil
}

// keyAmongCertificates keeps the key out of a file that every user may read.
func keyAmongCertificates(blocks []*pem.Block) error {
	hint := "name the file of the certificate, and keep the key where private_key says"
	if slices.ContainsFunc(blocks, func(b *pem.Block) bool { return b.Type == "CERTIFICATE" }) {
		hint = "sed -i -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' {file}"
	}
	return problemf(CodeWrongFile, hint, "holds a private key")
}

func parseCertificate(b *pem.Block) (*x509.Certificate, error) {
	if b.Type != "CERTIFICATE" {
		return nil, problemf(CodeWrongFile, certificateCommand, "holds %q, not a certificate", b.Type)
	}
	c, err := x509.ParseCertificate(b.Bytes)
	if err != nil {
		return nil, problemf(CodeDamaged, certificateCommand, "parse certificate: %w", err)
	}
	return c, nil
}

// checkChain refuses what a registry would refuse at every request without a visible cause.
func checkChain(chain []*x509.Certificate, public crypto.PublicKey, now time.Time) error {
	if !certifies(chain[0], public) {
		return wrongCertificate(chain, public)
	}
	for i, c := range chain {
		if err := checkValidity(c, now); err != nil {
			return err
		}
		if i > 0 && (!bytes.Equal(chain[i-1].RawIssuer, c.RawSubject) || chain[i-1].CheckSignatureFrom(c) != nil) {
			return problemf(CodeChain, "each certificate must be followed by the one that signed it (RFC 7515 §4.1.6)",
				"certificate %d did not sign certificate %d", i+1, i)
		}
	}
	return nil
}

func certifies(c *x509.Certificate, public crypto.PublicKey) bool {
	pub, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && pub.Equal(c.PublicKey)
}

func wrongCertificate(chain []*x509.Certificate, public crypto.PublicKey) error {
	for i, c := range chain[1:] {
		if certifies(c, public) {
			return problemf(CodeChain, "move it to the top of the file",
				"the certificate of private_key is number %d, it must be the first", i+2)
		}
	}
	return problemf(CodeMismatch, certificateCommand, "certificate is not for the key in private_key")
}

// checkValidity checks the dates when the certificate is loaded. Registries check them for every
// token (x509.Verify).
func checkValidity(c *x509.Certificate, now time.Time) error {
	const day = "2006-01-02 15:04:05 MST"
	if now.After(c.NotAfter) {
		return problemf(CodeExpired, certificateCommand,
			"certificate expired on %s", c.NotAfter.UTC().Format(day))
	}
	if now.Before(c.NotBefore) {
		return problemf(CodeNotYet, "timedatectl set-ntp true", "certificate is not valid before %s",
			c.NotBefore.UTC().Format(day))
	}
	return nil
}

// withoutRoot drops a root at the end of a chain. A registry that trusts it has it already.
func withoutRoot(chain []*x509.Certificate) []*x509.Certificate {
	last := chain[len(chain)-1]
	if len(chain) > 1 && bytes.Equal(last.RawIssuer, last.RawSubject) {
		return chain[:len(chain)-1]
	}
	return chain
}

func (k *Key) checkHeader() error {
	k.setHeader()
	if n := len(k.header); n > maxHeader {
		return problemf(CodeChain, "keep the first certificate only, and intermediates where the registry lacks them",
			"%s make a token header of %d bytes, the most is %d", plural(len(k.chain), "certificate"), n, maxHeader)
	}
	return nil
}
