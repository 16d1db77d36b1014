package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// How a token names its key, and what the registry was given to find it.
const (
	byCertificate = "certificate"
	byLibtrust    = "libtrust id"
	byThumbprint  = "thumbprint"
)

// keysTaken is which registry accepts which key, by which name. registry/auth/token/token.go uses
// x5c if present, otherwise kid; 2.8 knows keys by libtrust id, 3.x by RFC 7638 thumbprint or by
// the kid of a JWKS entry. dockerauth jwks makes the JWKS.
var keysTaken = []struct {
	registry registryKind
	named    string
	jwks     bool // the registry has a JWKS and no certificate
	taken    []keyKind
	refused  []keyKind
}{
	{registry28, byCertificate, false, []keyKind{rsa2048, p256, p384, p521}, nil},
	{registry28, byLibtrust, false, []keyKind{rsa2048, p256, p384, p521}, nil},
	{registry28, byThumbprint, false, nil, []keyKind{rsa2048, p256}},
	{registry31, byCertificate, false, []keyKind{rsa2048, p256, p384, p521, ed}, nil},
	{registry31, byThumbprint, false, []keyKind{rsa2048, p256, p384, p521, ed}, nil},
	{registry31, byLibtrust, false, nil, []keyKind{rsa2048, p256, ed}},
	{registry31, byCertificate, true, nil, []keyKind{rsa2048, p256, ed}},
	{registry31, byLibtrust, true, []keyKind{rsa2048, p256, p256Short, p384, p521, ed}, nil},
	{registry31, byThumbprint, true, []keyKind{rsa2048, p256, p384, p521, ed}, nil},
}

func TestARegistryTakesTheKeysItKnowsByTheNamesItKnows(t *testing.T) {
	for _, row := range keysTaken {
		name := string(row.registry) + " by " + row.named
		if row.jwks {
			name += " with a JWKS"
		}
		t.Run(name, func(t *testing.T) {
			needRegistry(t, row.registry)
			for _, kind := range row.taken {
				t.Run(string(kind)+" is taken", func(t *testing.T) {
					t.Parallel()
					runKey(t, row.registry, kind, row.named, row.jwks, http.StatusOK)
				})
			}
			for _, kind := range row.refused {
				t.Run(string(kind)+" is refused", func(t *testing.T) {
					t.Parallel()
					runKey(t, row.registry, kind, row.named, row.jwks, http.StatusUnauthorized)
				})
			}
		})
	}
}

func runKey(t *testing.T, registry registryKind, kind keyKind, named string, jwks bool, want int) {
	o := siteOptions{key: kind, certificate: named == byCertificate}
	switch named {
	case byLibtrust:
		o.keyID = "libtrust"
	case byThumbprint:
		o.keyID = "thumbprint"
	}
	s := newSite(t, o)
	_, realm := s.serveHTTP(t)
	token := fetchTokens(t, realm, url.Values{"service": {audience}, "scope": {"registry:catalog:*"}}).Token
	key := trust{bundle: s.certFile}
	if jwks {
		printed := run(t, "", exec.Command(binary(t), "jwks", "--config", s.configFile))
		warned := strings.Contains(printed.stderr, "a registry that has jwks alone refuses them")
		if printed.status != 0 || warned != o.certificate {
			t.Errorf("jwks: %v", printed)
		}
		key = trust{jwks: writeFile(t, filepath.Join(s.dir, "jwks.json"), printed.stdout, 0o644)}
	}
	r := startRegistry(t, registry, s, realm, key)
	for _, path := range []string{"/v2/", "/v2/_catalog"} {
		if status, challenge := r.ask(t, http.MethodGet, path, token); status != want {
			t.Errorf("GET %s: status %d (%s), want %d", path, status, challenge, want)
		}
	}
	if status, _ := r.ask(t, http.MethodGet, "/v2/", ""); status != http.StatusUnauthorized {
		t.Errorf("GET /v2/ without a token: status %d, want 401", status)
	}
}

// tokenKeyID is the token's kid, or a name for a key that no token refers to.
func tokenKeyID(t testing.TB, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	b, err := base64.RawURLEncoding.DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	header := struct{ Kid string }{"not-named"}
	if err := json.Unmarshal(b, &header); err != nil {
		t.Fatal(err)
	}
	return header.Kid
}

