package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// code is the one-time code of a secret at a time relative to now; args say how the secret is
// written.
func (m *debian) code(t *testing.T, when string, args ...string) string {
	t.Helper()
	return strings.TrimSpace(m.must(append([]string{"oathtool", "--totp", "--now", when}, args...)...))
}

func oathCodes(t *testing.T, m *debian) {
	m.must("usermod", "-aG", "registry-push", "frank")
	m.must("dockerauth", "init", "--accounts", "oath")
	m.checkFinds(t, "module-file")
	m.follow(t, "One-time codes", nil, []string{"oath"})
	m.checkFinds(t)
	secret := strings.Fields(readFile(t, m.path("var/lib/dockerauth-otp/users.oath")))[3]
	m.codes(t, "frank", func(when string) string { return m.code(t, when, secret) })
}

func googleCodes(t *testing.T, m *debian) {
	m.must("usermod", "-aG", "registry-push", "grace")
	m.follow(t, "One-time codes", nil, []string{"google-authenticator"})
	m.checkFinds(t)
	secret := strings.Fields(readFile(t, m.path("var/lib/dockerauth-otp/grace")))[0]
	m.codes(t, "grace", func(when string) string { return m.code(t, when, "-b", secret) })
}

// codes log a user in that has local groups and a password of this machine.
func (m *debian) codes(t *testing.T, user string, code func(when string) string) {
	t.Helper()
	refused := "authenticate: PAM_AUTH_ERR"
	m.tries(t,
		accountTry{name: "no code", user: user, password: localPassword, status: 401, reason: refused},
		accountTry{name: "a wrong code", user: user, password: localPassword + "000000", status: 401, reason: refused},
		accountTry{name: "a user without a secret", user: "heidi", password: localPassword + code("now"), status: 401,
			reason: "authenticate: PAM_"},
	)
	m.tries(
		t,
		accountTry{name: "a wrong password and a right code", user: user, password: "wrong" + code("30 seconds ago"),
			status: 401, reason: refused},
	)
	used, next := code("now"), code("30 seconds")
	if o := m.dockerLoginAs(t, user, localPassword+used); o.status != 0 {
		t.Errorf("docker login with a code: %v\n%s", o, m.lastRequest(t))
	}
	m.tries(t, accountTry{name: "the same code again", user: user, password: localPassword + used, status: 401,
		reason: refused})
	answer := m.requestToken(t, "grant_type=password", user, localPassword+next)
	m.compare(t, accountTry{name: "the next code", user: user, status: 200, team: true}, answer)
	m.compare(t, accountTry{name: "a refresh needs no code", user: user, status: 200, team: true},
		m.requestToken(t, "", user, answer.refresh))
}

func faillockAccounts(t *testing.T, m *debian) {
	m.must("dockerauth", "init", "--accounts", "faillock")
	m.checkFinds(t, "module-file")
	m.follow(t, "pam_faillock", nil, []string{"faillock"})
	m.checkFinds(t)
	m.dockerLogins(t, "heidi", localPassword)
	answer := m.requestToken(t, "grant_type=password", "heidi", localPassword)
	for n := range 12 {
		wrong := fmt.Sprint("wrong-", n)
		m.tries(t, accountTry{name: wrong, user: "heidi", password: wrong, status: 401,
			reason: "authenticate: PAM_AUTH_ERR"})
		if n%4 == 3 { // dockerauth locks at the fifth
			m.forget(t)
		}
	}
	m.compare(t, accountTry{name: "a refresh sets nothing back", user: "heidi", status: 200},
		m.requestToken(t, "", "heidi", answer.refresh))
	m.tries(t, accountTry{name: "locked", user: "heidi", password: localPassword, status: 401,
		reason: "authenticate: PAM_AUTH_ERR"})
	m.follow(t, "pam_faillock", nil, []string{"faillock-reset"})
	m.forget(t)
	m.tries(t, accountTry{name: "unlocked", user: "heidi", password: localPassword, status: 200})
}

// forget removes dockerauth's own counts of wrong passwords.
func (m *debian) forget(t *testing.T) {
	t.Helper()
	m.must("sh", "-euc", "systemctl stop dockerauth.service; rm -f /var/lib/dockerauth/counters.db*; systemctl reset-failed; "+
		"systemctl start dockerauth.service")
}

func accessAccounts(t *testing.T, m *debian) {
	m.follow(t, "pam_access", []string{"/etc/dockerauth/access.conf"}, []string{"access"})
	m.checkFinds(t)
	m.dockerLogins(t, "heidi", localPassword)
	m.tries(t,
		accountTry{name: "in the group", user: "heidi", password: localPassword, status: 200},
		accountTry{name: "not in the group", user: "frank", password: localPassword, status: 401,
			reason: "account: PAM_PERM_DENIED"})
	answer := m.requestToken(t, "grant_type=password", "heidi", localPassword)
	m.must("gpasswd", "-d", "heidi", "registry-users")
	m.compare(t, accountTry{name: "no longer in the group", user: "heidi", status: 401,
		reason: "account: PAM_PERM_DENIED"}, m.requestToken(t, "", "heidi", answer.refresh))
	m.must("chmod", "600", "/etc/dockerauth/access.conf")
	m.checkFinds(t, "module-file")
	m.tries(t, accountTry{name: "the file cannot be read", user: "grace", password: localPassword, status: 503,
		reason: "account: PAM_ABORT"})
}
