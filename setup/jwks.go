package setup

import (
	"fmt"

	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/jwtsign"
)

// PrintJWKS prints the public keys of a configuration, for "jwks" of a registry 3.x.
func PrintJWKS(path string, streams cli.Streams) int {
	cfg, err := config.Load(path)
	if err != nil {
		return cli.Fail(streams.Err, err)
	}
	set, err := jwtsign.JWKSet(append([]*jwtsign.Key{cfg.Key}, cfg.PreviousKeys...)...)
	if err == nil {
		_, err = streams.Out.Write(set)
	}
	if err != nil {
		return cli.Fail(streams.Err, err)
	}
	if cfg.CertificateFile != "" {
		fmt.Fprintf(streams.Err, "warning: tokens carry their certificate, and a registry that has jwks alone refuses "+
			"them\n  take certificate out of %s (line %d), or give the registry rootcertbundle instead\n", cfg.Path,
			cfg.Line("certificate"))
	}
	return cli.ExitDone
}
