package doctor

import (
	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/pamauth"
	"time"
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

	settings   *config.Config // config, also where only the key files are at fault: all but the key
	root       string         // where /sys and systemd's units are looked for; "" = /, tests play another machine
	stack      []pamauth.Line // nil = not usable, and a finding has said why
	runAs      *runAs         // see whoever
	runAsKnown bool
	wrongUser  bool // see examineWho
}
