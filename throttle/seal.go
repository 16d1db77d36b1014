package throttle

import (
	"crypto/aes"
	"crypto/cipher"
)

// seal encrypts an answer with a key that depends on the password: only an equal login can open it.
func seal(key, answer []byte) []byte {
	return gcm(key).Seal(nil, nil, answer, nil)
}

// unseal returns nil for data that was not sealed with the key.
func unseal(key, sealed []byte) []byte {
	answer, err := gcm(key).Open(nil, nil, sealed, nil)
	if err != nil {
		return nil
	}
	return answer
}

func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // only for a key of another length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}
