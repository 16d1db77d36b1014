package jwtsign

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"strings"
)

// readPrivateKey reads a file with one private key.
func readPrivateKey(path string) (crypto.Signer, error) {
	data, err := readKeyFile(path, isPrivate)
	if err != nil {
		return nil, err
	}
	return parsePrivateKey(data)
}

func parsePrivateKey(data []byte) (crypto.Signer, error) {
	blocks, err := pemBlocks(data)
	if err != nil {
		return nil, err
	}
	blocks = withoutParameters(blocks)
	if len(blocks) == 0 {
		return nil, problemf("the key itself is missing; make one with: "+keyCommand, "holds EC parameters only")
	}
	if err := onlyOneKey(blocks); err != nil {
		return nil, err
	}
	return parseKeyBlock(blocks[0])
}

// pemBlocks splits a PEM file. encoding/pem skips damaged blocks; here they are an error, because
// the skipped block may be the intended key. Text before a block is allowed (RFC 7468 §2): openssl
// writes it.
func pemBlocks(data []byte) ([]*pem.Block, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, problemf("make a key with: "+keyCommand, "file is empty")
	}
	begun := bytes.Count(data, []byte("-----BEGIN"))
	if begun == 0 {
		return nil, problemf("a DER file becomes PEM with: openssl pkey -inform DER -in FILE -out NEWFILE",
			"is not PEM: no line says -----BEGIN")
	}
	var blocks []*pem.Block
	rest := data
	for {
		b, after := pem.Decode(rest)
		if b == nil {
			break
		}
		blocks, rest = append(blocks, b), after
	}
	if len(blocks) != begun {
		return nil, problemf("copy the file again, from -----BEGIN to the end of the line with -----END",
			"is damaged: PEM begins %s, %d can be read", plural(begun, "time"), len(blocks))
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, problemf("delete what follows -----END", "has text after its last PEM block")
	}
	return blocks, nil
}

// withoutParameters drops the EC PARAMETERS block that `openssl ecparam -genkey` writes before a
// key. The key itself names its curve.
func withoutParameters(blocks []*pem.Block) []*pem.Block {
	if blocks[0].Type == "EC PARAMETERS" {
		return blocks[1:]
	}
	return blocks
}

func onlyOneKey(blocks []*pem.Block) error {
	if len(blocks) == 1 {
		return nil
	}
	keys := 0
	for _, b := range blocks {
		if strings.HasSuffix(b.Type, "PRIVATE KEY") {
			keys++
		}
	}
	switch {
	case keys > 1:
		return problemf("keep the one that signs", "holds %d private keys", keys)
	case keys == 1:
		return problemf("keep the private key alone in it; a certificate goes into a file of its own, named by "+
			"certificate", "holds more than a private key")
	}
	return notPrivate(blocks[0].Type)
}

func parseKeyBlock(b *pem.Block) (crypto.Signer, error) {
	if b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, problemf("decrypt it with: openssl pkey -in FILE -out NEWFILE",
			"key is encrypted")
	}
	var key any
	var err error
	switch b.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	case "OPENSSH PRIVATE KEY":
		return nil, problemf("an RSA or EC key is converted by: ssh-keygen -p -m PKCS8 -f FILE; in place of another "+
			"make one "+
			"with: "+keyCommand, "is in the OpenSSH format")
	default:
		return nil, notPrivate(b.Type)
	}
	if err != nil {
		return nil, unreadableKey(b.Type, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, problemf("make a key with: "+keyCommand, "keys of this kind cannot sign tokens (%T)", key)
	}
	return signer, nil
}

// unreadableKey reports a failed parse. The message of the parser names structures and curves, and
// never repeats key material.
func unreadableKey(kind string, err error) error {
	if strings.Contains(err.Error(), "unknown elliptic curve") {
		return problemf("make a key with: "+keyCommand, "curve has no JWS algorithm, use P-256, P-384 or P-521")
	}
	if strings.Contains(err.Error(), "unknown algorithm") {
		return problemf("make a key with: "+keyCommand, "key is not RSA, EC or Ed25519")
	}
	return problemf("check it with: openssl pkey -check -noout -in FILE", "parse %s: %w", kind, err)
}

func notPrivate(kind string) error {
	const hint = "private_key needs the private key, which only this service has"
	switch kind {
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		return problemf(hint, "holds a certificate, not a private key")
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return problemf(hint, "holds a public key, not a private key")
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return problemf(hint, "holds a certificate request, not a private key")
	}
	return problemf(hint, "holds %q, not a private key", kind)
}
