package doctor

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dockerauth/config"
	"dockerauth/jwtsign"
)

// expirySoon is when a warning is due: time enough to bring a new certificate to every registry.
const expirySoon = 30 * 24 * time.Hour

// bundleWarning is why a registry's bundle must hold dockerauth's certificate and no other (tried
// on registry 2.8 and 3.1).
const bundleWarning = "a registry trusts every certificate in its bundle: who has one from that CA can sign tokens"

// examineKey looks at the signing key and its certificate. config has checked that they belong
// together, that the key is strong enough, and that others cannot read it.
func (c *checkup) examineKey() {
	key := c.config.Key
	c.ok("private_key", "%s, signs with %s, %s", kindOfKey(key), key.Algorithm(), readersOf(c.config.PrivateKeyFile))
	c.examineIDs(key)
	if chain := key.Chain(); len(chain) > 0 {
		c.examineCertificate(chain)
	} else {
		c.examineNamedKey(key)
	}
	c.examinePreviousKeys()
	if _, ok := key.Public().(ed25519.PublicKey); ok {
		c.ok("private_key", "Ed25519 is for registry 3.x only: its certificate stops a 2.8 registry from starting")
	}
}

// examinePreviousKeys warns of keys whose refresh tokens have all expired. config has checked the
// files.
func (c *checkup) examinePreviousKeys() {
	const subject = "previous_keys"
	for i, key := range c.config.PreviousKeys {
		c.ok(subject, "%s, verifies refresh tokens, %s", kindOfKey(key), readersOf(c.config.PreviousKeyFiles[i]))
	}
	end := c.config.PreviousEnd()
	if end.IsZero() && len(c.config.PreviousKeys) > 0 && c.config.NextKeyFile() == "" {
		c.ok(subject, "%s does not say since when these keys no longer sign, and nothing reminds you to retire "+
			"them: %s", c.config.Path, command("dockerauth", "key", "rotate", "--config", c.config.Path, "--retire"))
	}
	if !end.IsZero() && c.now().After(end) {
		c.warn(subject, "previous-key-expired",
			"no refresh token of the old key is good any more, since "+end.UTC().Format(time.DateOnly),
			"who steals the key can still sign some", command("dockerauth", "key", "rotate", "--config", c.config.Path,
				"--retire"))
	}
}

// isPreviousKey reports a key of previous_keys, such as the one that is to sign next.
func (c *checkup) isPreviousKey(public crypto.PublicKey) bool {
	return slices.ContainsFunc(c.config.PreviousKeys,
		func(key *jwtsign.Key) bool { return isSameKey(public, key.Public()) })
}

func kindOfKey(key *jwtsign.Key) string {
	switch pub := key.Public().(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA of %d bits", pub.N.BitLen())
	case *ecdsa.PublicKey:
		return pub.Params().Name
	default:
		return "Ed25519"
	}
}

// readersOf says who can read a key file.
func readersOf(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return path
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return path
	}
	readers := userName(int(owner.Uid))
	if info.Mode().Perm()&0o040 != 0 {
		readers += " and the group " + groupName(int(owner.Gid))
	}
	return fmt.Sprintf("%s can be read by %s", path, readers)
}

// examineIDs prints the names of the key in registries' logs and files.
func (c *checkup) examineIDs(key *jwtsign.Key) {
	if id, err := jwtsign.LibtrustID(key.Public()); err == nil {
		c.ok("key id", "libtrust %s", id)
	}
	if id, err := jwtsign.Thumbprint(key.Public()); err == nil {
		c.ok("key id", "thumbprint %s", id)
	}
	if chain := key.Chain(); len(chain) > 0 {
		c.ok("key id", "SHA-256 fingerprint of the certificate %s", fingerprint(chain[0]))
	}
}

// fingerprint has the form of openssl x509 -fingerprint -sha256.
func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum), " ", ":")
}

func (c *checkup) examineCertificate(chain []*x509.Certificate) {
	cert := chain[0]
	const day = "2006-01-02"
	left := cert.NotAfter.Sub(c.now())
	switch {
	case left < expirySoon:
		c.warn("certificate", "certificate-expires",
			fmt.Sprintf("expires on %s, in %d days", cert.NotAfter.UTC().Format(day), int(left.Hours()/24)),
			"from then on registries refuse every token; each of them needs a copy of the new certificate",
			c.config.RenewCommand())
	default:
		c.ok("certificate", "fits the key, good until %s", cert.NotAfter.UTC().Format(day))
	}
	switch cert.SignatureAlgorithm {
	case x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1, x509.MD5WithRSA, x509.MD2WithRSA:
		c.warn("certificate", "weak-signature", "is signed with "+cert.SignatureAlgorithm.String(),
			"others can be made with the same signature, and newer registries refuse it",
			c.config.RenewCommand())
	}
	switch {
	case isAuthority(cert):
		c.warn("certificate", "ca-certificate", "is one of a CA", bundleWarning, c.config.RenewCommand())
	case len(chain) > 1 || !bytes.Equal(cert.RawIssuer, cert.RawSubject):
		c.warn("certificate", "signed-by-ca", fmt.Sprintf("was signed by another, %q", cert.Issuer.String()),
			"with that CA in a registry's bundle, anyone who has a certificate from it can sign tokens",
			c.config.RenewCommand())
	}
}

// isAuthority reports a certificate that may sign others. x509.CheckSignatureFrom asks for
// basicConstraints only from version 3 on.
func isAuthority(cert *x509.Certificate) bool {
	return cert.IsCA || cert.Version < 3
}

// examineNamedKey says which registries find a key by its kid, as docs/registry.md does.
func (c *checkup) examineNamedKey(key *jwtsign.Key) {
	libtrust, _ := jwtsign.LibtrustID(key.Public()) // it was loaded: the key has an encoding
	_, ec := key.Public().(*ecdsa.PublicKey)
	_, ed := key.Public().(ed25519.PublicKey)
	takers := "registry 2.8"
	switch {
	case key.KeyID() == libtrust && ed:
		takers = "no registry by its bundle"
	case key.KeyID() == libtrust:
	case ec, ed:
		takers = "registry 3.1"
	default:
		takers = "registry 3.0 and 3.1"
	}
	c.ok("certificate",
		"there is none: tokens bear a key id, by which %s finds the key, and 3.x where a JWKS lists it; with a "+
			"certificate every registry would", takers)
	if pub, ok := key.Public().(*ecdsa.PublicKey); ok && key.KeyID() == libtrust && leadingZero(pub) {
		c.warn("private_key", "short-coordinate", "a coordinate of the public key begins with a zero byte",
			"registry 3.1 computes another thumbprint for it than RFC 7638 does, and finds it by a certificate only",
			c.makeCertificate())
	}
}

// makeCertificate is a command for a configuration that names no certificate.
func (c *checkup) makeCertificate() string {
	made := config.InitCommand(c.config.Path)
	if dir := filepath.Dir(c.config.Path); made == "" || filepath.Dir(c.config.PrivateKeyFile) != dir {
		made = jwtsign.CertificateCommand(c.config.PrivateKeyFile, filepath.Join(dir, "cert.pem"))
	}
	return config.SetAnd(c.config.Path, "certificate", "cert.pem", made)
}

func leadingZero(pub *ecdsa.PublicKey) bool {
	point, err := pub.Bytes() // 4, X, Y
	return err == nil && (point[1] == 0 || point[1+len(point)/2] == 0)
}
