package service

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dockerauth/config"
	"dockerauth/jwtsign"
)

func TestACommandWritesItsEventsToTheLogOfTheService(t *testing.T) {
	for format, line := range map[string]string{
		"text": ` level=INFO msg="token issued" event=token-issued credential=id\n`,
		"json": `"level":"INFO","msg":"token issued","event":"token-issued","credential":"id"\}\n`,
	} {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, nil, 0o640); err != nil { // root makes none
			t.Fatal(err)
		}
		var stderr bytes.Buffer
		// The level hides requests. What an administrator does is always worth a line.
		log, closeLog := AuditLog(&config.Config{Log: config.Log{File: path, Format: format, Level: 8}}, &stderr)
		log.Info("token issued", "event", EventIssued, "credential", "id")
		if err := closeLog(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil || !regexp.MustCompile(`\A.*`+line+`\z`).Match(text) || stderr.Len() > 0 {
			t.Errorf("%v: %q, stderr %q", err, text, &stderr)
		}
	}
}

func TestRootWritesToALogFileThatIsRootsAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const other = 54321
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Mkdir(at("others"), 0o755), os.Symlink("../target", at("others/link")),
		os.WriteFile(at("target"), nil, 0o640),
		os.WriteFile(at("others/roots"), nil, 0o640), os.WriteFile(at("given"), nil, 0o640),
		os.Chown(at("given"), other, -1),
		os.Chown(at("others"), other, other), os.Mkdir(at("open"), 0o755), os.WriteFile(at("open/log"), nil, 0o640),
		os.Chmod(at("open"), 0o777), os.WriteFile(at("roots"), nil, 0o640),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, written := range map[string]bool{"others/link": false, "others/missing": false, "others/roots": false,
		"given": false, "open/log": false, "missing": false, "roots": true} {
		var stderr bytes.Buffer
		log, closeLog := AuditLog(&config.Config{Log: config.Log{File: at(name), Format: "text"}}, &stderr)
		if _, err := os.Stat("/dev/log"); err != nil && !written && name != "missing" && name != "others/missing" {
			warning, _, _ := strings.Cut(stderr.String(), "\n")
			if !strings.Contains(warning, "log.file is not used, since another user could replace it: ") ||
				!strings.Contains(warning, dir) || !strings.Contains(warning, "start what listens at /dev/log") {
				t.Errorf("%s: the warning is %q", name, warning)
			}
		}
		log.Info("token issued", "event", EventIssued)
		if err := closeLog(); err != nil {
			t.Fatal(err)
		}
		if text, err := os.ReadFile(at(name)); (len(text) > 0) != written || written && err != nil {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		if _, err := os.Lstat(at(name)); strings.HasSuffix(name, "missing") && err == nil {
			t.Errorf("%s was made", name)
		}
	}
}

// Another user, whose folder the log is in, could replace it by a link while root runs the command.
func TestKeyRotateWritesToALogFileOfItsOwnOnly(t *testing.T) {
	dir := t.TempDir()
	made, err := jwtsign.GenerateKey(jwtsign.P256)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := made.PrivatePEM()
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(keyFile, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := jwtsign.LoadKey(keyFile, "", jwtsign.KeyIDUnset)
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string) string {
		var stderr bytes.Buffer
		RotationLog("switch", &stderr)(&config.Config{Key: key, Log: config.Log{File: path, Format: "text"}})
		return stderr.String()
	}
	file, link := filepath.Join(dir, "log"), filepath.Join(dir, "link")
	for _, err := range []error{os.WriteFile(file, nil, 0o600), os.Symlink("log", link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	write(link)
	write(filepath.Join(dir, "missing"))
	if text, err := os.ReadFile(file); err != nil || len(text) > 0 {
		t.Errorf("through a link: %q, %v", text, err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "missing")); err == nil {
		t.Error("a log file was made")
	}
	errs := write(file)
	text, err := os.ReadFile(file)
	id, _ := jwtsign.Thumbprint(key.Public())
	want := ` msg="signing key exchanged" event=key-rotated step=switch key=` + id + " previous=0 by=" +
		operator() + "\n"
	if err != nil || !strings.HasSuffix(string(text), want) || errs != "" {
		t.Errorf("%v: %q, stderr %q", err, text, errs)
	}
}

func TestALogFileThatCannotBeOpenedIsNoReasonToLoseAnEvent(t *testing.T) {
	folder := t.TempDir()
	var stderr bytes.Buffer
	log, closeLog := AuditLog(&config.Config{Log: config.Log{File: folder, Format: "text"}}, &stderr)
	log.Info("token issued", "event", EventIssued)
	if err := closeLog(); err != nil {
		t.Fatal(err)
	}
	warning, rest, _ := strings.Cut(stderr.String(), "\n")
	if !strings.Contains(warning, "audit log is not usable") || !strings.Contains(warning, folder) {
		t.Errorf("the warning is %q", warning)
	}
	if _, err := os.Stat("/dev/log"); err != nil && !strings.Contains(rest, "event=token-issued") {
		t.Errorf("stderr has %q", rest)
	}
}

func TestTheLinesOfTheSystemLogHaveNoTime(t *testing.T) {
	var out bytes.Buffer
	newSystemLogger(&out).Info("token issued", "event", EventIssued, "note", "a\nb\x7f")
	if got, want := out.String(), `level=INFO msg="token issued" event=token-issued note="a\nb\x7f"`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWithoutAFolderOrAServerThereIsNowhereToKeepTokens(t *testing.T) {
	for state, want := range map[string]string{
		"": "nowhere to keep tokens\n" +
			"  change the line to: state: /var/lib/dockerauth, or to a server: ",
		"/nonexistent/redis:/127.0.0.1":     "\n  write redis://HOST:PORT",
		"/nonexistent/rediss:/a/0":          "\n  write redis://HOST:PORT",
		"/nonexistent/127.0.0.1:6379":       "\n  write redis://HOST:PORT",
		"/nonexistent/redis:127.0.0.1:6379": "\n  write redis://HOST:PORT",
		"/nonexistent/a:b":                  "install -d -o ",
		"/nonexistent":                      "install -d -o ",
	} {
		_, _, err := OpenCredentials(&config.Config{State: state})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("state %q: %v", state, err)
		}
	}
	records, closeState, err := OpenCredentials(&config.Config{State: privateFolder(t)})
	if err != nil || records.Kept == nil || records.Counters == nil {
		t.Fatalf("%v: %+v", err, records)
	}
	if err := closeState(); err != nil {
		t.Error(err)
	}
}

// privateFolder is one that can hold state.
func privateFolder(t *testing.T) string {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	return folder
}