// jwksOf is a JWK set (RFC 7517 §5) of one key, in the forms of RFC 7518 §6 and RFC 8037 §2.
func jwksOf(t testing.TB, public crypto.PublicKey, kid string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	key := map[string]string{"kid": kid, "use": "sig"}
	switch k := public.(type) {
	case *rsa.PublicKey:
		key["kty"], key["alg"] = "RSA", "RS256"
		key["n"], key["e"] = encode(k.N.Bytes()), encode(big.NewInt(int64(k.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, X, Y
		if err != nil {
			t.Fatal(err)
		}
		size := len(point) / 2
		key["kty"], key["crv"] = "EC", k.Params().Name
		key["x"], key["y"] = encode(point[1:1+size]), encode(point[1+size:])
	case ed25519.PublicKey:
		key["kty"], key["crv"], key["x"] = "OKP", "Ed25519", encode(k)
	default:
		t.Fatalf("make JWKS: no form for %T", public)
	}
	return string(jsonOf(t, map[string]any{"keys": []any{key}}))
}

func TestAnEd25519CertificateStopsA28RegistryFromStarting(t *testing.T) {
	s := newSite(t, siteOptions{key: ed})
	r := launchRegistry(t, registry28, s, "http://localhost/docker/v2/token", trust{bundle: s.certFile})
	eventually(t, readyWithin, "the registry to give up", func() bool { return !r.p.running() })
	if r.p.err == nil {
		t.Error("it ended with status 0, want an error")
	}
}

func TestARegistryHoldsATokenToItsAccess(t *testing.T) {
	const (
		repo   = "/v2/team/app"
		blob   = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
		upload = repo + "/blobs/uploads/"
		mount  = upload + "?from=base/image&mount=" + blob
	)
	// The registry is empty: once it has accepted a token, it answers 404 for a missing item and
	// 202 to an upload.
	cases := []struct {
		name   string
		scope  string
		method string
		path   string
		want   int
	}{
		{"any token opens /v2/", "", http.MethodGet, "/v2/", http.StatusOK},
		{"a token without access lists no catalog", "", http.MethodGet, "/v2/_catalog", http.StatusUnauthorized},
		{"a token for a repository lists no catalog", "repository:team/app:pull,push", http.MethodGet, "/v2/_catalog",
			http.StatusUnauthorized},
		{"the catalog is listed to a user with a grant", "registry:catalog:*", http.MethodGet, "/v2/_catalog",
			http.StatusOK},
		{"pull reads", "repository:team/app:pull", http.MethodGet, repo + "/manifests/v1", http.StatusNotFound},
		{"pull of one repository does not read another", "repository:team/other:pull", http.MethodGet, repo +
			"/manifests/v1", http.StatusUnauthorized},
		{"pull and push upload", "repository:team/app:pull,push", http.MethodPost, upload, http.StatusAccepted},
		{"push alone does not upload", "repository:team/app:push", http.MethodPost, upload, http.StatusUnauthorized},
		{"pull alone does not upload", "repository:team/app:pull", http.MethodPost, upload, http.StatusUnauthorized},
		{"delete deletes", "repository:team/app:delete", http.MethodDelete, repo + "/manifests/" + blob,
			http.StatusNotFound},
		{"pull and push do not delete", "repository:team/app:pull,push", http.MethodDelete, repo + "/manifests/" + blob,
			http.StatusUnauthorized},
		{"the action * deletes", "repository:team/app:*", http.MethodDelete, repo + "/manifests/" + blob,
			http.StatusNotFound},
		{"the action * uploads", "repository:team/app:*", http.MethodPost, upload, http.StatusAccepted},
		{"a mount needs pull on its source", "repository:team/app:pull,push", http.MethodPost, mount,
			http.StatusUnauthorized},
		{"a mount with pull on its source is taken", "repository:team/app:pull,push repository:base/image:pull",
			http.MethodPost, mount, http.StatusAccepted},
	}
	for _, registry := range []registryKind{registry28, registry31} {
		t.Run(string(registry), func(t *testing.T) {
			t.Parallel()
			needRegistry(t, registry)
			s := newSite(t, siteOptions{
				certificate:  true,
				audienceLine: `audience: ["` + audience + `", "` + otherAudience + `"]`,
			})
			_, realm := s.serveHTTP(t)
			r := startRegistry(t, registry, s, realm, trust{bundle: s.certFile})
			query := url.Values{"service": {otherAudience}, "scope": {"registry:catalog:*"}}
			elsewhere := fetchTokens(t, realm, query).Token
			for _, path := range []string{"/v2/", "/v2/_catalog"} {
				if status, challenge := r.ask(t, http.MethodGet, path, elsewhere); status != http.StatusUnauthorized {
					t.Errorf("GET %s with another registry's token: status %d (%s), want 401", path, status, challenge)
				}
			}
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					query := url.Values{"service": {audience}}
					if c.scope != "" {
						query.Set("scope", c.scope)
					}
					status, challenge := r.ask(t, c.method, c.path, fetchTokens(t, realm, query).Token)
					if status != c.want {
						t.Errorf("%s %s: status %d (%s), want %d", c.method, c.path, status, challenge, c.want)
					}
				})
			}
		})
	}
}

func TestARefreshTokenOpensNoRegistry(t *testing.T) {
	for _, setup := range setups {
		t.Run(setup.name, func(t *testing.T) {
			t.Parallel()
			needRegistry(t, setup.registry)
			s := newSite(t, setup.site)
			_, realm := s.serveHTTP(t)
			r := startRegistry(t, setup.registry, s, realm, trust{bundle: s.certFile})
			got := fetchTokens(t, realm, url.Values{"service": {audience}, "offline_token": {"true"}})
			if got.RefreshToken == "" {
				t.Fatal("no refresh token")
			}
			if status, challenge := r.ask(t, http.MethodGet, "/v2/", got.Token); status != http.StatusOK {
				t.Errorf("GET /v2/ with the access token beside it: status %d (%s), want 200", status, challenge)
			}
			status, challenge := r.ask(t, http.MethodGet, "/v2/", got.RefreshToken)
			if status != http.StatusUnauthorized {
				t.Errorf("GET /v2/ with a refresh token: status %d (%s), want 401", status, challenge)
			}
		})
	}
}
