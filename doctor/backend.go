package doctor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"dockerauth/cli"
)

// handover is where a web server of this machine hands the endpoint's requests to dockerauth.
type handover struct {
	server  *webServer
	site    *site
	route   *route
	logSize int64 // of the site's error log before the first request
}

// locate finds the handover for the URL; nil = not known.
func (p *endpointProbe) locate() *handover {
	for _, w := range webServers(p.root) {
		s := w.siteFor(p.base)
		if s == nil {
			continue
		}
		h := &handover{server: w, site: s, route: s.route(p.base.Path)}
		if h.route != nil {
			p.letReload(h.route.file)
		}
		if info, err := os.Stat(filepath.Join(p.root, s.errorLog)); err == nil {
			h.logSize = info.Size()
		}
		return h
	}
	return nil
}

// reloadTime is how long a web server may take to follow a new configuration: a reload goes on
// after its command has ended.
const reloadTime = time.Second

// letReload waits for a reload after a file was changed a moment ago.
func (p *endpointProbe) letReload(file string) {
	if info, err := os.Stat(filepath.Join(p.root, file)); err == nil {
		if age := p.now().Sub(info.ModTime()); age >= 0 && age < reloadTime {
			time.Sleep(reloadTime - age)
		}
	}
}

// notReloaded is for a configuration that was changed after the web server had read it.
func (p *endpointProbe) notReloaded() bool {
	info, err := os.Stat(filepath.Join(p.root, p.route.file))
	began, known := p.server.worker.began(p.root)
	if err != nil || !known || p.server.worker.pid == p.server.pid || !info.ModTime().After(began) {
		return false
	}
	p.fail("url.get", "web-not-reloaded", fmt.Sprintf("%s has been changed since %s read it", p.route.file,
		p.server.kind),
		nobodyLogsIn, p.server.reload())
	return true
}

// maxLogTail is how much of an error log is read, in bytes.
const maxLogTail = 64 << 10

