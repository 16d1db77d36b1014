package setup

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"dockerauth/cli"
	"dockerauth/jwtsign"
)

const (
	registryBundle = "/etc/docker/registry/cert.pem"
	ownSocket      = "/run/dockerauth/dockerauth.sock"
	// placeholderRealm is for a web server whose name is unknown: no such host can exist (RFC 2606
	// §2).
	placeholderRealm = "https://THE-WEB-SERVER.invalid" + tokenPath
	tokenPath        = "/docker/v2/token"
)

// report is what the operator reads and pastes: everything between two empty lines works as it
// stands.
func (s *installer) report() string {
	var b strings.Builder
	s.reportFiles(&b)
	s.reportRegistry(&b)
	if s.packaged() {
		s.reportPackaged(&b)
		return b.String()
	}
	s.reportWebServer(&b)
	fmt.Fprintf(&b, "\nWhether all is well: dockerauth check --config %s --url %s\n", shellWord(s.config.path),
		shellWord(s.resolveRealm()))
	return b.String()
}

// unitDirs are where systemd looks for units, without generated ones (systemd.unit(5)).
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
	"/usr/lib/systemd/system", "/lib/systemd/system"}

// packaged reports that a package has installed a service for this folder, and its web server
// files.
func (s *installer) packaged() bool {
	return s.dir == systemDir && slices.ContainsFunc(unitDirs, func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, ownGroup+".socket"))
		return err == nil
	})
}

// reportPackaged says only what is left to do: other ways would take files out of the package's
// hands.
func (s *installer) reportPackaged(b *strings.Builder) {
	fmt.Fprintf(b, `
THE SERVICE is started by dockerauth.socket, with the first login.

APACHE: a2enconf dockerauth && systemctl reload apache2
NGINX, in the server block: include snippets/dockerauth.conf;

Other ways: /usr/share/doc/dockerauth/README.md
Whether all is well: dockerauth check --as %s --url %s
`, ownGroup, shellWord(s.resolveRealm()))
}

func (s *installer) reportFiles(b *strings.Builder) {
	table := cli.NewTable(b)
	s.key.note = strings.TrimSuffix("signs "+s.signing.Algorithm()+", "+s.key.note, ", ")
	if key, err := jwtsign.LoadKey(s.key.path, s.certificate.path, jwtsign.KeyIDUnset); err == nil {
		s.certificate.note = "until " + key.Chain()[0].NotAfter.UTC().Format("2006-01-02")
	}
	for _, t := range []plannedFile{s.key, s.certificate, s.pam, s.config} {
		verb := "made"
		switch {
		case t.content == nil:
			verb = "kept"
		case t.found != nil && t.path == s.pam.path:
			verb = "replaced"
		case t.found != nil:
			verb = "filled in"
		}
		if t.note != "" {
			t.note = "\t" + t.note
		}
		fmt.Fprintf(table, "%s\t%s%s\n", verb, t.path, t.note)
	}
	_ = table.Flush() // a strings.Builder takes everything
	if readers := s.readers(); readers != "" {
		fmt.Fprintf(b, "\nThe key can be read by %s only. If the service runs as another:\nchgrp ITS-GROUP %s\n",
			readers, shellWord(s.key.path))
	}
}

