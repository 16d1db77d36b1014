package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Commands about a line of a web server's configuration do nothing when they are pasted again, or
// after another command has moved the line.
func TestCommandsAboutALineLeaveOtherLinesAlone(t *testing.T) {
	insert := func(d directive, _ *endpointProbe) string { return insertBefore(d)("CGIPassAuth On") + " && " }
	commentOut := func(about string) func(directive, *endpointProbe) string {
		return func(d directive, p *endpointProbe) string { return p.commentOut(d, about) }
	}
	for _, tt := range []struct {
		name, kind, directive string
		remedy                func(directive, *endpointProbe) string
		line, want            string // want = what becomes of the line; "" = the remedy is words
	}{
		{"a directive more", "Apache", "sethandler", insert, `  SetHandler "proxy:fcgi://x"`,
			"    CGIPassAuth On\n  SetHandler \"proxy:fcgi://x\""},
		{"Apache's header", "Apache", "requestheader", commentOut("Authorization"), "RequestHeader unset authorization",
			"# RequestHeader unset authorization"},
		{"Apache's parameter", "Apache", "proxyfcgisetenvif", commentOut("REMOTE_ADDR"),
			`  ProxyFCGISetEnvIf "true" !REMOTE_ADDR`, `#   ProxyFCGISetEnvIf "true" !REMOTE_ADDR`},
		{"nginx's header", "nginx", "proxy_set_header", commentOut("Authorization"),
			`  proxy_set_header Authorization "";`, `#   proxy_set_header Authorization "";`},
		{"HAProxy's header", "HAProxy", "server", func(d directive, _ *endpointProbe) string {
			return insertAddress(d.place) + " && "
		}, "  server one 127.0.0.1:5002",
			"    http-request set-header X-Forwarded-For %[src]\n  server one 127.0.0.1:5002"},
		{"a setting of a registry", "", "autoredirect", func(d directive, p *endpointProbe) string {
			p.registryConfig, p.root = d.file, filepath.Dir(d.file)
			return p.disable(registrySetting{Key: "autoredirect", Line: d.line}) + "\n"
		}, "    autoredirect: true", "#    autoredirect: true"},
		{"two settings of a registry in one line", "", "autoredirect", func(d directive, p *endpointProbe) string {
			p.registryConfig, p.root = d.file, filepath.Dir(d.file)
			return p.disable(registrySetting{Key: "autoredirect", Line: d.line})
		}, "token: {realm: x, autoredirect: true}", ""},
		{"several directives in one line", "nginx", "proxy_set_header", commentOut("Authorization"),
			`proxy_set_header Authorization ""; proxy_pass http://x;`, ""},
		{"a block in one line", "nginx", "proxy_set_header", commentOut("Authorization"),
			`location / { proxy_set_header Authorization ""; }`, ""},
		{"a directive in two lines", "nginx", "fastcgi_param", commentOut("Authorization"),
			"fastcgi_param\n HTTP_AUTHORIZATION x;", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "it's.conf")
			write := func(text string) {
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			const before, after = "# first\n", "\nfastcgi_param REMOTE_ADDR x;\nRequestHeader set X y\n"
			write(before + tt.line + after)
			p := &endpointProbe{checkup: &checkup{}, handover: &handover{server: &webServer{kind: tt.kind}}}
			remedy := tt.remedy(directive{name: tt.directive, place: place{file, 2}}, p)
			if tt.want == "" {
				if strings.Contains(remedy, "sed ") || !strings.Contains(remedy, file+":2") {
					t.Errorf("want words about the line: %s", remedy)
				}
				return
			}
			paste := func() string {
				if out, err := exec.Command("sh", "-c", remedy+"true").CombinedOutput(); err != nil {
					t.Fatalf("%s: %v: %s", remedy, err, out)
				}
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			for range 2 {
				if got := paste(); got != before+tt.want+after {
					t.Errorf("%s\nmakes\n%s", remedy, got)
				}
			}
			shifted := "# new\n" + before + tt.line + after
			if write(shifted); paste() != shifted {
				t.Errorf("%s\nchanges another line", remedy)
			}
		})
	}
}
