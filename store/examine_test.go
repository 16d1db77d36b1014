package store

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCheckKeptFindsDamageThatNoRequestMet(t *testing.T) {
	f := newFolder(t)
	if err := f.CheckKept(t.Context()); err != nil || len(glob(t, f, "*")) > 0 {
		t.Errorf("an empty folder: %v, files %q", err, glob(t, f, "*"))
	}
	var keys []string
	for i := range 500 {
		keys = append(keys, fmt.Sprintf("%03d", i))
	}
	putAll(t, f.Kept(), keys, hundred, time.Now().Add(time.Hour))
	if err := f.CheckKept(t.Context()); err != nil {
		t.Errorf("good records: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	rewrite(func(c []byte) []byte {
		copy(c[12*pageSize:13*pageSize], c[13*pageSize:])
		return c
	})(t, f.kept.path())
	expect(t, f.Kept(), keys[0], hundred)
	err := f.CheckKept(t.Context())
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "\n  move it and its -wal and -shm away") {
		t.Errorf("a damaged page: %v", err)
	}
	if err := os.Remove(f.kept.path()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.kept.path()+"-wal", []byte("log"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.CheckKept(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("a log alone: %v", err)
	}
}

// A restore as root leaves files of root.
func TestKeptRecordsOfAnotherAccountAreGivenBackByTheHint(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const other = 54321
	f := newFolder(t)
	put(t, f.Kept(), "k", "x", time.Now().Add(time.Hour))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	path := f.kept.path()
	for _, err := range []error{os.Chown(path, other, other), os.Chmod(path, 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := f.Kept().Get(t.Context(), "k")
	if err == nil {
		t.Fatal("the file of another account is used")
	}
	cause, hint, _ := strings.Cut(err.Error(), "\n  ")
	want := path + " belongs to uid 54321, mode 0644, and this process is uid 0"
	if !strings.HasSuffix(cause, want) || strings.Contains(err.Error(), "damaged") || strings.Contains(hint, "move") {
		t.Errorf("error %v", err)
	}
	command, _, _ := strings.Cut(hint, ";")
	if !strings.HasPrefix(command, "chown 0 '"+path+"'") || !strings.Contains(command, "' && chmod 600 '"+path+"'") {
		t.Errorf("hint %q", hint)
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", command).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	expect(t, f.Kept(), "k", "x")
}

func TestCheckOfAServer(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, user  string
		args        []string
		kept, loses string // parts of what is said
	}{
		{"in memory alone", "", nil, "", "everything"},
		{"with snapshots", "", []string{"--save", "60 1"}, "", "since its last snapshot"},
		{"with a log that is written in time", "", []string{"--appendonly", "yes"}, "", "in the last seconds"},
		{"with a log", "", []string{"--appendonly", "yes", "--appendfsync", "always"}, "", ""},
		{"that evicts any key", "", []string{"--maxmemory", "9mb", "--maxmemory-policy", "allkeys-random"},
			"set maxmemory-policy volatile-ttl", "everything"},
		{"that evicts counters", "", []string{"--maxmemory", "9mb", "--maxmemory-policy", "volatile-lru"}, "",
			"everything"},
		{"that does not let its user ask for the configuration", "me",
			strings.Fields("--user me on >secret " + RedisRights), "", "since its last snapshot"},
		{"that does not let its user ask for anything", "me",
			strings.Fields("--user me on >secret ~* +get"), "\n  ACL SETUSER me ~{dockerauth}:* +mget", "NOPERM"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address := newRedisServer(t, tt.args...).address()
			if tt.user != "" {
				address = strings.Replace(address, "//", "//"+tt.user+"@", 1) + "?password_file=" + password
			}
			r := openRedis(t, address)
			err := r.CheckKept(t.Context())
			if tt.kept == "" && err != nil || tt.kept != "" && (err == nil || !strings.Contains(err.Error(), tt.kept)) {
				t.Errorf("kept records: %v", err)
			}
			loses, err := r.CheckDurable(t.Context())
			if err != nil {
				loses = err.Error()
			}
			if tt.loses == "" && loses != "" || !strings.Contains(loses, tt.loses) {
				t.Errorf("it loses %q, %v", loses, err)
			}
		})
	}
	r := openRedis(t, "redis://127.0.0.1:1")
	if _, err := r.CheckDurable(t.Context()); err == nil {
		t.Error("no server is durable")
	}
}
