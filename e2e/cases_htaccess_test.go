package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheDropInFolderKeepsItsFilesToItself requests every file in the folder, by its name and by
// variants of it, at every URL of the folder.
func TestTheDropInFolderKeepsItsFilesToItself(t *testing.T) {
	t.Parallel()
	need(t, apacheHtaccess.name, apacheHtaccess.needs...)
	s := newTestEnv(t, envOptions{})
	s.dropIn(dropInOverride, true)
	s.write("secrets/old.pem", "OLD KEY\n")
	s.write("logs/auth.log", "AUTH LOG\n")
	s.write("config.yml.bak", "BACKUP\n")
	s.write("index.html", "INDEX\n")
	c := newClient(s)
	// The service runs, and its log exists.
	c.run(t, testCase{send: asAlice(serviceIs), want: want{status: 200}})
	inside := fileContents(t, s)
	files := []string{"config.yml", "key.pem", "cert.pem", "service.log", "accounts.db", "dockerauth", ".htaccess",
		"pam.d/dockerauth", "pam.d/", "pam.d", "secrets/old.pem", "secrets/", "logs/auth.log", "logs/",
		"config.yml.bak", "index.html", "run/httpd.conf",
		"run/error.log", "run/"}
	for _, mount := range []string{"", "/aliased"} {
		for _, file := range files {
			if !strings.HasSuffix(file, "/") {
				if _, err := os.Stat(s.path(file)); err != nil {
					t.Fatal(err) // requesting a missing file would prove nothing
				}
			}
			for _, path := range fileURLTricks(file) {
				checkKept(t, s, mount+"/"+path, inside)
			}
		}
	}
}

// fileURLTricks are URLs that might reach a file other than by its plain name.
func fileURLTricks(file string) []string {
	dotted := strings.ReplaceAll(file, ".", "%2e")
	slashed := strings.ReplaceAll(file, "/", "//")
	dir, base := filepath.Split(file)
	return []string{
		file, dotted, "/" + file, "//" + slashed, "./" + file, "%2e/" + file, ".//" + file, "x/../" + file,
		"x/%2e%2e/" + file, "docker/../" + file,
		file + ".", file + "/", file + "//", file + "%2f", file + "%20", file + "%00", file + "%00.html", file + ";x",
		file + "?x=docker/v2/token", file + "%3f", file + "::$DATA", file + "~",
		strings.ToUpper(file), dir + strings.ToUpper(base[:min(1, len(base))]) + base[min(1, len(base)):],
		file + "/docker/v2/token", file + "//docker/v2/token", file + "/auth/token", "docker/v2/token/../../../" + file,
		"docker/v2/token/" + file, "auth/token/%2e%2e/%2e%2e/" + file,
		"dockerauth/" + file, "dockerauth/../" + file,
	}
}

// fileContents are parts of the files: none of them may appear in an answer, whatever the status.
func fileContents(t *testing.T, s *testEnv) []string {
	t.Helper()
	key := strings.Split(readFile(t, s.keyFile), "\n")[1]
	program := readFile(t, s.program)
	return []string{key, "private_key", "token request", "RewriteRule", "pam_userdb", "OLD KEY", "AUTH LOG", "BACKUP",
		"INDEX", "LoadModule", program[:64], program[len(program)/2:][:64]}
}

func checkKept(t *testing.T, s *testEnv, path string, inside []string) {
	t.Helper()
	answer, body, err := s.exchange("GET " + path + " HTTP/1.1\r\nHost: " + s.address + "\r\nConnection: close\r\n\r\n")
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	for _, text := range inside {
		if strings.Contains(string(body), text) {
			t.Errorf("%s: %s, and the answer holds %q", path, answer.Status, text)
		}
	}
	switch answer.StatusCode {
	case http.StatusForbidden, http.StatusNotFound, http.StatusBadRequest:
	case http.StatusUnauthorized: // the endpoint itself, where dots or a cut-off lead back to it
		if !strings.Contains(string(body), "UNAUTHORIZED") {
			t.Errorf("%s: %s not from the endpoint: %s", path, answer.Status, body)
		}
	default:
		t.Errorf("%s: %s, want 403 or 404: %s", path, answer.Status, excerpt(string(body)))
	}
}

// TestTheDropInNeedsTheOverridesItNames checks that the AllowOverride line at the top of the file
// is neither too short nor too long.
func TestTheDropInNeedsTheOverridesItNames(t *testing.T) {
	t.Parallel()
	need(t, apacheHtaccess.name, apacheHtaccess.needs...)
	for override, status := range map[string][2]int{ // of the endpoint, and of config.yml
		dropInOverride:               {http.StatusUnauthorized, http.StatusForbidden},
		"AuthConfig Options=ExecCGI": {http.StatusInternalServerError, http.StatusInternalServerError},
		"FileInfo Options=ExecCGI":   {http.StatusInternalServerError, http.StatusInternalServerError},
		"FileInfo AuthConfig":        {http.StatusInternalServerError, http.StatusInternalServerError},
	} {
		t.Run(override, func(t *testing.T) {
			s := newTestEnv(t, envOptions{})
			s.dropIn(override, true)
			for i, path := range []string{"/docker/v2/token", "/config.yml"} {
				answer, _, err := s.exchange("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
				if err != nil {
					t.Error(err)
				} else if answer.StatusCode != status[i] {
					t.Errorf("%s: %s, want %d", path, answer.Status, status[i])
				}
			}
		})
	}
}
