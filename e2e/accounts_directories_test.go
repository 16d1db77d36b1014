package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// The directories' own set-up, which docs/accounts.md takes for granted.

const slapdConf = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile /run/slapd/slapd.pid
argsfile /run/slapd/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile /etc/ldap/cert.pem
TLSCertificateKeyFile /etc/ldap/key.pem
database mdb
suffix dc=example,dc=com
directory /var/lib/ldap
rootdn cn=admin,dc=example,dc=com
rootpw admin
access to attrs=userPassword by anonymous auth by * none
access to * by * read
`

// ldapTree has two groups and an entry for each of these accounts. Their passwords are
// ldapPassword.
func ldapTree() string {
	var b strings.Builder
	b.WriteString("dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n")
	for i, account := range []struct {
		name string
		uid  int
		more string
	}{
		{"alice", 5001, ""}, {"bob", 5002, ""}, {"mallory", 5003, ""},
		{"eve", 5004, "objectClass: shadowAccount\nshadowExpire: 1\n"}, {"robot", 800, ""},
	} {
		fmt.Fprintf(&b, "\ndn: uid=%s,dc=example,dc=com\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\n"+
			"cn: Account %d\nsn: Account\nuidNumber: %d\ngidNumber: 5000\nhomeDirectory: /home/%[1]s\n"+
			"userPassword: %[4]s\n%[5]s",
			account.name, i, account.uid, ldapPassword, account.more)
	}
	b.WriteString("\ndn: cn=people,dc=example,dc=com\nobjectClass: posixGroup\ngidNumber: 5000\n" +
		"\ndn: cn=registry-push,dc=example,dc=com\nobjectClass: posixGroup\ngidNumber: 5100\nmemberUid: alice\n")
	return b.String()
}

const ldapPassword = "a-password-of-the-directory"

const startSlapd = `
cd /etc/ldap
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj '/CN=Example CA' -keyout ca.key -out ca.pem
openssl req -newkey rsa:2048 -nodes -subj /CN=ldap.example.com -keyout key.pem -out csr.pem
echo subjectAltName=DNS:ldap.example.com >san
openssl x509 -req -in csr.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile san -out cert.pem
install -m 644 ca.pem /etc/ssl/certs/example-ca.pem
rm -rf slapd.d /var/lib/ldap/*
slapadd -f slapd.conf -l tree.ldif
chown -R openldap: key.pem /var/lib/ldap
printf '%s\n' SLAPD_CONF=/etc/ldap/slapd.conf SLAPD_USER=openldap SLAPD_GROUP=openldap \
	'SLAPD_SERVICES="ldaps:/// ldapi:///"' >/etc/default/slapd
systemctl start slapd
`

// change is a modification of an entry.
func (m *debian) change(t *testing.T, ldif string) {
	t.Helper()
	m.pipe(t, ldif, "ldapmodify", "-x", "-H", "ldapi:///", "-D", "cn=admin,dc=example,dc=com", "-w", "admin")
}

func ldapAccounts(t *testing.T, m *debian) {
	writeFile(t, m.path("etc/ldap/slapd.conf"), slapdConf, 0o644)
	writeFile(t, m.path("etc/ldap/tree.ldif"), ldapTree(), 0o644)
	m.must("sh", "-euc", startSlapd)
	m.follow(t, "LDAP", []string{"/etc/sssd/sssd.conf"}, []string{"sssd"})
	m.follow(t, "Names and groups", nil, []string{"names"})
	m.checkFinds(t)
	m.dockerLogins(t, "alice", ldapPassword)
	expired := "account: PAM_ACCT_EXPIRED"
	m.tries(
		t,
		accountTry{name: "in the group", user: "alice", password: ldapPassword, status: 200, team: true},
		accountTry{name: "not in the group", user: "bob", password: ldapPassword, status: 200},
		accountTry{name: "expired", user: "eve", password: ldapPassword, status: 401, reason: expired},
		accountTry{name: "a low uid", user: "robot", password: ldapPassword, status: 401, reason: "PAM_AUTH_ERR"},
		accountTry{
			name:     "unknown",
			user:     "nobody-here",
			password: ldapPassword,
			status:   401,
			reason:   "PAM_USER_UNKNOWN",
		},
		accountTry{name: "another spelling", user: "Alice", password: ldapPassword, status: 401,
			reason: "PAM_USER_UNKNOWN"},
		accountTry{name: "with its domain", user: "alice@example.com", password: ldapPassword, status: 200,
			account: "alice", team: true},
		accountTry{
			name:     "blacklisted, with its domain",
			user:     "mallory@example.com",
			password: ldapPassword,
			status:   401,
			reason:   "blacklisted",
		},
	)

	// A docker login is over when the account expires.
	bob := m.requestToken(t, "grant_type=password", "bob", ldapPassword).refresh
	m.compare(t, accountTry{name: "refresh", user: "bob", status: 200}, m.requestToken(t, "", "bob", bob))
	m.change(t, "dn: cn=registry-push,dc=example,dc=com\nchangetype: modify\nadd: memberUid\nmemberUid: bob\n")
	eventuallyRefreshed(t, m, "a new member", bob, accountTry{user: "bob", status: 200, team: true})
	m.change(t, "dn: uid=bob,dc=example,dc=com\nchangetype: modify\nadd: objectClass\nobjectClass: shadowAccount\n-\n"+
		"add: shadowExpire\nshadowExpire: 1\n")
	eventuallyRefreshed(t, m, "an expired account", bob, accountTry{user: "bob", status: 401, reason: expired})

	// The directory is away and back.
	alice := m.requestToken(t, "grant_type=password", "alice", ldapPassword).refresh
	m.must("systemctl", "stop", "slapd")
	const away = "PAM_AUTHINFO_UNAVAIL"
	m.tries(t,
		accountTry{name: "the directory is away", user: "alice", password: ldapPassword, status: 503, reason: away},
		accountTry{name: "never seen while the directory is away", user: "carol", password: ldapPassword, status: 401,
			reason: "PAM_USER_UNKNOWN"})
	m.compare(t, accountTry{name: "refresh while the directory is away", user: "alice", status: 200, team: true},
		m.requestToken(t, "", "alice", alice))
	m.restartAfter(t, "slapd", true, accountTry{user: "alice", password: ldapPassword, status: 200, team: true})
	m.must("systemctl", "stop", "sssd")
	m.checkFinds(t, "sssd-unreachable")
	m.tries(t, accountTry{name: "SSSD does not run", user: "alice", password: ldapPassword, status: 503, reason: away})

	// Local accounts do not depend on SSSD.
	m.must("dockerauth", "init", "--accounts", "sssd-local")
	m.must("groupadd", "local-push")
	m.must("usermod", "-aG", "local-push", "frank")
	m.tries(t,
		accountTry{name: "local without SSSD", user: "frank", password: localPassword, status: 200, team: true},
		accountTry{name: "local with a wrong password", user: "grace", password: "wrong", status: 401,
			reason: "authenticate: PAM_AUTH_ERR"},
		accountTry{name: "SSSD's without SSSD", user: "bob", password: ldapPassword, status: 503, reason: away},
		accountTry{name: "a system account", user: "daemon", password: "wrong", status: 401,
			reason: "authenticate: PAM_AUTH_ERR"})
	m.must("systemctl", "start", "sssd")
	m.forget(t)
	m.checkFinds(t)
	m.tries(
		t,
		accountTry{name: "SSSD's beside local ones", user: "alice", password: ldapPassword, status: 200, team: true},
		accountTry{
			name:     "expired beside local ones",
			user:     "eve",
			password: ldapPassword,
			status:   401,
			reason:   expired,
		},
		accountTry{name: "a low uid beside local ones", user: "robot", password: ldapPassword, status: 401,
			reason: "PAM_AUTH_ERR"},
		accountTry{name: "local beside SSSD's", user: "frank", password: localPassword, status: 200, team: true},
	)
	m.must("usermod", "-e", "1", "frank")
	m.tries(
		t,
		accountTry{name: "expired and local", user: "frank", password: localPassword, status: 401, reason: expired},
	)
	m.must("usermod", "-e", "", "frank")
	m.must("dockerauth", "init", "--accounts", "sssd")

	// What goes wrong without the documented lines, and what SSSD can be told about names.
	conf := accountsBlock(t, "LDAP", "conf", "/etc/sssd/sssd.conf")
	lax, _, _ := strings.Cut(conf, "access_provider")
	m.restartSSSD(t, lax)
	m.tries(t, accountTry{name: "expired without access_provider", user: "eve", password: ldapPassword, status: 200})
	m.restartSSSD(t, conf+"case_sensitive = False\n")
	m.tries(t,
		accountTry{name: "any case", user: "ALICE", password: ldapPassword, status: 200, account: "alice", team: true},
		accountTry{name: "blacklisted in any case", user: "Mallory", password: ldapPassword, status: 401,
			reason: "blacklisted"})
	m.restartSSSD(t, conf+"use_fully_qualified_names = True\n")
	m.tries(t,
		accountTry{name: "with its domain only", user: "alice@example.com", password: ldapPassword, status: 200},
		accountTry{name: "without its domain", user: "alice", password: ldapPassword, status: 401,
			reason: "PAM_USER_UNKNOWN"})
	m.restartSSSD(t, conf+"cache_credentials = True\n")
	m.tries(t, accountTry{name: "remembered by SSSD", user: "alice", password: ldapPassword, status: 200, team: true})
	m.must("systemctl", "stop", "slapd")
	m.tries(t, accountTry{name: "the same without the directory", user: "alice", password: ldapPassword, status: 200,
		team: true})
	m.must("systemctl", "stop", "sssd")
}

// restartSSSD starts SSSD with a configuration, and nothing remembered there or in dockerauth.
func (m *debian) restartSSSD(t *testing.T, conf string) {
	t.Helper()
	writeFile(t, m.path("etc/sssd/sssd.conf"), conf, 0o600)
	m.must("systemctl", "stop", "sssd")
	m.must("sh", "-c", "rm -f /var/lib/sss/db/* /var/lib/sss/mc/*; systemctl reset-failed; systemctl start sssd")
	m.forget(t) // it asks PAM only now and then for a user whose logins got no answer
}

// eventuallyRefreshed waits until SSSD has noticed a change.
func eventuallyRefreshed(t *testing.T, m *debian, what, refresh string, try accountTry) {
	t.Helper()
	try.name = what
	eventually(t, bootWithin, what, func() bool {
		a := m.requestToken(t, "", try.user, refresh)
		return a.status == try.status &&
			(a.status != 200 || try.team == strings.Contains(fmt.Sprint(a.granted), "team/"))
	})
	m.compare(t, try, m.requestToken(t, "", try.user, refresh))
}

const adPassword = "A-password-of-the-domain-1"

const startActiveDirectory = `
rm -f /etc/samba/smb.conf
samba-tool domain provision --realm=AD.EXAMPLE.COM --domain=EXAMPLE --server-role=dc --dns-backend=SAMBA_INTERNAL \
	--adminpass="$1" --host-name=dc --host-ip=192.0.2.1 --option='vfs objects=dfs_samba4,xattr_tdb'
echo nameserver 127.0.0.1 >/etc/resolv.conf
cp /var/lib/samba/private/krb5.conf /etc/krb5.conf
systemctl unmask samba-ad-dc
systemctl start samba-ad-dc
for user in alice bob eve dora mallory; do samba-tool user create $user "$1"; done
samba-tool user create due "$1" --must-change-at-next-login
samba-tool user setexpiry eve --days=0
samba-tool user disable dora
samba-tool group add registry-push
samba-tool group addmembers registry-push alice
`

func activeDirectory(t *testing.T, m *debian) {
	m.must("sh", "-euc", startActiveDirectory, "sh", adPassword)
	writeFile(t, m.path("srv/domain-password"), adPassword, 0o600)
	m.follow(
		t,
		"Active Directory",
		nil,
		[]string{"ad-join"},
		"adcli join",
		"adcli join --stdin-password </srv/domain-password",
	)
	conf := accountsBlock(t, "Active Directory", "conf", "/etc/sssd/sssd.conf")
	m.restartSSSD(t, conf)
	m.follow(t, "LDAP", nil, []string{"sssd"})
	m.checkFinds(t)
	m.dockerLogins(t, "alice", adPassword)
	m.tries(t,
		accountTry{name: "in the group", user: "alice", password: adPassword, status: 200, team: true},
		accountTry{name: "not in the group", user: "bob", password: adPassword, status: 200},
		accountTry{name: "expired", user: "eve", password: adPassword, status: 401,
			reason: "authenticate: PAM_PERM_DENIED"},
		accountTry{name: "disabled", user: "dora", password: adPassword, status: 401,
			reason: "authenticate: PAM_PERM_DENIED"},
		accountTry{name: "a password that must be changed", user: "due", password: adPassword, status: 401,
			reason: "PAM_NEW_AUTHTOK_REQD"},
		accountTry{name: "any case", user: "Alice", password: adPassword, status: 200, account: "alice", team: true},
		accountTry{name: "with its domain", user: "alice@ad.example.com", password: adPassword, status: 200,
			account: "alice", team: true},
		accountTry{name: "with the short name of its domain", user: `EXAMPLE\alice`, password: adPassword, status: 200,
			account: "alice", team: true},
		accountTry{name: "blacklisted, with its domain", user: `EXAMPLE\Mallory`, password: adPassword, status: 401,
			reason: "blacklisted"},
	)
	bob := m.requestToken(t, "grant_type=password", "bob", adPassword).refresh
	m.must("samba-tool", "user", "disable", "bob")
	eventuallyRefreshed(t, m, "a disabled account", bob, accountTry{user: "bob", status: 401,
		reason: "account: PAM_PERM_DENIED"})

	m.must("systemctl", "stop", "samba-ad-dc")
	m.tries(t, accountTry{name: "the domain is away", user: "alice", password: adPassword, status: 503,
		reason: "PAM_AUTHINFO_UNAVAIL"})
	m.restartAfter(t, "samba-ad-dc", true, accountTry{user: "alice", password: adPassword, status: 200, team: true})

	// What goes wrong without the documented lines.
	m.restartSSSD(t, strings.Replace(conf, "ad_gpo_map_permit = +dockerauth\n", "", 1))
	m.tries(t, accountTry{name: "no policy for dockerauth", user: "alice", password: adPassword, status: 401,
		reason: "account: PAM_PERM_DENIED"})
	m.must("systemctl", "stop", "sssd", "samba-ad-dc")
}

const kerberosPassword = "a-password-of-the-realm"

const startKerberos = `
printf '\n[libdefaults]\ndns_lookup_kdc = false\nrdns = false\n' >>/etc/krb5.conf
apt-get -y -o Acquire::Retries=0 install --no-install-recommends krb5-kdc krb5-admin-server
kdb5_util create -s -r EXAMPLE.COM -P master
systemctl restart krb5-kdc
kadmin.local addprinc -pw "$1" carol
kadmin.local addprinc -pw "$1" -expire 2001-01-01 dave
kadmin.local addprinc -pw "$1" -pwexpire 2001-01-01 erin
kadmin.local addprinc -pw "$1" gone
`

func kerberosAccounts(t *testing.T, m *debian) {
	m.follow(t, "Kerberos", []string{"/etc/krb5.conf"}, nil)
	m.must("sh", "-euc", startKerberos, "sh", kerberosPassword)
	m.follow(t, "Kerberos", nil, []string{"krb5"})
	m.must("groupadd", "registry-push")
	m.must("usermod", "-aG", "registry-push", "carol")
	m.must("useradd", "dave")
	m.must("useradd", "erin")
	m.checkFinds(t)
	m.dockerLogins(t, "carol", kerberosPassword)
	m.tries(t,
		accountTry{name: "in the group", user: "carol", password: kerberosPassword, status: 200, team: true},
		accountTry{name: "an expired principal", user: "dave", password: kerberosPassword, status: 401,
			reason: "authenticate: PAM_ACCT_EXPIRED"},
		accountTry{name: "a password that must be changed", user: "erin", password: kerberosPassword, status: 401,
			reason: "authenticate: PAM_AUTH_ERR"},
		accountTry{name: "a principal without an account", user: "gone", password: kerberosPassword, status: 401,
			reason: "PAM_USER_UNKNOWN"},
		accountTry{name: "another spelling", user: "Carol", password: kerberosPassword, status: 401,
			reason: "PAM_USER_UNKNOWN"},
	)
	carol := m.requestToken(t, "grant_type=password", "carol", kerberosPassword).refresh
	m.must("systemctl", "stop", "krb5-kdc")
	m.tries(t, accountTry{name: "the KDC is away", user: "carol", password: kerberosPassword, status: 503,
		reason: "PAM_AUTHINFO_UNAVAIL"})
	m.compare(t, accountTry{name: "refresh while the KDC is away", user: "carol", status: 200, team: true},
		m.requestToken(t, "", "carol", carol))
	m.restartAfter(t, "krb5-kdc", false, accountTry{user: "carol", password: kerberosPassword, status: 200, team: true})
	m.must("usermod", "-e", "1", "carol")
	m.compare(t, accountTry{name: "the local account has expired", user: "carol", status: 401,
		reason: "account: PAM_ACCT_EXPIRED"}, m.requestToken(t, "", "carol", carol))
	m.must("usermod", "-e", "", "carol")
	m.must("chgrp", "root", "/etc/dockerauth/krb5.keytab")
	m.checkFinds(t, "module-file")
	m.tries(t, accountTry{name: "the keytab cannot be read", user: "carol", password: kerberosPassword, status: 401,
		reason: "authenticate: PAM_AUTH_ERR"})
	m.must("systemctl", "stop", "krb5-kdc")
}
