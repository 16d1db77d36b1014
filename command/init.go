package command

import (
	"flag"
	"strings"

	"dockerauth/cli"
	"dockerauth/service"
	"dockerauth/setup"
)

func initFlags(o *setup.Options) *flag.FlagSet {
	flags := cli.NewFlags("init")
	flags.StringVar(&o.Issuer, "issuer", "", "name of this service")
	flags.Var((*cli.List)(&o.Audience), "audience", "name of a registry")
	flags.StringVar(&o.Dir, "dir", setup.DefaultDir, "`DIR` of key, certificate and config.yml")
	flags.StringVar(&o.Realm, "realm", "", "`URL` of the token endpoint")
	flags.StringVar(&o.KeyType, "key-type", "", "`p256|rsa|ed25519`")
	flags.StringVar(&o.Group, "group", "", "`GROUP` that may read the key")
	flags.StringVar(&o.PAMDir, "pam-dir", "", "`DIR` of the PAM service file")
	flags.StringVar(&o.Accounts, "accounts", "", "`"+strings.Join(setup.Accounts, "|")+"`")
	flags.BoolVar(&o.RenewCertificate, "renew-certificate", false, "new certificate for the same key")
	return flags
}

// initialize is the command "init".
func initialize(args []string, streams cli.Streams) int {
	o := setup.Options{CheckPAM: service.CheckPAM}
	if status, ok := cli.ParseAll(initFlags(&o), args, helpInit, streams); !ok {
		return status
	}
	return setup.Run(o, streams)
}
