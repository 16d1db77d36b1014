package command

import (
	"flag"
	"fmt"

	"dockerauth/cli"
	"dockerauth/doctor"
)

func checkFlags(o *doctor.Options) *flag.FlagSet {
	flags := cli.NewFlags("check")
	flags.StringVar(&o.Config, "config", "", "`FILE` config.yml")
	flags.StringVar(&o.As, "as", "", "`USER` of the service or the web server")
	flags.StringVar(&o.Program, "program", "", "`FILE` that the web server starts")
	flags.StringVar(&o.RegistryConfig, "registry-config", "", "`FILE` of the registry")
	flags.StringVar(&o.Registry, "registry", "", "`URL` of the registry")
	flags.StringVar(&o.URL, "url", "", "`URL` of the token endpoint")
	flags.StringVar(&o.Login, "login", "", "`USER` whose password is tried")
	flags.BoolVar(&o.Quiet, "quiet", false, "warnings and errors only")
	flags.BoolVar(&o.JSON, "json", false, "findings as JSON")
	return flags
}

// check is the command "check".
func check(args []string, streams cli.Streams) int {
	var o doctor.Options
	if status, ok := cli.ParseAll(checkFlags(&o), args, helpCheck, streams); !ok {
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
