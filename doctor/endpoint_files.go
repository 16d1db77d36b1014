package doctor

import (
	"net/http"
	"path"
	"path/filepath"
	"strings"

	"dockerauth/config"
)

// examineFiles asks for the files of a drop-in installation that must stay private: in the folder
// of the URL, and in those above it that may be the program's. It keeps and shows nothing of what
// comes back.
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
				p.fail("url.files", "files-served", u.String()+" is served to the world",
					"anyone who has read the key can sign tokens for every account",
					"let Apache read the .htaccess (AllowOverride FileInfo AuthConfig Options=ExecCGI) or move the "+
						"files out of the web site; then change the key: it may have been read")
			}
		}
	}
	if served == 0 {
		p.ok("url.files", "%s are not served", strings.Join(names, ", "))
	}
}

// privateNames are the usual ones and those of the configuration, relative to config.yml where a
// drop-in has them.
func privateNames(cfg *config.Config) []string {
	names := []string{"config.yml", "privkey.pem", ".htaccess", "auth.log"}
	if cfg == nil {
		return names
	}
	for _, file := range append([]string{cfg.Log.File}, cfg.Files()...) {
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

// leaks reports a key, a configuration, an .htaccess, or a log of dockerauth or of the PHP service.
// A web page that mentions them is none.
func leaks(r response) bool {
	if r.isHTML() {
		return false
	}
	for _, mark := range []string{"PRIVATE KEY-----", "private_key", "RewriteRule", "CGIPassAuth", "token request",
		"access_token"} {
		if strings.Contains(string(r.body), mark) {
			return true
		}
	}
	return false
}
