package service

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// SECURITY.md says so: a refresh token is an account's, not a service's, and what it gets is what
// the account gets there.
func TestARefreshTokenServesEveryAudienceByTheRulesOfThatOne(t *testing.T) {
	s := newAdminFixture(t)
	s.write(t, "config.yml", strings.Replace(fixtureConfig, "audience: a", "audience: [one, two]", 1)+
		"access:\n  - {allow: [push], to: [users], services: [one]}\n"+
		"  - {allow: [delete], to: [users], services: [two]}\n")
	s.mustReload(t)
	ask := func(form url.Values) (answer struct {
		Scope   string `json:"scope"`
		Refresh string `json:"refresh_token"`
	}) {
		t.Helper()
		form.Set("scope", "repository:x:push,delete")
		r := httptest.NewRequest(http.MethodPost, "/docker/v2/token", strings.NewReader(form.Encode()))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
		return answer
	}
	first := ask(url.Values{
		"grant_type": {"password"}, "username": {resultAccepted}, "password": {"x"}, "access_type": {"offline"},
		"service": {"one"},
	})
	if first.Scope != "repository:x:push" || first.Refresh == "" {
		t.Fatalf("with the password: %+v", first)
	}
	for service, want := range map[string]string{"one": "repository:x:push", "two": "repository:x:delete"} {
		got := ask(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.Refresh}, "service": {service}})
		if got.Scope != want || got.Refresh != first.Refresh {
			t.Errorf("at %s: %+v, want %s", service, got, want)
		}
	}
}
