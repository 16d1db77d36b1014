package doctor

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dockerauth/config"
)

// What stands in the configuration of a web server or in a unit is in remedies for root.
func TestNoRemedyRunsWhatIsInItsWords(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, planted)
	writeTestFile(t, file, "")
	at := place{file, 3}
	probe := func(kind, protocol, target string) *endpointProbe {
		w := &webServer{kind: kind, process: process{unit: "x.service"}}
		r := &route{place: at, protocol: protocol, target: target, setting: func(string) []directive { return nil },
			insert: appendLocation(directive{args: []string{planted}, place: at})}
		c := &checkup{root: dir, path: file, settings: &config.Config{Path: file}, config: &config.Config{Path: file}}
		c.config.Log.File = file
		base := &url.URL{Scheme: "http", Host: "127.0.0.1:1", Path: "/" + planted}
		return &endpointProbe{checkup: c, base: base, httpClient: testAsker(t, nil),
			handover: &handover{server: w, route: r, site: &site{errorLog: file}}}
	}
	fastCGI := probe("nginx", "fastcgi", file)
	web := probe("nginx", "http", planted)
	a := &runAs{name: planted, group: planted, program: file}
	open := probe("nginx", "fastcgi", file)
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, remedy := range map[string]string{
		"Apache's lines behind a directive":  appendLocation(directive{args: []string{planted}, place: at})("a", "b"),
		"lines for a URL with a quote":       appendLocation(directive{args: []string{"\"" + planted}, place: at})("a"),
		"Apache's lines before a directive":  insertBefore(directive{place: at})("a"),
		"a service that is not started":      fastCGI.startBackend(),
		"one that is not started, by HTTP":   web.startBackend(),
		"another socket":                     fastCGI.pointTo("/" + planted),
		"another socket in place of a port":  web.pointTo("/" + planted),
		"a closed folder":                    fastCGI.letEnter(dir, file),
		"a closed folder of another's":       fastCGI.letEnter(filepath.Join(dir, planted), "/x/y"),
		"the log":                            fastCGI.readLog(),
		"the error log":                      fastCGI.readErrorLog(),
		"a parameter that is taken away":     fastCGI.passParameters("REQUEST_URI"),
		"a parameter that Apache takes away": probe("Apache", "fastcgi", file).passParameters("REQUEST_URI"),
		"a path that is lost":                found(web, func() { web.pathLost() }),
		"an endpoint nearby": found(web, func() {
			web.base.Path = "/" + planted + "/x"
			web.pathLost()
		}),
		"the client's address": found(web, func() {
			web.route.target = "127.0.0.1:1"
			web.examineProxyTrust("")
		}),
		"a socket for others":   found(open, open.targetDenied),
		"a file for all":        found(fastCGI, func() { fastCGI.examineWritable(openFile(t, dir)) }),
		"a folder for all":      found(fastCGI, func() { fastCGI.examineWritable(inOpenFolder(t, dir)) }),
		"state in a file":       fastCGI.stateRemedy(unit{}, planted, planted, 1, file),
		"another service's log": fastCGI.logRemedy(unit{}, planted, planted, file, os.ErrPermission),
		"a file to be read":     fastCGI.readRemedy(a, unreadable{"private_key", file, ""}),
		"a folder to be entered": fastCGI.enterRemedy(a, filepath.Join("/x", planted),
			filepath.Join("/x", planted, "y")),
		"the hashes":          fastCGI.shadowRemedy(a),
		"a pattern in a rule": "write " + quoted(planted+`"$(touch X)"`),
		"a certificate":       fastCGI.makeCertificate(),
		"a user": found(fastCGI, func() {
			sow(t, dir, map[string]string{"usr/lib/systemd/system/" + serviceUnit: "[Service]\nUser=" + planted + "\n"})
			fastCGI.examineUser(1)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			if remedy == "" {
				t.Fatal("there is no remedy")
			}
			expectOnlyItsCommands(t, remedy)
		})
	}
}

// A drop-in that is there is the administrator's, and so is what it sets.
func TestADropInReplacesNoOther(t *testing.T) {
	const system, other = "/etc/systemd/system/", "[Socket]\nSocketGroup=other\n"
	settings := []string{"SocketGroup=" + planted, "SocketMode=0660"}
	for _, tt := range []struct{ name, before, after, want string }{
		{"no drop-in", "", "", "[Socket]\n" + settings[0] + "\n" + settings[1] + "\n"},
		{"one of this name", dropInName, "", ""},
		{"one that sets the same", "override.conf", "", ""},
		{"one of this name that came since", "", dropInName, other},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			folder := filepath.Join(root, system, socketUnit+".d")
			add := func(name string) {
				if name != "" {
					sow(t, folder, map[string]string{name: other})
				}
			}
			add(tt.before)
			remedy := (&checkup{root: root}).addDropIn(socketUnit, "[Socket]", settings, "systemctl restart x")
			expectOnlyItsCommands(t, remedy)
			if tt.want == "" {
				if !strings.HasPrefix(remedy, "in "+filepath.Join(system, socketUnit+".d", tt.before)+" write ") {
					t.Error(remedy)
				}
				return
			}
			add(tt.after)
			out, err := exec.Command("sh", "-c", "systemctl() { :; }; "+
				strings.ReplaceAll(remedy, system, filepath.Join(root, system)+"/")).CombinedOutput()
			if (err == nil) != (tt.after == "") {
				t.Errorf("%s: %v: %s", remedy, err, out)
			}
			if text, err := os.ReadFile(filepath.Join(folder, dropInName)); err != nil || string(text) != tt.want {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

// A line more would break a configuration that is written in braces.
func TestAConfigurationInBracesIsChangedByHand(t *testing.T) {
	for text, byCommand := range map[string]bool{"issuer: a\n": true, "{issuer: a}\n": false} {
		path := filepath.Join(t.TempDir(), "config.yml")
		writeTestFile(t, path, text)
		c := &checkup{settings: &config.Config{Path: path}, config: &config.Config{Path: path}}
		p := &endpointProbe{checkup: c, handover: &handover{server: &webServer{}, route: &route{target: "/x"}}}
		for name, remedy := range map[string]string{
			"certificate":     c.makeCertificate(),
			"state":           c.stateRemedy(unit{}, "x", "x", 1, path),
			"trusted_proxies": found(p, func() { p.examineProxyTrust("") }),
		} {
			if !strings.Contains(remedy, name) || strings.Contains(remedy, "sed -i ") != byCommand ||
				strings.Contains(remedy, ">>") {
				t.Errorf("%q: %s: %s", text, name, remedy)
			}
		}
	}
}

// found is the remedy of the last finding of a step.
func found(p *endpointProbe, step func()) string {
	p.list = nil
	step()
	if len(p.list) == 0 {
		return ""
	}
	return p.list[len(p.list)-1].Remedy
}

func openFile(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, planted+"open")
	writeTestFile(t, file, "")
	if err := os.Chmod(file, 0o620); err != nil {
		t.Fatal(err)
	}
	return file
}

func inOpenFolder(t *testing.T, dir string) string {
	t.Helper()
	folder := filepath.Join(dir, planted+"folder")
	sow(t, folder, map[string]string{"config.yml": ""})
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(folder, "config.yml")
}
