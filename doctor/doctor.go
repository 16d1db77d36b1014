// Package doctor looks at an installation: what is wrong with it, and what to do about it.
package doctor

import (
	"os"
	"time"

	"dockerauth/cli"
)

// Options are what check is asked to look at.
type Options struct {
	Config         string // path; "" = beside the binary
	Registry       string // --registry; "" = not asked for, as the next four
	RegistryConfig string
	URL            string
	Login          string
	As             string
	Program        string // --program; "" = this program file
	JSON           bool   // the report, instead of each finding as it comes
	Quiet          bool   // warnings and errors only
}

// Check looks at an installation and says what is wrong and what to do. Status 0 = all in order, 1
// = warnings, 2 = errors.
func Check(o Options, streams cli.Streams) int {
	c := checkup{
		streams: streams, now: time.Now, path: o.Config, registry: o.Registry, registryConfig: o.RegistryConfig,
		url: o.URL, login: o.Login, as: o.As, program: o.Program,
	}
	if !o.JSON {
		c.out, c.quiet, c.colour = streams.Out, o.Quiet, cli.TakesColour(streams.Out)
	}
	c.examine()
	c.summarise()
	if o.JSON {
		if err := c.writeJSON(streams.Out); err != nil {
			return cli.ExitUsage
		}
	}
	return c.status()
}

// examine looks at everything that was asked for. Without a configuration it leaves out what
// depends on one.
func (c *checkup) examine() {
	c.discoverService()
	c.examineUser(os.Geteuid())
	c.examineConfig()
	if c.config != nil {
		c.examineKey()
	}
	if c.settings != nil {
		c.examinePAM()
		c.examineRights()
	}
	c.examineService()
	c.discoverRegistry()
	c.discoverEndpoint()
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
	c.nameTheRest()
}
