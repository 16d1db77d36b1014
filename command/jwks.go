package command

import (
	"flag"

	"dockerauth/cli"
	"dockerauth/service"
	"dockerauth/setup"
)

func jwksFlags(path *string) *flag.FlagSet {
	flags := cli.NewFlags("jwks")
	flags.StringVar(path, "config", "", "`FILE` config.yml")
	return flags
}

// jwks is the command "jwks".
func jwks(args []string, streams cli.Streams) int {
	var path string
	if status, ok := cli.ParseAll(jwksFlags(&path), args, helpJWKS, streams); !ok {
		return status
	}
	path, err := orFound(path)
	if err != nil {
		return cli.Fail(streams.Err, err)
	}
	return setup.PrintJWKS(path, streams)
}

// orFound is the path of the configuration, which is looked for if none is given.
func orFound(path string) (string, error) {
	if path != "" {
		return path, nil
	}
	return service.FindConfig()
}
