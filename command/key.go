package command

import (
	"flag"
	"fmt"

	"dockerauth/cli"
	"dockerauth/service"
	"dockerauth/setup"
)

// keySteps are the flags that choose a step.
type keySteps struct{ change, retire bool }

func keyFlags(o *setup.Rotation, steps *keySteps) *flag.FlagSet {
	flags := cli.NewFlags("key")
	flags.StringVar(&o.Config, "config", "", "`FILE` config.yml")
	flags.StringVar(&o.KeyType, "key-type", "", "`p256|rsa|ed25519`")
	flags.StringVar(&o.Bundle, "bundle", "", "`FILE` for the certificates")
	flags.BoolVar(&steps.change, "switch", false, "sign with the new key")
	flags.BoolVar(&steps.retire, "retire", false, "use the old key no longer")
	flags.BoolVar(&o.Force, "force", false, "retire it at once")
	return flags
}

// key is the command "key".
func key(args []string, streams cli.Streams) int {
	var o setup.Rotation
	var steps keySteps
	flags := keyFlags(&o, &steps)
	rest, status, ok := cli.Parse(flags, args, helpKey, streams)
	switch {
	case !ok:
		return status
	case len(rest) == 0:
		fmt.Fprint(streams.Err, "dockerauth key: what to do is missing\n  write: dockerauth key rotate\n")
		return cli.ExitUsage
	case rest[0] != "rotate":
		fmt.Fprintf(streams.Err, "dockerauth key: unknown word %q\n  write: dockerauth key rotate\n", rest[0])
		return cli.ExitUsage
	case len(rest) > 1:
		return cli.Unexpected(flags, rest[1], streams)
	case steps.change && steps.retire:
		fmt.Fprint(streams.Err, "dockerauth key rotate: --switch and --retire are two steps\n  write one of them\n")
		return cli.ExitUsage
	}
	o.Step = setup.Prepare
	if steps.change {
		o.Step = setup.Switch
	}
	if steps.retire {
		o.Step = setup.Retire
	}
	path, err := orFound(o.Config)
	if err != nil {
		return cli.Fail(streams.Err, err)
	}
	o.Config = path
	o.Done = service.RotationLog(string(o.Step), streams.Err)
	return setup.RotateKey(o, streams)
}
