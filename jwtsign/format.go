package jwtsign

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
)

// checkEncoding refuses a byte order mark, which editors of other systems put before a text. No
// program that reads PEM expects one.
func checkEncoding(data []byte) error {
	switch {
	case bytes.HasPrefix(data, []byte("\xef\xbb\xbf")):
		return problemf(CodeEncoding, `LC_ALL=C sed -i '1s/^\xEF\xBB\xBF//' {file}`, "begins with a byte order mark")
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return problemf(CodeEncoding, "(umask 077 && iconv -f UTF-16 -t US-ASCII {file} >{file}.new)"+inPlace,
			"is UTF-16 text")
	}
	return nil
}

// notPEM says what a file without PEM is, as far as that can be known.
func notPEM(data []byte, setting string) error {
	part := "-nocerts -nodes"
	if setting == "certificate" {
		part = "-clcerts -nokeys"
	}
	switch kindOfDER(data) {
	case "key":
		return problemf(CodeFormat, "openssl pkey -inform DER -in {file} -out {file}.new"+inPlace,
			"is a key in DER, not PEM")
	case "certificate":
		return problemf(CodeFormat, "openssl x509 -inform DER -in {file} -out {file}.new"+inPlace,
			"is a certificate in DER, not PEM")
	case "PKCS#12":
		return problemf(CodeFormat, "openssl pkcs12 -in {file} "+part+" -out {file}.new"+inPlace,
			"is PKCS#12, not PEM: it holds key and certificate")
	}
	return problemf(CodeFormat, "put a PEM file in its place", "is not PEM: no line says -----BEGIN")
}

// kindOfDER looks at the outermost structure of DER.
func kindOfDER(data []byte) string {
	var outer asn1.RawValue
	if rest, err := asn1.Unmarshal(data, &outer); err != nil || len(rest) > 0 || outer.Tag != asn1.TagSequence {
		return ""
	}
	if _, err := x509.ParseCertificate(data); err == nil {
		return "certificate"
	}
	var version int
	rest, err := asn1.Unmarshal(outer.Bytes, &version)
	var second asn1.RawValue
	if err != nil {
		return ""
	}
	if _, err := asn1.Unmarshal(rest, &second); err != nil {
		return ""
	}
	// PFX begins with version 3 and a ContentInfo (RFC 7292 §4), keys with 0 or 1.
	if version == 3 && second.Tag == asn1.TagSequence {
		return "PKCS#12"
	}
	if version == 0 || version == 1 {
		return "key"
	}
	return ""
}

// explicitParameters reports an EC key that carries the numbers of its curve in place of its name
// (RFC 5480 §2.1.1 forbids that). Go does not read such a key.
func explicitParameters(b *pem.Block) bool {
	var parameters asn1.RawValue
	if b.Type == "EC PRIVATE KEY" { // RFC 5915
		var key struct {
			Version    int
			PrivateKey []byte
			Parameters asn1.RawValue `asn1:"optional,explicit,tag:0"` // with its tag
			PublicKey  asn1.RawValue `asn1:"optional,explicit,tag:1"`
		}
		if _, err := asn1.Unmarshal(b.Bytes, &key); err != nil {
			return false
		}
		if _, err := asn1.Unmarshal(key.Parameters.Bytes, &parameters); err != nil {
			return false
		}
	} else { // PKCS#8, RFC 5958
		var key struct {
			Version    int
			Algorithm  pkix.AlgorithmIdentifier
			PrivateKey []byte
			Attributes asn1.RawValue `asn1:"optional,tag:0"`
		}
		if _, err := asn1.Unmarshal(b.Bytes, &key); err != nil ||
			!key.Algorithm.Algorithm.Equal(asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}) {
			return false
		}
		parameters = key.Algorithm.Parameters
	}
	return parameters.Tag == asn1.TagSequence && parameters.Class == asn1.ClassUniversal
}
