package jwtsign

import "time"

// LoadKey reads a private key (PEM: PKCS#1, SEC 1 or PKCS#8) and, unless certificate is "", its
// certificate, which intermediates may follow. Tokens then carry the certificate (x5c), and id is
// not used. Every error is a *FileError.
func LoadKey(privateKey, certificate string, id KeyID) (*Key, error) {
	return loadKey(privateKey, certificate, id, time.Now())
}

func loadKey(privateKey, certificate string, id KeyID, now time.Time) (*Key, error) {
	private, err := readPrivateKey(privateKey)
	if err != nil {
		return nil, fileError("private_key", privateKey, privateKey, err)
	}
	method, err := methodFor(private.Public())
	if err != nil {
		return nil, fileError("private_key", privateKey, privateKey, err)
	}
	k := &Key{private: private, method: method}
	if certificate != "" {
		if err := k.loadCertificate(certificate, now); err != nil {
			return nil, fileError("certificate", certificate, privateKey, err)
		}
		return k, nil
	}
	if k.kid, err = keyID(private.Public(), id); err != nil {
		return nil, fileError("key_id", privateKey, privateKey, err)
	}
	return k, nil
}
