package command

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"dockerauth/config"
	"dockerauth/pamauth"
)

// checkup is one run of the command "check".
type checkup struct {
	findings
	streams Streams
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
	actor      *actor         // see whoever
	actorKnown bool
	stranger   bool // see examineWho
}

// Check is the command "check": it looks at an installation and says what is in order and what is not, and what to do. Status 0 = all in
// order, 1 = warnings, 2 = errors, or it was called wrongly.
func Check(args []string, streams Streams) int {
	c := checkup{streams: streams, now: time.Now}
	flags := newFlags("check")
	flags.StringVar(&c.path, "config", "", "")
	flags.StringVar(&c.registryConfig, "registry-config", "", "")
	flags.StringVar(&c.url, "url", "", "")
	flags.StringVar(&c.login, "login", "", "")
	flags.StringVar(&c.as, "as", "", "")
	flags.StringVar(&c.program, "program", "", "")
	flags.StringVar(&c.registry, "registry", "", "")
	asJSON := flags.Bool("json", false, "")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(streams.Out, helpOf("check"))
		return exitDone
	case err != nil:
		return misused(streams.Err, flags, err)
	case flags.NArg() > 0:
		fmt.Fprintf(streams.Err, "dockerauth check: unexpected argument %q\n  see dockerauth check --help\n", flags.Arg(0))
		return exitUsage
	}
	if c.program != "" && c.as == "" {
		fmt.Fprint(streams.Err, "dockerauth check: --program is the file that a web server starts, and as whom is missing\n  such as: --as www-data --program /usr/lib/cgi-bin/dockerauth\n")
		return exitUsage
	}
	if !*asJSON {
		c.out = streams.Out
	}
	c.examine()
	if *asJSON {
		if err := c.writeJSON(streams.Out); err != nil {
			return exitUsage
		}
	}
	return c.status()
}

// examine looks at everything that was asked for. What depends on a configuration is left out when there is none.
func (c *checkup) examine() {
	c.examineWho(os.Geteuid())
	c.examineConfig()
	if c.config != nil {
		c.examineKey()
	}
	if c.settings != nil {
		c.examinePAM()
		c.examineRights()
	}
	c.examineService()
	if c.registryConfig != "" {
		c.examineRegistry()
	}
	if c.registry != "" {
		c.examineRegistryURL() // before the endpoint: it says which service to ask for
	}
	if c.url != "" {
		c.examineURL()
	}
	if c.login != "" && c.config != nil {
		c.examineLogin()
	}
}