// newLine is the last line that the web server has written to its error log since the first
// request; "" = none.
func (p *endpointProbe) newLine() string {
	if p.handover == nil || p.site.errorLog == "" {
		return ""
	}
	f, err := os.Open(filepath.Join(p.root, p.site.errorLog))
	if err != nil {
		return ""
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(io.NewSectionReader(f, p.logSize, maxLogTail), maxLogTail))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// findCause says why the web server of this machine answers in dockerauth's place. false = it is
// not known.
func (p *endpointProbe) findCause() bool {
	if p.handover == nil || p.route == nil {
		return false
	}
	if p.wrongProtocol() {
		return true
	}
	if p.route.passes != nil && p.route.passes["REQUEST_METHOD"] == "" {
		p.parametersMissing()
		return true
	}
	if p.route.protocol == "cgi" {
		return p.programFails(p.route.target)
	}
	problem, known := p.tryTarget()
	switch {
	case !known:
		return false
	case problem == syscall.EACCES.Error():
		p.targetDenied()
		return true
	case problem == "" && p.isFcgiwrap():
		return p.programFails(p.route.script)
	case problem == "":
		return p.keptBySELinux() || p.notReloaded()
	}
	return p.targetGone(problem)
}

// notEnabled is for a web server that runs and was not told of dockerauth yet.
func (p *endpointProbe) notEnabled() bool {
	if p.handover == nil || p.route != nil {
		return false
	}
	command := p.enable(p.server, p.site)
	if command == "" {
		return false
	}
	p.fail("url.get", "web-not-enabled", p.server.kind+" answers, and does not have the endpoint", nobodyLogsIn,
		command)
	return true
}

// enable makes a web server take the file that the package has for it; "" = it has none, or takes
// it already.
func (c *checkup) enable(w *webServer, s *site) string {
	isThere := func(file string) bool {
		_, err := os.Stat(filepath.Join(c.root, file))
		return err == nil
	}
	switch {
	case w.name == "apache2" && isThere("/etc/apache2/conf-available/dockerauth.conf") &&
		!isThere("/etc/apache2/conf-enabled/dockerauth.conf"):
		return "a2enconf dockerauth && " + w.reload()
	case w.file == "/etc/nginx/nginx.conf" && s.line > 0 && isThere("/etc/nginx/snippets/dockerauth.conf"):
		return sedLine(s.place, `\blisten\b`, "include snippets/dockerauth.conf; listen") + " && " + w.reload()
	}
	return ""
}

// configInForce is how to have the same configuration here and in the service.
func (p *endpointProbe) configInForce() string {
	for _, b := range p.backends() {
		switch {
		case p.handover == nil || p.route == nil || b.address != p.route.target || b.config == "":
		case b.config != p.path && !sameFile(b.config, p.path):
			return "dockerauth check --config " + word(b.config) // it reads that one
		case b.unit:
			return "systemctl reload " + serviceUnit
		}
	}
	return "see which one it reads: the one beside the program comes before /etc/dockerauth/config.yml"
}

// isFcgiwrap reports that fcgiwrap starts the program for each request.
func (p *endpointProbe) isFcgiwrap() bool {
	return filepath.Base(p.route.script) == "dockerauth" && !slices.ContainsFunc(p.backends(), func(b backend) bool {
		return b.address == p.route.target
	})
}

// tryTarget connects as the web server would. known is false if that cannot be tried.
func (p *endpointProbe) tryTarget() (problem string, known bool) {
	if !p.route.isSocket() {
		conn, err := net.DialTimeout("tcp", p.route.target, connectTimeout)
		if err != nil {
			return cli.Cause(err), true
		}
		_ = conn.Close()
		return "", true
	}
	return p.tryAsWebServer(attempt{tryConnect, filepath.Join(p.root, p.route.target)})
}

// tryAsWebServer makes an attempt with the ids that the web server's process has.
func (p *endpointProbe) tryAsWebServer(what attempt) (problem string, known bool) {
	w := p.server.worker
	if os.Geteuid() != 0 && os.Geteuid() != w.uid {
		if _, err := os.Lstat(what.Path); errors.Is(err, os.ErrNotExist) {
			return syscall.ENOENT.Error(), true
		}
		return "", false
	}
	program, err := os.Executable()
	if err != nil {
		return "", false
	}
	a := &runAs{program: program}
	if os.Geteuid() == 0 {
		a.as = &syscall.Credential{Uid: uint32(w.uid), Gid: uint32(w.gid)}
		for _, id := range w.groups {
			a.as.Groups = append(a.as.Groups, uint32(id))
		}
	}
	answers, err := a.try(what)
	if err != nil {
		return "", false
	}
	return answers[0], true
}

// nobodyLogsIn is what follows where no request reaches dockerauth.
const nobodyLogsIn = "no request reaches dockerauth, and nobody can log in"

// targetGone is for a socket or port where nobody listens.
func (p *endpointProbe) targetGone(problem string) bool {
	const subject = "url.get"
	at := fmt.Sprintf("%s: %s hands requests to %s: %s", p.route.place, p.server.kind, p.route.target, problem)
	if p.isFcgiwrap() {
		p.fcgiwrapGone(at)
		return true
	}
	right, known := p.backendOf(p.route.protocol)
	switch {
	case known && right.address == p.route.target && right.unit:
		return p.has("socket-missing") || p.has("socket-unattended") // examineSocket has said it
	case known && right.address != p.route.target:
		p.fail(subject, "web-wrong-target", at, "dockerauth listens at "+right.address, p.pointTo(right.address))
	default:
		p.fail(subject, "web-target-dead", at, nobodyLogsIn, p.startBackend())
	}
	return true
}

func (p *endpointProbe) has(code string) bool {
	return slices.ContainsFunc(p.list, func(f finding) bool { return f.Code == code })
}

// startBackend is how the service is started that the web server looks for.
func (p *endpointProbe) startBackend() string {
	address := p.route.target
	switch {
	case readUnit(p.root, socketUnit).file != "":
		return "systemctl start " + socketUnit
	case p.route.isSocket():
		address = "unix:" + address
	case p.route.protocol == "fastcgi":
		address = "tcp:" + address
	}
	command := "dockerauth " + p.route.protocol
	if p.path != "" {
		command += " --config " + p.path
	}
	return "start the service, with this command in its unit: " + command + " --listen " + address
}

// pointTo makes the web server hand requests to another address.
func (p *endpointProbe) pointTo(address string) string {
	if p.route.isSocket() == strings.HasPrefix(address, "/") && p.server.kind != "HAProxy" { // which may have a chroot
		return sedLine(p.route.place, p.route.written(), address) + " && " + p.server.reload()
	}
	if strings.HasPrefix(address, "/") {
		address = "unix:" + address
		if p.server.kind == "Apache" && p.route.protocol == "fastcgi" {
			address += "|fcgi://dockerauth"
		}
	}
	return fmt.Sprintf("in %s write %s in the place of %s, then: %s", p.route.place, address, p.route.target,
		p.server.reload())
}

func (p *endpointProbe) fcgiwrapGone(at string) {
	const subject, name = "url.get", "fcgiwrap.socket"
	unit := readUnit(p.root, name)
	switch {
	case unit.file == "":
		p.fail(subject, "web-target-dead", at, nobodyLogsIn, "apt-get install fcgiwrap")
	case len(unit.listens) == 1 && unit.listens[0] != p.route.target && p.listensAt(unit.listens[0]):
		p.fail(subject, "web-wrong-target", at, "fcgiwrap listens at "+unit.listens[0], p.pointTo(unit.listens[0]))
	default:
		p.fail(subject, "web-target-dead", at, nobodyLogsIn, "systemctl enable --now "+name)
	}
}

// listensAt reports that a process listens at a socket that is there.
func (p *endpointProbe) listensAt(path string) bool {
	_, err := os.Stat(filepath.Join(p.root, path))
	return err == nil && p.isListenedAt(path)
}

// targetDenied is for a socket that the web server's user may not open.
func (p *endpointProbe) targetDenied() {
	const subject = "url.get"
	w, path := p.server.worker, p.route.target
	user, group := userName(w.uid), groupName(w.gid)
	what := fmt.Sprintf("%s: %s, which runs as %s, may not open %s", p.route.place, p.server.kind, user, path)
	if folder := p.closedFolder(path); folder != "" {
		p.fail(subject, "web-socket-denied", what, user+" may not enter "+folder, p.letEnter(folder, path))
		return
	}
	var why string
	if info, err := os.Stat(filepath.Join(p.root, path)); err == nil {
		owner := info.Sys().(*syscall.Stat_t)
		why = fmt.Sprintf("the socket is for %s and the group %s, with mode %04o", userName(int(owner.Uid)),
			groupName(int(owner.Gid)), info.Mode().Perm())
		var account runAs
		if err := account.takeAccount(user); err == nil && info.Mode().Perm()&0o020 != 0 &&
			slices.Contains(
				account.account,
				int(owner.Gid),
			) && !slices.Contains(append(w.groups, w.gid), int(owner.Gid)) {
			p.fail(subject, "web-socket-denied", what, "its processes are older than its membership in the group "+
				groupName(int(owner.Gid)), p.server.restart())
			return
		}
	}
	if other := p.otherReader(path); other != "" {
		p.fail(subject, "web-socket-denied", what, why, fmt.Sprintf("usermod -aG %s %s && %s", other, user,
			p.server.restart()))
		return
	}
	if slices.Contains(readUnit(p.root, socketUnit).listens, path) {
		const folder = "/etc/systemd/system/" + socketUnit + ".d"
		p.fail(subject, "web-socket-denied", what, why, fmt.Sprintf(`mkdir -p %s && printf '[Socket]\nSocketGroup=%s\n`+
			`SocketMode=0660\n' >%[1]s/web-server.conf && systemctl daemon-reload && systemctl restart %[3]s`,
			folder, group, socketUnit))
		return
	}
	p.fail(subject, "web-socket-denied", what, why, fmt.Sprintf("chgrp %s %s && chmod 0660 %[2]s", group, word(path)))
}

// otherReader is the socket's group if another web server has its right from it: to give the socket
// to another group would take it away.
func (p *endpointProbe) otherReader(path string) string {
	_, _, gid, ok := ownerOf(filepath.Join(p.root, path))
	if !ok || gid == 0 {
		return ""
	}
	for _, w := range webServers(p.root) {
		if w.pid != p.server.pid && slices.Contains(append(w.worker.groups, w.worker.gid), gid) {
			return groupName(gid)
		}
	}
	return ""
}

// closedFolder is the first folder above a file that the web server's user may not enter; "" =
// none.
func (p *endpointProbe) closedFolder(path string) string {
	w := p.server.worker
	var closed string
	for folder := filepath.Dir(path); ; folder = filepath.Dir(folder) {
		info, err := os.Stat(filepath.Join(p.root, folder))
		if err != nil {
			return ""
		}
		owner := info.Sys().(*syscall.Stat_t)
		bit := os.FileMode(0o001)
		if int(owner.Uid) == w.uid {
			bit = 0o100
		} else if slices.Contains(append(w.groups, w.gid), int(owner.Gid)) {
			bit = 0o010
		}
		if w.uid != 0 && info.Mode().Perm()&bit == 0 {
			closed = folder
		}
		if folder == "/" {
			return closed
		}
	}
}

// letEnter opens the folder of a file for the web server's group alone, where no other group has a
// right to it. Other folders are closed for a reason.
func (p *endpointProbe) letEnter(folder, file string) string {
	w := p.server.worker
	info, err := os.Stat(filepath.Join(p.root, folder))
	if err == nil && folder == filepath.Dir(file) && info.Mode().Perm()&0o070 == 0 {
		return fmt.Sprintf("chgrp %s %s && chmod g+x %[2]s", groupName(w.gid), word(folder))
	}
	return fmt.Sprintf("let %s enter %s, or move %s to another folder", userName(w.uid), folder, filepath.Base(file))
}

// wrongProtocol is for a web server that speaks FastCGI to an HTTP service, or HTTP to the other.
func (p *endpointProbe) wrongProtocol() bool {
	if p.handover == nil || p.route == nil {
		return false
	}
	for _, b := range p.backends() {
		if b.address != p.route.target || b.protocol == p.route.protocol {
			continue
		}
		example := map[string]string{"nginx": "nginx/fastcgi.conf", "Apache": "apache/proxy-fcgi.conf"}[p.server.kind]
		if b.protocol == "http" && p.server.kind == "nginx" {
			example = "nginx/http.conf"
		}
		p.fail(
			"url.get",
			"web-wrong-protocol",
			fmt.Sprintf("%s: %s speaks %s to %s, where dockerauth speaks %s", p.route.place,
				p.server.kind, p.route.protocol, b.address, b.protocol),
			nobodyLogsIn,
			"write the directives of /usr/share/doc/dockerauth/examples/"+example+" there, then: "+p.server.reload(),
		)
		return true
	}
	return false
}

// keptBySELinux is for a web server whose user may connect, and whose domain may not.
func (p *endpointProbe) keptBySELinux() bool {
	enforce, _ := os.ReadFile(filepath.Join(p.root, "/sys/fs/selinux/enforce"))
	if string(enforce) != "1" || !strings.Contains(p.newLine(), "ermission denied") {
		return false
	}
	remedy := "setsebool -P httpd_can_network_connect on"
	if p.route.isSocket() {
		remedy = "ausearch -m avc -ts recent | audit2allow -M dockerauth && semodule -i dockerauth.pp"
	}
	p.fail("url.get", "web-selinux", fmt.Sprintf("%s: SELinux keeps %s from %s", p.route.place, p.server.kind,
		p.route.target), nobodyLogsIn, remedy)
	return true
}

// programFails is for a program that the web server starts, and cannot.
func (p *endpointProbe) programFails(file string) bool {
	problem, known := p.tryAsWebServer(attempt{tryExecute, filepath.Join(p.root, file)})
	if !known || problem == "" {
		return false
	}
	what := fmt.Sprintf("%s: %s starts %s as %s: %s", p.route.place, p.server.kind, file, userName(p.server.worker.uid),
		problem)
	remedy := "chmod a+rx " + word(file)
	if info, err := os.Stat(filepath.Join(p.root, file)); err == nil && info.Mode()&os.ModeSetgid != 0 {
		remedy = fmt.Sprintf("chown %s %s && chmod 2510 %[2]s", userName(p.server.worker.uid), word(file))
	}
	if folder := p.closedFolder(file); folder != "" {
		remedy = p.letEnter(folder, file)
	}
	if problem == syscall.ENOENT.Error() {
		program, err := p.programFile()
		if err != nil {
			return false
		}
		remedy = sedLine(p.route.place, file, program) + " && " + p.server.reload()
	}
	p.fail("url.get", "web-program-unusable", what, nobodyLogsIn, remedy)
	return true
}
