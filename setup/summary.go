package setup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
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
	"dockerauth/packaging"
)

const (
	registryBundle = "/etc/docker/registry/cert.pem"
	ownSocket      = "/run/dockerauth/dockerauth.sock"
	// placeholderRealm is for a web server whose name is unknown: no such host can exist (RFC 2606
	// §2).
	placeholderRealm = "https://THE-WEB-SERVER.invalid" + tokenPath
	tokenPath        = "/docker/v2/token"
	webUser          = "www-data" // of Apache on Debian, and its group
	stateDir         = "/var/lib/dockerauth"
)

// report is what the operator reads and pastes: what stands between the empty line below a heading
// and the next heading works as it stands.
func (s *installer) report() string {
	var b strings.Builder
	s.reportFiles(&b)
	if s.certificate.found != nil && s.certificate.content != nil {
		s.reportRenewal(&b)
		return b.String()
	}
	s.reportRegistry(&b)
	check := "--config " + shellWord(s.config.path)
	switch {
	case s.packaged():
		b.WriteString("\nTHE SERVICE is started by dockerauth.socket, with the first login.\n")
		s.reportWebServers(&b)
		b.WriteString("\nOther ways: /usr/share/doc/dockerauth/README.md")
		check = "--as " + ownGroup
	case s.startedByApache():
		s.reportCGI(&b)
	default:
		fmt.Fprintf(&b, `
THE SERVICE, started as a user in the group shadow (packaging/systemd in the sources has units for it):

%s fastcgi --config %s --listen unix:%s
`, shellWord(ownProgram()), shellWord(s.config.path), ownSocket)
		s.reportWebServers(&b)
	}
	fmt.Fprintf(&b, "\nWhether all is well: dockerauth check %s --url %s\n", check, shellWord(s.resolveRealm()))
	return b.String()
}

// reportRenewal says only what a new certificate changes.
func (s *installer) reportRenewal(b *strings.Builder) {
	fmt.Fprintf(b, `
A service that runs takes the new certificate within two seconds. A registry refuses its tokens until the
registry's bundle is this certificate. Copy it to every registry, and restart the registry:

install -D -m 644 %s %s
`, shellWord(s.certificate.path), registryBundle)
}

// unitDirs are where systemd looks for units, without generated ones (systemd.unit(5)).
var unitDirs = []string{"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system",
	"/usr/lib/systemd/system", "/lib/systemd/system"}

// packaged reports that units for this folder are installed, as packages do.
func (s *installer) packaged() bool {
	return s.dir == s.system+systemDir && slices.ContainsFunc(unitDirs, func(dir string) bool {
		return s.exists(filepath.Join(dir, ownGroup+".socket"))
	})
}

