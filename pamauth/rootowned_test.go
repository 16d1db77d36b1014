package pamauth

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Otherwise the web server's user could replace the file after the check.
func TestEveryStepOfAPathMustBelongToRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make root's files")
	}
	const otherUser = 65534
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"root", "theirs", "open", "shared", "sticky"} {
		must(os.Mkdir(at(folder), 0o755))
		must(os.WriteFile(at(folder+"/file"), nil, 0o644))
		must(os.Symlink("../root/file", at(folder+"/link")))
	}
	must(os.Symlink("theirs/link", at("detour")))
	must(os.Symlink(at("root"), at("shortcut")))
	must(os.Symlink(at("theirs/.."), at("theirs/up")))
	must(os.Symlink("round", at("round")))
	must(os.Symlink("file", at("sticky/taken")))
	must(os.Lchown(at("sticky/taken"), otherUser, otherUser))
	for name, mode := range map[string]os.FileMode{"root/theirs": 0o644, "root/groups": 0o664, "root/writable": 0o646} {
		must(os.WriteFile(at(name), nil, 0o600))
		must(os.Chmod(at(name), mode)) // whatever the umask
	}
	must(os.Chown(at("root/theirs"), otherUser, otherUser))
	must(os.Chmod(at("open"), 0o777))
	must(os.Chmod(at("shared"), 0o775))
	must(os.Chmod(at("sticky"), os.ModeSticky|0o777))
	must(os.Chown(at("theirs"), otherUser, otherUser))
	tests := []struct {
		name, path string
		wantErr    string // "" = accepted
	}{
		{"root's file", "root/file", ""},
		{"root's link", "root/link", ""},
		{"root's link to a folder", "shortcut/file", ""},
		{"root's file in a sticky folder", "sticky/file", ""},
		{"root's link in a sticky folder", "sticky/link", ""},
		{"another user's file", "root/theirs", "does not belong to root"},
		{"root's file in another user's folder", "theirs/file", "does not belong to root"},
		{"a link in another user's folder to root's file", "theirs/link", "does not belong to root"},
		{"root's link to a link in another user's folder", "detour", "does not belong to root"},
		{"a path back out of another user's folder", "theirs/up/root/file", "does not belong to root"},
		{"another user's link in a sticky folder", "sticky/taken", "does not belong to root"},
		{"a folder that anyone may write to", "open/file", "users other than root may write"},
		{"a link in a folder that anyone may write to", "open/link", "users other than root may write"},
		{"a folder that its group may write to", "shared/file", "users other than root may write"},
		{"a file that its group may write to", "root/groups", "users other than root may write"},
		{"a file that anyone may write to", "root/writable", "users other than root may write"},
		{"a link to itself", "round", "symbolic links"},
		{"a file that does not exist", "root/nothing", "no such file"},
	}
	for _, tt := range tests {
		err := CheckRootOwned(at(tt.path))
		if tt.wantErr == "" && err != nil ||
			tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.wantErr)
		}
	}
}
