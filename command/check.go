package command

import (
	"fmt"

	"dockerauth/cli"
	"dockerauth/doctor"
)

// check is the command "check".
func check(args []string, streams cli.Streams) int {
	var o doctor.Options
	flags := cli.NewFlags("check")
	flags.StringVar(&o.Config, "config", "", "")
	flags.StringVar(&o.RegistryConfig, "registry-config", "", "")
	flags.StringVar(&o.URL, "url", "", "")
	flags.StringVar(&o.Login, "login", "", "")
	flags.StringVar(&o.As, "as", "", "")
	flags.StringVar(&o.Program, "program", "", "")
	flags.StringVar(&o.Registry, "registry", "", "")
	flags.BoolVar(&o.Quiet, "quiet", false, "")
	flags.BoolVar(&o.JSON, "json", false, "")
	if status, ok := cli.ParseAll(flags, args, helpCheck, streams); !ok {
		return status
	}
	if o.Program != "" && o.As == "" {
		fmt.Fprint(streams.Err,
			"dockerauth check: --program is the file that a web server starts, and --as, its user, is missing\n"+
				"  such as: --as www-data --program /usr/lib/cgi-bin/dockerauth\n")
		return cli.ExitUsage
	}
	return doctor.Check(o, streams)
}
