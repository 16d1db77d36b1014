// Command reference is the least HTTP service that signs tokens: one scope, no accounts, no checks
// of what a client sends. It signs the claims that dockerauth signs, with the same key, and logs
// one line for each request.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"
)

const lifetime = 900 // seconds

type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  string   `json:"aud"`
	Expires   int64    `json:"exp"`
	NotBefore int64    `json:"nbf"`
	Issued    int64    `json:"iat"`
	ID        string   `json:"jti"`
	Access    []access `json:"access"`
}

type access struct {
	Type    string   `json:"type"`
	Name    string   `json:"name"`
	Actions []string `json:"actions"`
}

type answer struct {
	Token     string `json:"token"`
	Access    string `json:"access_token"`
	ExpiresIn int    `json:"expires_in"`
	IssuedAt  string `json:"issued_at"`
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: reference HOST:PORT KEY")
	}
	key, err := readKey(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	s := service{key: key, header: header(key), log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	http.HandleFunc("GET /docker/v2/token", s.token)
	log.Fatal(http.ListenAndServe(os.Args[1], nil))
}

func readKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("read key %q: not PEM", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	return key.(crypto.Signer), nil
}

// header is the encoded header of every token, with the key id of libtrust.
func header(key crypto.Signer) string {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		log.Fatal(err)
	}
	sum := sha256.Sum256(der)
	id := base32.StdEncoding.EncodeToString(sum[:30])
	var groups []string
	for i := 0; i < len(id); i += 4 {
		groups = append(groups, id[i:i+4])
	}
	algorithm := "RS256"
	if _, is := key.(*ecdsa.PrivateKey); is {
		algorithm = "ES256"
	}
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"alg":%q,"kid":%q,"typ":"JWT"}`,
		algorithm, strings.Join(groups, ":")))
}

type service struct {
	key    crypto.Signer
	header string
	log    *slog.Logger
}

func (s *service) token(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	scope := r.URL.Query().Get("scope")
	kind, rest, _ := strings.Cut(scope, ":")
	name, actions, _ := strings.Cut(rest, ":")
	id := rand.Text()
	token, err := s.sign(claims{Issuer: "auth.example.com", Audience: "registry.example.com",
		Expires: now.Unix() + lifetime, NotBefore: now.Unix() - 30, Issued: now.Unix() - 30, ID: id,
		Access: []access{{kind, name, strings.Split(actions, ",")}}})
	if err != nil {
		http.Error(w, "unavailable", http.StatusServiceUnavailable)
		return
	}
	body, _ := json.Marshal(answer{token, token, lifetime, now.UTC().Format(time.RFC3339)})
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(body)
	s.log.Info("token request", "outcome", "granted", "scope", scope, "remote", r.RemoteAddr, "token", id,
		"duration", time.Since(now))
}

func (s *service) sign(c claims) (string, error) {
	payload, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	text := s.header + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(text))
	var signature []byte
	switch key := s.key.(type) {
	case *ecdsa.PrivateKey:
		r, sv, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			return "", err
		}
		signature = make([]byte, 64)
		r.FillBytes(signature[:32])
		sv.FillBytes(signature[32:])
	case *rsa.PrivateKey:
		if signature, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:]); err != nil {
			return "", err
		}
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
