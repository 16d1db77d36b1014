package doctor

import (
	"time"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/pamauth"
)

// checkup is one run of check.
type checkup struct {
	findings
	streams cli.Streams
	path    string         // config.yml
	config  *config.Config // nil = not usable, and a finding has said why
	now     func() time.Time

	registry string // --registry; "" = not asked for
	service  string // as the registry there calls itself; "" = not known

	registryConfig string // --registry-config; "" = not asked for, as the next three
	url            string // --url
	login          string // --login
	as             string // --as
	program        string // --program; "" = this program file

	discovered bool   // path is that of the service on this machine
	realm      string // where a registry's configuration sends clients; "" = not known
	dial       string // where url is, on this machine; "" = where its host is

	settings   *config.Config // config, or all of it but the key where only the key files are wrong
	root       string         // where /sys and systemd's units are looked for; "" = /; tests set it
	stack      []pamauth.Line // nil = not usable, and a finding has said why
	missing    []string       // modules of it that are not installed
	runAs      *runAs         // see serviceUser
	runAsKnown bool
	wrongUser  bool // see examineUser
}