// exists reports that the system has a file.
func (s *installer) exists(path string) bool {
	_, err := os.Stat(s.system + path)
	return err == nil
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
		case t.found != nil && t.path == s.certificate.path:
			verb = "renewed"
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
	if err != nil || s.group != "" || s.root && s.startedByApache() {
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

`, kinds, yamlText(s.resolveRealm()), yamlText(s.audiences[0]), yamlText(s.issuer), registryBundle)
	for _, name := range s.audiences[1:] {
		fmt.Fprintf(b, "Another registry has the same section with service: %s\n", yamlText(name))
	}
	if s.bundleIsThere() {
		fmt.Fprintf(b, "The bundle is there. Restart the registry when the section is in place.\n")
		return
	}
	fmt.Fprintf(b, `The bundle is a copy of the certificate with nothing else in it.
With both in place restart the registry.

install -D -m 644 %s %s
`, shellWord(s.certificate.path), registryBundle)
}

// bundleIsThere reports that a registry on this machine has the certificate.
func (s *installer) bundleIsThere() bool {
	bundle, err := os.ReadFile(s.system + registryBundle)
	if err != nil {
		return false
	}
	certificate, err := os.ReadFile(s.certificate.path)
	return err == nil && bytes.Equal(bundle, certificate)
}

// reportWebServers is about those that are installed. A package has brought files for others too.
func (s *installer) reportWebServers(b *strings.Builder) {
	apache, nginx := s.exists("/usr/sbin/apache2") || s.exists("/usr/sbin/httpd"), s.exists("/usr/sbin/nginx")
	switch {
	case apache || nginx:
	case s.packaged():
		apache, nginx = true, true
	default:
		b.WriteString(`
THE WEB SERVER: neither Apache nor nginx is installed here. With one of them, run this again: it prints what
that needs.
`)
	}
	if apache {
		s.reportApache(b, packaging.Apache)
	}
	if nginx {
		s.reportNginx(b)
	}
}

func (s *installer) reportNginx(b *strings.Builder) {
	switch {
	case s.exists("/etc/nginx/snippets/dockerauth.conf"):
		b.WriteString("\nNGINX, in the server block: include snippets/dockerauth.conf;\n")
	case s.exists("/etc/nginx/dockerauth.conf"):
		b.WriteString("\nNGINX, in the server block: include dockerauth.conf;\n")
	default:
		b.WriteString("\nNGINX, in the server block:\n\n" + packaging.Nginx)
	}
}

// reportApache shows a file, unless Apache has it.
func (s *installer) reportApache(b *strings.Builder, file string) {
	switch {
	case s.exists("/etc/apache2/conf-enabled/dockerauth.conf"):
		b.WriteString("\nAPACHE has /etc/apache2/conf-enabled/dockerauth.conf.\n")
	case s.exists("/etc/apache2/conf-available/dockerauth.conf"):
		b.WriteString(`
APACHE: a2enconf dockerauth && systemctl reload apache2
That adds the token endpoint to every virtual host. Without TLS, on port 80, passwords can be read on the
way. For one virtual host, write there instead: Include conf-available/dockerauth.conf
`)
	case s.exists("/etc/httpd/dockerauth.conf"):
		b.WriteString("\nAPACHE, in a virtual host with TLS: Include dockerauth.conf\n")
	default:
		b.WriteString("\nAPACHE, as a file:\n\n" + file)
	}
}

// startedByApache reports that the program lies where Apache starts it and it finds this
// configuration. A link there is the package's.
func (s *installer) startedByApache() bool {
	info, err := os.Lstat(s.cgiProgram())
	return err == nil && info.Mode().IsRegular() && s.cgiProgram() != s.pam.path
}

// reportCGI is about a program that Apache starts.
func (s *installer) reportCGI(b *strings.Builder) {
	if steps := s.cgiRights(); steps != "" {
		b.WriteString("\nTHE PROGRAM, which Apache starts:\n\n" + steps)
	}
	if _, err := os.Stat(filepath.Join(s.dir, ".htaccess")); err == nil {
		fmt.Fprintf(b, `
APACHE reads .htaccess here. a2enmod cgi rewrite && systemctl restart apache2, and in the virtual host:

<Directory %s>
    AllowOverride FileInfo AuthConfig Options=ExecCGI
</Directory>
`, apacheText(s.dir))
		return
	}
	cgi := s.cgiProgram()
	s.reportApache(b, strings.NewReplacer(`"/usr/lib/cgi-bin/dockerauth"`, apacheText(cgi),
		`"/usr/lib/cgi-bin"`, apacheText(filepath.Dir(cgi))).Replace(packaging.ApacheCGI))
}

// cgiProgram is a path from which the program finds this configuration.
func (s *installer) cgiProgram() string {
	if s.dir == s.system+systemDir {
		return s.system + "/usr/lib/cgi-bin/dockerauth"
	}
	return filepath.Join(s.dir, "dockerauth")
}

// cgiRights are the steps that give the program alone the right to ask PAM about others, without
// those that are done. Only root can give that right.
func (s *installer) cgiRights() string {
	cgi := s.cgiProgram()
	mode, group := fileRights(cgi)
	if !s.root {
		if mode&0o555 == 0o555 {
			return ""
		}
		return "chmod 755 " + shellWord(cgi) + "\n"
	}
	var steps strings.Builder
	if group != "shadow" || mode&(fs.ModeSetgid|0o111) != fs.ModeSetgid|0o110 {
		fmt.Fprintf(&steps, "chown %s:shadow %s && chmod 2510 %[2]s\n", webUser, shellWord(cgi))
	}
	if mode, group := fileRights(s.key.path); group != webUser || mode&0o040 == 0 {
		fmt.Fprintf(&steps, "chgrp %s %s && chmod 640 %[2]s\n", webUser, shellWord(s.key.path))
	}
	if !s.exists(stateDir) {
		fmt.Fprintf(&steps, "install -d -o %s -g %[1]s -m 0700 %s\n", webUser, stateDir)
	}
	return steps.String()
}

// fileRights are the mode and the group of a file; zero for one that cannot be examined.
func fileRights(path string) (mode fs.FileMode, group string) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, ""
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		if g, err := user.LookupGroupId(strconv.Itoa(int(owner.Gid))); err == nil {
			group = g.Name
		}
	}
	return info.Mode(), group
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
