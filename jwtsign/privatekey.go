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
	blocks, err := pemBlocks(data, "private_key")
	if err != nil {
		return nil, err
	}
	blocks = withoutParameters(blocks)
	if len(blocks) == 0 {
		return nil, problemf(CodeWrongFile, keyCommand, "holds EC parameters only")
	}
	if err := onlyOneKey(blocks); err != nil {
		return nil, err
	}
	return parseKeyBlock(blocks[0])
}

// pemBlocks splits a PEM file. encoding/pem skips damaged blocks; here they are an error, because
// the skipped block may be the intended key. Text before a block is allowed (RFC 7468 §2): openssl
// writes it. setting is the key of config.yml that names the file.
func pemBlocks(data []byte, setting string) ([]*pem.Block, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		command := keyCommand
		if setting == "certificate" {
			command = certificateCommand
		}
		return nil, problemf(CodeDamaged, command, "file is empty")
	}
	if err := checkEncoding(data); err != nil {
		return nil, err
	}
	begun := bytes.Count(data, []byte("-----BEGIN"))
	if begun == 0 {
		return nil, notPEM(data, setting)
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
		return nil, problemf(CodeDamaged, "copy the file again, from -----BEGIN to the end of the line with -----END",
			"is damaged: PEM begins %s, %d can be read", plural(begun, "time"), len(blocks))
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, problemf(CodeMore, "sed -i -n '/^-----BEGIN/,/^-----END/p' {file}",
			"has text after its last PEM block")
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
		return problemf(CodeMore, "keep the one that signs", "holds %d private keys", keys)
	case keys == 1:
		return problemf(CodeMore, "openssl pkey -in {file} -out {file}.new"+inPlace,
			"holds more than a private key")
	}
	return notPrivate(blocks[0].Type)
}

func parseKeyBlock(b *pem.Block) (crypto.Signer, error) {
	if b.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, problemf(CodeEncrypted, "openssl pkey -in {file} -out {file}.new"+inPlace, "key is encrypted")
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
		if bytes.Contains(b.Bytes, []byte("ssh-ed25519")) { // ssh-keygen 9.2 writes no other format for it
			return nil, problemf(CodeUnsuitable, keyCommand, "is an Ed25519 key in the OpenSSH format")
		}
		return nil, problemf(
			CodeFormat,
			"install -m 600 {file} {file}.new && ssh-keygen -p -N '' -m PKCS8 -f {file}.new"+inPlace,
			"is in the OpenSSH format",
		)
	default:
		return nil, notPrivate(b.Type)
	}
	if err != nil {
		return nil, unreadableKey(b, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, problemf(CodeUnsuitable, keyCommand, "keys of this kind cannot sign tokens (%T)", key)
	}
	return signer, nil
}

// unreadableKey reports a failed parse. The message of the parser names structures and curves, and
// never repeats key material.
func unreadableKey(b *pem.Block, err error) error {
	if explicitParameters(b) {
		return problemf(CodeParameters, "openssl ec -in {file} -param_enc named_curve -out {file}.new"+inPlace,
			"EC key has the parameters of its curve in place of the curve's name")
	}
	if strings.Contains(err.Error(), "unknown elliptic curve") {
		return problemf(CodeUnsuitable, keyCommand, "curve has no JWS algorithm, use P-256, P-384 or P-521")
	}
	if strings.Contains(err.Error(), "unknown algorithm") {
		return problemf(CodeUnsuitable, keyCommand, "key is not RSA, EC or Ed25519")
	}
	return problemf(CodeDamaged, "put a copy of the key in its place, or make another: "+keyCommand, "parse %s: %w",
		b.Type, err)
}

func notPrivate(kind string) error {
	const hint = "name the file of the private key, which only this service has"
	switch kind {
	case "CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE":
		return problemf(CodeWrongFile, hint, "holds a certificate, not a private key")
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return problemf(CodeWrongFile, hint, "holds a public key, not a private key")
	case "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST":
		return problemf(CodeWrongFile, hint, "holds a certificate request, not a private key")
	}
	return problemf(CodeWrongFile, hint, "holds %q, not a private key", kind)
}