// readers are the users who can read the key; "" where the service's user can.
func (s *installer) readers() string {
	info, err := os.Stat(s.key.path)
	if err != nil || s.group != "" {
		return ""
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	account, group := strconv.Itoa(int(owner.Uid)), strconv.Itoa(int(owner.Gid))
	if u, err := user.LookupId(account); err == nil {
		account = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	switch {
	case group == ownGroup:
		return ""
	case info.Mode().Perm()&0o040 == 0:
		return "the user " + account
	}
	return "the user " + account + " and the group " + group
}

func (s *installer) reportRegistry(b *strings.Builder) {
	kinds := "2.8 and 3.x alike"
	if s.signing.Algorithm() == algorithmOf(jwtsign.Ed25519) {
		kinds = "3.x only: 2.8 does not start with an Ed25519 certificate"
	}
	fmt.Fprintf(b, `
THE REGISTRY (%s). In its configuration, in place of the auth section that is there:

auth:
  token:
    realm: %s
    service: %s
    issuer: %s
    rootcertbundle: %s

The bundle is a copy of the certificate with nothing else in it. With both in place restart the registry.

install -D -m 644 %s %[5]s
`, kinds, yamlText(s.resolveRealm()), yamlText(s.audience), yamlText(s.issuer), registryBundle,
		shellWord(s.certificate.path))
}

func (s *installer) reportWebServer(b *strings.Builder) {
	program := ownProgram()
	cgi := s.cgiProgram()
	fmt.Fprintf(b, `
THE SERVICE, started as a user in the group shadow:

%[1]s fastcgi --config %[2]s --listen unix:%[3]s

APACHE: a2enmod proxy_fcgi, and in the virtual host:

<LocationMatch "^/(docker/v2|auth)/token/?$">
    SetHandler "proxy:unix:%[3]s|fcgi://dockerauth"
    CGIPassAuth On
    Require all granted
</LocationMatch>

Or as a program that Apache starts: a2enmod cgi alias,

%[4]s

and in the virtual host:

ScriptAlias "/docker/v2/token" %[5]s
ScriptAlias "/auth/token" %[5]s
<Directory %[6]s>
    <Files %[7]s>
        CGIPassAuth On
        Require all granted
    </Files>
</Directory>

NGINX, in the server block:

location ~ ^/(docker/v2|auth)/token/?$ {
    include fastcgi_params;
    fastcgi_param HTTP_PROXY "";
    fastcgi_pass unix:%[3]s;
    client_body_buffer_size 64k;
    client_max_body_size 64k;
    fastcgi_max_temp_file_size 0;
}
`, shellWord(program), shellWord(s.config.path), ownSocket, s.installCGI(program, cgi), apacheText(cgi),
		apacheText(filepath.Dir(cgi)), apacheText(filepath.Base(cgi)))
}

// cgiProgram is a path from which the program finds this configuration.
func (s *installer) cgiProgram() string {
	if s.dir == systemDir {
		return "/usr/lib/cgi-bin/dockerauth"
	}
	return filepath.Join(s.dir, "dockerauth")
}

// installCGI gives the program alone the right to ask PAM about others. Only root can give that
// right.
func (s *installer) installCGI(program, cgi string) string {
	owner, mode := "", "755"
	if s.root {
		owner, mode = "-o www-data -g shadow ", "2510"
	}
	line := fmt.Sprintf("install %s-m %s %s %s", owner, mode, shellWord(program), shellWord(cgi))
	switch {
	case program == cgi && s.root:
		line = fmt.Sprintf("chown www-data:shadow %s && chmod %s %[1]s", shellWord(cgi), mode)
	case program == cgi:
		line = fmt.Sprintf("chmod %s %s", mode, shellWord(cgi))
	}
	if s.root {
		line += "\nchgrp www-data " + shellWord(s.key.path)
	}
	return line
}

func ownProgram() string {
	program, err := os.Executable()
	if err != nil {
		return "dockerauth"
	}
	return program
}

// resolveRealm is where the registry sends its clients.
func (s *installer) resolveRealm() string {
	if s.realm != "" {
		return s.realm
	}
	if host := strings.TrimPrefix(s.issuer, "https://"); isHost(host) {
		s.realm = "https://" + host + tokenPath
		return s.realm
	}
	s.realm = placeholderRealm
	s.notes = append(s.notes,
		"the issuer is no host name, so realm in the registry's section is a placeholder\n  write the address of the "+
			"web server there, or run this again with --realm https://HOST"+tokenPath)
	return placeholderRealm
}

// isHost reports a name with a dot in it or an address, each with or without a port.
func isHost(s string) bool {
	u, err := url.Parse("https://" + s)
	if err != nil || u.Host != s || u.Port() == "" && strings.HasSuffix(s, ":") {
		return false
	}
	name := u.Hostname()
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || strings.Trim(label, "-") != label || strings.ContainsFunc(label, func(c rune) bool {
			return c != '-' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
		}) {
			return false
		}
	}
	return strings.Contains(name, ".") && strings.Trim(name, "0123456789.") != ""
}

// checkRealm refuses a URL that no client could follow.
func (s *installer) checkRealm() error {
	if s.realm == "" {
		return nil
	}
	u, err := url.Parse(s.realm)
	bad := err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != ""
	if bad ||
		strings.ContainsFunc(s.realm,
			func(c rune) bool { return c <= ' ' || c > unicode.MaxASCII || strings.ContainsRune(`"'\<>`, c) }) {
		return errors.New("--realm is not the address of a token endpoint\n  write it as clients see it: https://HOST" +
			tokenPath)
	}
	if u.Scheme == "http" && !isLoopbackHost(u.Hostname()) {
		s.notes = append(s.notes, "--realm is http: everybody's password goes over the network for all to read")
	}
	return nil
}

func isLoopbackHost(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// shellWord is one word to a shell.
func shellWord(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return !strings.ContainsRune("/._-+:@%,", c) && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') &&
			(c < '0' || c > '9')
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// apacheText is one argument of a directive.
func apacheText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
