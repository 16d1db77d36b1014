package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/service"
)

// examineConfig loads the configuration: all that is wrong with it, a finding each.
func (c *checkup) examineConfig() {
	if c.path == "" {
		path, err := service.FindConfig()
		if err != nil {
			cause, hint := cli.SplitHint(err)
			c.fail("config", "no-config", cause, "", hint)
			return
		}
		c.path = path
	}
	cfg, err := config.LoadTolerant(c.path)
	c.settings = cfg
	if err != nil {
		c.configErrors(err)
		return
	}
	c.config = cfg
	c.ok("config", "%s can be read as it stands", cfg.Path)
	c.examineWritable(cfg.Path)
	if cfg.Access == nil {
		c.ok("config", "there is no section access: every account gets the access that it asks for")
	}
	for _, warning := range service.UnknownNames(cfg) {
		c.warn("config.names", "unknown-name", warning,
			"a mistyped name in a rule keeps somebody out, one in blacklisted_users lets somebody in",
			"correct it, unless the name is yet to come")
	}
}

// configErrors reports each error of a configuration, which names file, line and key.
func (c *checkup) configErrors(err error) {
	var errs config.Errors
	if !errors.As(err, &errs) {
		cause, hint := cli.SplitHint(err)
		c.fail("config", "config-unreadable", cause, "", hint)
		return
	}
	for _, e := range errs {
		if c.wrongUser && strings.Contains(e.Cause, syscall.EACCES.Error()) {
			continue // the service must be able to read it, not this user
		}
		subject, why := "config", "a service that runs keeps the last good one; one that starts answers 503"
		switch e.Key {
		case "private_key", "certificate", "key_id":
			subject = e.Key
		}
		hint := e.Hint
		e.Hint = ""
		c.fail(subject, "config-invalid", e.Error(), why, hint)
	}
}

// examineWritable warns of a configuration that others can change: they decide who gets in. config
// already refuses a file that everybody can change.
func (c *checkup) examineWritable(path string) {
	const why = "anyone who can do that chooses the key, the rules and the PAM service"
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o020 != 0 {
		c.warn(
			"config.mode",
			"config-group-writable",
			fmt.Sprintf("the group %s can change %s", groupOf(info), path),
			why,
			"chmod g-w "+path,
		)
	}
	folder := filepath.Dir(path)
	if info, err := os.Stat(folder); err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode()&os.ModeSticky == 0 {
		c.fail(
			"config.mode",
			"config-folder-writable",
			fmt.Sprintf("every user can put another file in the place of %s", path),
			why,
			"chmod o-w "+folder,
		)
	}
	if _, err := os.Stat(filepath.Join(folder, ".htaccess")); err == nil {
		c.ok("config", "%s lies in a folder that a web server may serve; --url sees whether it hands it out", path)
	}
}

func groupOf(info os.FileInfo) string {
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		return groupName(int(owner.Gid))
	}
	return "of the file"
}
