// The standard library refuses to make short keys. The tests read one.
//go:debug rsa1024min=0

package jwtsign

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestLoadKeyReads(t *testing.T) {
	p256, p384, p521 := newEC(elliptic.P256(), false), newEC(elliptic.P384(), false), newEC(elliptic.P521(), false)
	sec1 := pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(p256)))
	parameters := pemOf("EC PARAMETERS", must(asn1.Marshal(asn1.ObjectIdentifier{1, 2, 840, 10045, 3, 1, 7})))
	for _, c := range []struct {
		name string
		file []byte
		alg  string
	}{
		{"RSA as PKCS#1", pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsa2048())), "RS256"},
		{"RSA as PKCS#8", pkcs8(rsa2048()), "RS256"},
		{"P-256 as SEC 1", sec1, "ES256"},
		{"P-256 behind its parameters, as openssl ecparam -genkey writes it", join(parameters, sec1), "ES256"},
		{"P-256 as PKCS#8", pkcs8(p256), "ES256"},
		{"P-384", pkcs8(p384), "ES384"},
		{"P-521", pkcs8(p521), "ES512"},
		{"Ed25519", pkcs8(newEd25519()), "EdDSA"},
		{"a key below openssl's attributes", join([]byte("Bag Attributes\n    friendlyName: x\n"), pkcs8(p256)),
			"ES256"},
		{"a key with Windows line ends", []byte(strings.ReplaceAll(string(pkcs8(p256)), "\n", "\r\n")), "ES256"},
		{"a key with empty lines below", join(pkcs8(p256), []byte("\n \n")), "ES256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := LoadKey(write(t, c.file, 0o600), "", "")
			if err != nil {
				t.Fatal(err)
			}
			if k.Algorithm() != c.alg || k.KeyID() == "" || k.Chain() != nil {
				t.Errorf("algorithm %q, kid %q, chain %v; want %q, some kid, no chain", k.Algorithm(), k.KeyID(),
					k.Chain(), c.alg)
			}
		})
	}
}

func TestLoadKeyRefuses(t *testing.T) {
	p256 := newEC(elliptic.P256(), false)
	good := pkcs8(p256)
	pub := must(x509.MarshalPKIXPublicKey(p256.Public()))
	request := must(x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}}, p256))
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"an empty file", []byte(" \n"), "file is empty"},
		{"a file that is no PEM", []byte("hello"), "is not PEM"},
		{"a key as bare DER", must(x509.MarshalPKCS8PrivateKey(p256)),
			"is a key in DER, not PEM\n  openssl pkey -inform DER"},
		{"a certificate as DER", certify("x", p256, nil, nil).cert.Raw,
			"is a certificate in DER, not PEM\n  openssl x509 "},
		{"a byte order mark", join([]byte("\ufeff"), good), "begins with a byte order mark\n  LC_ALL=C sed -i "},
		{"UTF-16", utf16LE(good), "is UTF-16 text\n  (umask 077 && iconv -f UTF-16 "},
		{"explicit parameters", pemOf("EC PRIVATE KEY", explicitEC()),
			"in place of the curve's name\n  openssl ec -in /"},
		{"a key cut off", good[:len(good)-40], "is damaged: PEM begins 1 time, 0 can be read"},
		{"a damaged key before a good one", join(good[:60], []byte("\n"), good),
			"is damaged: PEM begins 2 times, 1 can be read"},
		{"an RSA key of 1024 bits", pkcs8(rsaOf(1024)),
			"RSA key has 1024 bits, the least is 2048\n  openssl genpkey"},
		{"a P-224 key", pkcs8(must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))),
			"curve P-224 has no JWS algorithm, use P-256, P-384 or P-521"},
		{"a secp256k1 key", pemOf("EC PRIVATE KEY", secp256k1()), "curve has no JWS algorithm"},
		{"an X25519 key, which agrees on secrets but signs nothing",
			pkcs8(must(ecdh.X25519().GenerateKey(rand.Reader))), "cannot sign tokens (*ecdh.PrivateKey)"},
		{"a DSA key", pemOf("DSA PRIVATE KEY", []byte("x")), `holds "DSA PRIVATE KEY", not a private key`},
		{"an Ed448 key", pemOf("PRIVATE KEY", ed448()), "key is not RSA, EC or Ed25519\n  openssl genpkey"},
		{"an encrypted PKCS#8 key", pemOf("ENCRYPTED PRIVATE KEY", []byte("x")),
			"key is encrypted\n  openssl pkey -in "},
		{"an encrypted PKCS#1 key", encryptedPKCS1(), "key is encrypted\n"},
		{"a key in OpenSSH's own format", pemOf("OPENSSH PRIVATE KEY", []byte("openssh-key-v1")),
			"is in the OpenSSH format\n  install -m 600 /"},
		{"a public key", pemOf("PUBLIC KEY", pub), "holds a public key, not a private key\n  name the file"},
		{"a certificate", certify("x", p256, nil, nil).pem, "holds a certificate, not a private key"},
		{"two certificates", join(certify("x", p256, nil, nil).pem, certify("x", p256, nil, nil).pem),
			"holds a certificate, not a private key"},
		{"a certificate request", pemOf("CERTIFICATE REQUEST", request),
			"holds a certificate request, not a private key"},
		{"something else in PEM", pemOf("PGP MESSAGE", []byte("x")), `holds "PGP MESSAGE", not a private key`},
		{"two keys", join(good, good), "holds 2 private keys\n  keep the one that signs"},
		{"a key with its certificate", join(good, certify("x", p256, nil, nil).pem), "holds more than a private key\n"},
		{"a key with text below", join(good, []byte("see above\n")), "has text after its last PEM block\n"},
		{"EC parameters alone", pemOf("EC PARAMETERS", []byte{6, 1, 1}), "holds EC parameters only"},
		{"garbage called a key", pemOf("PRIVATE KEY", []byte("garbage")), "parse PRIVATE KEY: "},
		{"a PKCS#8 key called PKCS#1", pemOf("RSA PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsa2048()))),
			"parse RSA PRIVATE KEY: "},
		{"a file of 65 KiB", make([]byte, maxKeyFile+1), "file is larger than 65536 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, c.file, 0o600)
			k, err := LoadKey(path, "", "")
			wantFileError(t, err, "private_key", path, c.want)
			if k != nil {
				t.Error("a key came with the error")
			}
		})
	}
}

