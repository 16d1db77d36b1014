package doctor

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// began gives a worker of running a beginning, in seconds after 1970.
func began(seconds int64) []string {
	return []string{"proc/stat", "cpu 0\nbtime 0\n",
		"proc/101/stat", fmt.Sprintf("101 (x) S%s %d 0 0", strings.Repeat(" 0", 18), seconds*100)}
}

func TestAWebServerThatWasNotReloadedIsNamed(t *testing.T) {
	const snippet = "server { listen 80; include snippets/dockerauth.conf; }"
	apache := apacheWith("<VirtualHost *:80>\n</VirtualHost>", began(2000)...)
	apache["etc/apache2/mods-enabled/x.load"] = ""
	for _, tt := range []struct {
		name    string
		files   map[string]string
		changed string // after the web server has read it
		fix     string // "" = it is no finding
	}{
		{"the site of nginx", nginxWith(snippet, began(2000)...), "etc/nginx/sites-enabled/default",
			"etc/nginx/sites-enabled/default has been changed since nginx read it: " + nobodyLogsIn +
				"; systemctl reload nginx"},
		{"the link that enables Apache's file", apache, "etc/apache2/conf-enabled/dockerauth.conf",
			"systemctl reload apache2"},
		{"Apache's list of modules", apache, "etc/apache2/mods-enabled", "systemctl reload apache2"},
		{"nothing", nginxWith(snippet, began(2000)...), "etc", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &checkup{root: plant(t, tt.files), now: time.Now}
			if err := filepath.WalkDir(c.root, func(path string, _ os.DirEntry, err error) error {
				if err != nil {
					return err
				}
				return os.Chtimes(path, time.Unix(1000, 0), time.Unix(1000, 0))
			}); err != nil {
				t.Fatal(err)
			}
			changed := filepath.Join(c.root, tt.changed)
			if strings.HasPrefix(tt.name, "the link") {
				if err := os.Rename(changed, changed+"-available"); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(changed+"-available", changed); err != nil {
					t.Fatal(err)
				}
			} else if err := os.Chtimes(changed, time.Unix(3000, 0), time.Unix(3000, 0)); err != nil {
				t.Fatal(err)
			}
			p := &endpointProbe{checkup: c, base: &url.URL{Scheme: "http", Host: "localhost", Path: realmEnd}}
			p.handover = p.locate()
			if p.notReloaded(); tt.fix == "" {
				c.expectCodes(t, "", "")
				return
			}
			c.expectCodes(t, "error url.get web-not-reloaded", tt.fix)
		})
	}
}

// The web server refuses private files as it should, and says so.
func TestALineThatCheckAsksForIsNoCause(t *testing.T) {
	c := checkupOf(t, plainConfig)
	const log = "/var/log/nginx/error.log"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.OpenFile(filepath.Join(c.root, log), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		fmt.Fprintln(f, "no such file:", r.URL.Path)
		page(http.StatusNotFound)(w, r)
	}))
	defer server.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "http://"), ":")
	c.root = plant(
		t,
		without("etc/nginx/snippets/dockerauth.conf", nginxWith("server { listen "+port+"; }", log[1:], "")),
	)
	c.url = server.URL + realmEnd
	c.probeURL(testAsker(t, nil))
	c.expectCodes(t, "error url.get not-json", `nginx logs "no such file: `+realmEnd+`"`)
}
