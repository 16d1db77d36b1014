package jwtsign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
)

func b64(s string) []byte { return must(base64.RawURLEncoding.DecodeString(s)) }

// specP256 is the public key of distribution's token specification (docs, "Example JWK").
func specP256() crypto.PublicKey {
	point := append([]byte{4}, b64("m7zUpx3b-zmVE5cymSs64POG9QcyEpJaYCD82-549_Q")...)
	point = append(point, b64("dU3biz8sZ_8GPB-odm8Wxz3lNDr1xcAQQPQaOcr1fmc")...)
	return must(ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point))
}

// rfc7638RSA is the public key of RFC 7638 §3.1.
func rfc7638RSA() crypto.PublicKey {
	n := new(big.Int).SetBytes(
		b64("0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_" +
			"BJECPebWKRXjBZCiFV4n3oknjhMs" +
			"tn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJ" +
			"ZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbIS" +
			"D08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"))
	return &rsa.PublicKey{N: n, E: 65537}
}

// rfc8037Ed25519 is the public key of RFC 8037 appendix A.2.
func rfc8037Ed25519() crypto.PublicKey {
	return ed25519.PublicKey(b64("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"))
}

// The ids of the last two were computed with
//
//	openssl pkey -pubin -in KEY -outform DER | openssl dgst -sha256 -binary | head -c 30 |
//	  base32 | sed 's/..../&:/g; s/:$//'
//
// the first stands in the specification itself.
func TestLibtrustID(t *testing.T) {
	for _, c := range []struct {
		name string
		key  crypto.PublicKey
		want string
	}{
		{"P-256, distribution's specification", specP256(),
			"PYYO:TEWU:V7JH:26JV:AQTZ:LJC3:SXVJ:XGHA:34F2:2LAQ:ZRMK:Z7Q6"},
		{"RSA, the key of RFC 7638", rfc7638RSA(), "VUZD:EDHW:YWLN:RBFQ:KOA3:UVZ2:XKG5:2V2J:WTPI:6SRD:U6PZ:VCO5"},
		{"Ed25519, the key of RFC 8037", rfc8037Ed25519(),
			"A3R7:3D62:FG5W:BK2Z:KV66:MHW3:BLWN:WIYR:GS7D:BZ23:IVPY:4G3Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := LibtrustID(c.key); err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

// The thumbprint of the EC key was computed with
//
//	printf '{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}' X Y |
//	  openssl dgst -sha256 -binary | basenc --base64url | tr -d =
//
// the others stand in their RFCs.
func TestThumbprint(t *testing.T) {
	for _, c := range []struct {
		name string
		key  crypto.PublicKey
		want string
	}{
		{"RSA, RFC 7638 §3.1", rfc7638RSA(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{"Ed25519, RFC 8037 appendix A.3", rfc8037Ed25519(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
		{"P-256, the key of distribution's specification", specP256(), "8qjioA3ZA7ti2JIE7c-U8smBFuZolQZvhSHDPU3hhB8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := Thumbprint(c.key); err != nil || got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestThumbprintKeepsLeadingZeros(t *testing.T) {
	k := newEC(elliptic.P256(), true)
	x, y, err := coordinates(&k.PublicKey)
	if err != nil || len(x) != 32 || len(y) != 32 {
		t.Fatalf("coordinates of %d and %d bytes, %v; RFC 7518 §6.2.1.2 wants 32", len(x), len(y), err)
	}
	point := must(k.PublicKey.Bytes())
	if got := hex.EncodeToString(append(append([]byte{4}, x...), y...)); got != hex.EncodeToString(point) {
		t.Errorf("coordinates %s differ from the point", got)
	}
}

func TestKeyIDRules(t *testing.T) {
	ec, zero, wide, ed := newEC(elliptic.P256(), false), newEC(elliptic.P256(), true), newEC(elliptic.P521(), true),
		newEd25519()
	libtrust := func(k crypto.Signer) string { return must(LibtrustID(k.Public())) }
	thumbprint := func(k crypto.Signer) string { return must(Thumbprint(k.Public())) }
	const disagree = "registries compute another thumbprint for this key: a coordinate begins with a zero byte\n" +
		"  configure certificate, or make a new key, or set key_id: libtrust for registry 2.8"
	for _, c := range []struct {
		name string
		key  crypto.Signer
		id   KeyID
		want string // kid
		err  string
	}{
		{"RSA, no rule: libtrust", rsa2048(), "", libtrust(rsa2048()), ""},
		{"EC, no rule: libtrust", ec, "", libtrust(ec), ""},
		{"Ed25519, no rule: thumbprint, since 2.8 cannot read it", ed, "", thumbprint(ed), ""},
		{"RSA, libtrust", rsa2048(), KeyIDLibtrust, libtrust(rsa2048()), ""},
		{"Ed25519, libtrust: for a JWKS that lists it", ed, KeyIDLibtrust, libtrust(ed), ""},
		{"RSA, thumbprint", rsa2048(), KeyIDThumbprint, thumbprint(rsa2048()), ""},
		{"EC, thumbprint", ec, KeyIDThumbprint, thumbprint(ec), ""},
		{"P-256 with a leading zero, thumbprint", zero, KeyIDThumbprint, "", disagree},
		{"P-521 with a leading zero, thumbprint", wide, KeyIDThumbprint, "", disagree},
		{"P-256 with a leading zero, libtrust", zero, KeyIDLibtrust, libtrust(zero), ""},
		{"P-256 with a leading zero, no rule", zero, "", libtrust(zero), ""},
		{"an unknown rule", ec, "sha1", "", "unknown key id rule\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, pkcs8(c.key), 0o600)
			k, err := LoadKey(path, "", c.id)
			if c.err != "" {
				wantFileError(t, err, "key_id", path, c.err)
				return
			}
			if err != nil || k.KeyID() != c.want {
				t.Fatalf("kid %q, %v, want %q", k.KeyID(), err, c.want)
			}
		})
	}
}

func TestACertificateReplacesTheKeyID(t *testing.T) {
	zero := newEC(elliptic.P256(), true)
	cert := write(t, certify("x", zero, nil, nil).pem, 0o644)
	k, err := loadKey(write(t, pkcs8(zero), 0o600), cert, KeyIDThumbprint, noon)
	if err != nil || k.KeyID() != "" || len(k.Chain()) != 1 {
		t.Errorf("got %v; want the certificate in place of a thumbprint on which registries disagree", err)
	}
	header := string(b64(k.header))
	if !strings.HasPrefix(header, `{"alg":"ES256","typ":"JWT","x5c":["MI`) {
		t.Errorf("header %s, want x5c alone", header)
	}
}
