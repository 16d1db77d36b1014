package jwtsign_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"dockerauth/jwtsign"
)

func Example() {
	dir, err := os.MkdirTemp("", "jwtsign-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	if err := signAndVerify(filepath.Join(dir, "privkey.pem")); err != nil {
		fmt.Println(err)
	}
	// Output: refresh token of alice
}

func signAndVerify(path string) error {
	generated, err := jwtsign.GenerateKey(jwtsign.P256)
	if err != nil {
		return err
	}
	pem, err := generated.PrivatePEM()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, pem, 0o600); err != nil {
		return err
	}
	key, err := jwtsign.LoadKey(path, "", jwtsign.KeyIDLibtrust)
	if err != nil {
		return err
	}
	signer := jwtsign.Signer{Key: key, Issuer: "auth.example.com"}
	token, _, err := signer.RefreshToken(jwtsign.RefreshClaims{Subject: "alice", UID: 1000, Shadow: "none"}, time.Hour)
	if err != nil {
		return err
	}
	claims, _, err := signer.VerifyRefresh(token)
	if err != nil {
		return err
	}
	fmt.Println("refresh token of", claims.Subject)
	return nil
}
