package command

import (
	"dockerauth/cli"
	"dockerauth/service"
	"dockerauth/setup"
)

// initialize is the command "init".
func initialize(args []string, streams cli.Streams) int {
	o := setup.Options{CheckPAM: service.CheckPAM}
	flags := cli.NewFlags("init")
	flags.StringVar(&o.Dir, "dir", setup.DefaultDir, "")
	flags.StringVar(&o.Issuer, "issuer", "", "")
	flags.StringVar(&o.Audience, "audience", "", "")
	flags.StringVar(&o.Realm, "realm", "", "")
	flags.StringVar(&o.KeyType, "key-type", "", "")
	flags.StringVar(&o.Group, "group", "", "")
	flags.StringVar(&o.PAMDir, "pam-dir", "", "")
	flags.StringVar(&o.Accounts, "accounts", "", "")
	if status, ok := cli.ParseAll(flags, args, helpInit, streams); !ok {
		return status
	}
	return setup.Run(o, streams)
}