// wantFileError also checks that no error repeats content of the file.
func wantFileError(t *testing.T, err error, setting, path, want string) {
	t.Helper()
	var fe *FileError
	if !errors.As(err, &fe) {
		t.Fatalf("got %v (%T), want a *FileError", err, err)
	}
	if fe.Setting != setting || fe.Path != path {
		t.Errorf("error is about %s of %s, want %s of %s", fe.Setting, fe.Path, setting, path)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("got  %v\nwant … %s …", err, want)
	}
	if strings.Count(err.Error(), "\n") > 1 {
		t.Errorf("cause and hint take more than two lines: %v", err)
	}
	info, statErr := os.Stat(path)
	if statErr != nil || !info.Mode().IsRegular() {
		return // a pipe would block the test
	}
	data, _ := os.ReadFile(path)
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "-----") &&
			strings.Contains(err.Error(), line) {
			t.Errorf("error repeats a line of the file: %v", err)
		}
	}
}

func TestKeyFilesAreGuarded(t *testing.T) {
	key := pkcs8(newEC(elliptic.P256(), false))
	for _, c := range []struct {
		name string
		mode os.FileMode
		want string // "" = taken
	}{
		{"its owner alone", 0o600, ""},
		{"read-only", 0o400, ""},
		{"its group may read it", 0o640, ""},
		{"everyone may read it", 0o644, "mode 0644 gives every user access to the key\n  chmod o=,g-w /"},
		{"everyone may write it", 0o602, "mode 0602 gives every user access to the key"},
		{"its group may write it", 0o660, "mode 0660 lets the group change the key\n  chmod g-w /"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, key, c.mode)
			link := filepath.Join(t.TempDir(), "link.pem")
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			for _, p := range []string{path, link} {
				if os.Geteuid() != 0 && c.mode&0o400 == 0 {
					t.Skip("cannot read it")
				}
				_, err := LoadKey(p, "", "")
				if c.want == "" && err != nil {
					t.Errorf("refused: %v", err)
				}
				if c.want != "" {
					wantFileError(t, err, "private_key", p, c.want)
				}
			}
		})
	}
}

func TestKeyFilesMustBeFiles(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := LoadKey(pipe, "", "")
	wantFileError(t, err, "private_key", pipe, "is not a regular file")
	_, err = LoadKey(dir, "", "")
	wantFileError(t, err, "private_key", dir, "is a directory")
	missing := filepath.Join(dir, "missing")
	_, err = LoadKey(missing, "", "")
	wantFileError(t, err, "private_key", missing,
		"no such file or directory\n  name a file that exists; a new key is made by: openssl genpkey")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("not fs.ErrNotExist")
	}
}

func TestKeyFileThatTheUserMayNotRead(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Log("root reads everything: looking at the words only")
		err := openProblem(&fs.PathError{Op: "open", Path: "/secret", Err: syscall.EACCES})
		wantFileError(t, fileError("private_key", "k", "k", err), "private_key", "k",
			"permission denied for uid 0\n  dockerauth check")
		return
	}
	path := write(t, nil, 0o000)
	_, err := LoadKey(path, "", "")
	wantFileError(t, err, "private_key", path, "permission denied for uid")
}

