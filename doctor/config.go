package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/jwtsign"
	"dockerauth/service"
)

// examineConfig loads the configuration: all that is wrong with it, a finding each.
func (c *checkup) examineConfig() {
	if c.untrusted {
		return
	}
	if c.path == "" {
		path, err := service.FindConfig()
		if err != nil {
			cause, hint := cli.SplitHint(err)
			c.fail("config", "no-config", cause, "every request is answered with 503", hint)
			return
		}
		if c.isForeign(path, "dockerauth check --config "+word(path)) {
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
	c.examineRules(cfg)
	for _, warning := range service.UnknownNames(cfg) {
		what, hint, _ := strings.Cut(warning, "\n  ")
		c.warn("config.names", "unknown-name", what,
			"a mistyped name in a rule keeps somebody out, one in blacklisted_users lets somebody in",
			cmp.Or(hint, "correct it, unless the name is yet to come"))
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
	for i, e := range errs {
		if c.wrongUser && (e.Code == config.CodeUnreadable || e.Code == jwtsign.CodeUnreadable) {
			continue // the service must be able to read it, not this user
		}
		subject, why := "config", consequenceOf(e.Code)
		switch e.Key {
		case "private_key", "certificate", "key_id", "previous_keys":
			subject = e.Key
		}
		if i == 0 && why == "" {
			why = "a service that runs keeps the last good configuration; one that starts answers 503"
		}
		hint := e.Hint
		e.Hint = ""
		c.failAs(subject, e.Code, e.Error(), why, hint)
	}
}

// consequenceOf is what follows from a fault; "" = only that the configuration cannot be used.
func consequenceOf(code config.Code) string {
	return map[config.Code]string{
		config.CodeNotSetUp:    "the service answers 503; both are names in the registry's auth.token section",
		config.CodeWritable:    "who can do that chooses the key, the rules and the PAM service",
		config.CodeUnknownKey:  "a mistyped key would go unnoticed, and its setting would not hold",
		config.CodeTwice:       "which of the two holds is not to be seen",
		jwtsign.CodeOpen:       "who has the key can sign tokens as any account",
		jwtsign.CodeMismatch:   "registries refuse every token; each of them needs a copy of the new certificate",
		jwtsign.CodeExpired:    "registries refuse every token; each of them needs a copy of the new certificate",
		jwtsign.CodeNotYet:     "registries refuse every token; perhaps this machine's clock is or was wrong",
		jwtsign.CodeUnsuitable: "no registry takes its signatures; each needs a copy of the new certificate",
		jwtsign.CodeParameters: "Go reads named curves only, and RFC 5480 allows no other",
		jwtsign.CodeEncrypted:  "the service has no one who could type the password",
		jwtsign.CodeIDRule:     "no registry would find the key by such an id",
	}[code]
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
			command("chmod", "g-w", path),
		)
	}
	folder := filepath.Dir(path)
	if info, err := os.Stat(folder); err == nil && info.Mode()&os.ModeSticky == 0 {
		const subject = "config.mode"
		switch mode := info.Mode().Perm(); {
		case mode&0o002 != 0:
			c.fail(subject, "config-folder-writable", "every user can put another file in the place of "+path, why,
				command("chmod", "go-w", folder))
		case mode&0o020 != 0:
			c.warn(subject, "config-folder-writable",
				fmt.Sprintf("the group %s can put another file in the place of %s", groupOf(info), path),
				why+", and \"dockerauth key rotate\" makes no key there",
				command("chmod", "g-w", folder))
		}
	}
	if _, err := os.Stat(filepath.Join(folder, ".htaccess")); err == nil {
		c.notAsked("config", "whether the web server serves "+path+", in whose folder there is a .htaccess",
			"dockerauth check --url https://HOST/docker/v2/token")
	}
}

func groupOf(info os.FileInfo) string {
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		return groupName(int(owner.Gid))
	}
	return "of the file"
}
