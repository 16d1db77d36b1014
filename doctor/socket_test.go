package doctor

import (
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"dockerauth/config"
	"dockerauth/jwtsign"
)

// listenAt makes a socket at a place in a fake machine. The kernel's list has it under the name
// that is used here, which is another.
func listenAt(t *testing.T, root, path string) net.Listener {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestAServiceThatNobodyCanReachIsNamed(t *testing.T) {
	const sock = "/run/dockerauth/dockerauth.sock"
	unit := map[string]string{"usr/lib/systemd/system/dockerauth.socket": "[Socket]\nListenStream=" + sock + "\n"}
	with := func(name, text string) map[string]string {
		const file = "usr/lib/systemd/system/dockerauth.socket"
		return map[string]string{file: unit[file], name: text}
	}
	const head = "Num       RefCount Protocol Flags    Type St Inode Path\n"
	listed := func(flags string) map[string]string {
		return with("proc/net/unix", head+
			"0000000000000000: 00000002 00000000 00010000 0001 01 22 /run/other.sock\n0000000000000000: 00000002 "+
			"00000000 "+flags+" 0001 01 23 "+sock+"\n")
	}
	listens := func(t *testing.T, root string) { listenAt(t, root, sock) }
	left := func(t *testing.T, root string) {
		l := listenAt(t, root, sock)
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	tests := []struct {
		name             string
		files            map[string]string
		make             func(t *testing.T, root string)
		complaints, says string
	}{
		{"no unit", nil, nil, "", ""},
		{"a socket that was not started", unit, nil, "error service socket-missing", sock +
			" is not there: the web server answers 503; systemctl start dockerauth.socket"},
		{"a socket that was not started, where Apache starts the program", apacheWith("",
			"etc/apache2/conf-enabled/dockerauth.conf", "ScriptAlias /docker/v2/token /usr/lib/cgi-bin/dockerauth\n"),
			nil, "error service socket-missing", "systemctl mask dockerauth.socket"},
		{"one that is listened on", listed("00010000"), left, "", sock + " is there"},
		{"one that is listened on, and has another name to the kernel", unit, listens, "", sock + " is there"},
		{"one that was left behind", unit, left, "error service socket-unattended", "nobody listens at " + sock},
		{"one that is left behind, and of which there are connections", listed("00000000"), left,
			"error service socket-unattended",
			"nobody listens at " + sock},
		{"a unit that is masked", with("etc/systemd/system/dockerauth.socket", ""), nil, "", ""},
		{
			"a port",
			with("etc/systemd/system/dockerauth.socket", "[Socket]\nListenStream=127.0.0.1:9000\n"),
			nil,
			"",
			"",
		},
		{"the administrator's own place",
			with("etc/systemd/system/dockerauth.socket.d/place.conf",
				"[Socket]\nListenStream=\nListenStream=/run/mine.sock\n"), nil, "error service socket-missing",
			"/run/mine.sock is not there"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root, err := os.MkdirTemp("", "dockerauth-") // a socket's name is short
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(root) })
			sow(t, root, tt.files)
			if tt.make != nil {
				tt.make(t, root)
			}
			c := checkup{root: root}
			c.examineService()
			c.expectCodes(t, tt.complaints, tt.says)
		})
	}
}

func TestWhoIsNotTheServicesUserIsToldSoAndGivenNothing(t *testing.T) {
	account, err := user.Lookup(webUser)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(account.Uid)
	unit := func(user string) map[string]string {
		return map[string]string{"usr/lib/systemd/system/dockerauth.service": "[Service]\nUser=" + user +
			"\nSupplementaryGroups=shadow\n"}
	}
	for _, tt := range []struct {
		name       string
		files      map[string]string
		as         string
		uid        int
		complaints string
	}{
		{"somebody else", unit("dockerauth"), "", uid, "error rights wrong-user"},
		{"the service's user", unit(webUser), "", uid, ""},
		{"the service's user by number", unit(account.Uid), "", uid, ""},
		{"root", unit("dockerauth"), "", 0, ""},
		{"anyone with --as", unit("dockerauth"), webUser, uid, ""},
		{"no service", nil, "", uid, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := checkup{root: plant(t, tt.files), as: tt.as}
			c.examineUser(tt.uid)
			if tt.complaints == "" {
				c.expectCodes(t, "", "")
				return
			}
			c.expectCodes(t, tt.complaints, "you are www-data, and the service runs as dockerauth: ")
			c.expectCodes(t, tt.complaints, "; sudo dockerauth check --as dockerauth")
			c.settings = &config.Config{State: config.DefaultState}
			c.configErrors(config.Errors{{Code: jwtsign.CodeUnreadable, File: "config.yml", Line: 1, Key: "private_key",
				Cause: `"privkey.pem": permission denied for uid 33`, Hint: "let its group read it"}})
			c.examineRights()
			c.expectCodes(t, tt.complaints, "")
			c.configErrors(config.Errors{{Code: config.CodeUnknownKey, File: "config.yml", Line: 1, Key: "isuer",
				Cause: "unknown key"}})
			c.expectCodes(t, tt.complaints+", error config config-unknown-key", "isuer")
		})
	}
}

// sow writes files into a fake machine.
func sow(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
