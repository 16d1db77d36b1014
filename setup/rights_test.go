package setup

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// aclFor lets a user read, and nobody else but the owner. The mask is the group in the mode.
func aclFor(uid uint32) string {
	const owner, user, group, mask, other, nobody = 1, 2, 4, 16, 32, 1<<32 - 1
	text := binary.LittleEndian.AppendUint32(nil, 2)
	for _, entry := range [][3]uint32{{owner, 6, nobody}, {user, 4, uid}, {group, 0, nobody}, {mask, 4, nobody},
		{other, 0, nobody}} {
		text = binary.LittleEndian.AppendUint16(text, uint16(entry[0]))
		text = binary.LittleEndian.AppendUint16(text, uint16(entry[1]))
		text = binary.LittleEndian.AppendUint32(text, entry[2])
	}
	return string(text)
}

func setExtended(t *testing.T, path, name, value string) {
	t.Helper()
	err := syscall.Setxattr(path, name, []byte(value), 0)
	if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EPERM) {
		t.Skipf("%s: %v", name, err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestNewFilesHaveTheACLsAndLabelsOfTheOldOnes(t *testing.T) {
	const etc, httpd = "system_u:object_r:etc_t:s0\x00", "system_u:object_r:httpd_config_t:s0\x00"
	for _, c := range []struct{ attribute, key, certificate, config string }{
		{acl, aclFor(33), "", aclFor(34)},
		{label, httpd, httpd, etc},
	} {
		t.Run(c.attribute, func(t *testing.T) {
			dir := ground(t)
			mustInit(t, dir, named...)
			is := func(want string, files ...string) {
				t.Helper()
				for _, file := range files {
					got, err := getAttribute(filepath.Join(dir, on(file)), c.attribute)
					if err != nil || string(got) != want {
						t.Errorf("%s of %s is %q, %v, want %q", c.attribute, file, got, err, want)
					}
				}
			}
			for _, file := range []string{"privkey.pem", "cert.pem"} {
				setExtended(t, filepath.Join(dir, file), c.attribute, c.key)
			}
			setExtended(t, filepath.Join(dir, "config.yml"), c.attribute, c.config)
			mustInit(t, dir, "--renew-certificate")
			is(c.key, "cert.pem")

			mustRotate(t, dir, today, Rotation{})
			is(c.key, "privkey-20300102.pem")
			is(c.certificate, "cert-20300102.pem")
			setExtended(t, filepath.Join(dir, "bundle.pem"), c.attribute, c.key)
			mustRotate(t, dir, today, Rotation{Step: Switch})
			mustRotate(t, dir, today, Rotation{Step: Retire, Force: true})
			is(c.config, "config.yml")
			is(c.key, "bundle.pem", "privkey-20300102.pem")
			info, err := os.Stat(filepath.Join(dir, on("privkey-20300102.pem")))
			if err != nil || c.attribute == acl && info.Mode().Perm() != 0o640 {
				t.Errorf("the new key: %v, %v", info, err)
			}
		})
	}
}

// The folder may give an ACL to new files.
func TestAFileWithoutAnACLGetsNone(t *testing.T) {
	dir := ground(t)
	mustInit(t, dir, named...)
	setExtended(t, dir, "system.posix_acl_default", aclFor(33))
	mustRotate(t, dir, today, Rotation{})
	for _, file := range []string{"config.yml", on("privkey-20300102.pem")} {
		if got, err := getAttribute(filepath.Join(dir, file), acl); err != nil || got != nil {
			t.Errorf("%s has the ACL %q, %v", file, got, err)
		}
	}
}
