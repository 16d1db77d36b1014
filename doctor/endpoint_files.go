package doctor

import (
	"net/http"
	"path"
	"path/filepath"
	"strings"

	"dockerauth/config"
)

// examineFiles asks for what must not leave the machine, where a drop-in has it: in the folder of the URL and in those above it that can
// be the program's. What comes back is looked at and neither kept nor shown.
func (p *endpointProbe) examineFiles() {
	names := privateNames(p.config)
	served := 0
	for _, folder := range p.folders() {
		for _, name := range names {
			u := *p.base
			u.Path = folder + name
			r, err := p.ask(http.MethodGet, u.String(), nil, nil)
			if err != nil {
				p.connectionBroke("url.files", err)
				return
			}
			if r.status == http.StatusOK && leaks(r) {
				served++
				p.fail("url.files", u.String()+" is served to the world", "whoever has read the key can sign tokens for every account",
					"let Apache read the .htaccess (AllowOverride FileInfo AuthConfig Options=ExecCGI) or move the files out of the web site; then change the key: it may have been read")
			}
		}
	}
	if served == 0 {
		p.ok("url.files", "%s are not served", strings.Join(names, ", "))
	}
}

// privateNames are the usual ones, and ours: where a drop-in has them, beside config.yml or in a folder there.
func privateNames(cfg *config.Config) []string {
	names := []string{"config.yml", "privkey.pem", ".htaccess", "auth.log"}
	if cfg == nil {
		return names
	}
	for _, file := range append([]string{cfg.Log.File}, cfg.Files...) {
		if file == "" {
			continue
		}
		name, err := filepath.Rel(filepath.Dir(cfg.Path), file)
		if err != nil || strings.HasPrefix(name, "..") {
			name = filepath.Base(file)
		}
		names = append(names, name)
	}
	return unique(names)
}

// folders end with a slash.
func (p *endpointProbe) folders() []string {
	folders := []string{path.Dir(strings.TrimSuffix(p.base.Path, "/")) + "/"}
	if mount, ok := p.mount(); ok {
		folders = append(folders, mount+"/")
		if mount != "" {
			folders = append(folders, path.Dir(mount)+"/") // …/cgi-bin/dockerauth/docker/v2/token
		}
	}
	for i := range folders {
		folders[i] = strings.Replace(folders[i], "//", "/", 1)
	}
	return unique(folders)
}

// leaks: a key, a configuration, an .htaccess, a log of ours or of the PHP service, and not a page that speaks of them.
func leaks(r response) bool {
	if r.isHTML() {
		return false
	}
	for _, mark := range []string{"PRIVATE KEY-----", "private_key", "RewriteRule", "CGIPassAuth", "token request", "access_token"} {
		if strings.Contains(string(r.body), mark) {
			return true
		}
	}
	return false
}