func TestCertificates(t *testing.T) {
	key := newEC(elliptic.P256(), false)
	other := newEC(elliptic.P256(), false)
	self := certify("self", key, nil, nil)
	root := certify("root", newEC(elliptic.P256(), false), nil, isCA)
	middle := certify("middle", newEC(elliptic.P256(), false), root, isCA)
	leaf := certify("leaf", key, middle, nil)
	imposter := certify("middle", newEC(elliptic.P256(), false), root, isCA) // same name, other key
	big := certify("self", key, nil, func(c *x509.Certificate) { c.DNSNames = []string{strings.Repeat("x", 4000)} })
	for _, c := range []struct {
		name  string
		file  []byte
		want  string // of the error; "" = taken
		chain []*authority
	}{
		{"the key's own", self.pem, "", []*authority{self}},
		{"one that is a CA: check warns of it, a registry takes it", certify("ca", key, nil, isCA).pem, "", nil},
		{"a leaf and what signed it", join(leaf.pem, middle.pem), "", []*authority{leaf, middle}},
		{"a chain with its root, which does not travel", join(leaf.pem, middle.pem, root.pem), "",
			[]*authority{leaf, middle}},
		{"another key's", certify("other", other, nil, nil).pem,
			"certificate is not for the key in private_key\n  openssl req -x509", nil},
		{"the leaf not first", join(middle.pem, leaf.pem),
			"the certificate of private_key is number 2, it must be the first\n", nil},
		{"a chain with a gap", join(leaf.pem, root.pem), "certificate 2 did not sign certificate 1\n", nil},
		{"a chain with a namesake", join(leaf.pem, imposter.pem), "certificate 2 did not sign certificate 1\n", nil},
		{"expired", certify("old", key, nil, ended).pem,
			"certificate expired on 2030-01-02 11:59:59 UTC\n  openssl req -x509 -new -key /", nil},
		{"not valid yet", certify("new", key, nil, notBegun).pem,
			"certificate is not valid before 2030-01-02 12:00:01 UTC\n", nil},
		{"a leaf below an expired one",
			join(certify("leaf", key, certify("m", other, root, func(c *x509.Certificate) { isCA(c); ended(c) }),
				nil).pem, certify("m", other, root, func(c *x509.Certificate) { isCA(c); ended(c) }).pem),
			"certificate expired on", nil},
		{"the key in its place", pkcs8(key), "holds a private key\n  name the file of the certificate", nil},
		{"a public key in its place", pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key.Public()))),
			`holds "PUBLIC KEY", not a certificate`, nil},
		{"garbage", pemOf("CERTIFICATE", []byte("x")), "parse certificate: ", nil},
		{"an empty file", nil, "file is empty", nil},
		{"too large to travel", big.pem, "1 certificate make a token header of", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, c.file, 0o644)
			k, err := loadKey(write(t, pkcs8(key), 0o600), path, KeyIDThumbprint, noon)
			if c.want != "" {
				wantFileError(t, err, "certificate", path, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if k.KeyID() != "" {
				t.Errorf("a kid %q beside x5c", k.KeyID())
			}
			for i, want := range c.chain {
				if len(k.Chain()) != len(c.chain) || !k.Chain()[i].Equal(want.cert) {
					t.Fatalf("chain differs at %d of %d", i, len(k.Chain()))
				}
			}
		})
	}
}

func ended(c *x509.Certificate)    { c.NotAfter = noon.Add(-time.Second) }
func notBegun(c *x509.Certificate) { c.NotBefore = noon.Add(time.Second) }

func TestCertificateOfAnotherKind(t *testing.T) {
	cert := write(t, certify("x", newEC(elliptic.P256(), false), nil, nil).pem, 0o644)
	for name, key := range map[string]crypto.Signer{"RSA": rsa2048(), "Ed25519": newEd25519()} {
		_, err := loadKey(write(t, pkcs8(key), 0o600), cert, "", noon)
		wantFileError(t, err, "certificate", cert, "certificate is not for the key")
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func rsaOf(bits int) *rsa.PrivateKey {
	return must(rsa.GenerateKey(rand.Reader, bits))
}

func encryptedPKCS1() []byte {
	return pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY",
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED",
			"DEK-Info": "AES-128-CBC,00112233445566778899AABBCCDDEEFF"},
		Bytes: []byte("0123456789abcdef"),
	})
}

// secp256k1 is a SEC 1 key on a curve that crypto/elliptic does not have.
func secp256k1() []byte {
	return must(asn1.Marshal(struct {
		Version int
		Private []byte
		Curve   asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	}{1, make([]byte, 32), asn1.ObjectIdentifier{1, 3, 132, 0, 10}}))
}

// explicitEC is a SEC 1 key whose parameters are a structure, not a name.
func explicitEC() []byte {
	return must(asn1.Marshal(struct {
		Version int
		Private []byte
		Curve   struct{ Version int } `asn1:"optional,explicit,tag:0"`
	}{1, make([]byte, 32), struct{ Version int }{1}}))
}

func utf16LE(text []byte) []byte {
	out := []byte{0xff, 0xfe}
	for _, c := range text {
		out = append(out, c, 0)
	}
	return out
}

// ed448 is a PKCS#8 key (RFC 8410) of an algorithm that crypto/x509 does not know.
func ed448() []byte {
	return must(asn1.Marshal(struct {
		Version   int
		Algorithm pkix.AlgorithmIdentifier
		Private   []byte
	}{0, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 113}}, make([]byte, 59)}))
}
