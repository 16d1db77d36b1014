package jwtsign

import (
	"errors"
	"time"
)

// LoadKey reads a private key (PEM: PKCS#1, SEC 1 or PKCS#8) and, unless certificate is "", its
// certificate, which intermediates may follow. Tokens then carry the certificate (x5c), and id is
// not used. Every error is a *FileError.
func LoadKey(privateKey, certificate string, id KeyID) (*Key, error) {
	return loadKey(privateKey, certificate, id, time.Now())
}

func loadKey(privateKey, certificate string, id KeyID, now time.Time) (*Key, error) {
	k, err := readKey(privateKey)
	if err != nil {
		return nil, fileError("private_key", privateKey, privateKey, err)
	}
	if certificate != "" {
		if err := k.loadCertificate(certificate, now); err != nil {
			return nil, fileError("certificate", certificate, privateKey, err)
		}
		return k, nil
	}
	if k.kid, err = keyID(k.Public(), id); err != nil {
		return nil, fileError("key_id", privateKey, privateKey, err)
	}
	k.setHeader()
	return k, nil
}

// readKey reads a key without certificate and id.
func readKey(path string) (*Key, error) {
	private, err := readPrivateKey(path)
	if err != nil {
		return nil, err
	}
	method, err := methodFor(private.Public())
	if err != nil {
		return nil, err
	}
	return &Key{private: private, method: method}, nil
}

// LoadPreviousKey reads a private key for Signer.Previous, as strictly as LoadKey does. It has
// neither certificate nor id. Every error is a *FileError.
func LoadPreviousKey(path string) (*Key, error) {
	key, err := readKey(path)
	if err == nil {
		return key, nil
	}
	if p := new(problem); errors.As(err, &p) {
		switch p.code {
		case CodeMissing, CodeDamaged, CodeWrongFile, CodeUnsuitable: // a new key is no help
			p.hint = "put the key in its place, or take it out of previous_keys: who has its refresh tokens " +
				"logs in again"
		}
	}
	return nil, fileError("previous_keys", path, path, err)
}
